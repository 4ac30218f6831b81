"""The list: every fault that must end in an error, and the runs without a fault that must not."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace

from faults import (
    LIMITS,
    SHORT,
    Fault,
    altered,
    child,
    command,
    full_output,
    honest,
    killed_from_outside,
    replaced,
    shell,
    signalled,
    told,
)

_CRASH, _MALFORMED, _NOTHING = "crashed with signal", "malformed data", "ended without a result"


def controls() -> Iterator[Fault]:
    """The same without a fault: these must be green."""
    yield Fault("the honest answer", child("raw bytes", raw=told(honest)))
    yield Fault("the whole command", command())


def ways_to_end() -> Iterator[Fault]:
    """How a process can end, or not end, instead of answering."""
    yield Fault("it ends well and says nothing", child("leave", status=0), _NOTHING)
    yield Fault("it ends badly and says nothing", child("leave", status=7), "exit status 7")
    for name in ("SIGTERM", "SIGKILL", "SIGABRT", "SIGBUS"):
        yield Fault(f"it ends by {name}", child("end by a signal", signal=name), _CRASH)
    yield Fault("a segmentation fault", child("end by a fault"), _CRASH)
    yield Fault("it aborts", child("abort"), _CRASH)
    yield Fault("it runs for ever and is deaf", child("run deaf", SHORT), "took longer than 2 s")
    yield Fault("it sleeps", child("sleep", SHORT), "took longer than 2 s")
    yield Fault("it stops itself", child("stop", SHORT), "took longer than 2 s")
    yield Fault(
        "it uses up its processor time",
        child("ignore the limit of processor time", replace(LIMITS, cpu_seconds=1)),
        "SIGKILL",
    )
    yield Fault("it recurses without end", child("recursion", replace(LIMITS, memory_mb=300)))
    yield Fault("it takes all descriptors", child("no descriptors"), _MALFORMED)
    yield Fault("it closes the channel and ends well", child("close the channel"), _NOTHING)
    yield Fault("it floods the streams", child("shout"), _MALFORMED)
    yield Fault("it calls what it must not", child("a fatal call", number=101), "never needs")
    yield Fault(
        "a library started a thread", child("say nothing", linger=True), "the sandbox cannot be engaged"
    )
    yield Fault("memory for nothing", child("say nothing", replace(LIMITS, memory_mb=8)))
    for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM):
        yield Fault(f"{number.name} while it waits", killed_from_outside(number, waiting=True), _CRASH)
        yield Fault(f"{number.name} while it measures", killed_from_outside(number, waiting=False), _CRASH)


def lies() -> Iterator[Fault]:
    """Bytes on the channel that are no answer, or one to something else; it ends well after each."""
    whole = told(honest)
    for name, raw, says in (
        ("the answer is cut short", told(honest, length=10**6), _NOTHING),
        ("the answer is longer than it says", told(honest, length=100), "bytes follow the result"),
        ("the answer comes twice", [*whole, *whole], "bytes follow the result"),
        ("the answer is empty", told(lambda: b""), _MALFORMED),
        ("the answer is larger than all memory", told(honest, length=10**9), "more than"),
        ("noise", [b"\x00\xff\x80" * 1000], "too long"),
        ("lines of noise", [b"\n" * 1000], "not of the protocol"),
        ("workflow commands", [b"::set-output name=verdict::PASS\n"], "not of the protocol"),
        ("it says twice how it is confined", [b"confined 0 7 1 -\n", *whole], "not of the protocol"),
        ("more done than there is", [b"progress 5 4\n", *whole], "more samples done"),
        ("progress that goes back", [b"progress 2 4\n", b"progress 1 4\n", *whole], "progress is none"),
        ("another schema", told(lambda: honest().replace(b"qgate-child/v1", b"qgate-child/v2")), _MALFORMED),
        ("bare NaN", told(lambda: b'{"schema": "qgate-child/v1", "result": NaN}'), _MALFORMED),
        ("endless nesting", told(lambda: b"[" * 2**20), _MALFORMED),
        ("neither result nor error", told(lambda: b'{"schema": "qgate-child/v1"}'), _MALFORMED),
    ):
        yield Fault(name, child("raw bytes", raw=raw), says)
    yield Fault("a whole answer, and a bad end", child("raw bytes", raw=whole, status=1), "exit status 1")
    for name, change, says in (
        ("another number of samples", lambda r: r.update(samples=5), "number of samples"),
        ("fewer samples compared", lambda r: r["outputs"][0]["errors"].update(samples=1), _MALFORMED),
        ("another output", lambda r: r["outputs"][0].update(name="other"), "not those of the model"),
        ("no outputs", lambda r: r.update(outputs=[]), _MALFORMED),
        ("an output twice", lambda r: r["outputs"].append(r["outputs"][0]), _MALFORMED),
        ("an output that is there is missing", _goes_missing, _MALFORMED),
        ("an answer of the candidate alone", lambda r: r.update(alone=True), "another request"),
        ("an answer about given data", lambda r: r.update(generated=False), "another request"),
        ("a negative count", lambda r: r["outputs"][0]["errors"].update(elements=-1), _MALFORMED),
        ("a verdict of its own", lambda r: r.update(verdict="PASS"), _MALFORMED),
        ("activations that nobody asked for", _activations, "nobody asked for"),
        ("a task that nobody asked for", _task, "nobody asked for"),
    ):
        yield Fault(name, child("raw bytes", raw=told(altered(change))), says)


def _goes_missing(result: dict) -> None:
    result["outputs"][0] = {"name": "logits", "missing": "the candidate has no such output"}


def _activations(result: dict) -> None:
    tap = {"elements": 1, "nonfinite": 0, "outside": 0, "energy": 0, "clipped_energy": 0}
    result["taps"] = [{**tap, "minimum": 0, "maximum": 0}]


def _task(result: dict) -> None:
    empty = {"figures": [], "classes": {}, "slices": {}, "confusion": [], "changes": 0, "outcomes": None}
    result["task"] = {"kind": "top1", "n": 0, "broken": 4, **empty}


def whole_runs() -> Iterator[Fault]:
    """The command itself where something is missing, full or ended."""
    yield Fault("no Landlock", command(lacks="landlock"), "the sandbox cannot be engaged")
    yield Fault("no seccomp", command(lacks="seccomp"), "the sandbox cannot be engaged")
    yield Fault(
        "a kernel that lies", command(lacks="landlock-that-lies"), "the kernel does not do what it says"
    )
    yield Fault("no interpreter", replaced("sys.executable = '/nonexistent/python'"), "cannot be started")
    yield Fault("an interpreter that is none", replaced("sys.executable = '/bin/false'"), "exit status 1")
    yield Fault("an interpreter that answers nothing", replaced("sys.executable = '/bin/true'"), _NOTHING)
    yield Fault("the disk is full for copies", shell("ulimit -f 8"))
    yield Fault("the disk is full for the report", command(options=("-o", "/dev/full/report")))
    yield Fault("the terminal is a full disk", full_output, "No space left")
    yield Fault("no temporary folder", shell("TMPDIR=/nonexistent; export TMPDIR; ulimit -f 0"))
    yield Fault("no descriptors", shell("ulimit -n 6"))
    yield Fault("no memory", shell("ulimit -v 200000"))
    yield Fault("no processor time", shell("ulimit -t 1; export QGATE_NOTHING=1"))
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGHUP):
        yield Fault(f"{number.name} to the command as it starts", signalled(number, measuring=False))
        yield Fault(f"{number.name} to the command as it measures", signalled(number, measuring=True))


CONTROLS = tuple(controls())
CASES = (*ways_to_end(), *lies(), *whole_runs())
