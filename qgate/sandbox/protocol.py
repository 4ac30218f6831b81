"""How the child talks to its parent: lines of progress, then one result, over one pipe.

``hello``, then any number of ``progress DONE TOTAL``, then ``result LENGTH`` followed by that many bytes
and the end of the stream. Anything else is malformed, and the parent stops listening.
"""

from __future__ import annotations

import os
import re

from qgate.errors import MeasureError

MAX_RESULT = 64 * 2**20
_MAX_LINE = 64
_PROGRESS = re.compile(rb"progress (\d{1,15}) (\d{1,15})")
_RESULT = re.compile(rb"result (\d{1,10})")


class Talker:
    """The child's end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def hello(self) -> None:
        """Says that the child's own modules could be imported."""
        self._write(b"hello\n")

    def progress(self, done: int, total: int) -> None:
        """Says how many samples are done."""
        self._write(b"progress %d %d\n" % (done, total))

    def result(self, payload: bytes) -> None:
        """Hands the result over; nothing may follow."""
        self._write(b"result %d\n" % len(payload))
        self._write(payload)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]


class Listener:
    """The parent's end: fed with bytes as they come, strict about each of them."""

    def __init__(self, limit: int = MAX_RESULT) -> None:
        self.greeted = False
        self.progress: tuple[int, int] | None = None
        self._limit = limit
        self._length: int | None = None
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Takes what the pipe gave.

        Raises:
            MeasureError: The bytes are not of the protocol, or the result is too large.
        """
        self._buffer += data
        while self._length is None and b"\n" in self._buffer[: _MAX_LINE + 1]:
            line, _, rest = bytes(self._buffer).partition(b"\n")
            self._buffer = bytearray(rest)
            self._line(line)
        if self._length is None and len(self._buffer) > _MAX_LINE:
            raise _malformed("a line is too long")
        if self._length is not None and len(self._buffer) > self._length:
            raise _malformed("bytes follow the result")

    def _line(self, line: bytes) -> None:
        if not self.greeted:
            if line != b"hello":
                raise _malformed("it does not begin as agreed")
            self.greeted = True
        elif found := _PROGRESS.fullmatch(line):
            done, total = int(found[1]), int(found[2])
            if done > total:
                raise _malformed("more samples done than there are")
            self.progress = (done, total)
        elif found := _RESULT.fullmatch(line):
            self._length = int(found[1])
            if self._length > self._limit:
                raise MeasureError(
                    f"the model run returned {self._length} bytes, more than {self._limit}",
                    remedy="Reduce the number of outputs, classes or slices",
                )
        else:
            raise _malformed("a line is not of the protocol")

    def payload(self) -> bytes | None:
        """The whole result once the stream has ended; None if it is missing or cut short."""
        complete = self._length is not None and len(self._buffer) == self._length
        return bytes(self._buffer) if complete else None


def _malformed(reason: str) -> MeasureError:
    return MeasureError(
        f"the model run returned malformed data ({reason})",
        remedy="Treat the model as hostile: a model cannot do this by accident",
    )
