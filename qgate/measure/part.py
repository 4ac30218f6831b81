"""Some of a data set's samples, in their order: those that ranges are calibrated on, or all the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.measure.data import ArraySpec, DataFile
from qgate.measure.request import Part

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST = 128
"""Samples below which they are not divided: a quarter of fewer shows too little of an activation's range."""

_SHARE, _MOST = 4, 512


def sample_numbers(part: Part) -> NDArray[np.int64]:
    """The numbers of a part's samples, rising: those to calibrate on are a quarter, and 512 at most.

    They are drawn with a fixed seed, because data often lie in the order of their classes.
    """
    size = min(part.count // _SHARE, _MOST)
    drawn = np.random.Generator(np.random.PCG64(0)).permutation(part.count)
    return np.sort(drawn[:size] if part.side == "calibration" else drawn[size:])


class PartFile:
    """A data set of which some samples are left; what it cannot answer, the whole one answers.

    Args:
        file: The whole.
        part: What is left.
        numbered: Arrays of rows that begin with the number of their sample, as labelled boxes do.
    """

    def __init__(self, file: DataFile, part: Part, numbered: Iterable[str] = ()) -> None:
        self._file = file
        self._count = part.count
        self._rows = sample_numbers(part)
        self._numbered = tuple(name for name in numbered if len(file.arrays[name].shape) == 2)
        self.label = file.label

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    @property
    def arrays(self) -> dict[str, ArraySpec]:
        """Headers, see ``DataFile``."""
        return {name: self._left(name, spec) for name, spec in self._file.arrays.items()}

    def _of_samples(self, name: str) -> bool:
        shape = self._file.arrays[name].shape
        return name not in self._numbered and bool(shape) and shape[0] == self._count

    def _left(self, name: str, spec: ArraySpec) -> ArraySpec:
        left = (len(self._rows), *spec.shape[1:])
        return replace(spec, shape=left) if self._of_samples(name) else spec

    def spec(self, name: str, what: str) -> ArraySpec:
        """See ``DataFile``."""
        return self._left(name, self._file.spec(name, what))

    def whole(self, name: str, what: str) -> NDArray[Any]:
        """See ``DataFile``."""
        values = self._file.whole(name, what)
        if name in self._numbered:
            number = np.full(self._count, -1.0)
            number[self._rows] = np.arange(len(self._rows))
            there = np.isin(values[:, 0], self._rows)
            left = values[there].astype(np.float64)
            left[:, 0] = number[left[:, 0].astype(np.int64)]
            return left
        return values[self._rows] if self._of_samples(name) else values

    def rows(self, name: str, sizes: Iterable[int]) -> Iterator[NDArray[Any]]:
        """See ``DataFile``."""
        if not self._of_samples(name):
            yield from self._file.rows(name, sizes)
            return
        wanted = iter(self._rows)
        each = enumerate(self._file.rows(name, [1] * self._count))
        for size in sizes:
            found = [
                next(values for i, values in each if i == row) for row in (next(wanted) for _ in range(size))
            ]
            yield np.concatenate(found)

    def ragged(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
        """Lists of each sample: how many it has, and their rows; None where they are none."""
        held = getattr(self._file, "ragged", None)
        lists = None if held is None else held(name)
        if lists is None:
            return None
        lengths, rows = lists
        there = np.zeros(len(lengths), dtype=bool)
        there[self._rows[self._rows < len(lengths)]] = True
        return lengths[there], rows[np.repeat(there, lengths)]
