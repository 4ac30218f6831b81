"""Tables of a FlatBuffer, each offset checked against the bytes that are there.

A table's fields lie where its vtable says; vectors, strings and further tables behind an offset of their own. Tables may be
shared, so that what is read is counted against a budget. Source: FlatBuffers' "Internals".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from qgate.errors import FormatError

MAX_ITEMS = 4_000_000
"""Tables, elements of vectors and characters that are read of one file, weights aside."""

_SIZES = {"b": 1, "B": 1, "h": 2, "H": 2, "i": 4, "I": 4, "f": 4, "q": 8, "Q": 8}


@dataclass
class Flat:
    """A file while it is read.

    Args:
        view: Its bytes.
        where: What messages call it.
        left: What may still be read of it.
    """

    view: memoryview
    where: str
    left: int = field(default=MAX_ITEMS)

    def root(self) -> Table:
        """The table that the file begins with."""
        return self.table(self.number("I", 0))

    def table(self, position: int) -> Table:
        """The table at a position, once its vtable was found to lie within the file."""
        self.spend(1)
        vtable = position - self.number("i", position)
        size, inline = self.number("H", vtable), self.number("H", vtable + 2)
        if (
            size < 4
            or size % 2
            or vtable + size > len(self.view)
            or position + inline > len(self.view)
            or inline < 4
        ):
            self.refuse("a table whose layout does not lie within the file")
        return Table(self, position, vtable, size, inline)

    def number(self, kind: str, position: int) -> int:
        """A number of a ``struct`` format at a position."""
        if not 0 <= position <= len(self.view) - _SIZES[kind]:
            self.refuse("an offset that leads out of the file")
        (value,) = struct.unpack_from(f"<{kind}", self.view, position)
        return int(value)

    def spend(self, count: int) -> None:
        """Counts what is read."""
        self.left -= count
        if self.left < 0:
            self.refuse(f"more than {MAX_ITEMS} entries")

    def refuse(self, what: str) -> NoReturn:
        """The error of a file that is none."""
        raise FormatError(
            f"a damaged LiteRT model: {what}", where=self.where, remedy="Convert the model again; do not merge this file",
            rule="ART105",
        )  # fmt: skip


@dataclass(frozen=True)
class Table:
    """One table; fields by their number in the schema.

    Args:
        flat: The file.
        position: Where it lies; ``vtable`` where its layout does, ``size`` bytes of that.
        inline: Bytes of the table itself.
    """

    flat: Flat
    position: int
    vtable: int
    size: int
    inline: int

    def scalar(self, number: int, kind: str, default: int = 0) -> int:
        """A number; its default where the file leaves it out."""
        at = self._at(number, _SIZES[kind])
        return default if at is None else self.flat.number(kind, at)

    def real(self, number: int) -> float:
        """A number in float32; 0 where the file leaves it out."""
        return float(struct.unpack("<f", struct.pack("<I", self.scalar(number, "I")))[0])

    def has_more(self, known: int) -> bool:
        """Whether it has fields beyond as many as are known."""
        return any(self.flat.number("H", self.vtable + slot) for slot in range(4 + 2 * known, self.size, 2))

    def table(self, number: int) -> Table | None:
        """A further table."""
        at = self._target(number)
        return None if at is None else self.flat.table(at)

    def tables(self, number: int) -> list[Table]:
        """A vector of tables."""
        begin, count = self._vector(number, 4)
        self.flat.spend(count)
        places = (begin + 4 * position for position in range(count))
        return [self.flat.table(at + self.flat.number("I", at)) for at in places]

    def numbers(self, number: int, kind: str) -> NDArray[np.generic]:
        """A vector of numbers; empty where there is none."""
        begin, count = self._vector(number, _SIZES[kind])
        self.flat.spend(count)
        return np.frombuffer(self.flat.view, np.dtype(f"<{kind}" if kind not in "bB" else kind), count, begin)

    def bytes_at(self, number: int) -> tuple[int, int]:
        """Where a vector of bytes lies, and how long it is; not counted, for weights are."""
        return self._vector(number, 1)

    def text(self, number: int, limit: int = 512) -> str:
        """A string.

        Raises:
            FormatError: It is too long, not UTF-8 or cannot be printed.
        """
        begin, count = self._vector(number, 1)
        self.flat.spend(count)
        try:
            found = bytes(self.flat.view[begin : begin + count]).decode("utf-8") if count <= limit else "\0"
        except UnicodeDecodeError:
            found = "\0"
        if not found.isprintable():
            self.flat.refuse("a name that is too long or cannot be printed")
        return found

    def _at(self, number: int, size: int) -> int | None:
        slot = 4 + 2 * number
        if slot + 2 > self.size:
            return None
        offset = self.flat.number("H", self.vtable + slot)
        if offset == 0:
            return None
        if offset < 4 or offset + size > self.inline:
            self.flat.refuse("a field outside of its table")
        return self.position + offset

    def _target(self, number: int) -> int | None:
        at = self._at(number, 4)
        if at is None:
            return None
        offset = self.flat.number("I", at)
        if not 0 < offset < len(self.flat.view) - at:
            self.flat.refuse("an offset that leads out of the file")
        return at + offset

    def _vector(self, number: int, size: int) -> tuple[int, int]:
        at = self._target(number)
        if at is None:
            return 0, 0
        count = self.flat.number("I", at)
        if at + 4 + count * size > len(self.flat.view):
            self.flat.refuse("a vector that is longer than the file")
        return at + 4, count
