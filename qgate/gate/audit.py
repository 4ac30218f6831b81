"""Whether a stored report's verdict follows from its own numbers: judged again from nothing else. Pure.

What it cannot tell is whether the numbers were measured, and whether a waiver or a threshold was the
policy's: for that a run of one's own, or ``mode: publish``, judges by the policy itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from qgate.judge import conclude, judge
from qgate.records import Finding, Verdict
from qgate.report.compose import compose_report
from qgate.report.schema import Report, TargetReport
from qgate.rules.base import no_check
from qgate.rules.catalogue import catalogue

_SHOWN = 200
_BY_OTHERS = " (judged by "


def audit_report(report: Report) -> tuple[str, ...]:
    """Everything in a report that does not follow from the rest of it; empty where all of it does."""
    problems = [f"{target.name}: {told}" for target in report.targets for told in _target(target)]
    passing = report.verdict is Verdict.PASS and not report.targets
    again = compose_report(
        targets=report.targets,
        findings=report.findings,
        skipped=report.skipped,
        notices=report.notices,
        policy=report.policy,
        provenance=report.provenance,
        nothing_to_judge=report.summary.headline if passing else "",
    )
    if again.verdict is not report.verdict:
        problems.append(f"the verdict is {report.verdict}, and what it is made of gives {again.verdict}")
    for key, told in report.summary:
        if told != (made := getattr(again.summary, key)):
            problems.append(f"the summary's {key} is {told!r}"[:_SHOWN] + f", counted {made!r}"[:_SHOWN])
    return tuple(problems)


def _target(target: TargetReport) -> Iterator[str]:
    verdict, _ = conclude(target.findings, target.measurements)
    if verdict is not target.verdict:
        yield f"the verdict is {target.verdict}, and its findings give {verdict}"
    yield from _findings(target)
    yield from _content(target)
    yield from _deltas(target)


def _findings(target: TargetReport) -> Iterator[str]:
    """Findings that the measurements and thresholds do not give, and those that they give beside."""
    if not target.measurements:
        return
    missing = sorted(set(catalogue()) - set(target.thresholds))
    if missing:
        yield f"no thresholds are given for {', '.join(missing[:5])}"
        return
    made = judge(target.measurements, target.thresholds, scheme=target.scheme, declared=target.declared)
    checked = {rule.id for rule in catalogue().values() if rule.check is not no_check}
    stored = [f for f in target.findings if f.rule in checked and _BY_OTHERS not in f.message]
    computed, told = Counter(map(_mark, made)), Counter(map(_mark, stored))
    for mark in (computed - told).elements():
        yield f"the measurements give a finding that is not there: {' '.join(mark)}"[:_SHOWN]
    for mark in (told - computed).elements():
        yield f"the measurements do not give this finding: {' '.join(mark)}"[:_SHOWN]


def _mark(finding: Finding) -> tuple[str, ...]:
    return finding.rule, finding.severity.value, finding.effect.value, str(finding.at), finding.message


def _content(target: TargetReport) -> Iterator[str]:
    if target.content is not None and not target.content.agrees_with(target.candidate):
        yield "the tensors' roots do not give the candidate's content digest"
    told = target.baseline.content
    if told is not None and target.content is not None and told.total not in (0, target.content.count):
        yield f"the content was compared for {told.total} tensors and has {target.content.count}"


def _deltas(target: TargetReport) -> Iterator[str]:
    """Differences to the baseline must be of the numbers that the report gives, and have been found."""
    values = {(m.name, str(m.at)): m.value for m in target.measurements}
    for delta in target.baseline.deltas:
        now = None if delta.gone else values.get((delta.name, delta.at))
        if repr(now) != repr(delta.current):
            yield f"{delta.name} {delta.at} is {now!r} and was compared as {delta.current!r}"[:_SHOWN]
    traced = {finding.rule for finding in target.findings}
    for rule, lost in (("TRC102", "worse"), ("TRC103", "gone")):
        if any(getattr(delta, lost) for delta in target.baseline.deltas) and not traced & {
            "TRC102",
            "TRC103",
        }:
            yield f"measurements are {lost} than the baseline's, and {rule} does not say so"
