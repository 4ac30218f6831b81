"""Runs the tests in parts and says in the last line how many of each outcome there were.

The unit tests and the end-to-end tests run at the same time: those wait for an image to be built and for containers.
What the end-to-end part printed comes once both are done.

The end-to-end part needs a Docker engine. Where none answers it fails, loudly, unless QGATE_E2E=skip
says that the reader knows; under CI there is no such word.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parent.parent
# One more than there are processors: a test that starts processes waits for them half of its time. Each worker keeps to
# the modules that it began with, whose fixtures and libraries are its own, until it has none left.
WORKERS = len(os.sched_getaffinity(0)) + 1
PARTS = {
    "unit": ["-n", str(WORKERS), "--dist", "worksteal", "-m", "not e2e and not slow"],
    "e2e": ["-n", "0", "-m", "e2e and not slow", "tests/e2e"],
    "slow": ["-n", "0", "-m", "slow"],
}
NO_PACKAGE = ("could not import", "of the extra", "is not installed")
"""Of a reason to skip; in CI everything is installed, so such a test was forgotten."""

NO_ENGINE = """
======================================================================
 THE END-TO-END TESTS WERE NOT RUN: {reason}
 The container and the workflow are untested. Start Docker, or say
 QGATE_E2E=skip to accept that on your own machine.
======================================================================
"""


def engine() -> str:
    """Why no Docker engine can be used; empty if one answers."""
    try:
        command = ["docker", "version", "--format", "{{.Server.Version}}"]
        answer = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    except FileNotFoundError:
        return "there is no docker command"
    except subprocess.TimeoutExpired:
        return "the Docker engine does not answer within 30 s"
    return "" if answer.returncode == 0 else "no Docker engine answers"


def counts(written: ElementTree.ElementTree) -> Counter[str]:
    """The outcomes that pytest wrote down."""
    total: Counter[str] = Counter()
    for suite in written.iter("testsuite"):
        bad = {key: int(suite.get(key, "0")) for key in ("failures", "errors", "skipped")}
        total.update(bad, passed=int(suite.get("tests", "0")) - sum(bad.values()))
    return total


def without_package(written: ElementTree.ElementTree) -> list[str]:
    """Why tests were skipped, of those that lacked nothing but a package that ``make`` installs."""
    reasons = {skipped.get("message", "") for skipped in written.iter("skipped")}
    return sorted(reason for reason in reasons if any(words in reason for words in NO_PACKAGE))


@dataclass(frozen=True)
class Ran:
    """A part that was run: whether all of it passed, its counts, and what it printed where that was held back."""

    passed: bool
    total: Counter[str]
    output: str = ""


def run(part: str, *, aside: bool = False) -> Ran:
    """One part; pytest's exit code 5, nothing collected, is a failure like any other.

    Args:
        part: Its name.
        aside: Another part prints at the same time, so hold back what this one does.
    """
    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}", *PARTS[part]]
        where = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} if aside else {}
        ended = subprocess.run(command, check=False, cwd=ROOT, text=True, errors="replace", **where)
        lacking = []
        if report.exists():
            written = ElementTree.parse(report)  # noqa: S314 - our own pytest wrote it
            total.update(counts(written))
            lacking = without_package(written)
    said = ended.stdout or ""
    if lacking and os.environ.get("CI") == "true":
        said += f"{part} tests: skipped in CI for want of a package: {'; '.join(lacking)}\n"
        return Ran(False, total, said)
    if ended.returncode or not total["passed"]:
        return Ran(False, total, f"{said}{part} tests: pytest ended with {ended.returncode}\n")
    return Ran(True, total, said)


def run_all(chosen: list[str]) -> dict[str, Ran]:
    """The parts by name: unit and end-to-end tests together, and then the others."""
    found: dict[str, Ran] = {}
    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(run, "e2e", aside=True) if {"unit", "e2e"} <= set(chosen) else None
        for part in chosen:
            found[part] = beside.result() if part == "e2e" and beside is not None else run(part)
            print(found[part].output, end="", file=sys.stderr, flush=True)
    return found


def parts(arguments: argparse.Namespace) -> tuple[list[str], str]:
    """Which parts to run, and the reason if the end-to-end part may not be left out but cannot run."""
    if arguments.unit:
        return ["unit"], ""
    chosen = ["unit", "e2e", "slow"] if arguments.all else ["unit", "e2e"]
    asked = os.environ.get("QGATE_E2E", "")
    if asked == "skip" and os.environ.get("CI") != "true":
        print(NO_ENGINE.format(reason="QGATE_E2E=skip"), file=sys.stderr)
        return [part for part in chosen if part != "e2e"], ""
    return chosen, engine()


def main() -> int:
    """Runs the parts that were asked for; 0 only if all of them ran and passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--unit", action="store_true", help="only what needs no container")
    parser.add_argument("--all", action="store_true", help="the long tests too")
    chosen, missing = parts(parser.parse_args())
    began = time.monotonic()
    failed = []
    if "e2e" in chosen and missing:
        print(NO_ENGINE.format(reason=missing), file=sys.stderr)
        failed.append("e2e")
    ran = run_all([part for part in chosen if part not in failed])
    failed += [part for part, outcome in ran.items() if not outcome.passed]
    total = sum((outcome.total for outcome in ran.values()), Counter())
    figures = ", ".join(f"{total[key]} {key}" for key in ("passed", "failures", "errors", "skipped"))
    outcome = f"FAILED in {', '.join(failed)}" if failed else "passed"
    print(f"qgate tests {outcome}: {figures}; {', '.join(chosen)} in {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
