"""A look at the protobuf wire format before any parser gets the bytes.

protobuf merges a repeated occurrence of a singular message field, so bytes appended to a model change
it without leaving a trace in the parsed object; parsers also accept unknown fields silently. Both are
refused here, on the level where a whole graph can be smuggled in.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator

from qgate.errors import FormatError

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MODEL_FIELDS = {1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26}
_MODEL_REPEATED = {8, 14, 20, 25, 26}
_GRAPH_FIELDS = {1, 2, 5, 10, 11, 12, 13, 14, 15, 16}
_GRAPH_REPEATED = {1, 5, 11, 12, 13, 14, 15, 16}
_GRAPH = 7
_NODE = 1
Buffer = bytes | mmap.mmap


def _varint(buffer: Buffer, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = buffer[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a number runs past the end")


def fields(buffer: Buffer, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yields (field number, begin, end) of each field's content between two offsets.

    Raises:
        ValueError: The bytes are no protobuf message, or are cut off.
    """
    at = start
    while at < end:
        tag, at = _varint(buffer, at, end)
        number, kind = tag >> 3, tag & 7
        begin = at
        if kind == _VARINT:
            _, at = _varint(buffer, at, end)
        elif kind == _FIXED64:
            at += 8
        elif kind == _LENGTH:
            length, begin = _varint(buffer, at, end)
            at = begin + length
        elif kind == _FIXED32:
            at += 4
        else:
            raise ValueError(f"wire type {kind} at byte {begin}")
        if at > end:
            raise ValueError(f"field {number} ends {at - end} bytes past the end")
        yield number, begin, at


def check_model_bytes(buffer: Buffer, where: str, *, max_nodes: int) -> None:
    """Checks the outer two levels of a ModelProto without parsing it.

    Raises:
        FormatError: Cut off, unknown fields, a second graph that protobuf would merge into the first,
            no graph, or more nodes than allowed.
    """
    try:
        graph = _outer(buffer, where)
        nodes = 0
        seen: set[int] = set()
        for number, _, _ in fields(buffer, *graph):
            if number not in _GRAPH_FIELDS:
                raise _refusal(f"the graph holds an unknown field {number}", where)
            if number in seen and number not in _GRAPH_REPEATED:
                raise _refusal(f"field {number} of the graph stands there twice", where)
            seen.add(number)
            nodes += number == _NODE
    except ValueError as error:
        raise FormatError(
            f"not a whole ONNX file: {error}",
            where=where,
            remedy="Commit the file again; it was cut off, filtered or is something else",
            rule="ART104",
        ) from error
    if nodes > max_nodes:
        raise _refusal(f"{nodes} nodes, more than the {max_nodes} that are read", where)


def _outer(buffer: Buffer, where: str) -> tuple[int, int]:
    graph: tuple[int, int] | None = None
    seen: set[int] = set()
    for number, begin, end in fields(buffer, 0, len(buffer)):
        if number not in _MODEL_FIELDS:
            raise _refusal(f"bytes of an unknown field {number} at offset {begin}", where)
        if number in seen and number not in _MODEL_REPEATED:
            what = "a second graph" if number == _GRAPH else f"field {number} a second time"
            raise _refusal(f"{what} at offset {begin}, which parsers would merge into the first", where)
        seen.add(number)
        if number == _GRAPH:
            graph = (begin, end)
    if graph is None:
        raise ValueError("it holds no graph")
    return graph


def _refusal(what: str, where: str) -> FormatError:
    return FormatError(
        what, where=where, remedy="Export the model again; do not merge this file", rule="ART105"
    )
