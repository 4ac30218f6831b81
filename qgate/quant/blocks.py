"""Tensors taken piece by piece: bounded memory for any size, and all cores for the large ones."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from qgate.quant.constants import Array, ConstantValue

PIECE = 1 << 17
"""Elements of one piece: 512 KB as float32, which stays in a core's cache with what is computed of it."""

Piece = tuple[slice, ...]
_Part = TypeVar("_Part")
_SCRATCH = threading.local()
MAX_THREADS = 8
WORTH_A_THREAD = 4
"""Pieces for which a thread is started."""


def pieces(shape: tuple[int, ...], limit: int = PIECE) -> Iterator[Piece]:
    """Slices that cover a C-contiguous tensor in order, each of at most ``limit`` elements.

    Every slice is a run of the flat tensor, so that a flat position is the piece's start plus its own.
    """
    if not all(shape):
        return
    inner = [1]
    for dim in reversed(shape):
        inner.append(inner[-1] * dim)
    sizes = inner[::-1]
    axis = next((i for i in range(len(shape)) if sizes[i + 1] <= limit), None)
    if axis is None:
        yield tuple(slice(0, dim) for dim in shape)
        return
    step = max(1, limit // sizes[axis + 1])
    rest = tuple(slice(0, dim) for dim in shape[axis + 1 :])
    for outer in np.ndindex(*shape[:axis]):
        fixed = tuple(slice(i, i + 1) for i in outer)
        for start in range(0, shape[axis], step):
            yield (*fixed, slice(start, min(start + step, shape[axis])), *rest)


def start_of(piece: Piece, shape: tuple[int, ...]) -> int:
    """Flat position of a piece's first element."""
    position = 0
    for part, dim in zip(piece, shape, strict=True):
        position = position * dim + part.start
    return position


def in_parallel(work: Callable[[Piece], _Part], shape: tuple[int, ...]) -> list[_Part]:
    """The results of every piece in order; numpy lets go of the interpreter, so threads help.

    Every thread, the caller's among them, takes the next piece itself: handing pieces out one by one costs as
    much as comparing one.
    """
    parts = list(pieces(shape))
    threads = min(_cores(), len(parts) // WORTH_A_THREAD, MAX_THREADS)
    if threads < 2:
        return [work(part) for part in parts]
    waiting, found = iter(enumerate(parts)), dict[int, _Part]()

    def take() -> None:
        for place, part in waiting:
            found[place] = work(part)

    with ThreadPoolExecutor(threads - 1) as pool:
        others = [pool.submit(take) for _ in range(threads - 1)]
        take()
        for other in others:
            other.result()
    return [found[place] for place in range(len(parts))]


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return os.cpu_count() or 1


def scratch(name: str, shape: tuple[int, ...]) -> Array:
    """A float32 array of this thread's own, to be overwritten; it is used again for the next piece."""
    size = math.prod(shape)
    held: dict[str, Array] = _SCRATCH.__dict__
    if name not in held or held[name].size < size:
        held[name] = np.empty(max(size, PIECE), np.float32)
    return held[name][:size].reshape(shape)


@dataclass(frozen=True)
class Spread:
    """A scale or zero point that is laid over its tensor piece by piece, never as a whole.

    Args:
        values: As many axes as the tensor; each of size 1, of the tensor's size, or of its blocks.
        axis: The axis that is divided into blocks; None where none is.
        block: Elements of a block.
    """

    values: Array
    axis: int | None = None
    block: int = 0

    def cut(self, piece: Piece) -> Array:
        """The part for a piece; broadcasts against it."""
        chosen = [
            part if dim > 1 else slice(None) for part, dim in zip(piece, self.values.shape, strict=True)
        ]
        if self.axis is None:
            return self.values[tuple(chosen)]
        part = piece[self.axis]
        first = part.start // self.block
        chosen[self.axis] = slice(first, -(-part.stop // self.block))
        wide = np.repeat(self.values[tuple(chosen)], self.block, axis=self.axis)
        window = [slice(None)] * wide.ndim
        window[self.axis] = slice(part.start - first * self.block, part.stop - first * self.block)
        return np.asarray(wide[tuple(window)])


def laid(constant: ConstantValue, values: Array, shape: tuple[int, ...]) -> Spread:
    """A scale or zero point of a constant, ready to be cut.

    Raises:
        ValueError: It does not fit the codes.
    """
    quantized = constant.quantized
    if quantized is None:
        raise ValueError(f"{constant.name} is not quantized")
    if values.size > 1 and quantized.block:
        axis = (quantized.axis or 0) % max(len(shape), 1)
        fitting = tuple(-(-n // quantized.block) if i == axis else n for i, n in enumerate(shape))
        if quantized.block < 0 or values.shape != fitting:
            raise ValueError(
                f"scales of shape {list(values.shape)} do not fit blocks of {quantized.block} in {list(shape)}"
            )
        block = min(quantized.block, shape[axis])
        return Spread(values, axis, block)
    spread = quantized.spread(values, shape)
    if spread.ndim != len(shape) or np.broadcast_shapes(spread.shape, shape) != shape:
        raise ValueError(f"scales of shape {list(values.shape)} do not fit {list(shape)}")
    return Spread(spread)


RUN = 1024
"""Elements whose products are added in float32 before they are widened."""
_ONES = np.ones(RUN, np.float32)


def total(flat: Array) -> float:
    """Sum of float32 values, in float32 over short runs alone."""
    whole = flat.size - flat.size % RUN
    found = float(np.add.reduce(np.vecdot(flat[:whole].reshape(-1, RUN), _ONES), dtype=np.float64))
    return found if whole == flat.size else found + float(np.add.reduce(flat[whole:], dtype=np.float64))


def squares(values: Array) -> float:
    """Sum of squares; in float32 over short runs where nothing overflows, else in float64."""
    flat = values.reshape(-1)
    if flat.dtype == np.float32:
        whole = flat.size - flat.size % RUN
        runs = flat[:whole].reshape(-1, RUN)
        found = float(np.add.reduce(np.vecdot(runs, runs), dtype=np.float64))
        if whole < flat.size:
            rest = flat[whole:].astype(np.float64)
            found += float(rest @ rest)
        if 1e-25 * flat.size < found < 1e30:
            return found
    wide = flat.astype(np.float64)
    return float(np.sum(np.square(wide)))
