"""One target from its plan to its verdict: every judgement it needs, then its baseline. Never raises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from qgate.baseline.choice import Circumstances, Locate
from qgate.baseline.regression import extended, judge_against_baseline
from qgate.errors import FormatError, QgateError
from qgate.git.changes import shown
from qgate.plan.authority import Authority
from qgate.plan.orders import FLOOR_PROFILE, Order, comparison_runs, make_orders, same_measurements
from qgate.plan.targets import Planned, TargetRun
from qgate.records import Finding, Place, Severity, Verdict
from qgate.report.schema import Artifact, Skipped, TargetReport
from qgate.rules.traceability import trace_finding

_SHOWN_OUTPUT = ("output.sqnr_db", "output.relative_l2", "output.cosine", "output.top1_agreement")


@dataclass(frozen=True)
class Verifier:
    """How targets are measured and judged.

    Args:
        verify: Measures and judges.
        judge_again: Judges measurements that are there by other lines; None where that cannot be done.
        say: Takes one line of progress.
        locate: Says where in its tensors a candidate differs from the accepted one; None where it cannot be said.
    """

    verify: Callable[[TargetRun], TargetReport]
    judge_again: Callable[[TargetReport, TargetRun], TargetReport] | None
    say: Callable[[str], None]
    locate: Locate | None = None


def judge_target(
    planned: Planned,
    authority: Authority,
    verifier: Verifier,
    around: Circumstances,
    number: tuple[int, int] = (1, 1),
) -> TargetReport | Skipped:
    """Judges one target.

    Returns:
        Its report, ERROR where anything went wrong; or why it is rightly not judged.
    """
    orders = make_orders(planned, authority, around.sides, around.repo.root)
    if not orders:
        return Skipped(name=planned.name, reason="the change removes it from the policy, which is granted")
    orders = tuple(replace(order, run=replace(order.run, number=number)) for order in orders)
    run = orders[0].run
    if planned.gone is not None:
        return _gone(planned, run)
    try:
        report = _merged(_judgements(orders, verifier))
        report = extended(report, _rereference(planned, authority, run, verifier, around))
        report = judge_against_baseline(report, planned, run, around)
    except Exception as error:
        report = error_report(run, error)
    return report.model_copy(update={"proposed": planned.trusted is None})


def error_report(run: TargetRun, error: Exception) -> TargetReport:
    """The report of a target that something kept from being judged."""
    if isinstance(error, QgateError):
        message, remedy, where = str(error), error.remedy, error.where
        if remedy:
            message = message.removesuffix(remedy).removesuffix(". ")
    else:
        message, where = f"qgate failed on this target: {type(error).__name__}: {error}"[:500], ""
        remedy = "This is a defect of qgate; please report it with this message"
    finding = Finding(
        rule=error.rule if isinstance(error, FormatError) else "TRC112",
        severity=Severity.ERROR,
        effect=Verdict.ERROR,
        at=Place(
            file=printable(where) or None, tensor=error.tensor if isinstance(error, FormatError) else None
        ),
        message=printable(message),
        remedy=printable(remedy),
    )
    return _without_measurements(run, finding)


def printable(text: str) -> str:
    """Text that can be stored and printed whatever bytes a path had."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _without_measurements(run: TargetRun, finding: Finding) -> TargetReport:
    return TargetReport(
        name=run.name,
        verdict=finding.effect,
        reason=finding.message,
        profile=run.profile or run.target.profile or run.policy.profile,
        proposed=run.proposed,
        candidate=Artifact(locator=run.candidate.describe()),
        reference=Artifact(locator=run.reference.describe()) if run.reference is not None else None,
        findings=(finding,),
    )


def _gone(planned: Planned, run: TargetRun) -> TargetReport:
    path, moved = planned.gone or ("", None)
    where = f" and {shown(moved)} has the same bytes" if moved is not None else ""
    finding = trace_finding(
        "TRC108",
        f"The change deletes the candidate {shown(path)}{where}; the target still names it",
        at=Place(file=shown(path)),
        evidence={"moved_to": shown(moved)} if moved is not None else {},
        remedy=f"Point `candidate` at {shown(moved)}" if moved is not None else None,
    )
    return _without_measurements(run, finding)


def _judgements(orders: tuple[Order, ...], verifier: Verifier) -> list[tuple[str, TargetReport]]:
    """One report for each order; what is measured once is judged as often as needed."""
    first = _safe(verifier.verify, orders[0].run)
    found = [(orders[0].by, first)]
    for order in orders[1:]:
        again = verifier.judge_again
        if again is not None and first.measurements and same_measurements(orders[0].run, order.run):
            try:
                report = again(first, order.run)
            except Exception as error:
                report = error_report(order.run, error)
        else:
            report = _safe(verifier.verify, order.run)
        found.append((order.by, report))
    return found


def _safe(verify: Callable[[TargetRun], TargetReport], run: TargetRun) -> TargetReport:
    """Verifies, and turns whatever goes wrong into the ERROR of this target; others are not concerned."""
    try:
        report = verify(run)
    except Exception as error:
        return error_report(run, error)
    if report.name != run.name:
        return error_report(run, RuntimeError(f"the verifier answered for {report.name!r}"))
    return report


def _merged(judgements: list[tuple[str, TargetReport]]) -> TargetReport:
    """The worst judgement, with what blocks in the others."""
    by, worst_report = max(judgements, key=lambda judgement: judgement[1].verdict.rank)
    if all(report.verdict is worst_report.verdict for _, report in judgements):
        by, worst_report = judgements[0]
    seen = {(f.rule, str(f.at), f.message) for f in worst_report.findings}
    more = [
        finding.model_copy(update={"message": f"{finding.message} (judged by {other})"})
        for other, report in judgements
        if report is not worst_report
        for finding in report.findings
        if finding.severity is Severity.ERROR and (finding.rule, str(finding.at), finding.message) not in seen
    ]
    if len(judgements) == 1:
        return worst_report
    verdicts = ", ".join(f"{report.verdict.value} by {name}" for name, report in judgements)
    note = trace_finding(
        "TRC113" if any(FLOOR_PROFILE in name for name, _ in judgements) else "TRC105",
        f"Judged by more than one set of lines, the worst counts: {verdicts}",
        severity=Severity.NOTE,
        remedy="",
    )
    reason = f"{worst_report.reason} (judged by {by})"
    return worst_report.model_copy(
        update={"findings": (*worst_report.findings, *more, note), "reason": reason}
    )


def _rereference(
    planned: Planned, authority: Authority, run: TargetRun, verifier: Verifier, around: Circumstances
) -> tuple[Finding, ...]:
    """What a change of reference, data or task means, and how old and new compare."""
    if not planned.rereferenced or authority.trusted is None:
        return ()
    told = f"The change alters {', '.join(planned.rereferenced)} of the target, so old numbers mean little"
    shows = tuple(_comparison(order, verifier) for order in comparison_runs(planned, run, around.sides))
    rule = authority.trusted.rereference
    if rule == "forbid":
        return (
            trace_finding("TRC106", f"{told}; the policy forbids it", remedy="Leave them as they are"),
            *shows,
        )
    by = "the policy (rereference: allow)" if rule == "allow" else around.consent.given_by()
    if by is not None:
        return (
            trace_finding("TRC106", f"{told}; granted by {by}", severity=Severity.NOTE, remedy=""),
            *shows,
        )
    finding = trace_finding(
        "TRC106",
        f"needs the label {around.consent.label}: {told[0].lower()}{told[1:]}; nobody has approved that for this commit",
        effect=Verdict.INCONCLUSIVE,
        remedy=f"A maintainer who is not the author adds the label {around.consent.label}",
    )
    return (finding, *shows)


def _comparison(order: Order, verifier: Verifier) -> Finding:
    report = _safe(verifier.verify, order.run)
    values = {
        f"{m.name} at {m.at}": m.value if m.value is not None else m.not_measured
        for m in report.measurements
        if m.name in _SHOWN_OUTPUT
    }
    evidence = {key: str(value) if isinstance(value, float) else value for key, value in values.items()}
    what = "; ".join(f"{key} {_figure(value)}" for key, value in list(values.items())[:4])
    return trace_finding(
        "TRC106",
        f"For information, {order.by}: {what or 'could not be measured: ' + report.reason}",
        severity=Severity.NOTE,
        evidence=evidence,
        remedy="",
    )


def _figure(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
