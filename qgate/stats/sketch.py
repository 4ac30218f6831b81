"""A fixed sample of the values of two tensors, element by element in pairs: bounded, mergeable, without chance.

Each element has a key, a hash of its sample's number and of its place in it, and the elements with the smallest
keys are kept ("bottom-k", E. Cohen and H. Kaplan, "Summarizing data using bottom-k sketches", PODC 2007). Which
ones these are depends on nothing but the data's shape, so every cut into batches or shards gives the same bits.
Everything is kept, and every figure exact, where there are no more than ``size`` elements.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]
    Words = NDArray[np.uint64]

SIZE = 1 << 14
"""Pairs of values that are kept of one tensor: 24 bytes each."""

SIZES = 1 << 18
"""Pairs of values that are kept of all tensors together."""

LEAST = 1 << 9
"""Pairs of values that are kept of a tensor however many there are."""

PER_SAMPLE = 1 << 10
"""Places that are looked at in one sample; of longer ones evenly spread, another set in every sample."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass
class PairSketch:
    """Values of a reference and of a candidate in the same places.

    Attributes:
        size: The most that is kept.
        seen: Elements that are finite on both sides, among the places looked at.
    """

    size: int = SIZE
    seen: int = 0
    _keys: list[Words] = field(default_factory=list)
    _left: list[Doubles] = field(default_factory=list)
    _right: list[Doubles] = field(default_factory=list)
    _held: int = 0

    def add(self, reference: NDArray[Any], candidate: NDArray[Any], first_sample: int) -> None:
        """Adds a batch.

        Args:
            reference: Real-valued, [samples, ...].
            candidate: The same shape.
            first_sample: Number of the batch's first sample in the data set.

        Raises:
            ValueError: The shapes differ.
        """
        self.add_numbered(reference, candidate, np.arange(first_sample, first_sample + len(reference)))

    def add_numbered(
        self, reference: NDArray[Any], candidate: NDArray[Any], samples: NDArray[np.integer]
    ) -> None:
        """Adds a batch of samples with these numbers, [samples]; see ``add``."""
        if reference.shape != candidate.shape:
            raise ValueError(f"shapes differ: {reference.shape} and {candidate.shape}")
        if reference.size == 0:
            return
        count = len(reference)
        left, right = reference.reshape(count, -1), candidate.reshape(count, -1)
        numbers = samples.astype(np.uint64)[:, np.newaxis]
        places = _places(numbers, left.shape[1])
        if left.shape[1] > PER_SAMPLE:
            left, right = (np.take_along_axis(each, places, axis=1) for each in (left, right))
        keys = _mixed(_mixed(numbers) + places.astype(np.uint64)).reshape(-1)
        a, b = left.reshape(-1), right.reshape(-1)
        fine = np.isfinite(a) & np.isfinite(b)
        if not fine.all():
            keys, a, b = keys[fine], a[fine], b[fine]
        self.seen += len(keys)
        if len(keys) > self.size:
            few = np.argpartition(keys, self.size)[: self.size]
            keys, a, b = keys[few], a[few], b[few]
        self._keep(keys, a.astype(np.float64), b.astype(np.float64))

    def _keep(self, keys: Words, left: Doubles, right: Doubles) -> None:
        self._keys.append(keys)
        self._left.append(left)
        self._right.append(right)
        self._held += len(keys)
        if self._held > 2 * self.size:
            self._thin()

    def _thin(self) -> None:
        """Puts the parts together, smallest keys first, and drops what is too much."""
        keys = np.concatenate(self._keys)
        order = np.argsort(keys)[: self.size]
        self._left = [np.concatenate(self._left)[order]]
        self._right = [np.concatenate(self._right)[order]]
        self._keys, self._held = [keys[order]], len(order)

    def merge(self, other: PairSketch) -> None:
        """Adds what another sketch of other samples saw."""
        self.seen += other.seen
        for keys, left, right in zip(other._keys, other._left, other._right, strict=True):
            self._keep(keys, left, right)

    def values(self) -> tuple[Doubles, Doubles]:
        """The pairs that are kept, in the order of their keys."""
        if not self._keys:
            return np.zeros(0), np.zeros(0)
        self._thin()
        return self._left[0], self._right[0]


def sketch_size(tensors: int) -> int:
    """Pairs to keep of each of so many tensors."""
    return min(SIZE, max(LEAST, SIZES // max(tensors, 1)))


def _places(numbers: Words, width: int) -> NDArray[np.int64]:
    """Places to look at, [samples, places]: all of them, or evenly spread ones from a start that the hash gives."""
    if width <= PER_SAMPLE:
        return np.broadcast_to(np.arange(width), (len(numbers), width))
    start = (_mixed(numbers) % np.uint64(width)).astype(np.int64)
    return np.asarray((np.arange(PER_SAMPLE) * width + start) // PER_SAMPLE, dtype=np.int64)


def _mixed(words: Words) -> Words:
    """SplitMix64's step (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014)."""
    mixed = words + _GOLDEN
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))
