"""How the child talks to its parent: lines of progress, then one result, over one pipe.

``hello`` once the child's modules are there, ``confined ...`` before it reads a hostile byte (see ``engaged``), then
``progress DONE TOTAL``, each further than the last, then ``result LENGTH`` followed by that many bytes and the end
of the stream. Anything else is malformed, and the parent stops listening.
"""

from __future__ import annotations

import os
import re

from qgate.errors import MeasureError
from qgate.sandbox.engaged import Engaged

MAX_RESULT = 64 * 2**20
MAX_STEPS = 2**20
"""Most lines of progress: a chunk of samples makes one."""

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

    def confined(self, engaged: Engaged) -> None:
        """Says what of the confinement is in force."""
        self._write(engaged.line() + b"\n")

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
    """The parent's end: fed with bytes as they come, strict about each of them.

    Attributes:
        greeted: The child came as far as to import its own modules.
        engaged: What the child could engage of its confinement; None until it says so.
        progress: Samples done and in all.
    """

    def __init__(self, limit: int = MAX_RESULT) -> None:
        self.greeted = False
        self.engaged: Engaged | None = None
        self.progress: tuple[int, int] | None = None
        self._steps = 0
        self._limit = limit
        self._length: int | None = None
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Takes what the pipe gave.

        Raises:
            MeasureError: The bytes are not of the protocol, or the result is too large.
        """
        self._buffer += data
        start = 0
        while self._length is None:
            end = self._buffer.find(b"\n", start, start + _MAX_LINE + 1)
            if end < 0:
                break
            self._line(bytes(self._buffer[start:end]))
            start = end + 1
        del self._buffer[:start]
        if self._length is None and len(self._buffer) > _MAX_LINE:
            raise _malformed("a line is too long")
        if self._length is not None and len(self._buffer) > self._length:
            raise _malformed("bytes follow the result")

    def _line(self, line: bytes) -> None:
        if not self.greeted:
            if line != b"hello":
                raise _malformed("it does not begin as agreed")
            self.greeted = True
        elif self.engaged is None:
            self.engaged = Engaged.read(line)
            if self.engaged is None:
                raise _malformed("it does not say how it is confined")
        elif found := _PROGRESS.fullmatch(line):
            self._advance(int(found[1]), int(found[2]))
        elif found := _RESULT.fullmatch(line):
            self._length = int(found[1])
            if self._length > self._limit:
                raise MeasureError(
                    f"the model run returned {self._length} bytes, more than {self._limit}",
                    remedy="Reduce the number of outputs, classes or slices",
                )
        else:
            raise _malformed("a line is not of the protocol")

    def _advance(self, done: int, total: int) -> None:
        if done > total:
            raise _malformed("more samples done than there are")
        before, of = self.progress or (0, total)
        self._steps += 1
        if done <= before or total != of or self._steps > MAX_STEPS:
            raise _malformed("its progress is none")
        self.progress = (done, total)

    def payload(self) -> bytes | None:
        """The whole result once the stream has ended; None if it is missing or cut short."""
        complete = self._length is not None and len(self._buffer) == self._length
        return bytes(self._buffer) if complete else None


def _malformed(reason: str) -> MeasureError:
    return MeasureError(
        f"the model run returned malformed data ({reason})",
        remedy="Treat the model as hostile: a model cannot do this by accident",
    )
