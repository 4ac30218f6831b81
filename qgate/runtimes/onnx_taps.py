"""Adds graph outputs to a serialized ONNX model without parsing it.

Protobuf merges a second occurrence of a message field into the first, and appends repeated fields. So a
``ModelProto`` followed by a second ``graph`` field that holds nothing but outputs is the same model with
those outputs added; the weights are neither decoded nor copied.
"""

from __future__ import annotations

from collections.abc import Iterable

_MODEL_GRAPH = 7
_GRAPH_OUTPUT = 12
_VALUE_INFO_NAME = 1
_LENGTH_DELIMITED = 2


def added_outputs(names: Iterable[str]) -> bytes:
    """Bytes to append to a serialized model so that it also returns these tensors, types inferred."""
    outputs = b"".join(
        _field(_GRAPH_OUTPUT, _field(_VALUE_INFO_NAME, name.encode("utf-8"))) for name in names
    )
    return _field(_MODEL_GRAPH, outputs) if outputs else b""


def _field(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
