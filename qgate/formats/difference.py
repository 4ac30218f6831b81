"""Where two tensors of one type and shape differ, to the element: their canonical bytes side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qgate.formats.model import Constant
from qgate.formats.stored import Bytes, stored_bytes, strings_of
from qgate.merkle import index_of

_CHUNK = 2**22
SHOWN = 8


@dataclass(frozen=True)
class Difference:
    """What differs.

    Args:
        elements: How many elements have other bits.
        at: Indices of the first of them, in order of memory.
        was: Bits of the first one in the old tensor, as 0x...; empty for strings.
        now: Its bits in the new one.
    """

    elements: int
    at: tuple[tuple[int, ...], ...]
    was: str = ""
    now: str = ""


def difference(old: Constant, new: Constant, *, shown: int = SHOWN) -> Difference:
    """Compares two tensors chunk by chunk.

    Args:
        old: The one side.
        new: The other, of the same element type and shape.
        shown: How many indices are listed.

    Raises:
        FormatError: A tensor does not hold what it declares.
        ValueError: Their types or shapes differ.
    """
    if (old.dtype, old.shape) != (new.dtype, new.shape):
        raise ValueError(f"{new.name}: {old.dtype} {old.shape} and {new.dtype} {new.shape}")
    if new.dtype == "string":
        pairs = zip(strings_of(stored_bytes(old)), strings_of(stored_bytes(new)), strict=True)
        found = [i for i, (one, other) in enumerate(pairs) if one != other]
        return Difference(len(found), tuple(index_of(i, new.shape) for i in found[:shown]))
    before, after = stored_bytes(old), stored_bytes(new)
    count = 0
    places: list[int] = []
    for begin in range(0, after.size, _CHUNK):
        flat = _differing(before[begin : begin + _CHUNK], after[begin : begin + _CHUNK], new.bits)
        count += flat.size
        places += [begin * 8 // new.bits + int(i) for i in flat[: shown - len(places)]]
    if not count:
        return Difference(0, ())
    was, now = (_bits(side, places[0], new.bits) for side in (before, after))
    return Difference(count, tuple(index_of(i, new.shape) for i in places), was, now)


def _differing(before: Bytes, after: Bytes, bits: int) -> NDArray[np.int64]:
    """Positions of the elements that differ within two pieces of the same length."""
    if bits >= 8:
        width = bits // 8
        return np.flatnonzero((before != after).reshape(-1, width).any(axis=1))
    mask = (1 << bits) - 1
    mixed = before ^ after
    touched = np.flatnonzero(mixed)
    lanes = np.stack([(mixed[touched] >> shift) & mask != 0 for shift in range(0, 8, bits)], axis=-1)
    rows, lane = np.nonzero(lanes)
    return np.asarray(touched[rows] * (8 // bits) + lane, np.int64)


def _bits(values: Bytes, element: int, bits: int) -> str:
    if bits >= 8:
        width = bits // 8
        number = int.from_bytes(values[element * width : (element + 1) * width].tobytes(), "little")
    else:
        first = element * bits
        number = int(values[first // 8]) >> (first % 8) & (1 << bits) - 1
    return f"0x{number:0{max(bits // 4, 1)}x}"
