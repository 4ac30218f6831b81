"""The bytes of a pickle, taken one argument after the other."""

from __future__ import annotations

from struct import unpack_from
from typing import Any

from qgate.formats.torch.values import RefusedError

MAX_LINE = 512


class Stream:
    """Bytes with a place in them.

    Args:
        data: The bytes that the pickle lies in.
        at: Where the pickle begins.
    """

    def __init__(self, data: memoryview, at: int = 0) -> None:
        self.data = data
        self.at = at

    def take(self, length: int) -> memoryview:
        """The next bytes of the stream."""
        end = self.at + length
        if end > len(self.data):
            raise IndexError("cut")
        taken = self.data[self.at : end]
        self.at = end
        return taken

    def byte(self) -> int:
        """The next byte of the stream."""
        value = self.data[self.at]
        self.at += 1
        return value

    def number(self, form: str, length: int) -> Any:
        """The next number of the stream."""
        (value,) = unpack_from(form, self.take(length))
        return value

    def line(self) -> str:
        """The next line of the stream, of a global's name."""
        ahead = bytes(self.data[self.at : self.at + MAX_LINE])
        length = ahead.find(b"\n")
        if length < 0:
            raise RefusedError("it names a global that is too long", code=True)
        self.at += length + 1
        return ahead[:length].decode("utf-8", "backslashreplace")
