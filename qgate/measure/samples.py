"""Where the samples come from: a data set or a seed, in either case a few at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from qgate.errors import DataError
from qgate.measure.data import ArraySpec, DataFile
from qgate.measure.unchosen import taken
from qgate.sandbox.quoting import one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Chunk = dict[str, NDArray[Any]]


class Samples(Protocol):
    """A fixed number of samples."""

    @property
    def count(self) -> int:
        """How many there are."""

    @property
    def arrays(self) -> Mapping[str, ArraySpec]:
        """The arrays that every chunk holds."""

    def first(self) -> Chunk:
        """A chunk of the first sample alone."""

    def chunks(self, size: int) -> Iterator[Chunk]:
        """All samples in order, ``size`` at a time."""


class NpzSamples:
    """The arrays of an ``.npz`` that feed models.

    Args:
        file: The opened file.
        names: Arrays to read; each has been found in it.
        become: Those that are given in another type or form than they are stored in, see ``unchosen``.

    Raises:
        DataError: There are no samples, or the arrays disagree about their number.
    """

    def __init__(
        self, file: DataFile, names: Sequence[str], become: Mapping[str, ArraySpec] | None = None
    ) -> None:
        self._file = file
        self._become = {name: spec for name, spec in (become or {}).items() if name in names}
        self.arrays = {name: file.arrays[name] for name in names}
        lengths = {name: spec.shape[0] for name, spec in self.arrays.items() if spec.shape}
        if not lengths:
            raise DataError(
                "no array has an axis of samples",
                where=file.label,
                remedy="Save arrays of shape [samples, ...]",
            )
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{one_line(name, 60)} {size}" for name, size in lengths.items())
            raise DataError(
                f"the arrays have different numbers of samples: {found}",
                where=file.label,
                remedy="Save the same samples, in the same order, in every array",
            )
        self.count = next(iter(lengths.values()))
        if self.count == 0:
            raise DataError("there are no samples", where=file.label, remedy="Save at least one sample")
        for name, spec in self.arrays.items():
            if spec.dtype.kind not in "biuf":
                raise DataError(
                    f"the array {one_line(name, 80)!r} has dtype {spec.dtype}, which no model takes",
                    where=file.label,
                    remedy="Save numbers; of images, declare how they are prepared (`data.images` of the policy)",
                )
        self._constants = {n: file.whole(n, "an input") for n, spec in self.arrays.items() if not spec.shape}
        self.arrays |= self._become

    def first(self) -> Chunk:
        """The first sample alone."""
        return next(self._read([1], 0))

    def chunks(self, size: int) -> Iterator[Chunk]:
        """All samples in order; see ``Samples.chunks``."""
        whole, rest = divmod(self.count, size)
        return self._read([size] * whole + ([rest] if rest else []), size)

    def _read(self, sizes: Sequence[int], step: int) -> Iterator[Chunk]:
        streams = {n: self._file.rows(n, sizes) for n in self.arrays if n not in self._constants}
        for number, _ in enumerate(sizes):
            chunk = {name: next(stream) for name, stream in streams.items()} | self._constants
            for name, values in chunk.items():
                self._check_finite(name, values, number * step)
            for name, spec in self._become.items():
                chunk[name] = taken(chunk[name], spec, name, self._file.label)
            yield chunk

    def _check_finite(self, name: str, values: NDArray[Any], start: int) -> None:
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            position = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
            sample = start + position[0] if position else 0
            raise DataError(
                f"the array {one_line(name, 80)!r} holds NaN or infinity (sample {sample}, "
                f"index {list(position[1:])})",
                where=self._file.label,
                remedy="Remove or replace such samples: no model is judged on them",
            )


@dataclass(frozen=True)
class Recipe:
    """How one input's values are drawn.

    Args:
        kind: ``normal``, ``uniform`` (``low`` to ``high``), ``integer`` (0 to below ``bound``) or
            ``constant``.
        bound: Exclusive upper bound of integers.
        value: The constant.
        low: Lower end of uniform values; ``high`` the upper one.
    """

    kind: str
    bound: int = 2
    value: float = 0.0
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True)
class GeneratedSamples:
    """Samples drawn from a seed; sample ``i`` is the same whichever way they are cut.

    Args:
        count: How many.
        seed: The seed.
        arrays: Shapes and dtypes, the samples' axis first.
        recipes: How each array's values are drawn.
    """

    count: int
    seed: int
    arrays: Mapping[str, ArraySpec]
    recipes: Mapping[str, Recipe] = field(default_factory=dict)

    def first(self) -> Chunk:
        """The first sample alone."""
        return self._draw(0, 1)

    def chunks(self, size: int) -> Iterator[Chunk]:
        """All samples in order; see ``Samples.chunks``."""
        for start in range(0, self.count, size):
            yield self._draw(start, min(size, self.count - start))

    def _draw(self, start: int, count: int) -> Chunk:
        chunk = {}
        for number, (name, spec) in enumerate(self.arrays.items()):
            values = np.empty((count, *spec.shape[1:]), dtype=spec.dtype)
            for row in range(count):
                generator = np.random.Generator(np.random.PCG64([self.seed, number, start + row]))
                values[row] = _values(self.recipes[name], spec.shape[1:], generator)
            chunk[name] = values
        return chunk


def _values(recipe: Recipe, shape: tuple[int, ...], generator: np.random.Generator) -> Any:
    if recipe.kind == "normal":
        return generator.standard_normal(shape, dtype=np.float32)
    if recipe.kind == "uniform":
        return recipe.low + (recipe.high - recipe.low) * generator.random(shape, dtype=np.float32)
    if recipe.kind == "integer":
        return generator.integers(0, max(recipe.bound, 1), shape)
    return recipe.value
