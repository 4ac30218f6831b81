"""Element types of ONNX tensors: their names, widths, and how stored bytes become numbers."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

# dtype code of TensorProto -> (name, storage bits)
DTYPES: Mapping[int, tuple[str, int]] = {
    1: ("float", 32),
    2: ("uint8", 8),
    3: ("int8", 8),
    4: ("uint16", 16),
    5: ("int16", 16),
    6: ("int32", 32),
    7: ("int64", 64),
    8: ("string", 0),
    9: ("bool", 8),
    10: ("float16", 16),
    11: ("double", 64),
    12: ("uint32", 32),
    13: ("uint64", 64),
    14: ("complex64", 64),
    15: ("complex128", 128),
    16: ("bfloat16", 16),
    17: ("float8e4m3fn", 8),
    18: ("float8e4m3fnuz", 8),
    19: ("float8e5m2", 8),
    20: ("float8e5m2fnuz", 8),
    21: ("uint4", 4),
    22: ("int4", 4),
    23: ("float4e2m1", 4),
    24: ("float8e8m0", 8),
    25: ("uint2", 2),
    26: ("int2", 2),
}

PLAIN: Mapping[str, str] = {
    "float": "<f4", "double": "<f8", "float16": "<f2", "int8": "i1", "uint8": "u1", "int16": "<i2",
    "uint16": "<u2", "int32": "<i4", "uint32": "<u4", "int64": "<i8", "uint64": "<u8", "bool": "?",
    "complex64": "<c8", "complex128": "<c16",
}  # fmt: skip
"""numpy's name of the types whose bytes are its own."""

TYPED_FIELD: Mapping[str, str] = {
    "float": "float_data", "complex64": "float_data", "double": "double_data", "complex128": "double_data",
    "int64": "int64_data", "uint64": "uint64_data", "uint32": "uint64_data", "string": "string_data",
}  # fmt: skip
"""Field of a TensorProto that holds the type's numbers where there are no raw bytes; ``int32_data`` of the
others (onnx.proto, TensorProto)."""


def loaded_dtype(dtype: str) -> np.dtype[Any]:
    """The type that values are handed out in: float8 and bfloat16 as float32, float4 as float16, sub-byte
    integers as int8 or uint8."""
    if dtype in PLAIN:
        return np.dtype(PLAIN[dtype])
    if dtype.startswith("float4"):
        return np.dtype(np.float16)
    if dtype.startswith(("float", "bfloat")):
        return np.dtype(np.float32)
    return np.dtype(np.int8 if dtype.startswith("int") else np.uint8)


def numbers(raw: Bytes, dtype: str) -> NDArray[Any]:
    """Values of a stretch of stored bytes; of types below a byte as many as the bytes have room for."""
    if dtype in PLAIN:
        return raw.view(PLAIN[dtype])
    if dtype == "bfloat16":
        return (raw.view("<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)
    return _table(dtype)[raw].reshape(-1)


@functools.cache
def _table(dtype: str) -> NDArray[Any]:
    """What each of the 256 bytes stands for: [256, values in a byte]."""
    codes = np.arange(256, dtype=np.uint8)
    if dtype.startswith("float8"):
        import ml_dtypes

        name = "float8_e8m0fnu" if dtype == "float8e8m0" else dtype.replace("float8e", "float8_e")
        narrow = np.dtype(getattr(ml_dtypes, name))
        return np.asarray(codes.view(narrow), np.float32).reshape(256, 1)
    bits = int(dtype[-1]) if dtype[-1] in "24" and "int" in dtype else 4
    # Several values a byte, the first in the lowest bits (ONNX IR, sections on 4-bit and 2-bit types).
    parts = np.stack([(codes >> shift) & ((1 << bits) - 1) for shift in range(0, 8, bits)], axis=-1)
    if dtype == "float4e2m1":
        import ml_dtypes

        return np.asarray(parts.view(np.dtype(ml_dtypes.float4_e2m1fn)), np.float16)
    if dtype.startswith("int"):
        sign = 1 << (bits - 1)
        return ((parts.astype(np.int8) ^ sign) - sign).astype(np.int8)
    return parts.astype(np.uint8)
