"""Mergeable sums of the difference between a reference and a candidate tensor.

Counts and extremes merge bit for bit; sums are float64 and merge to rounding (1e-12). Every sum is first
taken over one sample, so the way in which samples are cut into batches or shards does not enter it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]
    Bools = NDArray[np.bool_]

BLOCK = 1 << 16
"""Elements that are widened to float64 at a time: small enough to stay in the cache."""

RELATIVE_EPS = 1e-8
"""The denominator's floor in the classic mean relative error."""

_NOWHERE = -1


@dataclass
class PairErrors:
    """Everything that the output metrics need, for one output.

    Attributes:
        samples: Samples seen.
        elements: Elements that are finite on both sides; only these enter the sums.
        differing: Elements that are not equal (two NaN are equal).
        nonfinite_reference: Elements that are not finite in the reference.
        nonfinite_candidate: Elements that are not finite in the candidate where the reference is.
        first_sample: Sample of the first of the latter, -1 if there is none; ``first_index`` its
            position in the flattened sample.
        rr: Sum of squares of the reference; ``cc`` of the candidate, ``dd`` of the difference, ``rc``
            of the product; ``relative`` the sum of |difference| / (|reference| + 1e-8).
        max_abs: Largest absolute difference, at ``max_sample`` and ``max_index``.
        worst_ratio: Largest noise-to-signal energy ratio of a single sample, of ``worst_sample``.
        reference_min: Extremes of the finite values; likewise the other three.
    """

    samples: int = 0
    elements: int = 0
    differing: int = 0
    nonfinite_reference: int = 0
    nonfinite_candidate: int = 0
    first_sample: int = _NOWHERE
    first_index: int = _NOWHERE
    rr: float = 0.0
    cc: float = 0.0
    rc: float = 0.0
    dd: float = 0.0
    relative: float = 0.0
    max_abs: float = 0.0
    max_sample: int = _NOWHERE
    max_index: int = _NOWHERE
    worst_ratio: float = 0.0
    worst_sample: int = _NOWHERE
    reference_min: float = math.inf
    reference_max: float = -math.inf
    candidate_min: float = math.inf
    candidate_max: float = -math.inf

    def add(self, reference: NDArray[Any], candidate: NDArray[Any], first_sample: int) -> None:
        """Adds a batch.

        Args:
            reference: Real-valued, [samples, ...].
            candidate: The same shape.
            first_sample: Number of the batch's first sample in the data set.

        Raises:
            ValueError: The shapes differ.
        """
        if reference.shape != candidate.shape:
            raise ValueError(f"shapes differ: {reference.shape} and {candidate.shape}")
        count = len(reference)
        if reference.size == 0:
            self.samples += count
            return
        left, right = reference.reshape(count, -1), candidate.reshape(count, -1)
        width = left.shape[1]
        rows = max(1, BLOCK // width)
        for start in range(0, count, rows):
            stop = min(start + rows, count)
            self._add_rows(left[start:stop], right[start:stop], first_sample + start)
        self.samples += count

    def _add_rows(self, left: NDArray[Any], right: NDArray[Any], first: int) -> None:
        noise = np.zeros(len(left))
        signal = np.zeros(len(left))
        for start in range(0, left.shape[1], BLOCK):
            part = slice(start, start + BLOCK)
            rr, dd = self._add_block(left[:, part], right[:, part], first, start)
            signal += rr
            noise += dd
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(noise == 0.0, 0.0, noise / signal)
        if len(ratio) and (worst := float(np.max(ratio))) > 0.0:
            self._worst(worst, first + int(np.argmax(ratio)))

    def _add_block(
        self, left: NDArray[Any], right: NDArray[Any], first: int, column: int
    ) -> tuple[Doubles, Doubles]:
        """Adds one block; returns each row's energy of the reference and of the difference."""
        a, b = left.astype(np.float64), right.astype(np.float64)
        usable = self._set_aside(a, b, first, column)
        with np.errstate(over="ignore", invalid="ignore"):
            d = a - b
            rr, dd = np.einsum("ij,ij->i", a, a), np.einsum("ij,ij->i", d, d)
            cc, rc = np.einsum("ij,ij->i", b, b), np.einsum("ij,ij->i", a, b)
            np.abs(d, out=d)
            self.differing += int(np.count_nonzero(d))
            position = int(np.argmax(d))
            if (largest := float(d.flat[position])) > 0.0:
                row, inside = divmod(position, d.shape[1])
                self._largest(largest, first + row, column + inside)
            relative = (d / (np.abs(a) + RELATIVE_EPS)).sum(axis=1)
            sums = {"rr": rr, "cc": cc, "rc": rc, "dd": dd, "relative": relative}
            for name, values in sums.items():
                setattr(self, name, getattr(self, name) + float(values.sum()))
        self._extremes(a, b, usable)
        return rr, dd

    def _set_aside(self, a: Doubles, b: Doubles, first: int, column: int) -> Bools | None:
        """Counts non-finite elements and zeroes them on both sides, so that they add nothing."""
        fine_a, fine_b = np.isfinite(a), np.isfinite(b)
        usable = fine_a & fine_b
        kept = int(np.count_nonzero(usable))
        self.elements += kept
        if kept == a.size:
            return None
        self.nonfinite_reference += int(a.size - np.count_nonzero(fine_a))
        broken = fine_a & ~fine_b
        self.nonfinite_candidate += int(np.count_nonzero(broken))
        if broken.any():
            row, inside = divmod(int(np.argmax(broken)), a.shape[1])
            self._first(first + row, column + inside)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        self.differing += int(np.count_nonzero(~usable & ~same))
        a[~usable] = 0.0
        b[~usable] = 0.0
        return usable

    def _extremes(self, a: Doubles, b: Doubles, usable: Bools | None) -> None:
        if usable is not None:
            a, b = a[usable], b[usable]
        if a.size:
            self.reference_min = min(self.reference_min, float(a.min()))
            self.reference_max = max(self.reference_max, float(a.max()))
            self.candidate_min = min(self.candidate_min, float(b.min()))
            self.candidate_max = max(self.candidate_max, float(b.max()))

    def _first(self, sample: int, index: int) -> None:
        if self.first_sample == _NOWHERE or (sample, index) < (self.first_sample, self.first_index):
            self.first_sample, self.first_index = sample, index

    def _largest(self, value: float, sample: int, index: int) -> None:
        if value > self.max_abs or (
            value == self.max_abs and (sample, index) < (self.max_sample, self.max_index)
        ):
            self.max_abs, self.max_sample, self.max_index = value, sample, index

    def _worst(self, ratio: float, sample: int) -> None:
        if ratio > self.worst_ratio or (ratio == self.worst_ratio and sample < self.worst_sample):
            self.worst_ratio, self.worst_sample = ratio, sample

    def merge(self, other: PairErrors) -> None:
        """Adds what another accumulator saw; the samples' numbers must not overlap."""
        for name in _SUMMED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        if other.first_sample != _NOWHERE:
            self._first(other.first_sample, other.first_index)
        if other.max_sample != _NOWHERE:
            self._largest(other.max_abs, other.max_sample, other.max_index)
        if other.worst_sample != _NOWHERE:
            self._worst(other.worst_ratio, other.worst_sample)
        for side in ("reference", "candidate"):
            low, high = f"{side}_min", f"{side}_max"
            setattr(self, low, min(getattr(self, low), getattr(other, low)))
            setattr(self, high, max(getattr(self, high), getattr(other, high)))


_EXTREMES = ("first_", "max_", "worst_", "reference_m", "candidate_m")
_SUMMED = tuple(f.name for f in fields(PairErrors) if not f.name.startswith(_EXTREMES))


def blocks(flat: NDArray[Any], size: int = BLOCK) -> Iterator[NDArray[Any]]:
    """A flat array in consecutive pieces of at most ``size`` elements, without copying."""
    for start in range(0, flat.size, size):
        yield flat[start : start + size]
