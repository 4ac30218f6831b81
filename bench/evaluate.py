"""Runs qgate over the examples (and a corpus) and writes ``docs/evaluation.md``.

``python bench/evaluate.py [--examples DIR] [--corpus DIR] [--jobs N] [--misses FILE]``. A corpus is made by
``python -m tests.corpus.build DIR``.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from evaluate_cases import Case, example_cases, manifest_cases
from evaluate_render import misses, section, totals

ROOT = Path(__file__).resolve().parents[1]
TRACEBACK = "Traceback (most recent call last)"


@dataclass(frozen=True)
class Outcome:
    """What qgate said about one case."""

    case: Case
    verdict: str
    seconds: float
    findings: tuple[dict[str, Any], ...] = ()
    relative_error: float | None = None
    measurements: tuple[dict[str, Any], ...] = ()
    traceback: bool = False
    output: str = ""
    reason: str = ""
    problems: tuple[str, ...] = field(default=())

    @property
    def blocking(self) -> list[dict[str, Any]]:
        """The findings that block, worst and first as reported."""
        return [f for f in self.findings if f["severity"] == "error" and f.get("waived") is None]

    @property
    def right(self) -> bool:
        """Whether the verdict is one of those expected (any verdict but PASS blocks)."""
        return self.verdict in self.case.expected

    @property
    def blocked(self) -> bool:
        """Any outcome that is not green: for honest files a crash counts too."""
        return self.verdict != "PASS"

    @property
    def caught(self) -> bool:
        """Blocked with a report: for faults a crash or a hang does not count."""
        return self.verdict in ("FAIL", "ERROR", "INCONCLUSIVE")

    @property
    def located(self) -> str:
        """``place``: a blocking finding's place is the fault's; ``text``: it names it; ``no``."""
        if not self.case.locate or not self.blocking:
            return "no"
        if set(self.case.locate) & {"file", "model"}:
            return "place"
        for finding in self.blocking:
            if set(self.case.locate) & {v for k, v in finding["at"].items() if isinstance(v, str)}:
                return "place"
        text = json.dumps([[f["message"], f["evidence"], f["at"]] for f in self.blocking], ensure_ascii=False)
        named = any(
            re.search(rf"(?<![\w./:]){re.escape(name)}(?![\w./:])", text) for name in self.case.locate
        )
        return "text" if named else "no"


def verify(case: Case, command: list[str], timeout: float) -> Outcome:
    """Runs ``qgate verify`` on one case in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="evaluate-") as scratch:
        report = Path(scratch) / "report"
        line = [*command, "verify", "--reference", str(case.reference), "--candidate", str(case.candidate)]
        line += ["--inputs", str(case.data)] if case.data else []
        line += ["--labels", case.labels] if case.labels else []
        line += [*case.arguments, "--report", str(report)]
        start = time.perf_counter()
        try:
            done = subprocess.run(
                line, capture_output=True, text=True, timeout=timeout, check=False, cwd=scratch
            )
        except subprocess.TimeoutExpired:
            return Outcome(case, "HUNG", timeout, output=f"no end after {timeout:.0f} s")
        seconds, text = time.perf_counter() - start, done.stdout + done.stderr
        return _read(case, report / "report.json", done.returncode, seconds, text)


def _read(case: Case, stored: Path, code: int, seconds: float, text: str) -> Outcome:
    crashed = TRACEBACK in text
    if not stored.exists():
        verdict = {0: "PASS", 1: "FAIL", 2: "ERROR"}.get(code, f"EXIT {code}")
        verdict = verdict if code == 2 and not crashed else f"{verdict} without report"
        return Outcome(case, verdict, seconds, traceback=crashed, output=text[-2000:])
    report = json.loads(stored.read_text())
    target = report["targets"][0] if report["targets"] else {}
    measured = target.get("measurements", [])
    errors = [m["value"] for m in measured if m["name"] == "output.mean_relative_error"]
    numbers = [float(value) for value in errors if value is not None]
    findings = (*target.get("findings", ()), *report.get("findings", ()))
    worst = max(numbers, key=lambda n: (n != n, n)) if numbers else None
    expected_code = {"PASS": 0, "FAIL": 1}.get(report["verdict"], 2)
    problems = () if code == expected_code else (f"exit {code} with verdict {report['verdict']}",)
    return Outcome(
        case, report["verdict"], seconds, findings, worst, tuple(measured), crashed, text[-2000:],
        target.get("reason", ""), problems,
    )  # fmt: skip


def run_all(cases: list[Case], command: list[str], jobs: int, timeout: float) -> list[Outcome]:
    """All cases, a line of progress for each, in the order given."""
    outcomes: list[Outcome] = []
    with ThreadPoolExecutor(jobs) as pool:
        for outcome in pool.map(lambda case: verify(case, command, timeout), cases):
            outcomes.append(outcome)
            mark = "ok  " if outcome.right else "MISS"
            print(f"{mark} {outcome.verdict:<13} {outcome.seconds:6.1f} s  {outcome.case.id}", flush=True)
    return outcomes


def write_between(path: Path, marker: str, text: str) -> None:
    """Replaces what stands between the marker's two comments; appends them where they are missing."""
    begin, end = f"<!-- {marker}:begin -->", f"<!-- {marker}:end -->"
    old = path.read_text() if path.exists() else "# Evaluation\n"
    block = f"{begin}\n{text.rstrip()}\n{end}"
    if begin in old and end in old:
        new = old[: old.index(begin)] + block + old[old.index(end) + len(end) :]
    else:
        new = old.rstrip("\n") + "\n\n" + block + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(new)


def main() -> int:
    """Command line; exit 1 where a case that is not debatable came out wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=Path, default=ROOT / "examples")
    parser.add_argument("--corpus", type=Path, help="folder that tests.corpus.build wrote")
    parser.add_argument("--only", default="", help="regular expression that case ids must match")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds per case")
    parser.add_argument("--qgate", default=str(Path(sys.executable).parent / "qgate"))
    parser.add_argument("--docs", type=Path, default=ROOT / "docs" / "evaluation.md")
    parser.add_argument("--no-docs", action="store_true", help="print only")
    parser.add_argument("--misses", type=Path, help="write the misses with what the report said")
    arguments = parser.parse_args()
    wanted = re.compile(arguments.only)
    groups: dict[str, list[Outcome]] = {}
    with tempfile.TemporaryDirectory(prefix="evaluate-data-") as scratch:
        sources = {"examples": list(example_cases(arguments.examples, Path(scratch)))}
        if arguments.corpus:
            sources["corpus"] = list(manifest_cases(arguments.corpus))
        for name, cases in sources.items():
            chosen = [case for case in cases if wanted.search(case.id)]
            groups[name] = run_all(chosen, [arguments.qgate], arguments.jobs, arguments.timeout)
    for name, outcomes in groups.items():
        if not outcomes:
            continue
        print(f"\n{name}\n" + totals(outcomes))
        if not arguments.no_docs:
            write_between(arguments.docs, name, section(outcomes, full=name == "examples"))
    every = [outcome for outcomes in groups.values() for outcome in outcomes]
    if arguments.misses:
        arguments.misses.write_text(misses(every))
    return int(any(not o.right and not o.case.debatable for o in every))


if __name__ == "__main__":
    sys.exit(main())
