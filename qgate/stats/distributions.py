"""How far apart two samples of numbers are distributed: four distances, each as its source defines it.

All take finite float64 values in one dimension, in any order, and raise ``ValueError`` where a side is empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]

JS_BINS = 64
"""Most bins of the Jensen-Shannon distance: equal ones between the reference's extremes, two for each cube root of
the number of values (Rice's rule), and an open one at either end."""

PSI_BINS = 10
"""Bins of the population stability index: the reference's deciles."""

PSI_LEAST = 100
"""With fewer values than this a decile holds too few for the index to mean anything."""

RESOLUTION = 0.1
"""Values closer than this share of the reference's standard deviation count as one: a softmax that rounds to
exact zeros what was 1e-9 has moved nothing."""

ROUNDING = 1e-6
"""So do values closer than this share of the reference's largest magnitude: the arithmetic of float32."""


@dataclass(frozen=True)
class Distances:
    """What a reference's and a candidate's values are apart.

    Args:
        n: Values on either side.
        ks: Kolmogorov-Smirnov statistic, 0 to 1.
        js: Jensen-Shannon distance, 0 to 1.
        wasserstein: 1-Wasserstein distance in the values' own unit.
        psi: Population stability index; None with fewer than ``PSI_LEAST`` values.
        deviation: Standard deviation of the reference's values.
    """

    n: int
    ks: float
    js: float
    wasserstein: float
    psi: float | None
    deviation: float


def distances(reference: Doubles, candidate: Doubles, resolution: float | None = None) -> Distances:
    """All four distances.

    Args:
        reference: Values of the reference.
        candidate: Values of the candidate, as many.
        resolution: Width within which values count as equal for all but the Wasserstein distance; by default
            ``RESOLUTION`` of the reference's standard deviation, at least ``ROUNDING`` of its magnitude.

    Raises:
        ValueError: There are no values, or not as many on both sides.
    """
    if len(reference) != len(candidate):
        raise ValueError("as many values on both sides are compared")
    with np.errstate(all="ignore"):  # the extremes of float64 overflow in what is told as infinite
        return _distances(_sorted(reference), _sorted(candidate), resolution)


def _distances(a: Doubles, b: Doubles, resolution: float | None) -> Distances:
    deviation = _deviation(a)
    magnitude = float(max(abs(a[0]), abs(a[-1])))
    step = max(RESOLUTION * deviation, ROUNDING * magnitude) if resolution is None else resolution
    coarse, other = _snapped(a, step), _snapped(b, step)
    return Distances(
        n=len(a),
        ks=kolmogorov_smirnov(coarse, other),
        js=jensen_shannon(coarse, other),
        wasserstein=wasserstein(a, b),
        psi=stability_index(coarse, other) if len(a) >= PSI_LEAST else None,
        deviation=deviation,
    )


def kolmogorov_smirnov(reference: Doubles, candidate: Doubles) -> float:
    """The largest difference of the two empirical distribution functions (two-sample statistic D)."""
    a, b = _sorted(reference), _sorted(candidate)
    every = np.concatenate([a, b])
    ours = np.searchsorted(a, every, side="right") / len(a)
    theirs = np.searchsorted(b, every, side="right") / len(b)
    return float(np.max(np.abs(ours - theirs)))


def jensen_shannon(reference: Doubles, candidate: Doubles) -> float:
    """Square root of the Jensen-Shannon divergence in bits, over at most ``JS_BINS`` bins: 0 the same, 1 disjoint.

    Source: D. Endres and J. Schindelin, "A new metric for probability distributions", IEEE Trans. Inf. Theory 49 (2003).
    """
    a, b = _sorted(reference), _sorted(candidate)
    # Halved before they are subtracted: the extremes of float64 lie further apart than any float64.
    bins = min(JS_BINS, int(np.ceil(2 * np.cbrt(len(a)))))
    inner = np.linspace(a[0] / 2, a[-1] / 2, bins + 1) * 2
    inner[0], inner[-1] = a[0], np.nextafter(a[-1], np.inf)
    p, q = _shares(a, inner, "right"), _shares(b, inner, "right")
    middle = (p + q) / 2
    divergence = sum(
        float(np.sum(side[side > 0] * np.log2(side[side > 0] / middle[side > 0]))) / 2 for side in (p, q)
    )
    return float(np.sqrt(min(max(divergence, 0.0), 1.0)))


def wasserstein(reference: Doubles, candidate: Doubles) -> float:
    """1-Wasserstein (earth mover's) distance of as many values: the mean difference of the sorted ones."""
    a, b = _sorted(reference), _sorted(candidate)
    if len(a) != len(b):
        raise ValueError("as many values on both sides are compared")
    return float(np.mean(np.abs(a - b)))


def stability_index(reference: Doubles, candidate: Doubles) -> float:
    """Population stability index over the reference's deciles; a value on which several fall is a bin of its own.

    Sum of (q - p) ln(q / p); a bin that is empty on a side counts as half a value. Below 0.1 nothing moved, above 0.25
    the population is another. Source: N. Siddiqi, "Credit Risk Scorecards", Wiley 2006.
    """
    a, b = _sorted(reference), _sorted(candidate)
    deciles = np.quantile(a, np.arange(1, PSI_BINS) / PSI_BINS, method="inverted_cdf")
    edges, often = np.unique(deciles, return_counts=True)
    edges = np.union1d(edges, np.nextafter(edges[often > 1], -np.inf))
    p, q = _shares(a, edges, "left"), _shares(b, edges, "left")
    kept = (p > 0) | (q > 0)
    p, q = np.maximum(p[kept], 0.5 / len(a)), np.maximum(q[kept], 0.5 / len(b))
    return float(np.sum((q - p) * np.log(q / p)))


def _sorted(values: Doubles) -> Doubles:
    if not len(values):
        raise ValueError("there are no values")
    return np.sort(values.astype(np.float64, copy=False))


def _shares(values: Doubles, edges: Doubles, side: Literal["left", "right"]) -> Doubles:
    """Share of the sorted values in each bin; ``left``: an edge belongs to the bin below it, ``right``: above."""
    below = np.searchsorted(values, edges, side="right" if side == "left" else "left")
    counts = np.diff(np.concatenate([[0], below, [len(values)]]))
    return np.asarray(counts / len(values), dtype=np.float64)


def _deviation(values: Doubles) -> float:
    """Standard deviation, infinite where its squares are."""
    deviation = float(np.std(values))
    return float("inf") if np.isnan(deviation) else deviation


def _snapped(values: Doubles, step: float) -> Doubles:
    if not 0 < step < float("inf"):
        return values
    steps = np.rint(values / step)
    return np.where(np.isfinite(steps), steps * step, values)
