"""An audit: a verdict follows from its numbers, and an edit with a fresh digest is caught where it does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qgate.gate.audit import audit_report
from qgate.judge import conclude, judge
from qgate.policy.thresholds import resolve
from qgate.records import Finding, Measurement, Place, Severity, Verdict
from qgate.report.compose import compose_report
from qgate.report.schema import (
    Artifact,
    BaselineUsed,
    Content,
    Delta,
    Provenance,
    Report,
    TargetReport,
    read_report,
)
from qgate.rules.catalogue import catalogue

OUT = Place(output="scores")


def target(sqnr: float = 40.0) -> TargetReport:
    """What verifying gives: some measurements, judged by the built-in thresholds."""
    limits = resolve(None, None, "balanced", "int8", rules=catalogue())
    declared = {"scheme": "auto", "derivation": "auto", "data": "given", "ran": True, "sandbox": "required",
                "unconfined": {}, "require_signature": False}  # fmt: skip
    measured = (
        Measurement(name="quant.scheme", value="int8"),
        Measurement(name="quant.share", value=0.99, unit="ratio", n=1000),
        Measurement(name="weight.sqnr_db", at=Place(tensor="w"), value=41.0, unit="dB"),
        Measurement(name="output.sqnr_db", at=OUT, value=sqnr, unit="dB", n=100),
        Measurement(name="output.cosine", at=OUT, value=0.9999, n=100),
        Measurement(name="output.nonfinite_candidate", at=OUT, value=0, n=100),
    )
    found = judge(measured, limits, scheme="int8", declared=declared)
    verdict, reason = conclude(found, measured)
    return TargetReport(
        name="plate", verdict=verdict, reason=reason, profile="balanced", scheme="int8",
        candidate=Artifact(locator="m.onnx", sha256="c" * 64), measurements=measured, findings=found,
        thresholds=limits, declared=declared,
    )  # fmt: skip


def report(*targets: TargetReport) -> Report:
    return compose_report(targets=targets or (target(),), provenance=Provenance(tool="qgate 0"))


def stored(path: Path, made: Report) -> Report:
    path.write_text(made.to_json())
    return read_report(path)


@pytest.mark.parametrize("sqnr", [40.0, 3.0, float("nan"), float("inf")])
def test_what_was_judged_follows(tmp_path: Path, sqnr: float) -> None:
    made = report(target(sqnr))
    assert audit_report(made) == audit_report(stored(tmp_path / "report.json", made)) == ()


def test_a_run_without_targets_follows() -> None:
    provenance = Provenance(tool="qgate 0")
    untouched = compose_report(targets=(), provenance=provenance, nothing_to_judge="nothing is touched")
    assert audit_report(untouched) == ()
    assert audit_report(compose_report(targets=(), provenance=provenance)) == ()


def first(**changes: Any) -> Callable[[Report], Report]:
    """Edits the first target."""
    return lambda made: made.model_copy(update={"targets": (made.targets[0].model_copy(update=changes),)})


def measurement(name: str, value: float) -> Callable[[Report], Report]:
    def edit(made: Report) -> Report:
        found = [
            m.model_copy(update={"value": value}) if m.name == name else m
            for m in made.targets[0].measurements
        ]
        return first(measurements=tuple(found))(made)

    return edit


FORGED = Finding(
    rule="QNT201", severity=Severity.ERROR, effect=Verdict.FAIL, message="invented", remedy="none"
)


@pytest.mark.parametrize(
    ("sqnr", "edit", "said"),
    [
        (3.0, lambda made: made.model_copy(update={"verdict": Verdict.PASS}), "the verdict is PASS"),
        (3.0, first(verdict=Verdict.PASS), "its findings give FAIL"),
        (3.0, first(findings=()), "give a finding that is not there"),
        (3.0, first(findings=(), verdict=Verdict.PASS, reason="fine"), "give a finding that is not there: FEA201"),
        (40.0, measurement("output.sqnr_db", 3.0), "give a finding that is not there: FEA201"),
        (3.0, measurement("output.sqnr_db", 40.0), "do not give this finding: FEA201"),
        (40.0, first(findings=(FORGED,), verdict=Verdict.FAIL), "do not give this finding: QNT201"),
        (40.0, first(thresholds={}), "no thresholds are given"),
        (40.0, first(declared={"scheme": "int4", "data": "given", "ran": True}), "that is not there: QNT"),
        (40.0, first(content=Content(graph="g", count=0)), "content digest"),
        (40.0, first(baseline=BaselineUsed(state="stored", deltas=(
            Delta(name="output.cosine", at="output scores", baseline=1.0, current=0.5, worse=True),
        ))), "was compared as 0.5"),
        (40.0, first(baseline=BaselineUsed(state="stored", deltas=(
            Delta(name="output.cosine", at="output scores", baseline=1.1, current=0.9999, worse=True),
        ))), "TRC102 does not say so"),
        (40.0, first(baseline=BaselineUsed(state="stored", deltas=(
            Delta(name="output.max_abs", at="output scores", baseline=1.1, current=None, gone=True),
        ))), "TRC103 does not say so"),
        (40.0, lambda made: made.model_copy(
            update={"summary": made.summary.model_copy(update={"passed": 7})}), "summary's passed is 7"),
    ],
)  # fmt: skip
def test_what_does_not_follow_is_told(
    tmp_path: Path, sqnr: float, edit: Callable[[Report], Report], said: str
) -> None:
    forged = stored(tmp_path / "report.json", edit(report(target(sqnr))))
    assert any(said in problem for problem in audit_report(forged)), audit_report(forged)


def test_a_threshold_that_is_moved_is_caught_where_it_decides() -> None:
    made = report(target(3.0))
    limits = {rule: dict(keys) for rule, keys in made.targets[0].thresholds.items()}
    for key, limit in limits["FEA201"].items():
        if not isinstance(limit.value, str):
            limits["FEA201"][key] = limit.model_copy(update={"value": -100.0})
    assert any("FEA201" in problem for problem in audit_report(first(thresholds=limits)(made)))


def test_a_forger_who_is_consistent_is_not_caught() -> None:
    """The audit says so itself: only who measures, or signs, can be believed about numbers."""
    assert audit_report(report(target(3.0)).model_copy(update=dict(report(target(40.0))))) == ()


def test_numbers_that_no_float_holds_do_not_break_it() -> None:
    huge = [
        m.model_copy(update={"value": 10**400}) for m in target().measurements if m.name != "quant.scheme"
    ]
    made = report(target().model_copy(update={"measurements": (*target().measurements[:1], *huge)}))
    assert audit_report(made)
