"""What findings come to: the mark of a dimension, and which findings make it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from qgate.records import Finding, Severity, Verdict, weigher


class Mark(StrEnum):
    """What a dimension of a target comes to."""

    ERROR = "error"
    FAIL = "fail"
    OPEN = "open"
    WARNING = "warning"
    PASS = "pass"  # noqa: S105 - a verdict, not a password
    NONE = "none"


MARK_OF_VERDICT: Mapping[Verdict, Mark] = {
    Verdict.ERROR: Mark.ERROR,
    Verdict.FAIL: Mark.FAIL,
    Verdict.INCONCLUSIVE: Mark.OPEN,
    Verdict.PASS: Mark.PASS,
}


def blocking(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors that no waiver covers, those that hide more first."""
    found = [f for f in findings if f.severity is Severity.ERROR and f.waived is None]
    return tuple(sorted(found, key=weigher(found)))


def informing(findings: Iterable[Finding], severity: Severity) -> tuple[Finding, ...]:
    """Findings of a severity that no waiver covers."""
    return tuple(f for f in findings if f.severity is severity and f.waived is None)


def waived(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings that a waiver covers."""
    return tuple(f for f in findings if f.waived is not None)
