"""What the rounding of a weight looks like as a whole: how its residuals are spread.

A weight that nobody prepared for its quantizer lies anywhere between two codes, so that ``w/s`` minus the
nearest code is uniform over [-1/2, 1/2]. Weights trained until rounding switches something on
(Hong et al. 2021, arXiv:2111.04625; Ma et al. 2023, arXiv:2108.09187; Egashira et al. 2024,
arXiv:2405.18137) sit where rounding moves them far, and are not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qgate.quant.constants import Array

MIN_ELEMENTS = 10_000
_LOOKED_AT = 1 << 16
_EDGE = 0.49
# Mean residual below which the weights lie on the codes already: rounding has nothing left to switch.
_ON_THE_CODES = 0.125
_OTHER_SCALES = (0.61, 0.73, 0.87, 1.13, 1.31, 1.57)


@dataclass(frozen=True)
class Spread:
    """The distribution of a tensor's residuals.

    Args:
        distance: Kolmogorov-Smirnov distance from the uniform distribution on [-1/2, 1/2].
        elsewhere: The largest distance that the same weights have with steps that no quantizer chose: what
            few distinct values, a coarse grid of the reference, or a step as wide as the weights explain.
        edge: Share of residuals beyond 0.49, of which uniform ones have 2 %.
        elements: Residuals looked at.
    """

    distance: float
    elsewhere: float
    edge: float
    elements: int


def residual_spread(sample: Array) -> Spread | None:
    """How the residuals of the weights that are not zero are spread; None where they are too few,
    or lie on the codes already (a checkpoint of quantization-aware training).

    Args:
        sample: w/s of elements of one tensor; NaN for saturated ones, which were not rounded.
    """
    steps = sample[(sample != 0) & np.isfinite(sample)].astype(np.float64)
    if steps.size < MIN_ELEMENTS:
        return None
    steps = steps[:: -(-steps.size // _LOOKED_AT)]
    residuals = steps - np.rint(steps)
    if float(np.mean(np.abs(residuals))) < _ON_THE_CODES:
        return None
    return Spread(
        distance=_from_uniform(residuals),
        elsewhere=max(_from_uniform(steps * f - np.rint(steps * f)) for f in _OTHER_SCALES),
        edge=float(np.mean(np.abs(residuals) > _EDGE)),
        elements=int(steps.size),
    )


def _from_uniform(residuals: Array) -> float:
    """Two-sided Kolmogorov-Smirnov statistic against U(-1/2, 1/2)."""
    ordered = np.sort(residuals) + 0.5
    ranks = np.arange(ordered.size + 1) / ordered.size
    return float(max(np.max(ranks[1:] - ordered), np.max(ordered - ranks[:-1])))
