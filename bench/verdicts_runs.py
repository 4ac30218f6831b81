"""One pair verified as on several machines: other numbers of threads, other processors, and judged by every profile."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qgate.judge import conclude, judge
from qgate.measure import pair as measuring
from qgate.policy.thresholds import resolve
from qgate.records import Severity, Verdict
from qgate.report.schema import TargetReport
from qgate.rules.base import PROFILES
from qgate.sandbox.engaged import Engaged
from qgate.sandbox.launch import Outcome
from qgate.verifier.adhoc import AdHoc, verify_ad_hoc

CHILD = Path(__file__).resolve().parent / "peers" / "verdicts_child.py"
QEMU = "qemu-x86_64"
BEHAVIOUR = "BEH"


class Emulated:
    """The measuring process on an emulated processor; it stays for all cases.

    Args:
        cpu: As ``qemu-x86_64 -cpu help`` lists it.
    """

    def __init__(self, cpu: str) -> None:
        self.cpu = cpu
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, request: str) -> bytes:
        """The bytes that the confined process would have handed over."""
        if self._process is None:
            command = [QEMU, "-cpu", self.cpu, sys.executable, str(CHILD)]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        length = self._process.stdout.read(8)
        if len(length) < 8:
            raise RuntimeError(f"the process on {self.cpu} ended with {self._process.wait()}")
        return self._process.stdout.read(int.from_bytes(length, "little"))

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def can_emulate() -> bool:
    """Whether QEMU's user mode is installed."""
    return shutil.which(QEMU) is not None


@contextmanager
def machine(threads: int | None = None, emulated: Emulated | None = None) -> Iterator[None]:
    """While it lasts, pairs are measured with so many threads, or on an emulated processor."""
    plain = measuring.run_child

    def run_child(request: str, limits: Any, **named: Any) -> Outcome:
        asked = json.dumps({**json.loads(request), "threads": threads}) if threads else request
        if emulated is None:
            return plain(asked, limits, **named)
        return Outcome(emulated.ask(asked), Engaged(user=0, landlock=0, seccomp=False, lacking={}))

    measuring.run_child = run_child
    try:
        yield
    finally:
        measuring.run_child = plain


def verified(asked: AdHoc, threads: int | None = None, emulated: Emulated | None = None) -> TargetReport:
    """The report of a pair on such a machine."""
    with machine(threads, emulated):
        return verify_ad_hoc(asked)


def judged(report: TargetReport) -> dict[str, dict[str, Any]]:
    """By profile: the verdict, that of the rules on behaviour alone, and what blocks."""
    told = {}
    for profile in PROFILES:
        limits = resolve(None, None, profile, report.scheme)
        found = judge(report.measurements, limits, scheme=report.scheme, declared=report.declared)
        kept = [f for f in report.findings if f.effect is Verdict.ERROR]
        own = tuple(f for f in found if f.rule.startswith(BEHAVIOUR))
        blocking = [f for f in (*kept, *found) if f.severity is Severity.ERROR]
        told[profile] = {
            "verdict": conclude((*kept, *found), report.measurements)[0].value,
            "behaviour": conclude(own, report.measurements)[0].value,
            "blocking": [f"{f.rule} {f.at}: {f.message}"[:240] for f in blocking[:6]],
        }
    return told


def verdicts(told: dict[str, dict[str, Any]]) -> dict[str, tuple[str, str]]:
    """What must not flip."""
    return {profile: (each["verdict"], each["behaviour"]) for profile, each in told.items()}


def figures(report: TargetReport) -> dict[str, Any]:
    """Every measurement by name and place, to see whether a machine moves it."""
    return {f"{m.name} {m.at}": m.value for m in report.measurements}
