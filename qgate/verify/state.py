"""What has been found so far about one pair."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from qgate.errors import QgateError
from qgate.records import DataUsed, Finding, Measurement, Outcomes, Place, Sandbox, Severity, Verdict
from qgate.report.schema import Artifact, CodeUsed, Content


@dataclass
class State:
    """What has been found so far; a step that fails leaves the rest as it is."""

    measurements: list[Measurement] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    data: DataUsed = field(default_factory=lambda: DataUsed(origin="none"))
    sandbox: Sandbox | None = None
    scheme: str | None = None
    ran: bool = False
    timings: dict[str, float] = field(default_factory=dict)
    artifacts: dict[str, Artifact] = field(default_factory=dict)
    content: Content | None = None
    outcomes: Outcomes | None = None
    code: list[CodeUsed] = field(default_factory=list)


def error_finding(error: QgateError, rule: str, side: str = "") -> Finding:
    """An error as a finding that says what happened, where, and what to do."""
    tensor = getattr(error, "tensor", None)
    prefix = f"{side}: " if side else ""
    return Finding(
        rule=rule,
        severity=Severity.ERROR,
        effect=Verdict.ERROR,
        at=Place(file=error.where or None, tensor=tensor),
        message=prefix + error.what,
        remedy=error.remedy,
    )


CODE = "ART114"
"""The rule of files that run code of their own when they are loaded."""


def trusting(finding: Finding, trust: str) -> Finding:
    """The finding of such a file under a policy's `trust`.

    An error under ``data``. Under ``code`` nobody refuses the file, and it is INCONCLUSIVE for want of a
    runner.
    """
    effect = Verdict.INCONCLUSIVE if trust == "code" else Verdict.ERROR
    return finding.model_copy(update={"effect": effect})


def timed(state: State, step: str, since: float) -> None:
    """Adds the seconds since a moment (``time.perf_counter``) to a step."""
    state.timings[step] = state.timings.get(step, 0.0) + time.perf_counter() - since
