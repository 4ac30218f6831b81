"""Protobuf's wire format, decoded strictly and within a budget, by a table of the fields that may occur.

protobuf's own parsers merge a second occurrence of a singular message, let the last of several scalars
win, keep what they do not know, and give an empty message of two bytes a hundred bytes of memory. So
bytes can be appended to a model that change it without a trace, and a small file can ask for gigabytes.
Here all of that is refused on every level: fields that the table does not know, a singular field or a
choice given twice, groups, numbers written longer than needed, text that is no UTF-8, messages nested
too deep, anything that runs past its end, and more parts than the budget has room for.

Large contents (tensor data) are never touched: their place in the file is handed out.
"""

from __future__ import annotations

import mmap
import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from qgate.errors import FormatError

INT, INT32, FLOAT, STRING, TEXT, BYTES, RANGE, MESSAGE = range(8)
"""What a field holds: int64, int32 or enum, float; text that is kept; text that is only checked; bytes; the
place of bytes, as offsets (begin, end); a message."""

MAX_STRING = 2**24
_ESCAPED = 6  # bytes that are no text are shown with four characters each
_INTS, _FLOATS = 8, 9
_WIRE = {INT: 0, INT32: 0, FLOAT: 5}
_PACKED_KIND = {INT: _INTS, FLOAT: _FLOATS}
_COST = {INT: 64, INT32: 48, FLOAT: 48, STRING: 48, TEXT: 48, BYTES: 160, RANGE: 96, _INTS: 64, _FLOATS: 64}
Buffer = bytes | mmap.mmap


@dataclass(frozen=True)
class Field:
    """One field of a message.

    Args:
        name: Its name.
        kind: What it holds.
        repeated: It may stand there more than once; numbers may also be packed.
        message: The message that it holds.
        choice: The oneof that it is a member of: only one member may be given.
        cost: Bytes that what is made of one occurrence takes, for the budget; numbers and text have
            figures of their own.
    """

    name: str
    kind: int
    repeated: bool = False
    message: str = ""
    choice: str = ""
    cost: int = 0


Schema = Mapping[str, Mapping[int, Field]]
Values = dict[str, Any]
Build = Callable[[Values, int], Any]


class Decoder:
    """Decodes messages of one buffer.

    Args:
        buffer: The file's bytes.
        schema: Fields by message and number.
        build: Makes the final value of a message, from its fields by name and its place among its equals;
            of messages without a builder the fields themselves are handed out.
        where: What errors call the file.
        room: Bytes that everything made from it may take, by the costs above.
        depth: Levels that messages may nest.
    """

    def __init__(
        self, buffer: Buffer, schema: Schema, build: Mapping[str, Build], where: str, *, room: int, depth: int
    ) -> None:
        self.buffer = buffer
        self.where = where
        self.room = room
        self._depth = depth
        self._build = build
        self._tables = {name: _table(fields) for name, fields in schema.items()}
        self._known: dict[bytes, str] = {}

    # One loop without calls where it can: it runs for every field of a file.
    def message(  # noqa: PLR0915
        self, name: str, begin: int, end: int, index: int = 0, depth: int = 0
    ) -> Any:
        """Decodes one message.

        Args:
            name: Which message.
            begin: Offset of its first byte; ``end`` is the one behind its last.
            index: Its place among its equals.
            depth: Messages around it.

        Raises:
            FormatError: Anything that the module's text names (ART104 damaged, ART105 ambiguous or too much).
        """
        if depth > self._depth:
            raise self.refused(f"messages are nested more than {self._depth} deep")
        buffer, table, known, room = self.buffer, self._tables[name], self._known, self.room
        found: Values = {}
        value: Any
        at = begin
        while at < end:
            start = at
            tag = buffer[at]
            at += 1
            if tag > 127:
                tag, at = self._varint(start, end)
            if tag not in table:
                raise self._unknown(name, tag, start)
            key, kind, repeated, inner, choice, cost = table[tag]
            room -= cost
            if room < 0:
                raise self.too_much(start)
            held = found.get(key) if repeated else None
            wire = tag & 7
            if wire == 2:
                # Most lengths are one byte, most names stand in many places: no calls for those.
                size = buffer[at] if at < end else 128
                at += 1
                if size > 127:
                    size, at = self._varint(at - 1, end)
                stop = at + size
                if stop > end:
                    raise self.damaged(f"{name}.{key} at byte {start} ends {stop - end} bytes past the end")
                value = known.get(buffer[at:stop]) if kind == STRING and size < 128 else None
                if value is None:
                    self.room = room
                    if kind == MESSAGE:
                        value = self.message(inner, at, stop, len(held) if held else 0, depth + 1)
                    else:
                        value = self._content(kind, at, stop, name, key)
                    room = self.room
                at = stop
            elif wire == 0:
                value = buffer[at] if at < end else 128
                at += 1
                if value > 127:
                    value, at = self._varint(at - 1, end)
                    value = self._signed(value, kind, name, key)
            else:
                if at + 4 > end:
                    raise self.damaged(f"{name}.{key} at byte {start} runs past the end")
                value = struct.unpack_from("<f", buffer, at)[0]
                at += 4
            if not repeated:
                if key in found or choice in found:
                    raise self._twice(name, key, start)
                found[key] = value
                if choice:
                    found[choice] = key
            elif held is None:
                found[key] = _Packed(value) if kind >= _INTS else [value]
            elif kind >= _INTS or type(held) is _Packed:
                raise self._twice(name, key, start)
            else:
                held.append(value)
        self.room = room
        build = self._build.get(name)
        return found if build is None else build(found, index)

    def _content(self, kind: int, begin: int, end: int, name: str, key: str) -> Any:
        if kind in (STRING, TEXT):
            return self._text(begin, end, f"{name}.{key}", keep=kind == STRING)
        if kind == BYTES:
            if end - begin > MAX_STRING:
                raise self.refused(f"{name}.{key} at byte {begin} is a text of {end - begin} bytes")
            self._spend(_ESCAPED * (end - begin), begin)
            return bytes(self.buffer[begin:end])
        if kind == RANGE:
            return begin, end
        numbers = self._floats if kind == _FLOATS else self._ints
        return numbers(begin, end, name, key)

    def _floats(self, begin: int, end: int, name: str, key: str) -> list[float]:
        count, rest = divmod(end - begin, 4)
        self._spend(_COST[FLOAT] * count, begin)
        if rest:
            raise self.damaged(f"{name}.{key} at byte {begin} holds a part of a number")
        return list(struct.unpack(f"<{count}f", self.buffer[begin:end]))

    def _ints(self, begin: int, end: int, name: str, key: str) -> list[int]:
        self._spend(_COST[INT] * ((end - begin) // 10), begin)  # of the longest form there are as many
        numbers: list[int] = []
        at = begin
        while at < end:
            self._spend(_COST[INT], at)
            value, at = self._varint(at, end)
            numbers.append(self._signed(value, INT, name, key))
        return numbers

    def _text(self, begin: int, end: int, what: str, *, keep: bool) -> str:
        if end - begin > MAX_STRING:
            raise self.refused(f"{what} at byte {begin} is a text of {end - begin} bytes")
        raw = self.buffer[begin:end]
        try:
            text = str(raw, "utf-8")
        except UnicodeDecodeError as error:
            raise self.refused(f"{what} at byte {begin} is not valid UTF-8 ({raw[:40]!r})") from error
        if not keep:
            return ""
        # A dict's entry and the bytes beside the text; long texts are no names, and stand there once.
        self._spend(sys.getsizeof(text) + (len(raw) + 150 if len(raw) < 128 else sys.getsizeof(text)), begin)
        if len(raw) < 128:
            self._known[raw] = text
        return text

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """A number of up to 64 bits in its shortest form, and the offset behind it."""
        buffer = self.buffer
        start, value, shift = at, 0, 0
        while at < end:
            byte = buffer[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 128:
                if value >> 64 or (byte == 0 and shift):
                    raise self.refused(f"a number at byte {start} is not written in its shortest form")
                return value, at
            shift += 7
            if shift > 63:
                raise self.damaged(f"a number at byte {start} is longer than any")
        raise self.damaged(f"a number at byte {start} runs past the end")

    def _signed(self, value: int, kind: int, name: str, key: str) -> int:
        number = value - 2**64 if value >> 63 else value
        if kind == INT32 and not -(2**31) <= number < 2**31:
            raise self.refused(f"{name}.{key} is {number}, more than its 32 bits hold")
        return number

    def _spend(self, cost: int, at: int) -> None:
        self.room -= cost
        if self.room < 0:
            raise self.too_much(at)

    def _unknown(self, name: str, tag: int, at: int) -> FormatError:
        number, wire = tag >> 3, tag & 7
        if wire in (3, 4, 6, 7) or number == 0:
            return self.damaged(f"a field of wire type {wire} at byte {at}, which no model has")
        known = any(each >> 3 == number for each in self._tables[name])
        return self.refused(
            f"field {number} of {name} at byte {at} is written in another way than its type is"
            if known
            else f"{name} holds an unknown field {number} at byte {at}"
        )

    def _twice(self, name: str, key: str, at: int) -> FormatError:
        return self.refused(
            f"{name}.{key} stands there a second time at byte {at}, which parsers would merge into the first"
        )

    def too_much(self, at: int) -> FormatError:
        """The refusal of a file whose parts take more memory than it has bytes to account for."""
        return self.refused(
            f"it describes more parts than are read from a file of its size (up to byte {at})"
        )

    def damaged(self, what: str) -> FormatError:
        """An error about bytes that are no whole message."""
        return FormatError(
            f"not a whole ONNX file: {what}",
            where=self.where,
            remedy="Commit the file again; it was cut off, filtered or is something else",
            rule="ART104",
        )

    def refused(self, what: str, tensor: str | None = None) -> FormatError:
        """An error about bytes that parsers read, in one way or another."""
        return FormatError(
            what,
            where=self.where,
            remedy="Export the model again; do not merge this file",
            rule="ART105",
            tensor=tensor,
        )


class _Packed(list[Any]):
    """Numbers that came packed, so that others beside them are noticed."""


_Entry = tuple[str, int, bool, str, str, int]


def _table(fields: Mapping[int, Field]) -> dict[int, _Entry]:
    """Entries by tag, so that a field in another wire type is as unknown as one of another number."""
    table: dict[int, _Entry] = {}
    for number, field in fields.items():
        cost = field.cost or _COST.get(field.kind, 0)
        rest = (field.repeated, field.message, field.choice)
        wire = _WIRE.get(field.kind, 2)
        table[number << 3 | wire] = (field.name, field.kind, *rest, cost)
        if field.repeated and field.kind in _PACKED_KIND:
            packed = _PACKED_KIND[field.kind]
            table[number << 3 | 2] = (field.name, packed, *rest, _COST[packed])
    return table
