from __future__ import annotations

from datetime import date

import pytest

from qgate.policy.schema import Waiver
from qgate.policy.waivers import apply_waivers
from qgate.records import Finding, Limit, Place, Severity, Verdict

LAST = date(2027, 1, 31)
BEFORE, AFTER = date(2027, 1, 30), date(2027, 2, 1)
AT = Place(tensor="conv1.weight", index=(0, 3))


def finding(
    rule: str = "RNG104", effect: Verdict = Verdict.FAIL, at: Place = AT, severity: Severity = Severity.ERROR
) -> Finding:
    return Finding(rule=rule, severity=severity, effect=effect, at=at, message="m")


def waiver(rule: str = "RNG104", at: str | None = None, target: str = "a") -> Waiver:
    return Waiver(target=target, rule=rule, at=at, reason="known", until=LAST)


@pytest.mark.parametrize("day", [BEFORE, LAST])
@pytest.mark.parametrize("effect", [Verdict.FAIL, Verdict.INCONCLUSIVE])
def test_a_waiver_marks_its_finding_through_its_last_day(day: date, effect: Verdict) -> None:
    (judged,) = apply_waivers([finding(effect=effect)], [waiver()], "a", day)
    assert judged == finding(effect=effect).model_copy(update={"waived": "known"})


def test_a_warning_can_be_waived_too() -> None:
    warned = finding(effect=Verdict.PASS, severity=Severity.WARNING)
    (judged,) = apply_waivers([warned], [waiver()], "a", BEFORE)
    assert (judged.waived, judged.severity) == ("known", Severity.WARNING)


def test_what_could_not_be_measured_is_never_waived() -> None:
    broken = finding(effect=Verdict.ERROR)
    assert apply_waivers([broken], [waiver()], "a", BEFORE) == (broken,)


@pytest.mark.parametrize(
    "other",
    [
        waiver(rule="RNG105"),
        waiver(target="b"),
        waiver(at="tensor conv1.weight"),
        waiver(at="tensor conv1.weight [0, 4]"),
    ],
)
def test_a_waiver_of_something_else_covers_nothing(other: Waiver) -> None:
    assert apply_waivers([finding()], [other], "a", BEFORE) == (finding(),)


def test_an_exact_place_is_the_places_text_in_the_report() -> None:
    exact = waiver(at="tensor conv1.weight [0, 3]")
    elsewhere = finding(at=Place(tensor="conv2.weight"))
    first, second = apply_waivers([finding(), elsewhere], [exact], "a", BEFORE)
    assert first.waived == "known"
    assert second == elsewhere


def test_an_expired_waiver_covers_nothing_and_is_a_finding() -> None:
    first, expired = apply_waivers([finding()], [waiver()], "a", AFTER)
    assert first == finding()
    assert (expired.rule, expired.severity, expired.effect) == ("TRC104", Severity.WARNING, Verdict.PASS)
    assert "RNG104 ended on 2027-01-31; it covers 1 of this run's findings no longer" in expired.message
    assert expired.evidence["reason"] == "known"


def test_an_expired_waiver_blocks_where_the_thresholds_say_so() -> None:
    limits = {"TRC104": {"severity": Limit(value="error", origin="built-in profile strict")}}
    (expired,) = apply_waivers([], [waiver(at="output y")], "a", AFTER, limits=limits)
    assert (expired.severity, expired.effect) == (Severity.ERROR, Verdict.FAIL)
    assert "RNG104 at output y ended" in expired.message
    assert expired.remedy == "Remove the waiver"


def test_an_expired_waiver_of_another_target_is_silent_here() -> None:
    assert apply_waivers([finding()], [waiver(target="b")], "a", AFTER) == (finding(),)


def test_a_valid_waiver_holds_beside_an_expired_one() -> None:
    renewed = waiver(at=str(AT)).model_copy(update={"until": date(2028, 1, 1), "reason": "renewed"})
    first, expired = apply_waivers([finding()], [waiver(), renewed], "a", AFTER)
    assert first.waived == "renewed"
    assert expired.rule == "TRC104"
