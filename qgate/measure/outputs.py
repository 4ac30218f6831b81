"""Compares one output of the two models, a chunk of samples at a time. Every part merges."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.stats.errors import PairErrors
from qgate.stats.paired import Values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]

PROBABILITY_FLOOR = 1e-8
"""Smallest probability of the candidate in the KL divergence; a quantized softmax has exact zeros."""

NEAR_TIE = 0.01
"""A disagreement is a near tie where the reference's own margin is below this share of its row's spread."""

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
        kl: KL(reference || candidate) of each row that is finite on both sides, in nats.
        kl_max: The largest, of sample ``kl_sample``.
    """

    form: str
    n: int = 0
    agree: int = 0
    near_ties: int = 0
    kl: Values = field(default_factory=Values)
    kl_max: float = -math.inf
    kl_sample: int = -1

    def add(self, reference: NDArray[Any], candidate: NDArray[Any], first_sample: int) -> None:
        """Adds rows, both [samples, classes]."""
        a, b = reference.astype(np.float64), candidate.astype(np.float64)
        fine_a, fine_b = np.isfinite(a).all(axis=1), np.isfinite(b).all(axis=1)
        self.n += int(np.count_nonzero(fine_a))
        both = fine_a & fine_b
        numbers = np.flatnonzero(both) + first_sample
        a, b = a[both], b[both]
        if not len(a):
            return
        best_a, best_b = a.argmax(axis=1), b.argmax(axis=1)
        same = best_a == best_b
        self.agree += int(np.count_nonzero(same))
        rows = np.arange(len(a))
        margin = a[rows, best_a] - a[rows, best_b]
        spread = a.max(axis=1) - a.min(axis=1)
        self.near_ties += int(np.count_nonzero(~same & (margin <= NEAR_TIE * spread)))
        divergence = self._divergence(a, b)
        self.kl.add(divergence)
        worst = int(np.argmax(divergence))
        self._largest(float(divergence[worst]), int(numbers[worst]))

    def _divergence(self, a: Doubles, b: Doubles) -> Doubles:
        p, q = _log_probabilities(a, self.form), _log_probabilities(b, self.form)
        q = np.maximum(q, math.log(PROBABILITY_FLOOR))
        weight = np.exp(p)
        terms = np.where(weight > 0.0, weight * (np.where(weight > 0.0, p, 0.0) - q), 0.0)
        divergence: Doubles = np.maximum(terms.sum(axis=1), 0.0)
        return divergence

    def _largest(self, value: float, sample: int) -> None:
        if value > self.kl_max or (value == self.kl_max and sample < self.kl_sample):
            self.kl_max, self.kl_sample = value, sample

    def merge(self, other: ClassErrors) -> None:
        """Adds what another accumulator saw."""
        self.n += other.n
        self.agree += other.agree
        self.near_ties += other.near_ties
        self.kl.merge(other.kl)
        if other.kl_sample >= 0:
            self._largest(other.kl_max, other.kl_sample)

    def state(self) -> dict[str, Any]:
        """What the parent is told."""
        rows = sum(len(part) for part in self.kl.parts)
        found: dict[str, Any] = {
            "form": self.form,
            "n": self.n,
            "agree": self.agree,
            "near_ties": self.near_ties,
            "rows": rows,
        }
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
            }
        return found


def _log_probabilities(values: Doubles, form: str) -> Doubles:
    with np.errstate(divide="ignore"):
        if form == "probabilities":
            clipped = np.maximum(values, 0.0)
            total = clipped.sum(axis=1, keepdims=True)
            return np.asarray(np.log(clipped / np.where(total > 0.0, total, 1.0)))
        shifted = values - values.max(axis=1, keepdims=True)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


@dataclass
class OutputErrors:
    """One output of the reference against the candidate's.

    Attributes:
        name: The reference's name of it.
        errors: Differences, over the samples whose shapes agree.
        classes: Of class scores only.
        mismatched: Samples whose shapes differ; ``shapes`` are those of the first one.
        unsupported: Chunks in which a side is not made of numbers.
    """

    name: str
    errors: PairErrors = field(default_factory=PairErrors)
    classes: ClassErrors | None = None
    mismatched: int = 0
    first_mismatch: int = -1
    shapes: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    unsupported: int = 0

    def add(self, reference: Any, candidate: Any, first_sample: int) -> None:
        """Adds a chunk; see ``side.PerSample`` for what the two may be."""
        if reference is None or candidate is None:
            self.unsupported += 1
            return
        for start, left, right in _aligned(reference, candidate):
            if left.shape[1:] != right.shape[1:]:
                self._mismatch(first_sample + start, len(left), (left.shape[1:], right.shape[1:]))
                continue
            self.errors.add(left, right, first_sample + start)
            if self.classes is not None and left.ndim == 2 and left.shape[1] >= 2:
                self.classes.add(left, right, first_sample + start)

    def _mismatch(self, sample: int, count: int, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
        self.mismatched += count
        if self.first_mismatch < 0 or sample < self.first_mismatch:
            self.first_mismatch, self.shapes = sample, shapes

    def merge(self, other: OutputErrors) -> None:
        """Adds what another accumulator of the same output saw."""
        self.errors.merge(other.errors)
        if self.classes is not None and other.classes is not None:
            self.classes.merge(other.classes)
        if other.shapes is not None:
            self._mismatch(other.first_mismatch, other.mismatched, other.shapes)
        self.unsupported += other.unsupported

    def state(self) -> dict[str, Any]:
        """What the parent is told."""
        return {
            "name": self.name,
            "errors": asdict(self.errors),
            "classes": None if self.classes is None else self.classes.state(),
            "mismatched": self.mismatched,
            "first_mismatch": self.first_mismatch,
            "shapes": self.shapes,
            "unsupported": self.unsupported,
        }


def _aligned(reference: Any, candidate: Any) -> Iterator[tuple[int, NDArray[Any], NDArray[Any]]]:
    """Pairs of arrays [samples, ...] with the number of their first sample in the chunk."""
    if isinstance(reference, np.ndarray) and isinstance(candidate, np.ndarray):
        yield 0, reference, candidate
        return
    for number, (left, right) in enumerate(zip(reference, candidate, strict=True)):
        yield number, np.asarray(left)[np.newaxis], np.asarray(right)[np.newaxis]
