"""Pieces of ONNX files, written as protobuf's wire format says (protobuf.dev, "Encoding").

Only what the comparison adds to two models is written here: a few operators, small constants, outputs. The
models themselves are copied as they stand (see ``parts``), so no library has to take them apart and put
them together again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence

FLOAT, INT64, DOUBLE = 1, 7, 11
"""Codes of element types (onnx.proto, TensorProto.DataType)."""

_LENGTH_DELIMITED, _FIXED32 = 2, 5
_ATTRIBUTE_FLOAT, _ATTRIBUTE_INT, _ATTRIBUTE_INTS = 1, 2, 7


def varint(value: int) -> bytes:
    """A number of 64 bits, seven bits a byte, the lowest first."""
    value &= (1 << 64) - 1
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def number(field: int, value: int) -> bytes:
    """A field that holds a number."""
    return varint(field << 3) + varint(value)


def content(field: int, payload: bytes | str) -> bytes:
    """A field that holds text, bytes or a message."""
    raw = payload.encode("utf-8") if isinstance(payload, str) else payload
    return varint(field << 3 | _LENGTH_DELIMITED) + varint(len(raw)) + raw


def node(
    op: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    attributes: Mapping[str, int | float | tuple[int, ...]] | None = None,
    domain: str = "",
) -> bytes:
    """A ``NodeProto`` as an entry of a graph, named after its first output."""
    body = b"".join(content(1, name) for name in inputs)
    body += b"".join(content(2, name) for name in outputs)
    body += content(3, outputs[0]) + content(4, op)
    body += b"".join(content(5, _attribute(name, value)) for name, value in (attributes or {}).items())
    if domain:
        body += content(7, domain)
    return content(1, body)


def _attribute(name: str, value: int | float | tuple[int, ...]) -> bytes:
    if isinstance(value, tuple):
        return content(1, name) + b"".join(number(8, each) for each in value) + number(20, _ATTRIBUTE_INTS)
    if isinstance(value, float):
        return (
            content(1, name)
            + varint(2 << 3 | _FIXED32)
            + struct.pack("<f", value)
            + number(20, _ATTRIBUTE_FLOAT)
        )
    return content(1, name) + number(3, value) + number(20, _ATTRIBUTE_INT)


def constant(name: str, dtype: int, shape: Iterable[int], raw: bytes) -> bytes:
    """A ``TensorProto`` as an initializer of a graph; ``raw`` is little-endian."""
    dims = b"".join(number(1, size) for size in shape)
    return content(5, dims + number(2, dtype) + content(8, name) + content(9, raw))


def scalar(name: str, value: float) -> bytes:
    """A float32 constant without axes."""
    return constant(name, FLOAT, (), struct.pack("<f", value))


def output(name: str) -> bytes:
    """An output of a graph whose type is left to inference."""
    return content(12, content(1, name))
