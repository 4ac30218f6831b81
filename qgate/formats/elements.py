"""Element types by ONNX's names, and constants whose bytes are a range of a file.

Nothing is read before ``Constant.load`` is called; the file is mapped, so that no second copy of the
weights is held.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qgate.errors import FormatError
from qgate.formats.model import Constant

Bytes = NDArray[np.uint8]
MAX_RANK = 32
BITS = {
    "float": 32, "double": 64, "float16": 16, "bfloat16": 16, "int8": 8, "uint8": 8, "int16": 16, "uint16": 16,
    "int32": 32, "uint32": 32, "int64": 64, "uint64": 64, "bool": 8, "complex64": 64, "complex128": 128,
    "float8e4m3fn": 8, "float8e4m3fnuz": 8, "float8e5m2": 8, "float8e5m2fnuz": 8, "float8e8m0": 8,
    "float4e2m1": 4, "int4": 4, "uint4": 4,
}  # fmt: skip
_NUMPY = {
    "float": "<f4", "double": "<f8", "float16": "<f2", "int8": "i1", "uint8": "u1", "int16": "<i2",
    "uint16": "<u2", "int32": "<i4", "uint32": "<u4", "int64": "<i8", "uint64": "<u8", "bool": "u1",
    "complex64": "<c8", "complex128": "<c16",
}  # fmt: skip
_CHUNK = 2**19
_ML_DTYPES = {
    "bfloat16": "bfloat16", "float8e4m3fn": "float8_e4m3fn", "float8e4m3fnuz": "float8_e4m3fnuz",
    "float8e5m2": "float8_e5m2", "float8e5m2fnuz": "float8_e5m2fnuz", "float8e8m0": "float8_e8m0fnu",
    "float4e2m1": "float4_e2m1fn",
}  # fmt: skip


class Mapped:
    """A file that is mapped once for all of its tensors.

    Args:
        path: A file that is not empty.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.bytes: Bytes = np.frombuffer(self._map, np.uint8)
        self.view = memoryview(self._map)

    def forget(self, begin: int, end: int) -> None:
        """Lets the pages go that lie within a range; they are read again when they are needed."""
        first, last = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE
        if last > first:
            self._map.madvise(mmap.MADV_DONTNEED, first, last - first)


@dataclass(frozen=True)
class Span:
    """Where the elements of a tensor lie in a file.

    Args:
        file: The file.
        offset: First byte of the storage.
        dtype: Element type.
        shape: Sizes.
        strides: In elements; None for elements one after the other in C order.
        start: First element of the storage that belongs to the tensor.
    """

    file: Mapped
    offset: int
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None = None
    start: int = 0

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def reach(self) -> int:
        """Elements of the storage up to and including the last one that the tensor touches."""
        if self.elements == 0:
            return 0
        if self.strides is None:
            return self.start + self.elements
        return self.start + 1 + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))


def spanned(name: str, span: Span, held: int, where: str) -> Constant:
    """A constant over a range of a file, once it is known that the range holds it.

    Args:
        name: The tensor's name.
        span: Where its elements lie.
        held: Bytes that the storage holds.
        where: The model's name, for messages.

    Raises:
        FormatError: Sizes that no tensor has, or more elements than the bytes hold.
    """
    numbers = (*span.shape, *(span.strides or ()), span.start)
    if len(span.shape) > MAX_RANK or any(not 0 <= n < 2**48 for n in numbers) or span.elements >= 2**48:
        raise _refusal(f"tensor {name!r} has sizes or strides that no tensor has", where, name)
    bits = BITS[span.dtype]
    if (span.reach * bits + 7) // 8 > held or (span.elements * bits + 7) // 8 > held:
        many = max(span.reach, span.elements)
        raise _refusal(
            f"tensor {name!r} declares {many} element{'s' if many != 1 else ''} of {span.dtype} "
            f"where {held} bytes are present",
            where,
            name,
        )
    if span.strides == _contiguous(span.shape) and bits >= 8:
        step = bits // 8
        span = Span(span.file, span.offset + span.start * step, span.dtype, span.shape)
    return Constant(name, span.dtype, span.shape, bits, lambda: load(span), raw=lambda: canonical(span))


def in_memory(name: str, dtype: str, values: Callable[[], NDArray[Any]], shape: tuple[int, ...]) -> Constant:
    """A constant that is worked out from others when it is asked for."""
    return Constant(name, dtype, shape, BITS[dtype], values)


def load(span: Span) -> NDArray[Any]:
    """The values, as ``Constant.load`` gives them; four bits of float come as float16."""
    stored = _view(span)
    if span.dtype in _ML_DTYPES:
        return _widened(span, np.ascontiguousarray(stored).reshape(-1)).reshape(span.shape)
    if span.dtype in ("int4", "uint4"):
        codes = unpacked(stored, 4)[: span.elements].reshape(span.shape)
        return ((codes.astype(np.int8) ^ 8) - 8).astype(np.int8) if span.dtype == "int4" else codes
    return stored != 0 if span.dtype == "bool" else stored


def canonical(span: Span) -> Bytes:
    """The bytes, little-endian and in C order; a view of the file where they lie there so."""
    return np.ascontiguousarray(_view(span)).reshape(-1).view(np.uint8)


def _widened(span: Span, stored: NDArray[Any]) -> NDArray[Any]:
    """Elements of a short float type as numbers, piece by piece: a second copy would be larger than the file."""
    table = _table(span.dtype)
    packed = span.dtype == "float4e2m1"
    out = np.empty(stored.size * (2 if packed else 1), table.dtype)
    for begin in range(0, stored.size, _CHUNK):
        piece = stored[begin : begin + _CHUNK]
        if packed:
            out[2 * begin : 2 * (begin + piece.size) : 2] = table[piece & 15]
            out[2 * begin + 1 : 2 * (begin + piece.size) : 2] = table[piece >> 4]
        else:
            np.take(table, piece, out=out[begin : begin + piece.size])
        if span.strides is None:
            span.file.forget(span.offset, span.offset + (begin + piece.size) * stored.itemsize)
    return out[: span.elements]


@cache
def _table(dtype: str) -> NDArray[Any]:
    """The number behind each bit pattern of a short float type."""
    import ml_dtypes

    kind = np.dtype(getattr(ml_dtypes, _ML_DTYPES[dtype]))
    codes = np.arange(2 ** min(BITS[dtype], 16), dtype=np.uint16 if dtype == "bfloat16" else np.uint8)
    return np.asarray(codes.view(kind), np.float16 if dtype == "float4e2m1" else np.float32)


def unpacked(packed: NDArray[Any], bits: int) -> NDArray[Any]:
    """Codes of a few bits each, the first in the lowest bits of its word; the last axis grows."""
    held = np.ascontiguousarray(packed)
    parts = held.view(np.uint8).reshape(*held.shape, held.dtype.itemsize)
    codes = np.empty((*parts.shape, 8 // bits), np.uint8)
    for lane in range(8 // bits):
        np.right_shift(parts, lane * bits, out=codes[..., lane])
    codes &= (1 << bits) - 1
    return codes.reshape(*held.shape[:-1], -1)


def _view(span: Span) -> NDArray[Any]:
    """The stored elements in the tensor's shape (flat for sub-byte types), mapped, read-only."""
    kind = np.dtype(_NUMPY.get(span.dtype, f"<u{max(BITS[span.dtype], 8) // 8}"))
    if span.elements == 0:
        return np.empty(span.shape, kind)
    needed = (span.reach * BITS[span.dtype] + 7) // 8
    flat = span.file.bytes[span.offset : span.offset + needed].view(kind)
    if BITS[span.dtype] < 8:
        return flat
    if span.strides is None:
        return flat.reshape(span.shape)
    steps = tuple(stride * kind.itemsize for stride in span.strides)
    return np.lib.stride_tricks.as_strided(flat[span.start :], span.shape, steps, writeable=False)


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def _refusal(what: str, where: str, tensor: str) -> FormatError:
    return FormatError(
        what, where=where, remedy="Save the model again; do not merge this file", rule="ART105", tensor=tensor
    )
