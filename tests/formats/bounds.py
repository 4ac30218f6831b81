"""What a reader may take: seconds and memory of one read, measured in a process of its own.

The rule: on any input of 64 MB no reader takes more than 10 s, nor more memory than four times the file,
beyond what its imports take. Pages of the mapped file count. ``ROOM`` is what an allocator, a parser's
tables and the first use of a library need whatever the file's size; below 64 MB it is the counts of
things that bound a reader, so smaller inputs get what 64 MB would.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

SECONDS = 10.0
FACTOR = 4
FULL = 64 * 2**20
ROOM = 24 * 2**20
_ADDRESS_SPACE = 16 * 2**30
_REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Outcome:
    """One read.

    Args:
        seconds: Processor time of the call, which other work on the machine does not change; infinite where
            it was ended at the deadline, which is by the clock.
        peak_extra_bytes: Largest resident memory during the call, pages of mapped files among it, less
            what was resident before it.
        error: Type and text of the ``QgateError`` that it ended with, empty if it read the file.
        crash: Anything else that it ended with: another exception, a signal, the deadline.
    """

    seconds: float
    peak_extra_bytes: int
    error: str = ""
    crash: str = ""

    def within(self, size: int) -> bool:
        """Whether a file of ``size`` bytes was read or refused inside of the bounds."""
        allowed = FACTOR * max(size, FULL) + ROOM
        return not self.crash and self.seconds <= SECONDS and self.peak_extra_bytes <= allowed


def measure_read(path: Path, *, warm: Path | None = None, deadline: float = 60.0) -> Outcome:
    """Reads a model as the gate does and loads every constant once, one after another.

    Args:
        path: The model.
        warm: A small honest file that is read first, so that imports on the way are not counted.
        deadline: Seconds after which the reader is ended.
    """
    return measure_call("tests.formats.bounds:read_whole_model", path, warm=warm, deadline=deadline)


def measure_call(target: str, path: Path, *, warm: Path | None = None, deadline: float = 60.0) -> Outcome:
    """Calls ``module:function`` with a path in a process of its own; arguments as for ``measure_read``."""
    command = [sys.executable, "-m", "tests.formats.bounds", target, str(path), str(warm or "")]
    # One malloc arena: memory that freed threads keep is no reader's.
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1", "PYTHONHASHSEED": "0"}
    child = subprocess.Popen(
        command,
        cwd=_REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = child.communicate(timeout=deadline)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        return Outcome(float("inf"), 0, crash=f"still reading after {deadline:.0f} s")
    if child.returncode != 0:
        return Outcome(float("inf"), 0, crash=f"exit {child.returncode}: {err[-2000:]}")
    return Outcome(**json.loads(out.splitlines()[-1]))


def read_whole_model(path: Path) -> None:
    """The call of ``measure_read``."""
    from qgate.formats.read import read_model

    for constant in read_model(path).graph.all_constants():
        assert constant.load().size == constant.size


def _resident(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"/proc/self/status has no {field}")


def _main(target: str, path: str, warm: str) -> None:
    from qgate.errors import QgateError

    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    module, _, name = target.partition(":")
    call = getattr(importlib.import_module(module), name)
    if warm:
        call(Path(warm))
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before, started = _resident("VmRSS"), time.process_time()
    error = crash = ""
    try:
        call(Path(path))
    except QgateError as refusal:
        error = f"{type(refusal).__name__}: {refusal}"
    except BaseException as fault:
        crash = f"{type(fault).__name__}: {fault}"[:2000]
    seconds, peak = time.process_time() - started, _resident("VmHWM")
    print(
        json.dumps(
            {"seconds": seconds, "peak_extra_bytes": max(0, peak - before), "error": error, "crash": crash}
        )
    )


if __name__ == "__main__":
    _main(*sys.argv[1:])
