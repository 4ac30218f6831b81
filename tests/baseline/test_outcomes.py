"""Samples that are answered otherwise than by the accepted model."""

import base64

import numpy as np
import pytest
from pydantic import ValidationError

from qgate.baseline.outcomes import agreeing_outcomes, bound_outcomes, compare_outcomes, outcome_finding
from qgate.measure.outcomes import pack_outcomes
from qgate.records import MAX_OUTCOMES, DataUsed, Outcomes, Severity

TRUTH = np.arange(40) % 4


def outcomes(answers, reference=TRUTH, keep=True):
    right = reference == TRUTH, answers == TRUTH
    return Outcomes.model_validate(pack_outcomes(right, (reference, answers) if keep else None))


def altered(**samples):
    found = TRUTH.copy()
    for sample, answer in samples.items():
        found[int(sample[1:])] = answer
    return found


def test_which_samples_changed_is_told():
    before, now = outcomes(altered(s3=0, s9=0)), outcomes(altered(s3=1, s17=2, s20=3))
    delta = compare_outcomes(before, now)
    assert (delta.samples, delta.to_wrong, delta.to_right, delta.changed) == (40, 2, 1, 4)
    assert [(c.sample, c.was, c.now) for c in delta.changes] == [(17, 1, 2), (20, 0, 3), (3, 0, 1), (9, 0, 1)]
    found = outcome_finding(delta)
    assert found.severity is Severity.NOTE, "two samples are few"
    assert found.rule == "TRC115" and found.at.index == (17,)
    assert "2 of 40 samples that the accepted model got right are wrong now" in found.message
    assert "sample 17 (1 before, 2 now), sample 20 (0 before, 3 now)" in found.message


def test_many_newly_wrong_samples_weigh_more_though_as_many_are_newly_right():
    before = outcomes(altered(s1=0, s2=0, s3=0))
    now = outcomes(altered(s5=0, s6=0, s7=0))
    delta = compare_outcomes(before, now)
    assert (delta.to_wrong, delta.to_right) == (3, 3), "the metric has not moved at all"
    assert outcome_finding(delta).severity is Severity.WARNING


def test_nothing_is_said_where_nothing_changed():
    assert outcome_finding(compare_outcomes(outcomes(TRUTH), outcomes(TRUTH))) is None


def test_right_and_wrong_are_enough():
    delta = compare_outcomes(outcomes(TRUTH, keep=False), outcomes(altered(s3=0, s4=1)))
    assert [(c.sample, c.was) for c in delta.changes] == [(3, None), (4, None)]
    assert "sample 3, sample 4" in outcome_finding(delta).message


def test_other_data_are_not_compared():
    kept, here = outcomes(TRUTH), DataUsed(origin="given", sha256="a" * 64, labels="y")
    assert bound_outcomes(kept, here, here) is kept
    assert bound_outcomes(kept, here.model_copy(update={"sha256": "b" * 64}), here) is None
    assert bound_outcomes(kept, here, here.model_copy(update={"labels": "z"})) is None
    nothing = DataUsed(origin="generated")
    assert bound_outcomes(kept, nothing, nothing) is None
    assert compare_outcomes(None, kept) is compare_outcomes(kept, None) is None


def test_a_carried_file_must_tell_the_outcomes_that_are_measured():
    told, measured = outcomes(altered(s3=0)), outcomes(altered(s3=1))
    assert agreeing_outcomes(None, None, most=0)
    assert agreeing_outcomes(told, told, most=0)
    assert not agreeing_outcomes(told, measured, most=0)
    assert agreeing_outcomes(told, measured, most=2), "another machine rounds otherwise"
    assert not agreeing_outcomes(None, measured, most=2)
    assert not agreeing_outcomes(outcomes(altered(s3=1), keep=False), measured, most=2)


@pytest.mark.parametrize(
    "change",
    [
        {"n": 41},
        {"n": -1},
        {"n": MAX_OUTCOMES + 1},
        {"reference": "AAAA"},
        {"candidate": "?" * 8},
        {"width": 3},
        {"width": 2},
        {"candidate_answers": ""},
        {"candidate_answers": base64.b64encode(b"x" * 41).decode()},
    ],
)
def test_what_does_not_fit_is_refused(change):
    with pytest.raises(ValidationError):
        Outcomes.model_validate({**outcomes(TRUTH).model_dump(), **change})


def test_wide_answers_and_none_at_all():
    right = np.ones(3, dtype=bool)
    wide = pack_outcomes((right, right), (np.array([70_000, -1, 2]),) * 2)
    assert wide["width"] == 4
    assert Outcomes.model_validate(wide).answers("candidate") == (70_000, -1, 2)
    many = np.ones(300_000, dtype=bool)
    assert "width" not in pack_outcomes((many, many), (np.zeros(300_000, int),) * 2)
    assert pack_outcomes((np.ones(MAX_OUTCOMES + 1, dtype=bool),) * 2, None) is None
