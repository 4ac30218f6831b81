"""Starts the sandboxed child, listens to it, and makes sure that nothing of it survives."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO

from qgate.errors import MeasureError, SandboxError
from qgate.sandbox.emulation import emulating, unprivileged
from qgate.sandbox.ending import explain_end
from qgate.sandbox.engaged import Engaged
from qgate.sandbox.limits import Limits
from qgate.sandbox.protocol import Listener

_KEPT_OUTPUT = 64 * 1024
_CHUNK = 1 << 16
_TICK = 0.2
_GRACE = 10.0

MEASURING = ("-m", "qgate.sandbox.child")
"""What the interpreter is started with: the program whose work is measuring."""


@dataclass
class Child:
    """A running child, its channel and what it wrote to its standard streams.

    Attributes:
        limits: What it may use.
        program: What it runs.
        process: Its process; the request goes to its standard input.
        channel: Where its messages come from.
        status: Its exit status once it has been ended.
    """

    limits: Limits
    program: tuple[str, ...]
    process: subprocess.Popen[bytes]
    channel: int
    listener: Listener = field(default_factory=Listener)
    written: dict[int, bytearray] = field(default_factory=dict)
    status: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What a child handed over.

    Args:
        payload: The bytes of its result, not yet validated.
        engaged: How it was confined, said before it read a hostile byte.
    """

    payload: bytes
    engaged: Engaged


@contextlib.contextmanager
def waiting_child(limits: Limits, program: tuple[str, ...] = MEASURING) -> Iterator[Child | None]:
    """A child that imports its libraries and waits for a request, while this process prepares it.

    None where it cannot be started: ``run_child`` will try again and say why. Ended afterwards, whether it
    was used or not.
    """
    child: Child | None = None
    with contextlib.suppress(MeasureError):
        child = _start(limits, program, "")
    try:
        yield child
    finally:
        if child is not None:
            _end(child)


def run_child(
    request: str,
    limits: Limits,
    *,
    where: str = "",
    progress: Callable[[int, int], None] | None = None,
    child: Child | None = None,
    program: tuple[str, ...] = MEASURING,
) -> Outcome:
    """Runs one request in a fresh child.

    The child gets an empty environment, its own session, no inherited descriptors but the channel, and the
    request on standard input.

    Args:
        request: The request as JSON.
        limits: Resources of the child.
        where: What messages name as the place.
        progress: Told the samples done and in all.
        child: One that waits; a new one is started where there is none, or its limits are others.
        program: What the interpreter is started with; it goes through ``sandbox.body``.

    Raises:
        SandboxError: The child could not be confined as the limits ask; no model was run.
        MeasureError: The child could not start, crashed, was killed, ran out of time or memory, or
            returned anything but a whole result.
    """
    deadline = time.monotonic() + limits.wall_seconds
    if child is None or child.status is not None or (child.limits, child.program) != (limits, program):
        child = _start(limits, program, where)
    try:
        in_time = _listen(child, request.encode(), deadline, progress)
    except SandboxError as error:
        raise SandboxError(error.what, where=where, remedy=error.remedy) from error
    except MeasureError as error:
        raise MeasureError(error.what, where=where, remedy=error.remedy) from error
    except OSError as error:
        raise _unwatched(error, where) from error
    finally:
        status = _end(child)
    if not in_time:
        raise MeasureError(
            f"the model run took longer than {limits.wall_seconds:g} s and was stopped",
            where=where,
            remedy="Use fewer samples, or raise limits.wall_seconds",
        )
    payload, engaged = child.listener.payload(), child.listener.engaged
    if payload is not None and engaged is not None and status == 0:
        return Outcome(payload, engaged)
    words = b" ".join(bytes(kept) for kept in child.written.values()).decode("utf-8", "replace")
    raise explain_end(status, words, child.listener.greeted, limits, where)


def _start(limits: Limits, program: tuple[str, ...], where: str) -> Child:
    try:
        channel, theirs = os.pipe()
    except OSError as error:
        raise _unwatched(error, where) from error
    numbers = (
        *(theirs, os.getpid(), limits.memory_mb, limits.cpu_seconds, limits.file_mb, limits.open_files),
        limits.reduced | limits.devices << 1 | limits.emulated << 2,
    )
    command = [sys.executable, "-I", "-B", *program, *map(str, numbers)]
    try:
        process = subprocess.Popen(
            emulating(command) if limits.emulated else command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env={},
            cwd="/",
            pass_fds=(theirs,),
            start_new_session=True,
            **(unprivileged() if limits.emulated else {}),
        )
    except OSError as error:
        os.close(channel)
        raise MeasureError(
            f"the process that runs models cannot be started ({error.strerror})",
            where=where,
            remedy="Check that the Python interpreter can be executed and that processes are available",
        ) from error
    finally:
        os.close(theirs)
    return Child(limits, program, process, channel)


def _unwatched(error: OSError, where: str) -> MeasureError:
    return MeasureError(
        f"the process that runs models cannot be talked to ({error.strerror})",
        where=where,
        remedy="Raise the limit of open files (ulimit -n), or run fewer things at once",
    )


def _listen(
    child: Child, request: bytes, deadline: float, progress: Callable[[int, int], None] | None
) -> bool:
    """Hands the request over and reads until channel and child have ended; False if the deadline came first."""
    unsent = memoryview(request)
    with selectors.DefaultSelector() as selector:
        for descriptor in (child.channel, *_streams(child)):
            os.set_blocking(descriptor, False)
            selector.register(descriptor, selectors.EVENT_READ)
        stdin = _entrance(child)
        entrance = stdin.fileno()
        os.set_blocking(entrance, False)
        selector.register(entrance, selectors.EVENT_WRITE)
        talking = True
        while talking or not _has_ended(child.process.pid):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            for key, _ in selector.select(min(left, _TICK if talking else 0.01)):
                if key.fd == entrance:
                    unsent = _give(entrance, unsent)
                    if not unsent:
                        selector.unregister(entrance)
                        stdin.close()
                elif not _take(child, key.fd, progress):
                    selector.unregister(key.fd)
                    talking = talking and key.fd != child.channel
            if talking and _has_ended(child.process.pid):
                talking = _drain(child, progress)
        for descriptor in _streams(child):
            while _take(child, descriptor, progress):
                pass
    return True


def _entrance(child: Child) -> IO[bytes]:
    assert child.process.stdin is not None  # noqa: S101
    return child.process.stdin


def _give(descriptor: int, unsent: memoryview) -> memoryview:
    """Writes what the pipe takes; returns what is left, nothing where the child no longer reads."""
    try:
        return unsent[os.write(descriptor, unsent) :]
    except BlockingIOError:
        return unsent
    except BrokenPipeError:
        return unsent[:0]


def _drain(child: Child, progress: Callable[[int, int], None] | None) -> bool:
    """Takes what is left in the channel of an ended child, whoever else still holds its other end."""
    while _take(child, child.channel, progress):
        pass
    return False


def _streams(child: Child) -> tuple[int, int]:
    assert child.process.stdout is not None  # noqa: S101
    assert child.process.stderr is not None  # noqa: S101
    return child.process.stdout.fileno(), child.process.stderr.fileno()


def _take(child: Child, descriptor: int, progress: Callable[[int, int], None] | None) -> bool:
    """Reads once; False at the end of the stream or where nothing is there."""
    try:
        data = os.read(descriptor, _CHUNK)
    except BlockingIOError:
        return False
    if not data:
        return False
    if descriptor != child.channel:
        kept = child.written.setdefault(descriptor, bytearray())
        kept += data[: _KEPT_OUTPUT - len(kept)]
        return True
    before = child.listener.progress
    child.listener.feed(data)
    engaged = child.listener.engaged
    if engaged is not None and not engaged.suffices(child.limits.reduced):
        raise engaged.refusal("")
    now = child.listener.progress
    if progress is not None and now is not None and now != before:
        progress(*now)
    return True


def _has_ended(pid: int) -> bool:
    """Whether the child has ended; it stays a zombie, so that its process group's number is not reused."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end(child: Child) -> int:
    """Kills the whole process group, reaps the child and closes everything, once; its exit status."""
    if child.status is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.process.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(child.process.pid, signal.SIGKILL)
        child.status = child.process.wait(_GRACE)
        os.close(child.channel)
        for stream in (child.process.stdin, child.process.stdout, child.process.stderr):
            if stream is not None:
                stream.close()
    return child.status
