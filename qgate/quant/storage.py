"""Float types as they are stored: how finely they resolve, where they end, and their bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from qgate.quant.blocks import scratch
from qgate.quant.constants import Array


@dataclass(frozen=True)
class FloatType:
    """A storage type.

    Args:
        spacing: Distance to the next value, relative to the power of two below.
        least: Its least normal number.
        greatest: Its greatest finite number.
        kind: Name of its numpy or ml_dtypes type.
        bits: Unsigned integer type of the same size.
    """

    spacing: float
    least: float
    greatest: float
    kind: str
    bits: str


_INFINITE = float("inf")
SINGLE = FloatType(2.0**-23, 2.0**-126, _INFINITE, "float32", "uint32")
FLOAT_TYPES = {
    "float": SINGLE,
    # Computed in single precision wherever a converter touched it.
    "double": FloatType(2.0**-23, 2.0**-126, _INFINITE, "float64", "uint64"),
    "float16": FloatType(2.0**-10, 2.0**-14, 65504.0, "float16", "uint16"),
    "bfloat16": FloatType(2.0**-7, 2.0**-126, _INFINITE, "bfloat16", "uint16"),
    "float8e4m3fn": FloatType(2.0**-3, 2.0**-6, 448.0, "float8_e4m3fn", "uint8"),
    "float8e4m3fnuz": FloatType(2.0**-3, 2.0**-7, 240.0, "float8_e4m3fnuz", "uint8"),
    "float8e5m2": FloatType(2.0**-2, 2.0**-14, 57344.0, "float8_e5m2", "uint8"),
    "float8e5m2fnuz": FloatType(2.0**-2, 2.0**-15, 57344.0, "float8_e5m2fnuz", "uint8"),
    "float4e2m1": FloatType(2.0**-1, 1.0, 6.0, "float4_e2m1fn", "uint8"),
}


def widened(codes: Array, dtype: str) -> Array | None:
    """Codes of a short float type as float32, quickly; None for types, or values, that this is not for.

    The array is this thread's own, and the next call overwrites it.
    """
    if codes.dtype == np.float32:
        return codes if dtype in ("float", "bfloat16") else None
    if codes.dtype != np.float16:
        return None
    wide = scratch("widened", codes.shape)
    bits, signs = wide.view(np.uint32), scratch("signs", codes.shape).view(np.uint32)
    bits[...] = codes.view(np.uint16)
    np.bitwise_and(bits, np.uint32(0x8000), out=signs)
    bits ^= signs
    # Read as the bits of a float32 the magnitude is too small by a power of two, subnormal numbers included.
    bits <<= np.uint32(13)
    wide *= np.float32(2.0**112)
    if wide.size and not float(np.max(wide)) < 65536.0:
        return None
    signs <<= np.uint32(16)
    bits |= signs
    return wide


def half_spacing(values: Array, dtype: str) -> Array:
    """Half the distance between neighbours of a type at float32 values: how far rounding to it may move them.

    The array is this thread's own, and the next call overwrites it.
    """
    known = FLOAT_TYPES[dtype]
    half = scratch("spacing", values.shape)
    np.bitwise_and(
        np.ascontiguousarray(values).view(np.uint32), np.uint32(0x7F800000), out=half.view(np.uint32)
    )
    np.maximum(half, np.float32(known.least), out=half)
    half *= np.float32(known.spacing / 2)
    return half


def changed_bits(stored: Any, wanted: float, dtype: str) -> int | None:
    """The mask between a stored value and the one that was wanted; None where bits say nothing."""
    known = FLOAT_TYPES.get(dtype)
    if known is None:
        return None
    import ml_dtypes

    kind = np.dtype(getattr(ml_dtypes, known.kind, known.kind))
    with np.errstate(all="ignore"):
        one, two = (np.asarray(value).astype(kind).reshape(1).view(known.bits) for value in (stored, wanted))
    return int(one[0]) ^ int(two[0])
