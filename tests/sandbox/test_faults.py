"""No fault turns green, each is explained, and none leaves a process behind."""

import pytest
from fault_cases import CASES, CONTROLS


@pytest.mark.parametrize("case", CONTROLS, ids=lambda case: case.name)
def test_without_a_fault_it_is_green(case, tmp_path):
    ended = case.run(tmp_path)
    assert ended.green, ended.said


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fault_is_never_green(case, tmp_path):
    ended = case.run(tmp_path)
    assert not ended.green
    assert case.says in ended.said
    assert "Traceback" not in ended.said
    assert ended.survivors == 0


def test_there_are_many_and_each_is_another():
    assert len(CASES) >= 60
    assert len({case.name for case in CASES}) == len(CASES)
