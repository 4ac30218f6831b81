"""The evaluation's own judgement: what counts as blocked, located and right, and what it writes where."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture(scope="module")
def evaluation():
    sys.path.insert(0, str(BENCH))
    try:
        import evaluate

        yield evaluate
    finally:
        sys.path.remove(str(BENCH))


def outcome(
    evaluation, verdict, findings=(), *, kind="fault", expected=("FAIL",), locate=("w_scale",), **more
):
    case = evaluation.Case("id", kind, Path("r"), Path("c"), expected, locate)
    return evaluation.Outcome(case, verdict, 1.0, tuple(findings), **more)


def finding(severity="error", message="m", at=None, **evidence):
    return {"rule": "RNG101", "severity": severity, "at": at or {}, "message": message, "evidence": evidence}


@pytest.mark.parametrize(
    ("found", "located"),
    [
        (finding(at={"tensor": "w_scale"}), "place"),
        (finding(message="scale 'w_scale' is infinite"), "text"),
        (finding(message="scale w_scale_2 is infinite"), "no"),
        (finding(scale="w_scale"), "text"),
        (finding("warning", at={"tensor": "w_scale"}), "no"),
    ],
)
def test_located_means_that_a_blocking_finding_names_the_place(evaluation, found, located):
    assert outcome(evaluation, "FAIL", [found]).located == located


def test_a_crash_catches_no_fault_but_blocks_an_honest_file(evaluation):
    crash = outcome(evaluation, "FAIL without report", traceback=True)
    assert not crash.caught
    assert crash.blocked
    assert not crash.right


def test_totals_count_debatable_cases_apart(evaluation):
    text = evaluation.totals([outcome(evaluation, "PASS"), outcome(evaluation, "FAIL", [finding()])])
    doubtful = dataclasses.replace(outcome(evaluation, "PASS").case, debatable="within the noise")
    apart = evaluation.totals([evaluation.Outcome(doubtful, "PASS", 1.0)])
    assert apart.startswith("- faults blocked (debatable): 0 of 1")
    assert "faults blocked: 1 of 2" in text
    assert "debatable" not in text


def test_misses_say_what_the_report_said(evaluation):
    wrong = outcome(
        evaluation, "FAIL", [finding(message="scale is odd")], kind="honest", expected=("PASS",), locate=()
    )
    text = evaluation.misses([wrong])
    assert "Honest or harmless, but blocked (1)" in text
    assert "scale is odd" in text


def test_the_text_between_markers_is_replaced_and_nothing_else(evaluation, tmp_path):
    page = tmp_path / "evaluation.md"
    page.write_text("# Title\nkept\n<!-- examples:begin -->\nold\n<!-- examples:end -->\nalso kept\n")
    evaluation.write_between(page, "examples", "new")
    evaluation.write_between(page, "corpus", "more")
    text = page.read_text()
    assert "old" not in text
    assert text.index("kept") < text.index("new") < text.index("also kept") < text.index("more")


def test_a_manifest_becomes_cases(evaluation, tmp_path):
    entry = {
        "id": "w1", "file": "w1/model.onnx", "reference": "reference.onnx", "kind": "numeric",
        "fault": "flip",
        "expected_verdict": "fail", "also_accept": ["error"], "must_localise_to": "w", "scheme": "int8",
    }  # fmt: skip
    (tmp_path / "manifest.json").write_text(json.dumps([entry]))
    (case,) = evaluation.manifest_cases(tmp_path)
    assert (case.kind, case.expected, case.locate) == ("fault", ("FAIL", "ERROR"), ("w",))
    assert case.arguments == ("--scheme", "int8")
    assert case.data is None
