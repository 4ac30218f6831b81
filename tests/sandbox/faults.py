"""Faults that must never turn green: each is done for real, and says whether something was believed.

``CASES`` is a list for tests and for ``bench/integrity_faults.py``. A case is green if it ends as a run that has
measured something ends: exit status 0, or an answer that the parent takes. ``CONTROLS`` are the same runs without
the fault; they must be green, or a case would prove nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from world import LIMITS, PROBE, PROBES, children

from qgate.errors import QgateError
from qgate.measure.belief import Known, require_belief
from qgate.measure.request import PairRequest
from qgate.measure.result import parse_answer
from qgate.sandbox.launch import run_child, waiting_child
from qgate.sandbox.limits import Limits

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
REFERENCE, CANDIDATE = DIGITS / "digits_fp32.onnx", DIGITS / "digits_int8_pc.onnx"
REQUEST = PairRequest(candidate=CANDIDATE, reference=REFERENCE, samples=4)
KNOWN = Known(inputs=("image",), outputs=("logits",), candidate_outputs=("logits",))
SHORT = replace(LIMITS, wall_seconds=2.0)
OUTSIDE = "the model run"


@dataclass(frozen=True)
class Ended:
    """How a case ended.

    Args:
        green: Something was believed, or the command ended with status 0.
        said: What the user is told.
        survivors: Processes that are left.
    """

    green: bool
    said: str
    survivors: int = 0


@dataclass(frozen=True)
class Fault:
    """A fault.

    Args:
        name: What happens, a phrase.
        run: Does it, with an empty folder.
        says: What the message must hold.
    """

    name: str
    run: Callable[[Path], Ended]
    says: str = ""


def honest() -> bytes:
    """A whole and true answer to ``REQUEST``, as the child hands it over."""
    if not _HONEST:
        _HONEST.append(run_child(REQUEST.to_json(), LIMITS).payload)
    return _HONEST[0]


_HONEST: list[bytes] = []


def believed(payload: bytes) -> None:
    """Takes an answer to ``REQUEST`` as the parent does.

    Raises:
        MeasureError: It is none.
    """
    answer = parse_answer(payload, OUTSIDE)
    if answer.result is None:
        raise QgateError("the model run understood an error of its own")
    require_belief(REQUEST, answer.result, KNOWN, OUTSIDE)


def child(attempt: str, limits: Limits = LIMITS, **facts: Any) -> Callable[[Path], Ended]:
    """A confined process that does this instead of measuring."""

    def run(_: Path) -> Ended:
        request = json.dumps({"files": [], "attempts": [attempt], **_told(facts)})
        return _ended(lambda: run_child(request, limits, where=OUTSIDE, program=PROBE).payload)

    return run


def _told(facts: dict[str, Any]) -> dict[str, Any]:
    """Bytes as the probe takes them; made only now, because an honest answer costs a run."""
    parts = [part() if callable(part) else part for part in facts.get("raw", ())]
    return {**facts, "raw": [part.hex() for part in parts]}


def _ended(answer: Callable[[], bytes]) -> Ended:
    try:
        believed(answer())
    except QgateError as error:
        return Ended(False, str(error), len(children()))
    return Ended(True, "", len(children()))


def told(payload: Callable[[], bytes], length: int | None = None) -> list[Callable[[], bytes]]:
    """The lines that hand over a result; ``length`` is a lie about its size."""
    return [lambda: b"result %d\n" % (len(payload()) if length is None else length), payload]


def altered(change: Callable[[dict[str, Any]], None]) -> Callable[[], bytes]:
    """The honest answer with one thing changed."""

    def make() -> bytes:
        found = json.loads(honest())
        change(found["result"])
        return json.dumps(found).encode()

    return make


def killed_from_outside(number: int, *, waiting: bool) -> Callable[[Path], Ended]:
    """The real child, ended by somebody else: while it waits for its request, or while it measures."""

    def run(_: Path) -> Ended:
        if waiting:
            with waiting_child(LIMITS) as sitting:
                if sitting is None:
                    raise AssertionError("no child could be started")
                os.kill(sitting.process.pid, number)
                return _ended(
                    lambda: run_child(REQUEST.to_json(), LIMITS, where=OUTSIDE, child=sitting).payload
                )

        def kill(done: int, _: int) -> None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(children()[0], number)

        request = replace(REQUEST, samples=4000).to_json()
        return _ended(lambda: run_child(request, LIMITS, where=OUTSIDE, progress=kill).payload)

    return run


def command(
    *before: str, options: tuple[str, ...] = (), lacks: str = "", **more: Any
) -> Callable[[Path], Ended]:
    """The whole command, on a machine or in a shell that lacks something."""

    def run(folder: Path) -> Ended:
        kernel = [sys.executable, "-I", str(PROBES / "kernel.py"), lacks] if lacks else []
        done = subprocess.run(
            [*before, *kernel, *_qgate(folder), *options],
            cwd=folder,
            env={**os.environ, "COLUMNS": "300"},
            capture_output="stdout" not in more,
            timeout=120,
            check=False,
            **more,
        )
        said = b" ".join((done.stdout or b"", done.stderr or b"")).decode("utf-8", "replace")
        return Ended(done.returncode == 0, " ".join(said.split()), len(children()))

    return run


def _qgate(folder: Path) -> list[str]:
    models = ["-r", str(REFERENCE), "-c", str(CANDIDATE)]
    return [sys.executable, "-m", "qgate.cli", "verify", *models, "-o", str(folder / "report")]


def shell(line: str) -> Callable[[Path], Ended]:
    """The whole command behind a line of shell that takes something away."""
    return command("/bin/sh", "-c", f'{line}; exec "$@"', "sh")


def replaced(statement: str) -> Callable[[Path], Ended]:
    """The whole command in a process where one thing about the interpreter is not as it should be."""

    def run(folder: Path) -> Ended:
        script = f"import sys\n{statement}\nfrom qgate.cli import main\nsys.argv[1:] = sys.argv[2:]\nmain()"
        argv = _qgate(folder)
        done = subprocess.run(
            [sys.executable, "-c", script, *argv[2:]],
            cwd=folder,
            capture_output=True,
            timeout=120,
            check=False,
        )
        said = (done.stdout + done.stderr).decode("utf-8", "replace")
        return Ended(done.returncode == 0, " ".join(said.split()), len(children()))

    return run


def full_output(folder: Path) -> Ended:
    """The terminal is a full disk."""
    with Path("/dev/full").open("wb") as full:
        return command(stdout=full, stderr=subprocess.PIPE)(folder)


def signalled(number: int, *, measuring: bool) -> Callable[[Path], Ended]:
    """The whole command gets a signal while its child starts, or measures; the child must not survive it."""

    def run(folder: Path) -> Ended:
        # A test run under nohup hands an ignored SIGHUP down, and what is ignored cannot end the command.
        heard = [] if number == signal.SIGKILL else ["env", f"--default-signal={number}"]
        argv = [*heard, *_qgate(folder), "--samples", "100000"]
        with subprocess.Popen(argv, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as gate:
            pid = _child_of(gate)
            handle = os.pidfd_open(pid)
            try:
                if measuring:
                    _await_confinement(pid)
                    # It stands still, so that the command cannot come to an end by itself.
                    os.kill(pid, signal.SIGSTOP)
                gate.send_signal(number)
                said = gate.communicate(timeout=60)[0].decode("utf-8", "replace")
                gone = bool(select.select([handle], [], [], 60)[0])
            finally:
                os.close(handle)
        return Ended(gate.returncode == 0, said, int(not gone))

    return run


def _child_of(gate: subprocess.Popen[bytes]) -> int:
    """Waits until the command has a child; it has one before it reads a model."""
    place = Path(f"/proc/{gate.pid}/task/{gate.pid}/children")
    while gate.poll() is None:
        found = place.read_text().split()
        if found:
            return int(found[0])
        os.sched_yield()
    raise AssertionError("the command ended without a child")


def _await_confinement(pid: int) -> None:
    """Waits until a process is behind a filter of system calls."""
    place = Path(f"/proc/{pid}/status")
    while "\nSeccomp:\t2\n" not in place.read_text():
        os.sched_yield()
