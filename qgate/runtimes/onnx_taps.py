"""Adds graph outputs to a serialized ONNX model without parsing it.

Protobuf merges a second occurrence of a message field into the first, and appends repeated fields. So a
``ModelProto`` followed by a second ``graph`` field that holds nothing but outputs is the same model with
those outputs added; the weights are neither decoded nor copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_MODEL_GRAPH = 7
_GRAPH_NODE = 1
_GRAPH_OUTPUT = 12
_VALUE_INFO_NAME = 1
_LENGTH_DELIMITED = 2


def added_outputs(names: Iterable[str]) -> bytes:
    """Bytes to append to a serialized model so that it also returns these tensors, types inferred."""
    outputs = b"".join(
        _field(_GRAPH_OUTPUT, _field(_VALUE_INFO_NAME, name.encode("utf-8"))) for name in names
    )
    return _field(_MODEL_GRAPH, outputs) if outputs else b""


def added_energies(names: Sequence[str]) -> bytes:
    """Bytes to append to a serialized model so that it also returns the sum of squares of each of these tensors."""
    added = b""
    for name, made in zip(names, energy_names(len(names)), strict=True):
        keepdims = _field(1, b"keepdims") + b"\x18\x00" + b"\xa0\x01\x02"  # i = 0, type = INT
        node = _field(1, name.encode("utf-8")) + _field(2, made.encode()) + _field(3, made.encode())
        node += _field(4, b"ReduceSumSquare") + _field(5, keepdims)
        added += _field(_GRAPH_NODE, node) + _field(_GRAPH_OUTPUT, _field(_VALUE_INFO_NAME, made.encode()))
    return _field(_MODEL_GRAPH, added) if added else b""


def energy_names(count: int) -> list[str]:
    """What the outputs of ``added_energies`` are called."""
    return [f"qgate/energy/{position}" for position in range(count)]


def _field(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
