"""Measurements against a baseline's."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import settings as few
from hypothesis import strategies as st

from qgate.baseline.compare import compare, direction_of
from qgate.baseline.delta_findings import delta_findings
from qgate.baseline.record import Entry
from qgate.judge import order
from qgate.records import Finding, Measurement, Place, Severity
from qgate.report.schema import Delta
from qgate.rules.traceability import default_limits

LIMITS = {"TRC102": default_limits("TRC102")}
OUT = Place(output="y")


def one(name: str, old: float | str, new: float | str, n: int | None = None, at: Place = OUT) -> Delta | None:
    entry = Entry(name=name, at=at, value=old, n=n)
    found = compare([entry], [Measurement(name=name, at=at, value=new, n=n)], LIMITS["TRC102"])
    return found[0] if found else None


@pytest.mark.parametrize(
    ("name", "old", "new", "n", "worse"),
    [
        ("output.sqnr_db", 40.0, 39.0, None, False),  # exactly the allowance of 1 dB
        ("output.sqnr_db", 40.0, 38.99, None, True),
        ("output.sqnr_db", 40.0, 60.0, None, False),
        ("output.sqnr_db", math.inf, 130.0, None, False),  # both beyond what float32 tells apart
        ("output.sqnr_db", math.inf, 60.0, None, True),
        ("output.sqnr_db", 40.0, math.nan, None, True),
        ("output.sqnr_db", math.nan, 40.0, None, False),
        ("output.sqnr_db", math.nan, math.nan, None, False),
        ("output.cosine", 0.999, 0.998, None, True),
        ("output.relative_l2", 0.1, 0.109, None, False),
        ("output.relative_l2", 0.1, 0.12, None, True),
        ("output.relative_l2", 0.1, 0.01, None, False),
        ("output.relative_l2", 0.0, 5e-6, None, False),
        ("output.relative_l2", 0.1, math.inf, None, True),
        ("output.kl_mean", 0.0001, 0.0010, None, False),
        ("output.kl_mean", 0.01, 0.02, None, True),
        ("output.max_abs", 1.0, 1.4, None, False),
        ("output.max_abs", 1.0, 1.6, None, True),
        ("output.top1_agreement", 0.99, 0.97, 100, False),  # two samples
        ("output.top1_agreement", 0.99, 0.96, 100, True),
        ("output.top1_agreement", 0.99, 0.98, 10_000, True),
        ("task.metric_drop", 0.0, 0.01, 10_000, True),
        ("task.metric_drop", 0.0, -0.01, 10_000, False),
        ("task.flips_to_wrong", 1, 3, 100, False),
        ("task.flips_to_wrong", 1, 4, 100, True),
        ("output.nonfinite_candidate", 0, 1, None, True),
        ("activation.clipped_share", 0.0, 0.02, None, True),
        ("weight.outsiders", 0, 1, None, True),
        ("artifact.bytes", 1000, 1049, None, False),
        ("artifact.bytes", 1000, 1300, None, True),
        ("quant.share", 0.99, 0.9, None, True),
        ("quant.scheme", "int8", "fp16", None, False),
        ("activation.used_range", 0.1, 0.9, None, False),  # neither way is better
    ],
)
def test_what_is_worse(name: str, old: float, new: float, n: int | None, worse: bool) -> None:
    delta = one(name, old, new, n)
    assert delta is not None
    assert delta.worse is worse


def test_gone_and_new() -> None:
    old = [Entry(name="output.cosine", at=OUT, value=1.0)]
    new = [
        Measurement(name="output.cosine", at=OUT, not_measured="it crashed"),
        Measurement(name="output.max_abs", at=OUT, value=1.0),
        Measurement(name="run.time", at=OUT, value=1.0, deterministic=False),
    ]
    gone, added = compare(old, new, LIMITS["TRC102"])
    assert (gone.name, gone.gone, gone.current) == ("output.cosine", True, None)
    assert (added.name, added.new, added.baseline) == ("output.max_abs", True, None)


def test_unchanged_tensors_are_left_out_of_the_report() -> None:
    assert one("weight.sqnr_db", 40.0, 40.0, at=Place(tensor="w")) is None
    assert one("output.sqnr_db", 40.0, 40.0) is not None


def test_vanished_outputs_block_and_renamed_tensors_inform() -> None:
    entries = [
        Entry(name="output.cosine", at=Place(output="y"), value=1.0),
        Entry(name="output.cosine", at=Place(output="z"), value=1.0),
        Entry(name="weight.sqnr_db", at=Place(tensor="old"), value=40.0),
    ]
    now = [
        Measurement(name="output.cosine", at=Place(output="y"), value=1.0),
        Measurement(name="weight.sqnr_db", at=Place(tensor="renamed"), value=40.0),
    ]
    found = delta_findings(compare(entries, now, LIMITS["TRC102"]), entries, LIMITS)
    assert [(f.rule, f.severity, str(f.at)) for f in found] == [
        ("TRC103", Severity.ERROR, "output z"),
        ("TRC103", Severity.NOTE, "tensor old"),
    ]


def test_a_whole_kind_that_vanished_blocks() -> None:
    entries = [Entry(name="weight.sqnr_db", at=Place(tensor="w"), value=40.0)]
    found = delta_findings(compare(entries, [], LIMITS["TRC102"]), entries, LIMITS)
    assert [(f.rule, f.severity) for f in found] == [("TRC103", Severity.ERROR)]
    assert "at all" in found[0].message


def test_many_places_make_one_finding_that_names_the_worst() -> None:
    entries = [Entry(name="weight.sqnr_db", at=Place(tensor=f"w{i}"), value=40.0) for i in range(30)]
    now = [Measurement(name="weight.sqnr_db", at=e.at, value=30.0 - i) for i, e in enumerate(entries)]
    (finding,) = delta_findings(compare(entries, now, LIMITS["TRC102"]), entries, LIMITS)
    assert (finding.at.tensor, finding.evidence["count"]) == ("w29", 30)
    assert "29 more places" in finding.message
    assert "1 is allowed" in finding.message


def test_the_most_telling_comes_first_and_says_what_to_do() -> None:
    names = ("weight.sqnr_db", "output.kl_mean", "output.sqnr_db")
    entries = [Entry(name=name, at=OUT, value=40.0, unit="dB") for name in names]
    now = [Measurement(name=name, at=OUT, value=400.0 if "kl" in name else 1.0) for name in names]
    deltas = compare(entries, now, LIMITS["TRC102"])
    found = delta_findings(deltas, entries, LIMITS, target="plate")
    assert [f.evidence["measurement"] for f in found] == [
        "output.sqnr_db",
        "output.kl_mean",
        "weight.sqnr_db",
    ]
    assert "qgate accept plate" in found[0].remedy


def test_accepted_and_informational_differences_are_notes() -> None:
    entries = [Entry(name="output.sqnr_db", at=OUT, value=40.0)]
    deltas = compare(entries, [Measurement(name="output.sqnr_db", at=OUT, value=1.0)], LIMITS["TRC102"])
    accepted = delta_findings(deltas, entries, LIMITS, accepted="bob")
    informational = delta_findings(deltas, entries, LIMITS, informational=True)
    for (finding,) in (accepted, informational):
        assert finding.severity is Severity.NOTE


@pytest.mark.parametrize(
    "name", ["output.kl_mean", "weight.rmse_steps", "alignment.coverage", "task.slice_drop"]
)
def test_known_kinds_have_a_direction(name: str) -> None:
    assert direction_of(name) is not None


@pytest.mark.parametrize("name", ["sqnr_db_of_nothing", "quant.scheme", "task.mcnemar_p"])
def test_others_have_none(name: str) -> None:
    assert direction_of(name) is None


VALUES = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-10, 10) | st.sampled_from(["a", "b"])
NAMES = st.sampled_from(
    ["output.sqnr_db", "output.relative_l2", "task.flips_to_wrong", "quant.scheme", "x.y"]
)


@given(name=NAMES, old=VALUES, new=VALUES, n=st.none() | st.integers(0, 1000))
@few(max_examples=200, deadline=None)
def test_any_values_compare_and_can_be_stored(
    name: str, old: float | str, new: float | str, n: int | None
) -> None:
    delta = one(name, old, new, n)
    if delta is None:
        return
    assert Delta.model_validate_json(delta.model_dump_json()).worse is delta.worse
    entries = [Entry(name=name, at=OUT, value=old, n=n)]
    for finding in delta_findings([delta], entries, LIMITS):
        assert finding.model_dump_json()


def scheme_change(**more: object) -> tuple[Finding, ...]:
    entries = [
        Entry(name="quant.scheme", value="int8"),
        Entry(name="quant.bits", value=8.1, unit="bits"),
        Entry(name="artifact.bytes", value=70_000, unit="bytes"),
        Entry(name="output.cosine", at=OUT, value=1.0),
        Entry(name="output.cosine", at=Place(output="z"), value=1.0),
        *(Entry(name="weight.rmse_steps", at=Place(tensor=f"w{i}"), value=0.3) for i in range(20)),
        *(Entry(name="activation.used_range", at=Place(tensor=f"a{i}"), value=0.3) for i in range(20)),
    ]
    now = [
        Measurement(name="quant.scheme", value="fp16"),
        Measurement(name="quant.bits", value=16.0, unit="bits"),
        Measurement(name="artifact.bytes", value=140_000, unit="bytes"),
        Measurement(name="output.cosine", at=OUT, value=0.5),
    ]
    return delta_findings(compare(entries, now, LIMITS["TRC102"]), entries, LIMITS, target="plate", **more)


def test_another_scheme_is_one_cause_and_hides_no_output() -> None:
    found = scheme_change()
    assert [(f.rule, f.severity.value, str(f.at)) for f in found] == [
        ("TRC103", "error", ""),
        ("TRC102", "error", "output y"),
        ("TRC103", "error", "output z"),
    ]
    cause = found[0]
    assert cause.message.startswith(
        "the scheme changed from int8 to fp16: 40 measurements of 2 kinds have no counterpart;"
    )
    assert [f.rule for f in order(reversed(found))] == ["TRC103", "TRC102", "TRC103"], "the cause leads"
    assert order(reversed(found))[0] is cause
    assert "artifact.bytes was 70000 bytes and is 140000 bytes" in cause.message
    assert cause.evidence["measurements"] == [
        "artifact.bytes", "quant.bits", "activation.used_range", "weight.rmse_steps",
    ]  # fmt: skip
    assert cause.remedy.startswith("Restore the scheme, or run `qgate accept plate")


def test_another_recipe_of_the_same_scheme_is_one_cause() -> None:
    ranges = [Entry(name="activation.used_range", at=Place(tensor=f"a{i}"), value=0.3) for i in range(20)]
    entries = [Entry(name="quant.scheme", value="int8"), Entry(name="quant.recipe", value="static"), *ranges]
    now = [Measurement(name="quant.scheme", value="int8"), Measurement(name="quant.recipe", value="dynamic")]
    (cause,) = delta_findings(compare(entries, now, LIMITS["TRC102"]), entries, LIMITS, target="plate")
    assert cause.message == "the recipe changed from static to dynamic: 20 measurements have no counterpart"
    assert cause.remedy.startswith("Restore the recipe, or run `qgate accept plate")
    weights = [
        *now[:1],
        Measurement(name="quant.recipe", value="weights only"),
        Measurement(name="quant.activation_share", value=0.0),
    ]
    entries = [*entries[:2], Entry(name="quant.activation_share", value=1.0)]
    (cause,) = delta_findings(compare(entries, weights, LIMITS["TRC102"]), entries, LIMITS)
    assert (
        cause.message
        == "the recipe changed from static to weights only: quant.activation_share was 1 and is 0"
    )


def test_a_baseline_that_knows_no_recipe_yet_blames_nothing_on_it() -> None:
    now = [Measurement(name="quant.scheme", value="int8"), Measurement(name="quant.recipe", value="dynamic")]
    entries = [
        Entry(name="quant.scheme", value="int8"),
        Entry(name="activation.used_range", at=Place(tensor="a"), value=0.3),
    ]
    (gone,) = delta_findings(compare(entries, now, LIMITS["TRC102"]), entries, LIMITS)
    assert gone.message.startswith("activation.used_range is in the baseline and was not measured at all")


def test_another_scheme_that_is_accepted_is_a_note() -> None:
    assert {f.severity for f in scheme_change(accepted="smaller (approved by bob)")} == {Severity.NOTE}


def test_what_is_told_of_other_runtimes_may_go_away_and_what_is_measured_there_may_not() -> None:
    """A candidate that is mended loses its signs; a runtime that is no longer run is told."""
    from qgate.baseline.record import is_comparable

    signs = (
        "deploy.tensorrt.zero_point",
        "deploy.avx2.saturating",
        "runtime.parting",
        "tensorrt.refused",
        "tensorrt.built",
    )
    assert not [name for name in signs if is_comparable(Measurement(name=name, value=1))]
    kept = ("deploy.tensorrt", "runtime.ran", "runtime.lsb", "runtime.sqnr_db")
    assert [name for name in kept if is_comparable(Measurement(name=name, value=1))] == list(kept)
