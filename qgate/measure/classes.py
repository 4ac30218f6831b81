"""Class scores of the two models: who wins, what the others are, and how sure each is. Every part merges."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.measure.spread import spread_state
from qgate.stats.paired import Values
from qgate.stats.sketch import PairSketch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]
    Doubles = NDArray[np.float64]

PROBABILITY_FLOOR = 1e-8
"""Smallest probability of the candidate in the KL divergence; a quantized softmax has exact zeros."""

NEAR_TIE = 0.01
"""A disagreement is a near tie where the reference's own margin is below this share of its row's spread."""

TOP = 5
"""The highest classes that are compared as a set; where there are no more classes than that, none are."""

CONFIDENCE_STEP = 0.01
"""Confidences closer than this count as one in their distributions' distances, the Wasserstein distance apart."""

_SUM_TOLERANCE = 1e-3


def score_form(sample: NDArray[Any]) -> str | None:
    """What the values of one sample are: ``probabilities``, ``log`` probabilities or None.

    One-dimensional, at least two of them, all in range and summing to one.
    """
    if sample.ndim != 1 or len(sample) < 2 or sample.dtype.kind != "f":
        return None
    values = sample.astype(np.float64)
    if not np.isfinite(values).all():
        return None
    if values.min() >= 0.0 and abs(values.sum() - 1.0) <= _SUM_TOLERANCE:
        return "probabilities"
    if values.max() <= 0.0 and abs(np.exp(values).sum() - 1.0) <= _SUM_TOLERANCE:
        return "log"
    return None


@dataclass
class ClassErrors:
    """Agreement and divergence of class scores, one row a sample.

    Attributes:
        form: ``scores`` (softmax is applied), ``log`` or ``probabilities``.
        n: Rows that are finite in the reference.
        agree: Rows whose highest class is the same; the lowest index wins a tie on both sides.
        near_ties: Rows that disagree although the reference itself is nearly undecided.
        ranked: Rows with more than ``TOP`` classes.
        agree_top: Those of them whose ``TOP`` highest classes are the same, in any order; ``near_ties_top`` those
            that disagree about classes which the reference itself hardly tells apart.
        kl: KL(reference || candidate) of each row that is finite on both sides, in nats.
        kl_max: The largest, of sample ``kl_sample``.
        change: Candidate's probability of the reference's highest class minus the reference's, of the same rows.
        change_min: The smallest, of sample ``change_sample``.
        confidence: Highest probability of each of these rows on both sides.
    """

    form: str
    n: int = 0
    agree: int = 0
    near_ties: int = 0
    ranked: int = 0
    agree_top: int = 0
    near_ties_top: int = 0
    kl: Values = field(default_factory=Values)
    kl_max: float = -math.inf
    kl_sample: int = -1
    change: Values = field(default_factory=Values)
    change_min: float = math.inf
    change_sample: int = -1
    confidence: PairSketch = field(default_factory=PairSketch)

    def add(self, reference: NDArray[Any], candidate: NDArray[Any], first_sample: int) -> None:
        """Adds rows, both [samples, classes]."""
        a, b = reference.astype(np.float64), candidate.astype(np.float64)
        fine_a, fine_b = np.isfinite(a).all(axis=1), np.isfinite(b).all(axis=1)
        self.n += int(np.count_nonzero(fine_a))
        if a.shape[1] > TOP:
            self.ranked += int(np.count_nonzero(fine_a))
        both = fine_a & fine_b
        numbers = np.flatnonzero(both) + first_sample
        a, b = a[both], b[both]
        if not len(a):
            return
        best = a.argmax(axis=1)
        self._agreement(a, b, best)
        p, q = _log_probabilities(a, self.form), _log_probabilities(b, self.form)
        divergence = _divergence(p, q)
        self.kl.add(divergence)
        worst = int(np.argmax(divergence))
        self._largest(float(divergence[worst]), int(numbers[worst]))
        rows = np.arange(len(a))
        changed = np.exp(q[rows, best]) - np.exp(p[rows, best])
        self.change.add(changed)
        lowest = int(np.argmin(changed))
        self._lowest(float(changed[lowest]), int(numbers[lowest]))
        # Rows that are left out leave holes, so each row is added under its own number.
        ours, theirs = np.exp(p.max(axis=1)), np.exp(q.max(axis=1))
        self.confidence.add_numbered(ours[:, np.newaxis], theirs[:, np.newaxis], numbers)

    def _agreement(self, a: Doubles, b: Doubles, best_a: NDArray[np.intp]) -> None:
        best_b = b.argmax(axis=1)
        same = best_a == best_b
        self.agree += int(np.count_nonzero(same))
        rows = np.arange(len(a))
        margin = a[rows, best_a] - a[rows, best_b]
        spread = a.max(axis=1) - a.min(axis=1)
        self.near_ties += int(np.count_nonzero(~same & (margin <= NEAR_TIE * spread)))
        if a.shape[1] > TOP:
            lost, gained = _shortfall(a, b), _shortfall(b, a)
            # Either way about: where scores are equal, a set of the highest is not the only one.
            same = (lost <= 0.0) | (gained <= 0.0)
            self.agree_top += int(np.count_nonzero(same))
            self.near_ties_top += int(np.count_nonzero(~same & (lost <= NEAR_TIE * spread)))

    def _largest(self, value: float, sample: int) -> None:
        if value > self.kl_max or (value == self.kl_max and sample < self.kl_sample):
            self.kl_max, self.kl_sample = value, sample

    def _lowest(self, value: float, sample: int) -> None:
        if value < self.change_min or (value == self.change_min and sample < self.change_sample):
            self.change_min, self.change_sample = value, sample

    def merge(self, other: ClassErrors) -> None:
        """Adds what another accumulator saw."""
        for name in ("n", "agree", "near_ties", "ranked", "agree_top", "near_ties_top"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.kl.merge(other.kl)
        self.change.merge(other.change)
        self.confidence.merge(other.confidence)
        if other.kl_sample >= 0:
            self._largest(other.kl_max, other.kl_sample)
            self._lowest(other.change_min, other.change_sample)

    def state(self) -> dict[str, Any]:
        """What the parent is told."""
        counts = ("form", "n", "agree", "near_ties", "ranked", "agree_top", "near_ties_top")
        rows = sum(len(part) for part in self.kl.parts)
        found: dict[str, Any] = {name: getattr(self, name) for name in counts} | {"rows": rows}
        if rows:
            values = np.concatenate(self.kl.parts)
            median, p99, p999 = self.kl.quantiles(0.5, 0.99, 0.999)
            found |= {
                "kl_mean": math.fsum(values) / rows,
                "kl_median": median,
                "kl_p99": p99,
                "kl_p999": p999,
                "kl_max": self.kl_max,
                "kl_sample": self.kl_sample,
                "change": self.change.quantiles(0.01, 0.5, 0.99),
                "change_min": self.change_min,
                "change_sample": self.change_sample,
                "confidence": spread_state(self.confidence, CONFIDENCE_STEP),
            }
        return found


def _shortfall(scores: Doubles, chosen_by: Doubles) -> Doubles:
    """By how much the lowest of the classes that the others' scores rank highest misses one's own ranking, [rows]."""
    chosen = np.argpartition(chosen_by, -TOP, axis=1)[:, -TOP:]
    lowest = np.take_along_axis(scores, chosen, axis=1).min(axis=1)
    wanted = np.partition(scores, -TOP, axis=1)[:, -TOP]
    return np.asarray(wanted - lowest, dtype=np.float64)


def _divergence(p: Doubles, q: Doubles) -> Doubles:
    """KL(P || Q) of log probabilities, [rows, classes] to [rows], in nats."""
    q = np.maximum(q, math.log(PROBABILITY_FLOOR))
    weight = np.exp(p)
    terms = np.where(weight > 0.0, weight * (np.where(weight > 0.0, p, 0.0) - q), 0.0)
    divergence: Doubles = np.maximum(terms.sum(axis=1), 0.0)
    return divergence


def _log_probabilities(values: Doubles, form: str) -> Doubles:
    with np.errstate(divide="ignore"):
        if form == "probabilities":
            clipped = np.maximum(values, 0.0)
            total = clipped.sum(axis=1, keepdims=True)
            return np.asarray(np.log(clipped / np.where(total > 0.0, total, 1.0)))
        shifted = values - values.max(axis=1, keepdims=True)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
