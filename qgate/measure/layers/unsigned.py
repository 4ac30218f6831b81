"""Signed codes as unsigned ones, as ONNX Runtime has them on x86-64.

There it turns each QuantizeLinear and DequantizeLinear of int8 into uint8, the zero point 128 higher, before it fuses
anything (``QDQS8ToU8Transformer``): but only where no more than one operator reads the codes. A comparison that reads them
as well would keep it from that, the operators around would stay apart, and the observed model would not be the one
that is deployed. So the same is done here, exactly, to the codes that are compared.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from qgate.measure.layers import encode
from qgate.measure.layers.layer import CODES, Layer
from qgate.measure.layers.parts import Parts, read_fields, read_varint

_INT8, _UINT8 = 3, 2
"""Codes of element types (onnx.proto, TensorProto.DataType)."""

_X86 = ("x86_64", "AMD64")
_WITH_BODIES = ("If", "Loop", "Scan", "SequenceMap")
"""A body may read any tensor around it."""

_INPUT, _OUTPUT, _OP, _ATTRIBUTE = 1, 2, 4, 5
_DIMS, _TYPE, _INT32_DATA, _NAME, _RAW = 1, 2, 5, 8, 9


@dataclass(frozen=True)
class _Node:
    """What is asked of a node: its names, and whether attributes say more than an axis would."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: tuple[str, ...]


def use_unsigned(parts: Parts, layers: Sequence[Layer], mark: str) -> tuple[Layer, ...]:
    """Changes the candidate's nodes that write and read the signed codes that are compared.

    Args:
        parts: The candidate; changed.
        layers: What is compared.
        mark: What the names of everything that is added begin with.

    Returns:
        The layers, with the zero points that their codes then have.
    """
    nodes = [_read_node(entry) for entry in parts.nodes]
    if any(node.op in _WITH_BODIES for node in nodes) or platform.machine() not in _X86:
        return tuple(layers)
    ends = {_name_of(entry, 1) for entry in parts.outputs}
    uses = Counter(name for node in nodes for name in node.inputs) + Counter(ends)
    signed = {layer.candidate: layer.zero for layer in layers if _may_change(layer)}
    touched: dict[str, list[int]] = {name: [] for name in signed}
    for place, node in enumerate(nodes):
        for name in {*node.inputs, *node.outputs} & touched.keys():
            touched[name].append(place)
    zeros = dict(_zero_points(parts, set(signed.values())))
    changed = {
        codes: zero
        for codes, zero in signed.items()
        if zero in zeros
        and codes not in ends
        and all(_is_plain(nodes[p], codes, zero) for p in touched[codes])
        and _reads_once([nodes[p] for p in touched[codes]], uses)
    }
    for codes, zero in changed.items():
        for place in touched[codes]:
            parts.nodes[place] = _with_zero(parts.nodes[place], f"{mark}/unsigned/{zero}")
    for zero in set(changed.values()):
        value, shape = zeros[zero]
        parts.initializers.append(
            encode.constant(f"{mark}/unsigned/{zero}", _UINT8, shape, bytes([value + 128]))
        )
    parts.values[:] = [entry for entry in parts.values if _name_of(entry, 1) not in changed]
    return tuple(
        replace(layer, zero=f"{mark}/unsigned/{layer.zero}") if layer.candidate in changed else layer
        for layer in layers
    )


def _may_change(layer: Layer) -> bool:
    return layer.kind == CODES and layer.dtype == "int8" and bool(layer.zero) and layer.axis is None


def _is_plain(node: _Node, codes: str, zero: str) -> bool:
    """Whether a node quantizes to these codes, or dequantizes them, with this zero point and no type of its own."""
    names = node.outputs if node.op == "QuantizeLinear" else node.inputs[:1]
    return (
        node.op in ("QuantizeLinear", "DequantizeLinear")
        and names == (codes,)
        and node.inputs[2:] == (zero,)
        and not {"output_dtype", "block_size"} & set(node.attributes)
    )


def _reads_once(nodes: Sequence[_Node], uses: Counter[str]) -> bool:
    """Whether one node dequantizes the codes and one reads that: of several readers each gets a DequantizeLinear of its own
    before (``EnsureUniqueDQForNodeUnit``), and codes that several read stay signed.
    """
    reading = [node for node in nodes if node.op == "DequantizeLinear"]
    return len(reading) == 1 and uses[reading[0].outputs[0]] <= 1


def _zero_points(parts: Parts, wanted: set[str]) -> Iterator[tuple[str, tuple[int, tuple[int, ...]]]]:
    """The value and the shape of each zero point that is one int8."""
    for entry in parts.initializers:
        name = _name_of(entry, _NAME)
        if name not in wanted:
            continue
        body, end = _body(entry)
        shape: list[int] = []
        kind, value = 0, None
        for tag, _, begin, stop in read_fields(entry, body, end):
            if tag == _DIMS:
                shape.append(read_varint(entry, begin)[0])
            elif tag == _TYPE:
                kind = read_varint(entry, begin)[0]
            elif tag == _RAW and stop - begin == 1:
                value = int.from_bytes(entry[begin:stop], "little", signed=True)
            elif tag == _INT32_DATA:
                number = read_varint(entry, begin)[0]
                value = number - (1 << 64) if number >> 63 else number
        if kind == _INT8 and value is not None and -128 <= value <= 127 and all(size == 1 for size in shape):
            yield name, (value, tuple(shape))


def _with_zero(entry: bytes, name: str) -> bytes:
    """A node whose third input has another name."""
    body, end = _body(entry)
    pieces, inputs = [], 0
    for tag, start, _, stop in read_fields(entry, body, end):
        if tag == _INPUT:
            inputs += 1
        pieces.append(encode.content(_INPUT, name) if tag == _INPUT and inputs == 3 else entry[start:stop])
    return encode.content(1, b"".join(pieces))


def _read_node(entry: bytes) -> _Node:
    body, end = _body(entry)
    texts: dict[int, list[str]] = {_INPUT: [], _OUTPUT: [], _OP: [], _ATTRIBUTE: []}
    for tag, _, begin, stop in read_fields(entry, body, end):
        if tag == _ATTRIBUTE:
            texts[tag].append(_text(entry, begin, stop, 1))
        elif tag in texts:
            texts[tag].append(entry[begin:stop].decode())
    return _Node("".join(texts[_OP]), tuple(texts[_INPUT]), tuple(texts[_OUTPUT]), tuple(texts[_ATTRIBUTE]))


def _name_of(entry: bytes, field: int) -> str:
    body, end = _body(entry)
    return _text(entry, body, end, field)


def _text(entry: bytes, begin: int, end: int, field: int) -> str:
    return next((entry[a:b].decode() for tag, _, a, b in read_fields(entry, begin, end) if tag == field), "")


def _body(entry: bytes) -> tuple[int, int]:
    """Where the message of a field begins and ends."""
    _, at = read_varint(entry, 0)
    length, begin = read_varint(entry, at)
    return begin, begin + length
