"""Thresholds of single slices: in force, explained, compared, and never silently off."""

from __future__ import annotations

import pytest

from qgate.errors import PolicyError
from qgate.judge import judge
from qgate.policy.load import load_policy
from qgate.policy.loosening import compare
from qgate.policy.schema import Policy
from qgate.policy.thresholds import resolve
from qgate.records import Finding, Measurement, Place, Verdict
from qgate.rules.base import slice_key, slice_of
from qgate.rules.catalogue import catalogue

TEXT = """
version: 1
targets:
  - name: plate
    candidate: m.onnx
    reference: r.onnx
    scheme: int8
    data: {inputs: d.npz, labels: y, slices: country}
    slice_thresholds: SLICES
"""
OWN = "country=DE: {BEH104: {max_drop: 0.01}}"
RULES = catalogue()


def load(text: str) -> Policy:
    return load_policy(text.encode(), "qgate.yml")


def measured(piece: str, drop: float, n: int = 100, name: str = "slice_drop", **more: object) -> Measurement:
    detail = {
        "metric": "top1",
        "p_adjusted": 0.0,
        "reference": 0.9,
        "candidate": 0.9 - drop,
        "lost": 0,
        "lost_low": 0.0,
        **more,
    }
    at = Place(slice=piece)
    return Measurement(
        name=f"task.{name}",
        at=at,
        value=drop,
        n=n,
        low=drop / 2,
        high=drop,
        detail={"counted": True, **detail},
    )


WHOLE = Measurement(name="task.metric_drop", value=0.0, n=500, low=0.0, high=0.0, detail={"metric": "top1"})


def found(slices: str, *given: Measurement, rule: str = "BEH104") -> list[Finding]:
    return judged(TEXT.replace("SLICES", slices), (WHOLE, *given), rule)


def judged(text: str, given: tuple[Measurement, ...], rule: str) -> list[Finding]:
    policy = load(text)
    limits = resolve(policy, policy.targets[0], None, None, rules=RULES)
    told = judge(given, limits, scheme="int8", declared={"scheme": "int8", "ran": True})
    return [finding for finding in told if finding.rule == rule]


def test_a_slice_is_held_to_its_own_figure() -> None:
    given = measured("country=DE", 0.05), measured("country=NO", 0.05)
    assert found("{}", *given) == []
    (only,) = found(f"{{{OWN}}}", *given)
    assert only.at.slice == "country=DE" and "0.01 allowed" in only.message and only.effect is Verdict.FAIL
    milder = "country=DE: {BEH104: {max_drop: 0.9}}, country=NO: {BEH104: {severity: warning}}"
    (other,) = found(f"{{{milder}}}", measured("country=DE", 0.5), measured("country=NO", 0.5))
    assert (other.at.slice, other.severity.value, other.effect) == ("country=NO", "warning", Verdict.PASS)


@pytest.mark.parametrize("given", [(), (measured("country=DE", 0.0, n=7),), (measured("country=D", 0.0),)])
def test_a_bound_is_never_silently_off(given: tuple[Measurement, ...]) -> None:
    (only,) = found(f"{{{OWN}}}", *given)
    assert only.effect is Verdict.INCONCLUSIVE and "it takes 8" in only.message
    assert found(f"{{{OWN}}}", measured("country=DE", 0.0)) == []


def test_they_are_among_the_thresholds_in_force() -> None:
    policy = load(TEXT.replace("SLICES", f"{{{OWN}}}"))
    limits = resolve(policy, policy.targets[0], None, None, rules=RULES)["BEH104"]
    own = limits["max_drop[country=DE]"]
    assert own.value == 0.01 and own.origin == "target plate (slice_thresholds, qgate.yml)"
    assert limits["max_drop"].value == 0.15, "that of the others stays"


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        (
            "{}",
            "{country=DE: {BEH104: {max_drop: 0.5}}}",
            "BEH104.max_drop[country=DE] is looser: 0.15 before, 0.5",
        ),
        (f"{{{OWN}}}", "{}", "BEH104.max_drop[country=DE] is looser: 0.01 before, 0.15"),
        (f"{{{OWN}}}", "{country=DE: {BEH104: {max_drop: 0.02}}}", "is looser: 0.01 before, 0.02"),
        ("{}", "{country=DE: {BEH104: {severity: note}}}", "BEH104.severity[country=DE] is looser"),
    ],
)
def test_what_lets_more_pass_of_a_slice_is_told(before: str, after: str, sentence: str) -> None:
    old, new = (load(TEXT.replace("SLICES", each)) for each in (before, after))
    changes = compare(old, new, rules=RULES)
    assert any(sentence in line for line in changes.loosened), changes
    back = compare(new, old, rules=RULES)
    gone = [line for line in back.loosened if "has no thresholds of its own" not in line]
    assert not gone and any("is stricter" in line for line in back.changed), back
    assert bool(back.loosened) == (before == "{}"), "a slice that is named no longer may lack samples"


@pytest.mark.parametrize(
    ("slices", "says"),
    [
        ("{DE: {BEH104: {max_drop: 0.5}}}", "is no slice of the array"),
        ("{country=: {BEH104: {max_drop: 0.5}}}", "is no slice of the array"),
        ("{country=DE: {BEH103: {max_drop: 0.5}}}", "does not look at single slices"),
        ("{country=DE: {FEA201: {min_db: 5}}}", "does not look at single slices"),
        ("{label=3: {BEH104: {max_drop: 0.5}}}", "does not look at single classes"),
        ("{label=: {BEH103: {max_drop: 0.5}}}", "is no slice of the array"),
        ("{country=DE: {BEH104: {max_drip: 0.5}}}", "has no parameter"),
        ("{country=DE: {BEH104: {max_drop: much}}}", "must be a number"),
        ("{country=DE: {BEH104: {max_drop: .inf}}}", "must be a finite number"),
        ("{country=DE: {BEH110: {min_value: -.inf}}}", "must be a finite number here, not -inf"),
        ("{country=DE: {BEH110: {max_value: .inf}}}", "must be a finite number here, not inf"),
        ("{country=DE: {BEH110: {max_value: .nan}}}", "must be a finite number"),
    ],
)
def test_what_cannot_be_meant_is_refused(slices: str, says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        load(TEXT.replace("SLICES", slices))


def test_slices_need_an_array() -> None:
    with pytest.raises(PolicyError, match="has no slices"):
        load(TEXT.replace("SLICES", f"{{{OWN}}}").replace(", slices: country", ""))


@pytest.mark.parametrize("piece", ["a=b", "a=[x]", "a=b]", "a=x[y]z"])
def test_a_key_can_be_taken_apart(piece: str) -> None:
    assert slice_of(slice_key("max_drop", piece)) == ("max_drop", piece)
    assert slice_of("max_drop") == ("max_drop", "")


def test_a_slice_of_its_own_is_judged_for_its_drop_and_for_its_power() -> None:
    own = '{country=DE: {BEH101: {max_drop: 0.01, require_power: "yes"}}}'
    assert found("{}", measured("country=DE", 0.05), rule="BEH101") == []
    (only,) = found(own, measured("country=DE", 0.05), measured("country=NO", 0.05), rule="BEH101")
    assert (only.at.slice, only.effect) == ("country=DE", Verdict.FAIL)
    wide = measured("country=DE", 0.005).model_copy(update={"high": 0.2, "low": -0.2})
    (only,) = found(own, wide, rule="BEH101")
    assert (
        only.effect is Verdict.INCONCLUSIVE and "cannot tell whether the drop is within 0.01" in only.message
    )
    (only,) = found(own, rule="BEH101")
    assert only.effect is Verdict.INCONCLUSIVE and "it takes 8" in only.message


def test_a_slice_of_its_own_is_judged_for_its_flips() -> None:
    own = "{country=DE: {BEH102: {max_share: 0.02, severity: warning}}}"
    assert found("{}", measured("country=DE", 0.0, lost=20, lost_low=13.3), rule="BEH102") == []
    (only,) = found(own, measured("country=DE", 0.0, lost=20, lost_low=13.3), rule="BEH102")
    assert (only.at.slice, only.severity.value) == ("country=DE", "warning")
    assert "20 of 100 samples (20.0%)" in only.message
    (only,) = found(own, measured("country=DE", 0.0, lost=3, lost_low=1.0), rule="BEH102")
    assert "so few samples" in only.message
    assert found(own, measured("country=DE", 0.0, lost=1), rule="BEH102") == []
    other = measured("country=DE", 0.0, metric="macro_f1", counted=False)
    (only,) = found(own, other, rule="BEH102")
    assert "macro_f1 counts no samples" in only.message


def test_a_slice_of_its_own_must_reach_a_value() -> None:
    own = "{country=DE: {BEH110: {min_value: 0.9}}}"
    (only,) = found(own, measured("country=DE", 0.05), measured("country=NO", 0.5), rule="BEH110")
    assert (only.at.slice, only.effect) == (
        "country=DE",
        Verdict.FAIL,
    ) and "at least 0.9 asked for" in only.message
    assert found(own, measured("country=DE", -0.05), rule="BEH110") == []


def test_a_class_has_its_own_as_well() -> None:
    own = "{label=3: {BEH103: {max_drop: 0.01}}}"
    given = [measured(f"label={c}", 0.1, name="class_recall_drop") for c in (2, 3)]
    assert found("{}", *given, rule="BEH103") == []
    (only,) = found(own, *given, rule="BEH103")
    assert (only.at.slice, only.effect) == ("label=3", Verdict.FAIL)
    (only,) = found(own, given[0], rule="BEH103")
    assert only.effect is Verdict.INCONCLUSIVE and "class label=3" in only.message


@pytest.mark.parametrize(
    ("metric", "thresholds", "says"),
    [
        ("mae", "{BEH104: {max_drop: 0.5}}", "`max_drop` says nothing: mae is an error"),
        ("top1", "{BEH104: {max_error_growth: 0.5}}", "`max_error_growth` says nothing: top1 is no error"),
        ("mae", "{BEH102: {max_share: 0.5}}", "the metric mae counts no samples"),
        ("macro_f1", "{BEH102: {max_share: 0.5}}", "the metric macro_f1 counts no samples"),
        ("none", "{BEH104: {max_drop: 0.5}}", "no task to judge slices by"),
    ],
)
def test_a_bound_that_would_never_speak_is_refused(metric: str, thresholds: str, says: str) -> None:
    text = TEXT.replace("SLICES", f"{{country=DE: {thresholds}}}") + f"    task: {{metric: {metric}}}\n"
    with pytest.raises(PolicyError, match=says):
        load(text)


def test_classes_need_a_metric_that_has_them() -> None:
    text = TEXT.replace("SLICES", "{label=3: {BEH103: {max_drop: 0.5}}}")
    load(text + "    task: {metric: map}\n")
    with pytest.raises(PolicyError, match="the metric mae has no classes"):
        load(text + "    task: {metric: mae}\n")


METRICS = TEXT.replace("slice_thresholds: SLICES", "task: {metric: top1}\n    metric_thresholds: SLICES")


def other(metric: str, drop: float) -> Measurement:
    name = f"task.{metric}_drop"
    return Measurement(name=name, value=drop, n=500, low=drop, high=drop, detail={"metric": metric})


def test_a_metric_is_held_to_its_own_figure() -> None:
    own = "{macro_f1: {BEH106: {max_drop: 0.01, severity: error}}, topk: {BEH106: {max_drop: 0.5}}}"
    given = WHOLE, other("macro_f1", 0.02), other("top5", 0.2), other("balanced_accuracy", 0.02)
    assert [f.severity.value for f in judged(METRICS.replace("SLICES", "{}"), given, "BEH106")] == ["warning"]
    (only,) = judged(METRICS.replace("SLICES", own), given, "BEH106")
    assert only.effect is Verdict.FAIL and "macro_f1 is worse by 0.02" in only.message
    (lacking,) = judged(METRICS.replace("SLICES", own), given[:2:], "BEH106")[1:]
    assert "topk has a threshold of its own and was not measured" in lacking.message


def test_a_profile_says_what_holds_for_the_judged_metric() -> None:
    text = METRICS.replace("metric_thresholds: SLICES", "profile: ours").replace(
        "version: 1", "version: 1\nprofiles:\n  ours: {metric_thresholds: {top1: {BEH101: {max_drop: 0.3}}, "
        "mae: {BEH101: {max_error_growth: 0.9}}, topk: {BEH106: {max_drop: 0.2}}}}"
    )  # fmt: skip
    drop = WHOLE.model_copy(update={"value": 0.2, "low": 0.19, "high": 0.21})
    assert judged(text, (drop,), "BEH101") == []
    assert judged(text, (drop,), "BEH106") == [], "a profile is for targets without this metric as well"
    (only,) = judged(text.replace("max_drop: 0.3", "max_drop: 0.1"), (drop,), "BEH101")
    assert only.effect is Verdict.FAIL
    policy = load(text)
    own = resolve(policy, policy.targets[0], None, None, rules=RULES)["BEH101"]["max_drop[top1]"]
    assert own.origin == "profile ours (metric_thresholds, qgate.yml)"


def test_a_profile_has_no_thresholds_of_no_metric() -> None:
    text = METRICS.replace("metric_thresholds: SLICES", "profile: ours").replace(
        "version: 1", "version: 1\nprofiles:\n  ours: {metric_thresholds: {none: {BEH101: {max_drop: 0.3}}}}"
    )
    with pytest.raises(PolicyError, match="`none` is no metric, so that no rule looks at it"):
        load(text)


def test_a_slice_comes_before_its_metric() -> None:
    text = METRICS.replace("SLICES", "{top1: {BEH101: {max_drop: 0.001}}}") + (
        "    slice_thresholds: {country=DE: {BEH101: {max_drop: 0.5}}}\n"
    )
    whole = WHOLE.model_copy(update={"value": 0.01, "low": 0.005, "high": 0.02})
    (only,) = judged(text, (whole, measured("country=DE", 0.3)), "BEH101")
    assert only.at.slice is None


@pytest.mark.parametrize(
    ("metrics", "says"),
    [
        ("{mae: {BEH106: {max_error_growth: 0.5}}}", "a task of top1 has no mae"),
        ("{top1: {BEH106: {max_drop: 0.5}}}", "BEH106 does not look at top1. BEH101 does"),
        ("{ece: {BEH106: {max_drop: 0.5}}}", "BEH106 does not look at ece. BEH107 does"),
        ("{topk: {BEH101: {max_drop: 0.5}}}", "BEH101 looks at top1 alone"),
        ("{top1: {BEH103: {max_drop: 0.5}}}", "does not look at single metrics"),
        ("{top1: {BEH101: {max_error_growth: 0.5}}}", "says nothing: top1 is no error"),
        ("{bleu: {BEH101: {max_drop: 0.5}}}", "bleu"),
        ("{top1: {BEH110: {min_value: -.inf}}}", "must be a finite number here, not -inf"),
    ],
)
def test_a_metric_that_no_rule_would_look_at_is_refused(metrics: str, says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        load(METRICS.replace("SLICES", metrics))


def test_a_looser_bound_of_a_metric_is_told() -> None:
    old, new = (load(METRICS.replace("SLICES", each)) for each in ("{}", "{top1: {BEH101: {max_drop: 0.4}}}"))
    assert any(
        "BEH101.max_drop[top1] is looser: 0.02 before, 0.4" in line
        for line in compare(old, new, rules=RULES).loosened
    )


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("country=NORWAI", "Did you mean `country=NORWAY`? Check its name"),
        ("country=norway", "Did you mean `country=NORWAY`? Check its name"),
        ("country=XX", "Known here: DE, NORWAY. Check its name"),
        ("country=DE", "Check its name under `slice_thresholds`, or give more samples of it"),
    ],
)
@pytest.mark.parametrize("rule", ["BEH101", "BEH104"])
def test_a_slice_that_the_data_do_not_have_is_answered_with_the_one_that_was_meant(
    written, says, rule
) -> None:
    given = measured("country=DE", 0.0, n=7), measured("country=NORWAY", 0.0)
    (only,) = found(f"{{{written}: {{{rule}: {{max_drop: 0.01}}}}}}", *given, rule=rule)
    assert only.effect is Verdict.INCONCLUSIVE and only.at.slice == written
    assert only.remedy.startswith(says)


def test_without_slices_in_the_data_no_name_is_made_up() -> None:
    (only,) = found(f"{{{OWN}}}")
    assert only.remedy.startswith("Check its name")


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("contry=DE", "Write `country=DE`"),
        ("DE", "Write `country=VALUE`"),
        ("contry=a b", "Write `country=VALUE`"),
    ],
)
def test_another_array_than_that_of_the_slices_is_refused_with_its_name(written: str, says: str) -> None:
    with pytest.raises(PolicyError, match=f"is no slice of the array.*{says}"):
        load(TEXT.replace("SLICES", f"{{{written}: {{BEH104: {{max_drop: 0.1}}}}}}"))


def test_slices_of_a_target_without_labels_are_refused_because_no_task_would_judge_them() -> None:
    with pytest.raises(PolicyError, match="the target has no labels to judge slices by"):
        load(TEXT.replace("labels: y, ", "").replace("SLICES", f"{{{OWN}}}"))
    load(
        TEXT.replace("labels: y, ", "").replace("SLICES", f"{{{OWN}}}")
        + "    task: {metric: decoded, python: a.py:f}\n"
    )
