"""Whole processes, measured: seconds by the clock and of the processors, peak memory, and what they say last."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Spent:
    """What one process took.

    Args:
        seconds: By the clock, from its start to its end, imports included.
        cpu: Seconds of the processors, by all of its threads and children.
        peak: MiB of resident memory at most, of the largest of it and its children; pages of mapped files count.
        said: The last line that it printed.
        failed: Why there is no figure; empty where there is one.
    """

    seconds: float
    cpu: float
    peak: float
    said: str = ""
    failed: str = ""


def spend(
    command: Sequence[str],
    *,
    memory_gib: float | None = None,
    timeout: float = 1800,
    accepted: tuple[int, ...] = (0,),
    environment: Mapping[str, str] | None = None,
) -> Spent:
    """Runs a command in an empty folder of its own.

    A process begins with the peak of the one that started it (execve keeps it), so the callers stay small.

    Args:
        command: The command line.
        memory_gib: Its address space may not be larger; what a tool needs beyond is told as a failure.
        timeout: Seconds after which it is ended.
        accepted: Exit statuses of a run that counts.
        environment: More variables.
    """

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if memory_gib is not None:
            most = int(memory_gib * (1 << 30))
            resource.setrlimit(resource.RLIMIT_AS, (most, most))

    with tempfile.TemporaryDirectory(prefix="layers-run-") as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            began = time.perf_counter()
            process = subprocess.Popen(
                command, stdout=stdout, stderr=stderr, cwd=folder, preexec_fn=limited,  # noqa: PLW1509
                env={**os.environ, **(environment or {})},
            )  # fmt: skip
            usage, code, late = _wait(process, began + timeout)
            seconds = time.perf_counter() - began
        said = (out.read_text(errors="replace").strip().splitlines() or [""])[-1]
        why = _why(code, late, timeout, memory_gib, err.read_text(errors="replace"))
        failed = "" if code in accepted and not late else why
    return Spent(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, said, failed)


def _wait(process: subprocess.Popen[bytes], until: float) -> tuple[resource.struct_rusage, int, bool]:
    late = False
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return usage, process.returncode, late
        if not late and time.perf_counter() > until:
            late = True
            process.kill()
        time.sleep(0.005)


def _why(code: int, late: bool, timeout: float, memory_gib: float | None, told: str) -> str:
    if late:
        return f"no end after {timeout:.0f} s"
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    short = (
        "MemoryError",
        "bad_alloc",
        "Unable to allocate",
        "Failed to allocate memory",
        "ArrayMemoryError",
    )
    if memory_gib is not None and (code < 0 or any(sign in told for sign in short)):
        return f"out of memory at {memory_gib:g} GiB"
    raised = [line for line in lines if "Error" in line or "Exception" in line]
    return (raised or lines or [f"exit status {code}"])[-1][:160]


def median(runs: Sequence[Spent]) -> Spent:
    """The medians of several runs of one command; the failure of any of them."""
    failed = next((run.failed for run in runs if run.failed), "")
    middle = [statistics.median(getattr(run, name) for run in runs) for name in ("seconds", "cpu", "peak")]
    return Spent(*middle, said=runs[-1].said, failed=failed)


def load() -> str:
    """Under what the figures were taken."""
    now = "/".join(f"{each:.1f}" for each in os.getloadavg())
    return f"{len(os.sched_getaffinity(0))} processors, load average {now}"
