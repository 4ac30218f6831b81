"""Judging: pure, in a telling order, and never PASS on what was not measured or is no number."""

from __future__ import annotations

import builtins
import math
import random
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qgate.judge import conclude, judge, order
from qgate.policy.load import load_policy
from qgate.policy.thresholds import resolve
from qgate.records import Finding, Measurement, Place, Severity, Verdict
from qgate.report.schema import Artifact, DataUsed, TargetReport
from qgate.verify.again import judge_again

OUT = Place(output="logits")
WEIGHT = Place(tensor="w_q", node="conv")
DECLARED = {"scheme": "auto", "derivation": "auto", "data": "given", "ran": True}
LIMITS = resolve(None, None, "balanced", "int8")

SOUND = (
    Measurement(name="artifact.bytes", value=1000, unit="bytes"),
    Measurement(name="quant.scheme", value="int8"),
    Measurement(name="quant.share", value=1.0),
    Measurement(name="output.sqnr_db", at=OUT, value=33.0, unit="dB"),
    Measurement(name="output.nonfinite_candidate", at=OUT, value=0),
    Measurement(name="output.cosine", at=OUT, value=0.999),
)
GATED = (
    ("output.sqnr_db", OUT, {}),
    ("output.cosine", OUT, {}),
    ("output.top1_agreement", OUT, {}),
    ("output.kl_mean", OUT, {}),
    ("output.nonfinite_candidate", OUT, {}),
    ("output.relative_l2", OUT, {}),
    ("output.mean_relative_error", OUT, {}),
    ("output.max_abs", OUT, {}),
    ("task.metric_drop", Place(), {"metric": "top1"}),
    ("task.flips_to_wrong", Place(), {}),
    ("task.class_recall_drop", Place(slice="label=1"), {}),
    ("task.slice_drop", Place(slice="a=b"), {}),
    ("quant.share", Place(), {}),
    ("alignment.coverage", Place(), {}),
    ("alignment.weights", Place(), {}),
    ("weight.sqnr_db", WEIGHT, {"dtype": "int8"}),
    ("weight.rmse_steps", WEIGHT, {}),
    ("weight.bias_steps", WEIGHT, {}),
    ("weight.shrink_steps", WEIGHT, {}),
    ("weight.levels", WEIGHT, {}),
    ("weight.odd_scale", WEIGHT, {"codes": "w_q"}),
)
POLICY = b"""
version: 1
waivers:
  - {target: t, rule: FEA201, reason: known, until: 2030-01-01}
targets:
  - {name: t, candidate: a.onnx, reference: b.onnx}
  - {name: strict, candidate: a.onnx, reference: b.onnx, profile: strict}
"""


def judged(*measurements: Measurement, profile: str = "balanced", **declared: Any) -> tuple[Finding, ...]:
    limits = resolve(None, None, profile, "int8")
    return judge(measurements, limits, scheme="int8", declared={**DECLARED, **declared})


def finding(
    rule: str = "FEA201", severity: str = "error", effect: Verdict = Verdict.FAIL, **more: Any
) -> Finding:
    effect = effect if severity == "error" else Verdict.PASS
    return Finding(
        rule=rule, severity=Severity(severity), effect=effect, message=more.pop("message", "m"), **more
    )


def report(*measurements: Measurement, findings: tuple[Finding, ...] = (), **more: Any) -> TargetReport:
    return TargetReport(
        name=more.pop("name", "t"), verdict=Verdict.PASS, reason="", profile="balanced", scheme="int8",
        candidate=Artifact(locator="a.onnx"), data=DataUsed(origin="given"), measurements=measurements,
        findings=findings, **more,
    )  # fmt: skip


def again(stored: TargetReport, target: str = "t", today: date = date(2029, 1, 1)) -> TargetReport:
    policy = load_policy(POLICY, "qgate.yml")
    lines = policy.target(target)
    assert lines is not None
    return judge_again(stored, target=lines, policy=policy, profile=None, today=today)


def test_sound_measurements_pass() -> None:
    found = judged(*SOUND)
    assert found == ()
    assert conclude(found, SOUND) == (Verdict.PASS, "all rules hold on 6 measurements")


def test_judging_opens_no_file_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = (*SOUND, Measurement(name="output.sqnr_db", at=OUT, value=1.0))
    first = judged(*broken)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("judging opened a file")

    with monkeypatch.context() as patched:
        patched.setattr(builtins, "open", refuse)
        patched.setattr("io.open", refuse)
        patched.setattr("os.open", refuse)
        assert judged(*broken) == first
    assert broken[-1] == Measurement(name="output.sqnr_db", at=OUT, value=1.0)


def test_the_order_of_measurements_decides_nothing_but_ties() -> None:
    broken = [
        *SOUND[:3],
        Measurement(name="output.sqnr_db", at=OUT, value=-3.0),
        Measurement(name="output.cosine", at=OUT, value=0.1),
        Measurement(name="weight.sqnr_db", at=WEIGHT, value=1.0, detail={"dtype": "int8"}),
    ]
    expected = judged(*broken)
    assert [f.rule for f in expected] == ["RNG102", "FEA201", "FEA202"]
    for seed in range(6):
        random.Random(seed).shuffle(broken)
        assert judged(*broken) == expected


def test_the_most_telling_comes_first() -> None:
    ranked = [
        finding("CST101", effect=Verdict.ERROR),
        finding("ART110"),
        finding("QNT202"),
        finding("RNG101"),
        finding("FEA101"),
        finding("BEH101"),
        finding("TRC102"),
        finding("QNT205", effect=Verdict.INCONCLUSIVE),
        finding("ART110", "warning"),
        finding("QNT207", "note"),
    ]
    for seed in range(40):
        shuffled = random.Random(seed).sample(ranked, len(ranked))
        assert list(order(shuffled)) == ranked


SATURATED = (
    *SOUND,
    Measurement(name="deploy.avx2.saturating", at=Place(node="conv1"), value=3, detail={"pairs": 4, "of": 8}),
    Measurement(
        name="runtime.lsb",
        at=Place(output="logits", runtime="onnxruntime and openvino"),
        value=25.0,
        detail={"rms": 8.0, "own_rms": 2.0, "saturates": True},
    ),
    Measurement(
        name="runtime.sqnr_db",
        at=Place(output="logits", runtime="openvino"),
        value=11.0,
        detail={"onnxruntime_db": 39.0, "saturates": True},
    ),
)


def test_saturation_that_is_located_leads_what_a_runtime_makes_of_it() -> None:
    declared = {**DECLARED, "deploy": "avx2"}
    found = judge(SATURATED, LIMITS, scheme="int8", declared=declared)
    assert [(f.rule, f.effect) for f in found] == [(r, Verdict.FAIL) for r in ("DEP301", "DEP202", "DEP203")]
    verdict, reason = conclude(found, SATURATED)
    assert verdict is Verdict.FAIL and reason.startswith("node conv1: products of 3 layers can saturate")
    # Where the cause blocks nothing, or is waived, nothing is put behind it.
    open_question = judge(SATURATED, LIMITS, scheme="int8", declared=DECLARED)
    assert [f.rule for f in open_question] == ["DEP202", "DEP203", "DEP301"]
    assert all("7 bits" in f.remedy for f in (*found, *open_question))
    waived = [f.model_copy(update={"waived": "known"}) if f.rule == "DEP301" else f for f in found]
    assert next(iter(order(waived))).rule == "DEP202"


def test_a_cause_that_a_stored_report_makes_up_breaks_no_order() -> None:
    for cause in (["DEP301"], {"a": 1}, None, 5):
        odd = finding("DEP202").model_copy(update={"evidence": {"explained_by": cause}})
        assert order([odd, finding("DEP301")])[0] is odd


@pytest.mark.parametrize(("name", "at", "detail"), GATED, ids=[name for name, _, _ in GATED])
@pytest.mark.parametrize("profile", ["permissive"])
@pytest.mark.parametrize("scheme", ["int8", "int4", "none"])
def test_nan_never_passes(
    name: str, at: Place, detail: dict[str, Any], profile: str, scheme: str | None
) -> None:
    limits = {
        rule: {key: limit.model_copy(update={"value": "error"}) if key.startswith("severity") else limit
               for key, limit in held.items()}
        for rule, held in resolve(None, None, profile, scheme).items()
    }  # fmt: skip
    nan = Measurement(name=name, at=at, value=math.nan, n=1000, low=math.nan, high=math.nan, detail=detail)
    kept = tuple(m for m in SOUND if m.name != name)
    found = judge((*kept, nan), limits, scheme=scheme, declared=DECLARED)
    verdict, _ = conclude(found, (*kept, nan))
    assert verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE)


@pytest.mark.parametrize("measured", [(), (Measurement(name="output.cosine", at=OUT, not_measured="x"),)])
def test_nothing_measured_is_inconclusive(measured: tuple[Measurement, ...]) -> None:
    assert conclude((), measured) == (Verdict.INCONCLUSIVE, "nothing was measured")
    warned = (finding(severity="warning"),)
    assert conclude(warned, measured)[0] is Verdict.INCONCLUSIVE


def test_a_run_that_compared_no_output_is_inconclusive() -> None:
    found = judged(*SOUND[:3])
    assert [(f.rule, f.effect) for f in found] == [("FEA103", Verdict.INCONCLUSIVE)]


@given(st.lists(st.sampled_from(list(Verdict)), max_size=5))
@settings(max_examples=60, deadline=None)
def test_the_worst_effect_is_the_verdict(effects: list[Verdict]) -> None:
    found = tuple(
        finding(effect=effect) if effect is not Verdict.PASS else finding(severity="note")
        for effect in effects
    )
    ranks = {Verdict.PASS: 0, Verdict.INCONCLUSIVE: 1, Verdict.FAIL: 2, Verdict.ERROR: 3}
    assert conclude(found, SOUND)[0] is max(effects, key=ranks.__getitem__, default=Verdict.PASS)


def test_the_reason_names_place_message_and_how_many_more() -> None:
    first = finding(at=OUT, message="SQNR is 3 dB")
    assert (
        conclude((first, finding(), finding(severity="note")), SOUND)[1]
        == "output logits: SQNR is 3 dB (and 1 more)"
    )
    assert conclude((finding(message="gone"),), SOUND)[1] == "gone"
    error = finding("ART101", effect=Verdict.ERROR, message="missing")
    assert conclude((error, first), SOUND) == (Verdict.ERROR, "missing")
    assert conclude((finding(severity="warning"),), SOUND)[1] == "1 warning, no error, on 6 measurements"


def test_waived_findings_do_not_weigh() -> None:
    waived = finding(waived="known")
    assert conclude((waived,), SOUND)[0] is Verdict.PASS
    assert conclude((waived, finding()), SOUND) == (Verdict.FAIL, "m")
    assert conclude((waived,), ())[0] is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    "forged",
    [
        Measurement(name="artifact.operator", value="x"),
        Measurement(name="constant.nonfinite", value=1, detail={"nan": 1}),
        Measurement(name="weight.derivation", at=WEIGHT, value="outsiders", detail={"role": "weight", "outsiders": 3}),
        Measurement(name="weight.derivation", at=WEIGHT, value="not-derived", detail={"role": "weight", "diagnosis": "?"}),
        Measurement(name="activation.clipped_share", at=WEIGHT, value=0.5, detail={"clipped_energy": "much"}),
        Measurement(name="structure.difference", value="added", detail={"message": "m", "candidate_operators": 7}),
    ],
    ids=lambda forged: forged.name,
)  # fmt: skip
def test_measurements_that_make_no_sense_are_an_error_of_their_rule_alone(forged: Measurement) -> None:
    low = Measurement(name="output.sqnr_db", at=OUT, value=1.0)
    found = judged(forged, low)
    assert {f.effect for f in found if "cannot be judged" in f.message} == {Verdict.ERROR}
    assert "FEA201" in {f.rule for f in found}, "other rules still judge"
    assert conclude(found, (forged, low))[0] is Verdict.ERROR


def test_judged_again_by_the_same_lines_it_is_the_same() -> None:
    low = Measurement(name="output.sqnr_db", at=OUT, value=4.0)
    stored = again(report(*SOUND, low))
    assert again(stored) == stored
    assert stored.findings[0].waived == "known"
    assert stored.verdict is Verdict.PASS


def test_judged_again_by_stricter_lines_it_fails() -> None:
    weak = Measurement(name="output.sqnr_db", at=OUT, value=10.0)
    stored = again(report(weak, name="other"))
    assert stored.verdict is Verdict.PASS
    harder = again(stored, "strict")
    assert (harder.verdict, harder.findings[0].rule) == (Verdict.FAIL, "FEA201")
    assert harder.thresholds["FEA201"]["min_db"].origin == "built-in profile strict"


def test_judged_again_a_waiver_that_has_run_out_covers_nothing() -> None:
    stored = again(report(*SOUND, Measurement(name="output.sqnr_db", at=OUT, value=4.0)))
    later = again(stored, today=date(2031, 1, 1))
    assert later.verdict is Verdict.FAIL
    assert [f.rule for f in later.findings] == ["FEA201", "TRC104"]


def test_judged_again_facts_stay_and_judgements_are_made_anew() -> None:
    crash = finding(
        "ART112", effect=Verdict.ERROR, message="the child was killed", waived="by a policy of the change"
    )
    told = finding("ART113", "note", message="inputs were generated")
    stale = finding("FEA201", message="judged by other lines")
    found = again(report(*SOUND[:3], findings=(crash, told, stale)))
    assert [(f.rule, f.message, f.waived) for f in found.findings] == [
        ("ART112", "the child was killed", None),
        ("ART113", "inputs were generated", None),
    ]
    assert found.verdict is Verdict.ERROR


def test_judged_again_outputs_that_were_taken_out_are_missed() -> None:
    assert again(report(*SOUND[:3])).verdict is Verdict.INCONCLUSIVE
    custom = Measurement(name="artifact.operator", value="x::Y", detail={"message": "x::Y is unknown"})
    refused = again(report(*SOUND[:3], custom))
    assert [f.rule for f in refused.findings] == ["ART106"], "an operator that nobody knows was never run"


def test_a_located_cause_is_told_before_the_words_of_the_runtime_that_refuses_the_file() -> None:
    refused = finding("ART112", effect=Verdict.ERROR, message="ONNX Runtime refuses the candidate")
    cause = finding("QNT301", at=Place(node="/f1/Gemm"), message="its operands are exchanged")
    elsewhere = finding("FEA201", at=OUT, message="SQNR")
    assert [f.rule for f in order((elsewhere, refused, cause))] == ["QNT301", "ART112", "FEA201"]
    verdict, reason = conclude(order((refused, cause)), SOUND)
    assert verdict is Verdict.ERROR, "that it could not be run still decides"
    assert reason == "node /f1/Gemm: its operands are exchanged; the models could not be run"


def test_without_a_place_or_once_it_is_waived_nothing_stands_before_the_runtime() -> None:
    refused = finding("ART112", effect=Verdict.ERROR, message="refused")
    vague = finding("QNT101", at=Place(file="model"), message="nothing is quantized")
    waived = finding("QNT301", at=Place(node="n"), message="moved", waived="known")
    warned = finding("QNT301", "warning", at=Place(node="n"), message="moved")
    for other in (vague, waived, warned):
        assert order((other, refused))[0] is refused
        assert conclude((other, refused), SOUND) == (Verdict.ERROR, "refused")
