"""One factory for both sides of an eager pair: said in our words, with what to do, and not in PyTorch's 5,000 letters."""

from __future__ import annotations

from pathlib import Path

import pytest

from qgate.records import Verdict
from qgate.verifier.adhoc import AdHoc, verify_ad_hoc

pytest.importorskip("torch", reason="of the extra `torch`")
FILES = Path(__file__).parents[2] / "examples" / "article"


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("eager", "the file holds float tensors, and the module is a quantized one"),
        ("fp32", "the file holds quantized tensors, and the module is a float one"),
    ],
)
def test_one_factory_for_two_kinds_of_module_is_told_with_what_to_do(function: str, says: str) -> None:
    spec = f"{FILES / 'model.py'}:{function}"
    code = {"factory.candidate": spec, "factory.reference": spec}
    report = verify_ad_hoc(AdHoc(FILES / "eager_int8.pt", FILES / "fp32.pt", code=code))
    assert report.verdict is Verdict.ERROR
    (refused,) = [finding for finding in report.findings if finding.rule == "ART112"]
    assert refused.message.endswith(f"do not fit the factory's module: {says}")
    assert refused.remedy.startswith("One factory builds both modules here: give each model its own")
    assert "--reference-factory and --candidate-factory" in refused.remedy
