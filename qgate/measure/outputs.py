"""Compares one output of the two models, a chunk of samples at a time. Every part merges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.measure.classes import ClassErrors
from qgate.measure.spread import spread_state
from qgate.stats.errors import PairErrors
from qgate.stats.sketch import PairSketch

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass
class OutputErrors:
    """One output of the reference against the candidate's.

    Attributes:
        name: The reference's name of it.
        errors: Differences, over the samples whose shapes agree.
        sketch: Some values of both sides, whose distributions are compared; None where nobody asks for them.
        classes: Of class scores only.
        mismatched: Samples whose shapes differ; ``shapes`` are those of the first one.
        unsupported: Chunks in which a side is not made of numbers.
    """

    name: str
    errors: PairErrors = field(default_factory=PairErrors)
    sketch: PairSketch | None = None
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
            if self.sketch is not None:
                self.sketch.add(left, right, first_sample + start)
            if self.classes is not None and left.ndim == 2 and left.shape[1] >= 2:
                self.classes.add(left, right, first_sample + start)

    def _mismatch(self, sample: int, count: int, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
        self.mismatched += count
        if self.first_mismatch < 0 or sample < self.first_mismatch:
            self.first_mismatch, self.shapes = sample, shapes

    def merge(self, other: OutputErrors) -> None:
        """Adds what another accumulator of the same output saw."""
        self.errors.merge(other.errors)
        if self.sketch is not None and other.sketch is not None:
            self.sketch.merge(other.sketch)
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
            "spread": None if self.sketch is None else spread_state(self.sketch),
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
