"""The canonical bytes of a constant: what content digests are made of and what two files are compared by.

The same numbers give the same bytes however a file holds them: raw or in typed fields, packed or one by
one, inside or beside the model. Bits count as they stand: NaN payloads and -0.0 are told apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qgate.errors import FormatError
from qgate.formats.model import Constant

Bytes = NDArray[np.uint8]


def stored_bytes(constant: Constant) -> Bytes:
    """The canonical bytes of a constant, flat; of a memory-mapped file a view that is read as it is used.

    Raises:
        FormatError: The bytes are not those of the declared type and shape.
    """
    raw = constant.raw() if constant.raw is not None else bytes_of_values(constant.load(), constant.dtype)
    if constant.dtype == "string":
        return raw
    if raw.size != constant.bytes:
        raise FormatError(
            f"tensor {constant.name!r} declares {constant.bytes} bytes and holds {raw.size}",
            remedy="Export the model again; do not merge this file",
            rule="ART105",
            tensor=constant.name,
        )
    return _without_padding(raw, constant.size * constant.bits % 8)


def _without_padding(raw: Bytes, used: int) -> Bytes:
    """Clears the bits after the last element, which are no part of any."""
    if not used or not raw[-1] >> used:
        return raw
    cleared = np.array(raw)
    cleared[-1] &= (1 << used) - 1
    return cleared


def bytes_of_values(values: NDArray[Any], dtype: str) -> Bytes:
    """Canonical bytes of values as ``Constant.load`` returns them.

    What was widened is narrowed again; of types that are widened to float32 the payload of a NaN is lost.

    Raises:
        FormatError: The values are not of the type.
    """
    if dtype == "string":
        return strings_as_bytes([_encoded(text) for text in values.reshape(-1)])
    if dtype in ("int4", "uint4", "int2", "uint2"):
        return packed(values.reshape(-1).view(np.uint8), int(dtype[-1]))
    narrow = _narrow_type(dtype)
    if narrow is not None:
        values = values.astype(narrow)
        if dtype == "float4e2m1":
            return packed(values.reshape(-1).view(np.uint8), 4)
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return np.ascontiguousarray(little).reshape(-1).view(np.uint8)


def _narrow_type(dtype: str) -> Any:
    """The type that ``load`` widens to float32; None for types that stay as they are."""
    if not dtype.startswith(("bfloat16", "float8", "float4")):
        return None
    import ml_dtypes

    names = {"float8e8m0": "float8_e8m0fnu", "float4e2m1": "float4_e2m1fn"}
    found = getattr(ml_dtypes, names.get(dtype, dtype.replace("float8e", "float8_e")), None)
    if found is None:
        raise FormatError(
            f"no type {dtype!r} is known", remedy="Export the model with a type of ONNX", rule="ART105"
        )
    return found


def packed(codes: Bytes, bits: int) -> Bytes:
    """Codes of fewer than 8 bits, several a byte, the first in the lowest bits."""
    each = 8 // bits
    padded = np.zeros(-(-codes.size // each) * each, np.uint8)
    padded[: codes.size] = codes & ((1 << bits) - 1)
    lanes = padded.reshape(-1, each)
    joined = np.zeros(lanes.shape[0], np.uint8)
    for lane in range(each):
        joined |= lanes[:, lane] << (lane * bits)
    return joined


def strings_as_bytes(strings: list[bytes]) -> Bytes:
    """Strings one after the other, each behind its length in 8 bytes."""
    return np.frombuffer(b"".join(len(s).to_bytes(8, "little") + s for s in strings), np.uint8)


def strings_of(stored: Bytes) -> list[bytes]:
    """The strings that ``strings_as_bytes`` joined."""
    held, at, found = stored.tobytes(), 0, []
    while at < len(held):
        end = at + 8 + int.from_bytes(held[at : at + 8], "little")
        found.append(held[at + 8 : end])
        at = end
    return found


def _encoded(text: Any) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode("utf-8", "surrogateescape")
