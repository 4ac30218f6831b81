"""Runs the tests in parts and says in the last line how many of each outcome there were.

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
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parent.parent
PARTS = {
    "unit": ["-n", "2", "-m", "not e2e and not slow"],
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


def run(part: str, total: Counter[str]) -> bool:
    """One part; pytest's exit code 5, nothing collected, is a failure like any other."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}", *PARTS[part]]
        code = subprocess.run(command, check=False, cwd=ROOT).returncode
        lacking = []
        if report.exists():
            written = ElementTree.parse(report)  # noqa: S314 - our own pytest wrote it
            total.update(counts(written))
            lacking = without_package(written)
    if lacking and os.environ.get("CI") == "true":
        print(f"{part} tests: skipped in CI for want of a package: {'; '.join(lacking)}", file=sys.stderr)
        return False
    if code:
        print(f"{part} tests: pytest ended with {code}", file=sys.stderr)
    return code == 0


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
    total: Counter[str] = Counter()
    failed = []
    for part in chosen:
        if part == "e2e" and missing:
            print(NO_ENGINE.format(reason=missing), file=sys.stderr)
            failed.append(part)
        elif not run(part, total):
            failed.append(part)
    figures = ", ".join(f"{total[key]} {key}" for key in ("passed", "failures", "errors", "skipped"))
    outcome = f"FAILED in {', '.join(failed)}" if failed else "passed"
    print(f"qgate tests {outcome}: {figures}; {', '.join(chosen)} in {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
