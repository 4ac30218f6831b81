"""Judging measurements that are there already by other lines of policy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from qgate.judge import conclude, judge, order
from qgate.measure.executable import RUN_BY_PYTORCH, SCRIPTS, why_not_run
from qgate.policy.code import python_specs
from qgate.records import Finding, Limit, Place, Severity, Verdict
from qgate.report.schema import TargetReport
from qgate.rules.catalogue import catalogue
from qgate.verify.signature import MEASUREMENT
from qgate.verify.state import CODE, trusting

if TYPE_CHECKING:
    from qgate.policy.schema import Policy, Target, Waiver

_NOT_RUN = ("artifact.operator", "artifact.demand")
_FACTS = {"ART101", "ART102", "ART103", "ART104", "ART105", "ART107", "ART108", "ART112", "ART113"}
"""Rules whose errors come from no measurement: they hold by whatever lines are judged."""


def judge_again(
    report: TargetReport,
    *,
    target: Target,
    policy: Policy,
    profile: str | None,
    today: date | None = None,
) -> TargetReport:
    """Judges stored measurements by other lines of policy, opening no file.

    Findings that come from no measurement (a file that cannot be read, a crash) stay as they are, but for
    the waivers that covered them: only those of ``policy`` count.

    Args:
        report: What was measured.
        target: The lines to judge by.
        policy: The policy that they stand in.
        profile: Replaces the target's and the policy's profile.
        today: The day that waivers are held against; this one in UTC if it is None.
    """
    judged_as = report.scheme if target.scheme == "auto" else target.scheme
    from qgate.policy.thresholds import resolve

    limits = resolve(policy, target, profile, judged_as, rules=catalogue())
    # A run that was confined by less is judged by its rule below; one that was refused stays refused.
    facts = _FACTS | ({"ART116"} if report.sandbox is None else set())
    kept = [f for f in report.findings if f.effect is Verdict.ERROR and f.rule in facts]
    kept += [
        trusting(f, target.trust) for f in report.findings if f.rule == CODE and f.severity is Severity.ERROR
    ]
    kept += _no_longer_run(report, target)
    # As when it was measured: what is not signed well enough was not run.
    states = [m.value for m in report.measurements if m.name == MEASUREMENT]
    signed = set(states) <= ({"valid"} if target.require_signature else {"valid", "missing"})
    declared: Mapping[str, Any] = {
        "scheme": target.scheme,
        "derivation": target.derivation,
        "data": report.data.origin,
        "runtimes": list(target.runtimes),
        "deploy": target.deploy,
        "sandbox": policy.sandbox,
        "unconfined": {} if report.sandbox is None else report.sandbox.lacking,
        # Where nothing is told that kept the models from running, outputs must have been measured.
        "ran": not kept and not any(m.name in _NOT_RUN for m in report.measurements) and signed,
        "require_signature": target.require_signature and report.candidate.sha256 is not None,
    }
    kept += [f for f in report.findings if f.rule == "ART113" and f.severity is Severity.NOTE]
    kept = [f.model_copy(update={"waived": None}) for f in kept]
    found = order((*judge(report.measurements, limits, scheme=report.scheme, declared=declared), *kept))
    found = waived(found, policy.waivers, report.name, today, limits)
    verdict, reason = conclude(found, report.measurements)
    judged = {"findings": found, "verdict": verdict, "reason": reason, "thresholds": limits}
    return report.model_copy(update={**judged, "declared": dict(declared)})


def _no_longer_run(report: TargetReport, target: Target) -> Iterator[Finding]:
    """Sides that these lines would not have run: programs that they do not trust, checkpoints without a factory."""
    sides = {"candidate": report.candidate, "reference": report.reference}
    formats = {
        side: each.format
        for side, each in sides.items()
        if each is not None and each.format in RUN_BY_PYTORCH
    }
    told = {m.at.file for m in report.measurements if m.name == "artifact.not_run"}
    for side, reason in why_not_run(formats, python_specs(target), target.trust).items():
        script = formats[side] in SCRIPTS and not any(f.rule == CODE for f in report.findings)
        if side in told and not script:
            continue
        fact, _, step = reason.rpartition(". ")
        yield Finding(
            rule=CODE if script else "ART115",
            severity=Severity.ERROR,
            effect=Verdict.ERROR if script else Verdict.INCONCLUSIVE,
            at=Place(file=side),
            message=fact or step,
            remedy=step if fact else "",
        )


def waived(
    findings: tuple[Finding, ...],
    waivers: tuple[Waiver, ...],
    name: str,
    today: date | None,
    limits: Mapping[str, Mapping[str, Limit]],
) -> tuple[Finding, ...]:
    """The findings with the waivers that hold on that day; today (UTC) without one."""
    if not waivers:
        return findings
    from qgate.policy.waivers import apply_waivers

    return apply_waivers(findings, waivers, name, today or datetime.now(UTC).date(), limits=limits)
