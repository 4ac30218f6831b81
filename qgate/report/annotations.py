"""Findings as workflow commands: the annotations that GitHub shows in the run and beside the diff."""

import re
from collections.abc import Iterator, Mapping, Sequence

from qgate.records import Finding, Severity, Verdict, Weight, weigher
from qgate.report import escape, view
from qgate.report.schema import Report, TargetReport

PER_SEVERITY = 10
"""What GitHub keeps of each severity for one step; it drops the rest without a word."""

_COMMANDS: Mapping[Severity, str] = {
    Severity.ERROR: "error",
    Severity.WARNING: "warning",
    Severity.NOTE: "notice",
}
_RELATIVE_PATH = re.compile(r"(?!/)(?!\.\./)[A-Za-z0-9._-][A-Za-z0-9._/+@= -]{0,300}")


def annotations(report: Report) -> list[str]:
    """Workflow commands, at most ten of each severity, the worst first; waived findings have none.

    Where there are more, the tenth says how many. Each is one line that the runner reads as exactly one
    command, whatever names a finding quotes.
    """
    by_severity: dict[Severity, list[str]] = {severity: [] for severity in Severity}
    for target, finding in _worst_first(report):
        by_severity[finding.severity].append(_command(finding, target))
    for target in report.targets:  # a verdict that nothing explains must not be silent
        if target.verdict is not Verdict.PASS and not view.blocking(target.findings):
            by_severity[Severity.ERROR].append(_bare_verdict(target))
    return [line for severity, lines in by_severity.items() for line in _capped(severity, lines)]


def _worst_first(report: Report) -> list[tuple[TargetReport | None, Finding]]:
    found: list[tuple[Weight, TargetReport | None, Finding]] = []
    for target in (None, *view.by_verdict(report.targets)):
        held = report.findings if target is None else target.findings
        weight = weigher(held)
        found.extend((weight(finding), target, finding) for finding in held if finding.waived is None)
    return [(target, finding) for _, target, finding in sorted(found, key=lambda each: each[0])]


def _capped(severity: Severity, lines: Sequence[str]) -> Iterator[str]:
    if len(lines) <= PER_SEVERITY:
        yield from lines
        return
    yield from lines[: PER_SEVERITY - 1]
    left = len(lines) - PER_SEVERITY + 1
    yield f"::{_COMMANDS[severity]} title=qgate::{left} more {severity.value}s are in the job summary"


def _command(finding: Finding, target: TargetReport | None) -> str:
    properties = []
    path = finding.at.file or (target.candidate.locator if target else None)
    if path and _RELATIVE_PATH.fullmatch(path) and ".." not in path.split("/"):
        properties.append(f"file={escape.workflow_property(path)}")
    about = f" {escape.name(target.name, 60)}" if target else ""
    properties.append(f"title={escape.workflow_property(f'qgate {escape.name(finding.rule, 24)}{about}')}")
    place = str(finding.at.model_copy(update={"file": None}))
    parts = (escape.visible(place, 300), escape.visible(finding.message), escape.visible(finding.remedy, 500))
    message = escape.workflow_message(": ".join(filter(None, parts[:2])))
    remedy = f"%0A{escape.workflow_message(parts[2])}" if parts[2] else ""
    return f"::{_COMMANDS[finding.severity]} {','.join(properties)}::{message}{remedy}"


def _bare_verdict(target: TargetReport) -> str:
    title = escape.workflow_property(f"qgate {target.verdict.value} {escape.name(target.name, 60)}")
    return f"::error title={title}::{escape.workflow_message(target.reason) or target.verdict.value}"
