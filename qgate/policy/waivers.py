"""Findings that the policy accepts until a day."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date

from qgate.policy.schema import Waiver
from qgate.records import Finding, Limit, Verdict
from qgate.rules.traceability import trace_finding


def apply_waivers(
    findings: Iterable[Finding],
    waivers: Iterable[Waiver],
    target_name: str,
    today: date,
    *,
    limits: Mapping[str, Mapping[str, Limit]] | None = None,
) -> tuple[Finding, ...]:
    """Marks what is waived and reports waivers that have run out.

    A waived finding keeps severity, effect and evidence and gets the waiver's reason; it no longer
    decides. What could not be measured (effect ERROR) is never waived: nobody knows what would be
    accepted. A waiver holds through its last day; after that it covers nothing and is a finding of
    TRC104, whether or not it would have covered something.

    Args:
        findings: The target's findings.
        waivers: The trusted policy's waivers, of any target.
        target_name: The target.
        today: The day of this run, in UTC.
        limits: Thresholds in force, for the severity of TRC104; those of ``balanced`` without it.

    Returns:
        The same findings in the same order, then one finding for each expired waiver.
    """
    own = [waiver for waiver in waivers if waiver.target == target_name]
    valid = [waiver for waiver in own if today <= waiver.until]
    found = tuple(findings)
    judged = tuple(_waive(finding, valid) for finding in found)
    expired = tuple(_expired(waiver, found, limits) for waiver in own if today > waiver.until)
    return judged + expired


def covers(waiver: Waiver, finding: Finding) -> bool:
    """Whether the waiver is meant for the finding, the day apart."""
    if finding.effect is Verdict.ERROR or finding.rule != waiver.rule:
        return False
    return waiver.at is None or waiver.at == str(finding.at)


def _waive(finding: Finding, waivers: list[Waiver]) -> Finding:
    reason = next((waiver.reason for waiver in waivers if covers(waiver, finding)), None)
    return finding if reason is None else finding.model_copy(update={"waived": reason})


def _expired(
    waiver: Waiver, findings: tuple[Finding, ...], limits: Mapping[str, Mapping[str, Limit]] | None
) -> Finding:
    covered = sum(covers(waiver, finding) for finding in findings)
    place = f" at {waiver.at}" if waiver.at is not None else ""
    rest = (
        f"it covers {covered} of this run's findings no longer" if covered else "it would cover nothing now"
    )
    return trace_finding(
        "TRC104",
        f"The waiver of {waiver.rule}{place} ended on {waiver.until.isoformat()}; {rest}",
        limits=limits,
        evidence={
            "rule": waiver.rule,
            "at": waiver.at or "",
            "until": waiver.until.isoformat(),
            "reason": waiver.reason,
            "covered": covered,
        },
        remedy=None if covered else "Remove the waiver",
    )
