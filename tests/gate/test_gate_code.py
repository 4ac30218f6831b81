"""Code that judges is the trusted side's: a change of it is a change of the policy."""

from __future__ import annotations

from typing import Any

import pytest

from qgate.records import Verdict

Lab = Any  # tests/gate/conftest.py

PLAIN = "  - {name: plate, candidate: models/plate.onnx}\n"
BUILT = "  - {name: plate, candidate: models/plate.onnx, factory: 'nets/plate.py:build'}\n"
OTHER = "  - {name: plate, candidate: models/plate.onnx, factory: 'nets/plate.py:other'}\n"
FILES = {
    "nets/plate.py": "def build():\n    return 1\n",
    "nets/__init__.py": "A = 1\n",
    "nets/deep.py": "B = 1\n",
}


def policy(*targets: str) -> str:
    return "version: 1\ntargets:\n" + "".join(targets)


def start(lab: Lab, text: str) -> None:
    lab.start(text)
    lab.commit(FILES)


def judged(lab: Lab) -> set[tuple[Any, Any]]:
    return {
        (run.target.factory.candidate if run.target.factory else None, run.code_revision)
        for run in lab.verifier.of("judge")
    }


@pytest.mark.parametrize("path", ["nets/plate.py", "nets/deep.py", "nets/__init__.py"])
def test_changing_code_that_judges_needs_approval_and_until_then_the_base_s_judges(
    lab: Lab, path: str
) -> None:
    """The policy stays as it is; also a sibling in the package decides what the function does."""
    start(lab, policy(BUILT))
    base = lab.git("rev-parse", "main")
    activity = lab.pull_request({path: "C = 2\n"})
    report = lab.gate(activity)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert f"{path}, code that judges plate, is modified" in report.findings[0].message
    assert judged(lab) == {("nets/plate.py:build", base)}
    lab.verifier.runs.clear()
    lab.approve(activity)
    assert lab.gate(activity).verdict is Verdict.PASS
    assert judged(lab) == {("nets/plate.py:build", activity.merge_sha)}


def test_other_files_are_no_code_that_judges(lab: Lab) -> None:
    start(lab, policy(BUILT))
    report = lab.gate(lab.pull_request({"tools/y.py": "y = 1\n", "models/plate.onnx": lab.model(41)}))
    assert report.verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("before", "after", "says", "kept"),
    [
        (PLAIN, BUILT, "`factory.candidate` is 'nets/plate.py:build', it was not given", None),
        (BUILT, OTHER, "`factory.candidate` is 'nets/plate.py:other', it was 'nets/plate.py:build'", "build"),
        (BUILT, PLAIN, "`factory.candidate` is not given", "build"),
    ],
)
def test_naming_other_code_needs_approval(
    lab: Lab, before: str, after: str, says: str, kept: str | None
) -> None:
    start(lab, policy(before))
    activity = lab.pull_request({"qgate.yml": policy(after), "models/plate.onnx": lab.model(41)})
    report = lab.gate(activity)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert says.replace("'", "`") in str(report.findings).replace("'", "`").replace('"', "`")
    expected = f"nets/plate.py:{kept}" if kept else None
    assert {spec for spec, _ in judged(lab)} == {expected}


@pytest.mark.parametrize("first", [True, False])
def test_a_new_target_s_code_does_not_run_before_somebody_has_said_so(lab: Lab, first: bool) -> None:
    lab.start(None if first else policy(PLAIN))
    new = BUILT.replace("plate,", "other,")
    activity = lab.pull_request({"qgate.yml": policy(*(() if first else (PLAIN,)), new), **FILES,
                                 "models/plate.onnx": lab.model(41)})  # fmt: skip
    report = lab.gate(activity)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "target other is added with code of its own" in str(report.findings)
    assert {spec for spec, _ in judged(lab)} == {None}
    lab.approve(activity)
    lab.verifier.runs.clear()
    lab.gate(activity)
    assert ("nets/plate.py:build", activity.merge_sha) in judged(lab)
