"""The bench of verdicts: its oracle is its own, and its counts are what they say."""

import sys
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture(scope="module")
def verdicts():
    sys.path.insert(0, str(BENCH))
    try:
        import verdicts

        yield verdicts
    finally:
        sys.path.remove(str(BENCH))


def outcome(verdicts, verdict, drop, *, honest=False, stable=True):
    told = dict.fromkeys(verdicts.PROFILES, verdict)
    return verdicts.Outcome("case", honest, drop, told, told, stable)


def test_blocks_and_misses_are_counted_by_what_is_true(verdicts):
    outcomes = [
        outcome(verdicts, "FAIL", 0.0, honest=True),
        outcome(verdicts, "PASS", 0.0, honest=True),
        outcome(verdicts, "PASS", 0.3, stable=False),
        outcome(verdicts, "INCONCLUSIVE", 0.3),
        outcome(verdicts, "FAIL", 0.001),
    ]
    lines = list(verdicts.table(outcomes))
    balanced = next(line for line in lines if line.startswith("| balanced"))
    assert "1 of 2" in balanced.split("|")[2] and "1 of 2" in balanced.split("|")[4]
    assert "1 of 5" in balanced.split("|")[6]
    assert lines[-1].endswith("1 of 5.")


def test_every_damage_changes_the_model_and_stronger_changes_more(verdicts):
    problem = verdicts.Problem(1)
    for damage in verdicts.DAMAGES[1:]:
        moved = []
        for strength in verdicts.STRENGTHS:
            found = verdicts.damaged(problem.layers, damage, strength, np.random.default_rng(0))
            pairs = [
                (a, b)
                for new, old in zip(found, problem.layers, strict=True)
                for a, b in zip(new, old, strict=True)
            ]
            moved.append(sum(float(np.abs(a - b).sum()) for a, b in pairs))
        assert 0 < moved[0] < moved[1] < moved[2], damage


def test_an_honest_case_passes_and_the_oracle_sees_no_damage(verdicts, tmp_path):
    found = verdicts.run(0, 400, 0, tmp_path)
    assert found.honest and abs(found.true_drop) < 0.02
    assert found.verdicts["balanced"] == found.behaviour["balanced"] == "PASS"
