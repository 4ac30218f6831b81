"""The values of a stored tensor, decoded a stretch at a time, from a file that is mapped and not copied."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qgate.formats.onnx.dtypes import PLAIN, Bytes, loaded_dtype, numbers
from qgate.formats.wire import Buffer

_STRETCH = 2**18
_LONGEST = 10
_PACKED = ("int32_data", "int64_data", "uint64_data")


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a tensor's numbers lie.

    Args:
        begin: Offset in the file.
        end: Offset behind them.
        field: ``raw_data``, or the typed field of packed numbers.
    """

    begin: int
    end: int
    field: str = "raw_data"


def load(buffer: Buffer, stored: Stored, dtype: str, shape: tuple[int, ...]) -> NDArray[np.generic]:
    """The values as an array; one that only looks at the file where the bytes are numpy's own.

    Raises:
        ValueError: The numbers are none of this type.
    """
    total = int(np.prod(shape, dtype=object))
    kind = loaded_dtype(dtype)
    if total == 0:
        return np.zeros(shape, kind)
    data = _bytes(buffer, stored)
    if dtype == "bool" and stored.field == "raw_data" and int(data.max()) > 1:
        raise ValueError("a truth value that is neither 0 nor 1")
    packed = stored.field in _PACKED
    if dtype in PLAIN and not packed:
        plain = data.view(kind)
        return (plain if plain.flags.aligned else plain.copy()).reshape(shape)
    out: NDArray[np.generic] = np.empty(total, kind)
    at = forgotten = 0
    for done, raw in packed_bytes(data, dtype) if packed else _stretches(data):
        values = numbers(raw, dtype)[: total - at]
        out[at : at + len(values)] = values
        at += len(values)
        if done - forgotten >= 16 * _STRETCH:
            _forget(buffer, stored.begin + forgotten, stored.begin + done)
            forgotten = done
    return out.reshape(shape)


def raw_bytes(buffer: Buffer, stored: Stored, dtype: str, needed: int) -> Bytes:
    """The bytes that raw data of the tensor have, flat; a view of the file unless the numbers are packed.

    Args:
        buffer: The file.
        stored: Where the numbers lie.
        dtype: Their type.
        needed: Bytes of the whole tensor.

    Raises:
        ValueError: The numbers are none of this type.
    """
    data = _bytes(buffer, stored)
    if stored.field not in _PACKED:
        return data
    out = np.empty(needed, np.uint8)
    at = 0
    for _, piece in packed_bytes(data, dtype):
        out[at : at + len(piece)] = piece
        at += len(piece)
    return out


def _bytes(buffer: Buffer, stored: Stored) -> Bytes:
    if stored.end == stored.begin:
        return np.zeros(0, np.uint8)
    return np.frombuffer(buffer, np.uint8, stored.end - stored.begin, stored.begin)


def _stretches(data: Bytes) -> Iterator[tuple[int, Bytes]]:
    for at in range(0, len(data), _STRETCH):
        yield min(at + _STRETCH, len(data)), data[at : at + _STRETCH]


def _forget(buffer: Buffer, begin: int, end: int) -> None:
    """Gives decoded pages back, so that a widened tensor and its bytes are not in memory together."""
    if isinstance(buffer, mmap.mmap):
        first = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE
        last = end // mmap.PAGESIZE * mmap.PAGESIZE
        if last > first:
            buffer.madvise(mmap.MADV_DONTNEED, first, last - first)


def packed_bytes(data: Bytes, dtype: str) -> Iterator[tuple[int, Bytes]]:
    """Stretches of packed numbers as the bytes that raw data would have, with the offset they end at.

    Raises:
        ValueError: A number is too long, cut off, not in its shortest form or out of the type's range.
    """
    width = _width(dtype)
    low, high = _limits(dtype, width)
    for end, values in _varints(data):
        signed = values.view(np.int64)
        if dtype != "uint64" and len(signed) and not (low <= signed.min() and signed.max() <= high):
            raise ValueError(f"a number that is no {dtype}")
        yield end, values.astype(f"<u{width}").view(np.uint8)


def count_packed(data: Bytes, dtype: str) -> int:
    """How many packed numbers there are, each of them looked at; raises as ``packed_bytes`` does."""
    if len(data) < 2**12 and dtype != "bool" and bytes(data).isascii():
        return len(data)  # one byte each, 0 to 127: most scales and zero points
    width = _width(dtype)
    return sum(len(raw) // width for _, raw in packed_bytes(data, dtype))


def _width(dtype: str) -> int:
    """Bytes that one packed number stands for: an element, or those that share a byte."""
    if dtype == "bfloat16":
        return 2
    return np.dtype(PLAIN[dtype]).itemsize if dtype in PLAIN else 1


def _limits(dtype: str, width: int) -> tuple[int, int]:
    if dtype == "bool":
        return 0, 1
    if dtype in ("int32", "int64"):
        return -(2 ** (8 * width - 1)), 2 ** (8 * width - 1) - 1
    if dtype == "uint32":
        return 0, 2**32 - 1
    # Narrow types come as signed or as unsigned numbers, by exporter; the bits are the same.
    return -(2 ** (8 * width - 1)), 2 ** (8 * width) - 1


def _varints(data: Bytes) -> Iterator[tuple[int, NDArray[np.uint64]]]:
    """Packed numbers of protobuf, a stretch at a time, with the offset that each stretch ends at."""
    at = 0
    while at < len(data):
        stretch = data[at : at + _STRETCH]
        ends = np.flatnonzero(stretch < 0x80)
        if not len(ends):
            raise ValueError("a number that has no end")
        stretch = stretch[: int(ends[-1]) + 1]
        at += len(stretch)
        yield at, _decoded(stretch, ends)


def _decoded(stretch: Bytes, ends: NDArray[np.intp]) -> NDArray[np.uint64]:
    if len(ends) == len(stretch):
        return stretch.astype(np.uint64)
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    longest = int(lengths.max())
    last = stretch[ends]
    if (
        longest > _LONGEST
        or ((last == 0) & (lengths > 1)).any()
        or ((last > 1) & (lengths == _LONGEST)).any()
    ):
        raise ValueError("a number that is not written in its shortest form")
    values = (stretch[starts] & np.uint8(0x7F)).astype(np.uint64)
    for place in range(1, longest):
        longer = lengths > place
        part = (stretch[starts[longer] + place] & np.uint8(0x7F)).astype(np.uint64)
        values[longer] |= part << np.uint64(7 * place)
    return values
