"""Starts the sandboxed child, listens to it, and makes sure that nothing of it survives."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO

from qgate.errors import MeasureError
from qgate.sandbox.limits import Limits
from qgate.sandbox.protocol import Listener
from qgate.sandbox.quoting import one_line

_KEPT_OUTPUT = 64 * 1024
_CHUNK = 1 << 16
_TICK = 0.2
_GRACE = 10.0


@dataclass
class _Child:
    """A running child, its channel and what it wrote to its standard streams."""

    process: subprocess.Popen[bytes]
    channel: int
    listener: Listener = field(default_factory=Listener)
    written: dict[int, bytearray] = field(default_factory=dict)


def run_child(
    request: str,
    limits: Limits,
    *,
    where: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> bytes:
    """Runs one request in a fresh child and returns the bytes of its result, not yet validated.

    The child gets an empty environment, its own session, no inherited descriptors but the channel, and the
    request as an unlinked file on standard input.

    Args:
        request: The request as JSON.
        limits: Resources of the child.
        where: What messages name as the place.
        progress: Told the samples done and in all.

    Raises:
        MeasureError: The child could not start, crashed, was killed, ran out of time or memory, or
            returned anything but a whole result.
    """
    deadline = time.monotonic() + limits.wall_seconds
    with tempfile.TemporaryFile() as stdin:
        stdin.write(request.encode())
        stdin.seek(0)
        child = _start(stdin, limits, where)
    try:
        in_time = _listen(child, deadline, progress)
    except MeasureError as error:
        raise MeasureError(error.what, where=where, remedy=error.remedy) from error
    finally:
        status = _end(child)
    if not in_time:
        raise MeasureError(
            f"the model run took longer than {limits.wall_seconds:g} s and was stopped",
            where=where,
            remedy="Use fewer samples, or raise limits.wall_seconds",
        )
    payload = child.listener.payload()
    if payload is not None and status == 0:
        return payload
    raise _failure(child, status, limits, where)


def _start(stdin: IO[bytes], limits: Limits, where: str) -> _Child:
    channel, theirs = os.pipe()
    numbers = (theirs, os.getpid(), limits.memory_mb, limits.cpu_seconds, limits.file_mb, limits.open_files)
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-B", "-m", "qgate.sandbox.child", *map(str, numbers)],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={},
            cwd="/",
            pass_fds=(theirs,),
            start_new_session=True,
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
    return _Child(process, channel)


def _listen(child: _Child, deadline: float, progress: Callable[[int, int], None] | None) -> bool:
    """Reads until the channel and the child have ended; False where the deadline came first."""
    with selectors.DefaultSelector() as selector:
        for descriptor in (child.channel, *_streams(child)):
            os.set_blocking(descriptor, False)
            selector.register(descriptor, selectors.EVENT_READ)
        talking = True
        while talking or not _has_ended(child.process.pid):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            for key, _ in selector.select(min(left, _TICK if talking else 0.01)):
                if not _take(child, key.fd, progress):
                    selector.unregister(key.fd)
                    talking = talking and key.fd != child.channel
            if talking and _has_ended(child.process.pid):
                talking = _drain(child, progress)
        for descriptor in _streams(child):
            while _take(child, descriptor, progress):
                pass
    return True


def _drain(child: _Child, progress: Callable[[int, int], None] | None) -> bool:
    """Takes what is left in the channel of an ended child, whoever else still holds its other end."""
    while _take(child, child.channel, progress):
        pass
    return False


def _streams(child: _Child) -> tuple[int, int]:
    assert child.process.stdout is not None  # noqa: S101
    assert child.process.stderr is not None  # noqa: S101
    return child.process.stdout.fileno(), child.process.stderr.fileno()


def _take(child: _Child, descriptor: int, progress: Callable[[int, int], None] | None) -> bool:
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
    now = child.listener.progress
    if progress is not None and now is not None and now != before:
        progress(*now)
    return True


def _has_ended(pid: int) -> bool:
    """Whether the child has ended; it stays a zombie, so that its process group's number is not reused."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end(child: _Child) -> int:
    """Kills the whole process group, reaps the child and closes everything; returns its exit status."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.process.pid, signal.SIGKILL)
    status = child.process.wait(_GRACE)
    os.close(child.channel)
    for stream in (child.process.stdout, child.process.stderr):
        if stream is not None:
            stream.close()
    return status


def _failure(child: _Child, status: int, limits: Limits, where: str) -> MeasureError:
    """Why there is no result, from the exit status and the last words on standard error."""
    words = b" ".join(bytes(kept) for kept in child.written.values()).decode("utf-8", "replace")
    last = one_line(words[-600:], 300)
    if not child.listener.greeted and "No module named" in words:
        return MeasureError(
            "the process that runs models cannot import qgate",
            where=sys.executable,
            remedy="Install qgate into this interpreter; a source tree on PYTHONPATH is not enough",
        )
    if any(
        sign in words
        for sign in ("bad_alloc", "MemoryError", "Cannot allocate memory", "failed to map segment")
    ):
        return out_of_memory(limits, where)
    if status == -signal.SIGXCPU:
        return MeasureError(
            f"the model run used more than {limits.cpu_seconds} s of processor time and was stopped",
            where=where,
            remedy="Use fewer samples, or raise limits.cpu_seconds",
        )
    if status == -signal.SIGXFSZ:
        return MeasureError(
            f"the model run wrote a file larger than {limits.file_mb} MiB and was stopped",
            where=where,
            remedy="Treat the model as hostile: running a model writes no files",
        )
    if status < 0:
        name = signal.Signals(-status).name if -status in set(signal.Signals) else "unknown"
        hint = (
            "the machine may be out of memory"
            if status == -signal.SIGKILL
            else "the runtime failed on this model"
        )
        return MeasureError(
            f"the model run crashed with signal {-status} ({name}){': ' + last if last else ''}",
            where=where,
            remedy=f"Run the model with ONNX Runtime alone to see the cause; {hint}",
        )
    if status == 0:
        return MeasureError(
            "the model run ended without a result", where=where, remedy="Treat the model as hostile"
        )
    return MeasureError(
        f"the model run failed with exit status {status}{': ' + last if last else ''}",
        where=where,
        remedy="Run the model with ONNX Runtime alone to see the cause",
    )


def out_of_memory(limits: Limits, where: str) -> MeasureError:
    """The error for a child that reached its memory limit."""
    return MeasureError(
        f"the model run needs more than the memory limit of {limits.memory_mb} MiB",
        where=where,
        remedy="Use smaller inputs, or raise limits.memory_mb",
    )
