"""Labels that do not belong to the inputs: both models are as wrong, and no PASS may rest on that."""

from pathlib import Path

import numpy as np
import pytest

from qgate.records import Severity, Verdict
from qgate.verifier.adhoc import AdHoc, verify_ad_hoc

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


@pytest.fixture
def shuffled(tmp_path):
    """The digits with their labels in another order."""
    with np.load(DIGITS / "digits_test.npz") as held:
        arrays = dict(held)
    arrays["label"] = np.random.default_rng(0).permutation(arrays["label"])
    np.savez(tmp_path / "shuffled.npz", **arrays)
    return tmp_path / "shuffled.npz"


@pytest.mark.parametrize(
    ("profile", "severity", "effect"),
    [("strict", Severity.ERROR, Verdict.INCONCLUSIVE), ("balanced", Severity.WARNING, Verdict.PASS)],
)
def test_shuffled_labels_are_doubted(shuffled, profile, severity, effect):
    report = verify_ad_hoc(
        AdHoc(
            DIGITS / "digits_int8_pc.onnx",
            DIGITS / "digits_fp32.onnx",
            inputs=shuffled,
            labels="label",
            profile=profile,
        )
    )
    (found,) = [f for f in report.findings if f.rule == "BEH111"]
    assert (found.severity, found.effect) == (severity, effect)
    assert "the reference itself is not shown to be better than chance" in found.message
    assert abs(found.evidence["reference"] - 0.1) < 0.05
    assert (report.verdict is Verdict.PASS) == (profile == "balanced")
