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


def measured(piece: str, drop: float, n: int = 100) -> Measurement:
    detail = {"metric": "top1", "p_adjusted": 0.0}
    at = Place(slice=piece)
    return Measurement(name="task.slice_drop", at=at, value=drop, n=n, low=drop / 2, high=drop, detail=detail)


WHOLE = Measurement(name="task.metric_drop", value=0.0, n=500, low=0.0, high=0.0, detail={"metric": "top1"})


def found(slices: str, *given: Measurement) -> list[Finding]:
    policy = load(TEXT.replace("SLICES", slices))
    limits = resolve(policy, policy.targets[0], None, None, rules=RULES)
    judged = judge([WHOLE, *given], limits, scheme="int8", declared={"scheme": "int8", "ran": True})
    return [finding for finding in judged if finding.rule == "BEH104"]


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
    assert not back.loosened and any("is stricter" in line for line in back.changed), back


@pytest.mark.parametrize(
    ("slices", "says"),
    [
        ("{DE: {BEH104: {max_drop: 0.5}}}", "is no slice of the array"),
        ("{country=: {BEH104: {max_drop: 0.5}}}", "is no slice of the array"),
        ("{country=DE: {BEH101: {max_drop: 0.5}}}", "does not look at single slices"),
        ("{country=DE: {BEH104: {max_drip: 0.5}}}", "has no parameter"),
        ("{country=DE: {BEH104: {max_drop: much}}}", "must be a number"),
        ("{country=DE: {BEH104: {max_drop: .inf}}}", "must be a finite number"),
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
