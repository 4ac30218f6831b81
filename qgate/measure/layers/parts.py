"""A model file taken apart into the pieces of its graph, its large tensors left where they are.

The file has been read and judged safe by ``qgate.formats`` before; here its bytes are only copied. A tensor
of more than a kilobyte becomes one whose data are external: a place in the very same file. So two models of
any size are joined in one file of a few kilobytes, and no weight is copied.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from qgate.measure.layers.encode import content, number

INLINE = 1024
"""Bytes of raw data that stay in the graph."""

Buffer = bytes | mmap.mmap
Rename = Callable[[str], str]

_GRAPH, _FUNCTION, _TRAINING = 7, 25, 20
_NODE, _INITIALIZER, _SPARSE, _INPUT, _OUTPUT, _VALUE = 1, 5, 15, 11, 12, 13
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_ATTRIBUTE = 1, 2, 3, 5
_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS = 6, 11
_TENSOR_NAME, _RAW, _EXTERNAL, _LOCATION = 8, 9, 13, 14
_KEY, _VALUE_OF = 1, 2


class UnjoinableError(Exception):
    """The model has something that cannot be joined with another in one file."""


@dataclass
class Parts:
    """The pieces of a model, each an encoded field.

    Args:
        head: Fields of the model beside its graph, by number; each once or several times.
        nodes: Nodes of the graph in order.
        initializers: Constants, external where they are large.
        inputs: Inputs of the graph; ``outputs`` and ``values`` likewise.
    """

    head: dict[int, list[bytes]] = field(default_factory=dict)
    nodes: list[bytes] = field(default_factory=list)
    initializers: list[bytes] = field(default_factory=list)
    inputs: list[bytes] = field(default_factory=list)
    outputs: list[bytes] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)


def take_apart(path: Path, location: str, rename: Rename | None = None) -> Parts:
    """The pieces of a model.

    Args:
        path: The file.
        location: What the joined file calls it, relative to its own folder.
        rename: Gives every tensor and node another name.

    Raises:
        UnjoinableError: Training information, sparse tensors, or local functions.
        OSError: The file cannot be read.
    """
    change = rename or _same
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
        found = Parts()
        for tag, start, begin, end in read_fields(buffer, 0, len(buffer)):
            if tag in (_FUNCTION, _TRAINING):
                raise UnjoinableError("it has functions or training information of its own")
            if tag == _GRAPH:
                _take_graph(buffer, begin, end, _Copy(location, change), found)
            else:
                found.head.setdefault(tag, []).append(buffer[start:end])
    return found


def _same(name: str) -> str:
    return name


def _take_graph(buffer: Buffer, begin: int, end: int, copy: _Copy, found: Parts) -> None:
    lists = {_INPUT: found.inputs, _OUTPUT: found.outputs, _VALUE: found.values}
    for tag, _, start, stop in read_fields(buffer, begin, end):
        if tag == _NODE:
            found.nodes.append(content(_NODE, copy.node(buffer, start, stop)))
        elif tag == _INITIALIZER:
            found.initializers.append(content(_INITIALIZER, copy.tensor(buffer, start, stop)))
        elif tag in lists:
            lists[tag].append(content(tag, copy.named(buffer, start, stop, 1)))
        elif tag == _SPARSE:
            raise UnjoinableError("it has sparse tensors")


@dataclass(frozen=True)
class _Copy:
    """Copies messages with their names changed and their large tensors moved out."""

    location: str
    rename: Rename

    def node(self, buffer: Buffer, begin: int, end: int) -> bytes:
        if self.rename is _same:
            return buffer[begin:end]
        pieces = []
        for tag, field_start, start, stop in read_fields(buffer, begin, end):
            if tag in (_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME):
                name = buffer[start:stop].decode()
                pieces.append(content(tag, self.rename(name) if name else name))
            elif tag == _NODE_ATTRIBUTE:
                pieces.append(content(tag, self._attribute(buffer, start, stop)))
            else:
                pieces.append(buffer[field_start:stop])
        return b"".join(pieces)

    def _attribute(self, buffer: Buffer, begin: int, end: int) -> bytes:
        pieces = []
        for tag, field_start, start, stop in read_fields(buffer, begin, end):
            if tag in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                pieces.append(content(tag, self._subgraph(buffer, start, stop)))
            else:
                pieces.append(buffer[field_start:stop])
        return b"".join(pieces)

    def _subgraph(self, buffer: Buffer, begin: int, end: int) -> bytes:
        pieces = []
        for tag, field_start, start, stop in read_fields(buffer, begin, end):
            if tag == _NODE:
                pieces.append(content(tag, self.node(buffer, start, stop)))
            elif tag == _INITIALIZER:
                pieces.append(content(tag, self.named(buffer, start, stop, _TENSOR_NAME)))
            elif tag in (_INPUT, _OUTPUT, _VALUE):
                pieces.append(content(tag, self.named(buffer, start, stop, 1)))
            elif tag == _SPARSE:
                raise UnjoinableError("it has sparse tensors")
            else:
                pieces.append(buffer[field_start:stop])
        return b"".join(pieces)

    def named(self, buffer: Buffer, begin: int, end: int, name_field: int) -> bytes:
        """A message whose own name is changed."""
        pieces = []
        for tag, field_start, start, stop in read_fields(buffer, begin, end):
            changed = tag == name_field and self.rename is not _same
            pieces.append(
                content(tag, self.rename(buffer[start:stop].decode()))
                if changed
                else buffer[field_start:stop]
            )
        return b"".join(pieces)

    def tensor(self, buffer: Buffer, begin: int, end: int) -> bytes:
        """A constant whose data, where they are large, stay in the file."""
        pieces, raw, external = [], None, []
        for tag, field_start, start, stop in read_fields(buffer, begin, end):
            if tag == _RAW and stop - start > INLINE:
                raw = (start, stop - start)
            elif tag == _TENSOR_NAME:
                pieces.append(content(tag, self.rename(buffer[start:stop].decode())))
            elif tag == _EXTERNAL:
                external.append(self._moved(buffer, start, stop))
            else:
                pieces.append(buffer[field_start:stop])
        if raw is not None:
            entries = {"location": self.location, "offset": str(raw[0]), "length": str(raw[1])}
            pieces += [content(_EXTERNAL, _entry(key, text)) for key, text in entries.items()]
            pieces.append(number(_LOCATION, 1))
        return b"".join([*pieces, *external])

    def _moved(self, buffer: Buffer, begin: int, end: int) -> bytes:
        """An entry of external data that was relative to the model's own folder."""
        texts = {tag: buffer[start:stop].decode() for tag, _, start, stop in read_fields(buffer, begin, end)}
        key, text = texts.get(_KEY, ""), texts.get(_VALUE_OF, "")
        folder, slash, _ = self.location.rpartition("/")
        return content(_EXTERNAL, _entry(key, f"{folder}{slash}{text}" if key == "location" else text))


def _entry(key: str, text: str) -> bytes:
    return content(_KEY, key) + content(_VALUE_OF, text)


def read_fields(buffer: Buffer, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(number, begin of the field, begin of its content, end) of each field between two offsets."""
    while at < end:
        field_start = at
        tag, at = read_varint(buffer, at)
        kind = tag & 7
        begin = at
        if kind == 0:
            _, at = read_varint(buffer, at)
        elif kind == 1:
            at += 8
        elif kind == 2:
            length, begin = read_varint(buffer, at)
            at = begin + length
        elif kind == 5:
            at += 4
        else:
            raise UnjoinableError(f"wire type {kind}")
        yield tag >> 3, field_start, begin, at


def read_varint(buffer: Buffer, at: int) -> tuple[int, int]:
    """A number, and where it ends."""
    value = shift = 0
    while True:
        byte = buffer[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
