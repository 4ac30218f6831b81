"""A target against its baseline: worse, gone, new, accepted; never a silent pass."""

from __future__ import annotations

from qgate.baseline.acceptance import disagreements
from qgate.baseline.choice import Against, Case, Circumstances, accepted_run, choose_baseline
from qgate.baseline.compare import compare
from qgate.baseline.content import compare_contents
from qgate.baseline.content_finding import content_finding
from qgate.baseline.delta_findings import delta_findings
from qgate.baseline.outcomes import compare_outcomes, outcome_finding
from qgate.baseline.record import Baseline
from qgate.judge import order
from qgate.plan.targets import Planned, TargetRun
from qgate.policy.waivers import apply_waivers
from qgate.records import Finding, Severity, Verdict, worst
from qgate.report.schema import BaselineUsed, ContentDelta, TargetReport
from qgate.rules.traceability import default_limits


def judge_against_baseline(
    report: TargetReport, planned: Planned, run: TargetRun, around: Circumstances
) -> TargetReport:
    """Adds the baseline, the differences to it and what they mean to a judged target.

    Args:
        report: What was measured and found of the judged candidate.
        planned: The target on both sides.
        run: The run that measured it, by the trusted lines where there are any.
        around: See ``Circumstances``.

    Returns:
        The report with baseline, deltas, findings and, where they weigh more, their verdict. Where the
        target could not be measured at all there is nothing to compare, and it stays as it is.

    Raises:
        BaselineError: A refreshed baseline file cannot be written.
    """
    if not report.measurements or report.verdict is Verdict.ERROR:
        used = BaselineUsed(state="not-compared", reason="the target was not measured")
        return report.model_copy(update={"baseline": used})
    limits = {**{rule: default_limits(rule) for rule in ("TRC102", "TRC110")}, **report.thresholds}
    case = Case(report, planned, run, around, limits)
    against = choose_baseline(case)
    carried, refused = _confirmed(case, against.carried)
    deltas = compare(against.entries, report.measurements, limits["TRC102"]) if against.entries else ()
    informational = bool(planned.rereferenced)
    found = delta_findings(deltas, against.entries, limits, target=report.name, informational=informational)
    if carried is not None and any(finding.severity is Severity.ERROR for finding in found):
        accepted = _accepted(case, carried)
        if accepted is None:
            first = next(finding for finding in order(found) if finding.severity is Severity.ERROR)
            found = tuple(_awaiting(each, around.consent.label, leads=each is first) for each in found)
        else:
            found = delta_findings(deltas, against.entries, limits, accepted=accepted)
    content = _content(case, against)
    told = content_finding(content) if content is not None else None
    outcomes = compare_outcomes(against.outcomes, report.outcomes)
    flips = outcome_finding(outcomes, limits.get("TRC115")) if outcomes is not None else None
    said = tuple(each for each in (told, flips) if each is not None)
    fresh = (*against.findings, *refused, *found, *said)
    # Waivers that have run out were reported when the target itself was judged.
    own = apply_waivers(fresh, run.policy.waivers, report.name, around.today)[: len(fresh)]
    used = against.used.model_copy(update={"deltas": deltas, "content": content, "outcomes": outcomes})
    return extended(report, own, baseline=used)


def extended(
    report: TargetReport, found: tuple[Finding, ...], *, baseline: BaselineUsed | None = None
) -> TargetReport:
    """A target's report with more findings, and the verdict that they leave."""
    weighing = [finding for finding in found if finding.waived is None]
    verdict = worst([report.verdict, *(finding.effect for finding in weighing)])
    update: dict[str, object] = {"findings": (*report.findings, *found), "verdict": verdict}
    if baseline is not None:
        update["baseline"] = baseline
    if verdict is not report.verdict:
        update["reason"] = next(finding.message for finding in weighing if finding.effect is verdict)
    return report.model_copy(update=update)


def _content(case: Case, against: Against) -> ContentDelta | None:
    """What the candidate holds against what the accepted model holds, with places where they can be had."""
    model, report = against.model, case.report
    if model is None or (model[1] is None and report.content is None):
        return None
    delta = compare_contents(model, (report.candidate, report.content))
    locate = case.around.locate
    if locate is None or delta.state != "changed" or not {"changed", "renamed"} & set(delta.counts):
        return delta
    return locate(case.run, accepted_run(case), delta, model)


def _confirmed(case: Case, carried: Baseline | None) -> tuple[Baseline | None, tuple[Finding, ...]]:
    """The baseline that the change carries if this run confirms it, and what speaks against it."""
    if carried is None:
        return None, ()
    found = disagreements(carried, case.report, isa=case.around.provenance.isa, limits=case.limits)
    return (None if found else carried), found


def _accepted(case: Case, carried: Baseline) -> str | None:
    """Why and by whom a worse baseline is accepted; None where the policy wants an approval and has none."""
    reason = carried.acceptance.reason if carried.acceptance else "no reason given"
    if case.run.policy.accept == "allow":
        return f"{reason} (allowed by the policy)"
    approver = case.around.consent.given_by()
    return f"{reason} (approved by {approver})" if approver else None


def _awaiting(finding: Finding, label: str, *, leads: bool) -> Finding:
    """A worse number that the change offers for acceptance; the first of them says what it waits for."""
    if finding.severity is not Severity.ERROR:
        return finding
    # Worse numbers that are offered for acceptance are a question to somebody, as is every other approval.
    return finding.model_copy(
        update={
            "effect": Verdict.INCONCLUSIVE,
            "message": f"needs the label {label}: the change carries a baseline that accepts worse numbers, which nobody has "
            f"approved for this commit ({finding.message})"
            if leads
            else finding.message,
            "remedy": f"A maintainer who is not the author adds the label {label} if these numbers are good enough; the baseline "
            "agrees with this run",
        }
    )
