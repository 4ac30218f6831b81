"""Signed codes as unsigned ones, as ONNX Runtime has them on x86-64.

There it turns each QuantizeLinear and DequantizeLinear of int8 into uint8, the zero point 128 higher, before it fuses
anything (``QDQS8ToU8Transformer``): but only where no more than one operator reads the codes. A comparison that reads them
as well would keep it from that, the operators around would stay apart, and the observed model would not be the one
that is deployed. So the same is done here, exactly, to the codes that are compared.

Where the runtime would and this does not, its two sides differ in bits, and the layers are read in another way: what is left
alone costs time and no truth.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from qgate.measure.layers import encode
from qgate.measure.layers.layer import CODES, Layer
from qgate.measure.layers.parts import Parts, read_fields, read_varint

_INT8, _UINT8 = 3, 2
"""Codes of element types (onnx.proto, TensorProto.DataType)."""

_X86 = ("x86_64", "AMD64")

_INPUT, _OUTPUT, _OP, _ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_TENSOR, _BODIES = 5, (6, 11)
_DIMS, _TYPE, _INT32_DATA, _NAME, _RAW = 1, 2, 5, 8, 9

_LONGEST = 10
"""Bytes of the longest number that protobuf writes."""

_Zero = tuple[int, tuple[int, ...]]
"""The value of a zero point, and its shape."""


@dataclass(frozen=True)
class _Node:
    """What is asked of a node.

    Args:
        op: Its operator.
        inputs: What it reads by its own inputs; ``within`` what its bodies read, each name once.
        outputs: What it makes.
        attributes: Their names.
        zero: The number that it holds, of a Constant that is one int8.
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: tuple[str, ...]
    within: frozenset[str]
    zero: _Zero | None


def use_unsigned(parts: Parts, layers: Sequence[Layer], mark: str) -> tuple[Layer, ...]:
    """Changes the candidate's nodes that write and read the signed codes that are compared.

    Args:
        parts: The candidate; changed.
        layers: What is compared.
        mark: What the names of everything that is added begin with.

    Returns:
        The layers, with the zero points that their codes then have.
    """
    if platform.machine() not in _X86:
        return tuple(layers)
    nodes = [_read_node(entry) for entry in parts.nodes]
    ends = {_name_of(entry, 1) for entry in parts.outputs}
    within = set(chain.from_iterable(node.within for node in nodes))
    uses = Counter(chain.from_iterable((*node.inputs, *node.within) for node in nodes)) + Counter(ends)
    signed = {layer.candidate: layer.zero for layer in layers if _may_change(layer)}
    touched: dict[str, list[int]] = {name: [] for name in signed}
    for place, node in enumerate(nodes):
        for name in {*node.inputs, *node.outputs} & touched.keys():
            touched[name].append(place)
    zeros = _zero_points(parts, nodes)
    changed = {
        codes: zero
        for codes, zero in signed.items()
        if zero in zeros
        and codes not in ends | within
        and all(_is_plain(nodes[place], codes, zeros[zero][0], zeros) for place in touched[codes])
        and _are_a_pair([nodes[place] for place in touched[codes]], uses)
    }
    for codes, zero in changed.items():
        for place in touched[codes]:
            parts.nodes[place] = _with_zero(parts.nodes[place], f"{mark}/unsigned/{zero}")
    for zero in sorted(set(changed.values())):
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


def _is_plain(node: _Node, codes: str, value: int, zeros: Mapping[str, _Zero]) -> bool:
    """Whether a node quantizes to these codes, or dequantizes them, with this zero point and no type of its own."""
    names = node.outputs if node.op == "QuantizeLinear" else node.inputs[:1]
    return (
        node.op in ("QuantizeLinear", "DequantizeLinear")
        and names == (codes,)
        and len(node.inputs) == 3
        and node.inputs[2] in zeros
        and zeros[node.inputs[2]][0] == value
        and not {"output_dtype", "block_size"} & set(node.attributes)
    )


def _are_a_pair(nodes: Sequence[_Node], uses: Counter[str]) -> bool:
    """Whether one node makes the codes, one dequantizes them, and no more than one reads that.

    Of several readers each gets a DequantizeLinear of its own before (``EnsureUniqueDQForNodeUnit``), a body counting
    as one, and codes that several read stay signed; so do those that the model is fed.
    """
    writing = [node for node in nodes if node.op == "QuantizeLinear"]
    reading = [node for node in nodes if node.op == "DequantizeLinear"]
    return len(writing) == len(reading) == 1 and uses[reading[0].outputs[0]] <= 1


def _zero_points(parts: Parts, nodes: Sequence[_Node]) -> dict[str, _Zero]:
    """Each constant that is one int8 and that nobody can feed."""
    fed = {_name_of(entry, 1) for entry in parts.inputs}
    found = {node.outputs[0]: node.zero for node in nodes if node.zero is not None and node.outputs}
    for entry in parts.initializers:
        begin, end = _body(entry)
        zero = _read_zero(entry, begin, end)
        name = "" if zero is None else _text(entry, begin, end, _NAME)
        if zero is not None and name not in fed:
            found[name] = zero
    return found


def _read_zero(entry: bytes, begin: int, end: int) -> _Zero | None:
    """A tensor that is one int8; None of any other, and where its data lie elsewhere."""
    shape: list[int] = []
    values: list[int] = []
    kind = 0
    for tag, _, start, stop in read_fields(entry, begin, end):
        if tag == _TYPE:
            kind = read_varint(entry, start)[0]
        elif tag in (_DIMS, _RAW, _INT32_DATA) and stop - start > _LONGEST:
            return None
        elif tag == _DIMS:
            shape += _numbers(entry, start, stop)
        elif tag == _RAW:
            values += entry[start:stop]
        elif tag == _INT32_DATA:
            values += _numbers(entry, start, stop)
        if len(values) > 1 or any(size != 1 for size in shape):
            return None
    if kind != _INT8 or len(values) != 1:
        return None
    return int.from_bytes(bytes([values[0] & 0xFF]), signed=True), tuple(shape)


def _numbers(entry: bytes, at: int, stop: int) -> Iterator[int]:
    """The numbers of a repeated field, packed or one by one."""
    while at < stop:
        value, at = read_varint(entry, at)
        yield value


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
    within: set[str] = set()
    zero = None
    for tag, _, begin, stop in read_fields(entry, body, end):
        if tag == _ATTRIBUTE:
            texts[tag].append(_text(entry, begin, stop, 1))
            within.update(_read_within(entry, begin, stop))
            for inner, _, start, until in read_fields(entry, begin, stop):
                zero = _read_zero(entry, start, until) if inner == _ATTRIBUTE_TENSOR else zero
        elif tag in texts:
            texts[tag].append(entry[begin:stop].decode())
    op = "".join(texts[_OP])
    return _Node(
        op,
        tuple(texts[_INPUT]),
        tuple(texts[_OUTPUT]),
        tuple(texts[_ATTRIBUTE]),
        frozenset(within),
        zero if op == "Constant" else None,
    )


def _read_within(entry: bytes, begin: int, end: int) -> Iterator[str]:
    """What the nodes of an attribute's bodies read, at any depth."""
    for tag, _, start, stop in read_fields(entry, begin, end):
        if tag not in _BODIES:
            continue
        for kind, _, node, until in read_fields(entry, start, stop):
            if kind != 1:
                continue
            for inner, _, first, last in read_fields(entry, node, until):
                if inner == _INPUT:
                    yield entry[first:last].decode()
                elif inner == _ATTRIBUTE:
                    yield from _read_within(entry, first, last)


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
