"""Targets and findings to one verdict."""

from __future__ import annotations

from qgate.records import Finding, Severity, Verdict
from qgate.report.compose import compose_report
from qgate.report.schema import Artifact, Provenance, Report, TargetReport


def target(name: str, verdict: Verdict, *findings: Finding) -> TargetReport:
    return TargetReport(
        name=name,
        verdict=verdict,
        reason=f"{name} is {verdict.value}",
        profile="balanced",
        candidate=Artifact(locator="m"),
        findings=findings,
    )


def finding(effect: Verdict, **more: str) -> Finding:
    severity = Severity.NOTE if effect is Verdict.PASS else Severity.ERROR
    return Finding(rule="TRC107", severity=severity, effect=effect, message="not run", **more)  # type: ignore[arg-type]


def compose(*targets: TargetReport, **more: object) -> Report:
    return compose_report(targets=targets, provenance=Provenance(tool="t"), **more)  # type: ignore[arg-type]


def test_the_worst_target_decides() -> None:
    report = compose(target("a", Verdict.PASS), target("b", Verdict.INCONCLUSIVE), target("c", Verdict.FAIL))
    assert report.verdict is Verdict.FAIL
    assert report.summary.headline == "c: c is FAIL"
    assert (report.summary.passed, report.summary.inconclusive, report.summary.failed) == (1, 1, 1)


def test_all_green() -> None:
    assert compose(target("a", Verdict.PASS)).summary.headline == "a: a is PASS"
    assert (
        compose(target("a", Verdict.PASS), target("b", Verdict.PASS)).summary.headline == "All 2 targets pass"
    )


def test_findings_about_the_run_decide_too_unless_waived() -> None:
    report = compose(target("a", Verdict.PASS), findings=[finding(Verdict.INCONCLUSIVE)])
    assert (report.verdict, report.summary.headline) == (Verdict.INCONCLUSIVE, "not run")
    waived = compose(target("a", Verdict.PASS), findings=[finding(Verdict.FAIL, waived="known")])
    assert waived.verdict is Verdict.PASS
    assert waived.summary.findings == {"waived": 1}


def test_nothing_judged_is_an_error_unless_that_is_right() -> None:
    assert compose().verdict is Verdict.ERROR
    report = compose(nothing_to_judge="the change touches no target")
    assert (report.verdict, report.summary.headline) == (Verdict.PASS, "the change touches no target")
    assert compose(findings=[finding(Verdict.INCONCLUSIVE)]).verdict is Verdict.INCONCLUSIVE


def test_findings_are_counted_and_notices_said_once() -> None:
    report = compose(
        target("a", Verdict.FAIL, finding(Verdict.FAIL), finding(Verdict.PASS)),
        findings=[finding(Verdict.PASS)],
        notices=["x", "y", "x"],
    )
    assert report.summary.findings == {"error": 1, "note": 2}
    assert report.notices == ("x", "y")
