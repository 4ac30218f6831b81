"""Who signed, what may execute and behind which walls: the trusted side's word, whatever a change writes."""

from __future__ import annotations

from typing import Any

import pytest

from qgate.records import Verdict

Lab = Any  # tests/gate/conftest.py

SIGNATURE = "signature: {bundle: models/plate.sig, key: keys/k.pub}, require_signature: true"
SIGNED = f", {SIGNATURE}"
FILES = {"keys__k.pub": "our key", "models__plate.sig": "our signature"}


def policy(more: str = "", top: str = "") -> str:
    return f"version: 1\n{top}targets:\n  - {{name: plate, candidate: models/plate.onnx{more}}}\n"


def start(lab: Lab, more: str = "", top: str = "") -> None:
    lab.start(policy(more, top), **FILES)


def judged(lab: Lab) -> list[Any]:
    return lab.verifier.of("judge")


LOOSER = {
    "sandbox": (policy(top="sandbox: reduced\n"), "`sandbox` is reduced, it was required"),
    "trust": (policy(", trust: code"), "`trust` is code, it was data"),
}


@pytest.mark.parametrize(("changed", "says"), LOOSER.values(), ids=list(LOOSER))
def test_a_change_does_not_open_the_sandbox_that_it_is_judged_in(lab: Lab, changed: str, says: str) -> None:
    start(lab)
    activity = lab.pull_request({"qgate.yml": changed, "models/plate.onnx": lab.model(41)})
    report = lab.gate(activity)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert says in report.findings[0].message
    assert {(run.policy.sandbox, run.target.trust) for run in lab.verifier.runs} == {("required", "data")}
    lab.verifier.runs.clear()
    lab.approve(activity)
    report = lab.gate(activity)
    assert report.verdict is Verdict.PASS
    assert {(run.policy.sandbox, run.target.trust) for run in judged(lab)} in (
        {("reduced", "data")},
        {("required", "code")},
    )


@pytest.mark.parametrize("first", [True, False])
def test_a_new_target_that_is_code_needs_somebody_who_says_so(lab: Lab, first: bool) -> None:
    """Also where the change brings the first policy of all."""
    lab.start(None if first else policy())
    new = (policy() if not first else "version: 1\ntargets:\n") + (
        "  - {name: script, candidate: models/other.onnx, trust: code}\n"
    )
    activity = lab.pull_request({"qgate.yml": new, "models/other.onnx": lab.model()})
    report = lab.gate(activity)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "target script is added with `trust: code`" in str(report.findings)
    assert {run.target.trust for run in lab.verifier.runs} == {"data"}
    lab.verifier.runs.clear()
    lab.approve(activity)
    assert lab.gate(activity).verdict is Verdict.PASS
    assert {run.target.trust for run in judged(lab)} == {"code"}


def test_a_tree_that_is_judged_by_its_own_policy_is_taken_at_its_word(lab: Lab) -> None:
    start(lab, ", trust: code", "sandbox: reduced\n")
    lab.gate()
    assert {(run.policy.sandbox, run.target.trust) for run in lab.verifier.runs} == {("reduced", "code")}


def test_the_bundle_is_the_change_s_and_the_key_the_base_s(lab: Lab) -> None:
    start(lab, SIGNED)
    base = lab.git("rev-parse", "main")
    activity = lab.pull_request({"models/plate.sig": "another signature"})
    report = lab.gate(activity)
    assert [target.name for target in report.targets] == ["plate"], "a signature is part of the target"
    (run,) = judged(lab)
    assert (run.candidate_revision, run.signer_revision) == (activity.merge_sha, base)
    assert run.signature.bundle.path == "models/plate.sig"


def test_what_a_baseline_is_measured_from_is_not_held_to_the_new_signature(lab: Lab) -> None:
    start(lab, SIGNED)
    lab.gate(lab.pull_request({"models/plate.onnx": lab.model(41)}))
    assert lab.verifier.of("baseline")
    assert all(run.signature is None for run in lab.verifier.of("baseline"))


def test_replacing_the_key_s_file_needs_approval(lab: Lab) -> None:
    """The policy stays as it is: the file under it says who signs from then on."""
    start(lab, SIGNED)
    base = lab.git("rev-parse", "main")
    activity = lab.pull_request({"keys/k.pub": "my key", "models/plate.sig": "my signature"})
    report = lab.gate(activity)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "keys/k.pub, which says who must sign plate, is modified" in report.findings[0].message
    assert {run.signer_revision for run in judged(lab)} == {base}
    lab.verifier.runs.clear()
    lab.approve(activity)
    assert lab.gate(activity).verdict is Verdict.PASS
    assert {run.signer_revision for run in judged(lab)} == {activity.merge_sha}


def test_deleting_the_key_s_file_needs_approval(lab: Lab) -> None:
    start(lab, SIGNED)
    report = lab.gate(lab.pull_request({"keys/k.pub": None}))
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "is deleted" in report.findings[0].message


def test_naming_another_key_is_judged_by_both_and_needs_approval(lab: Lab) -> None:
    start(lab, SIGNED)
    base = lab.git("rev-parse", "main")
    other = SIGNED.replace("keys/k.pub", "keys/mine.pub")
    activity = lab.pull_request({"qgate.yml": policy(other), "keys/mine.pub": "my key"})
    report = lab.gate(activity)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "the signature's key is 'keys/mine.pub', it was 'keys/k.pub'" in report.findings[0].message
    assert [(run.signature.key.path, run.signer_revision) for run in judged(lab)] == [
        ("keys/k.pub", base),
        ("keys/mine.pub", activity.merge_sha),
    ]


def test_dropping_the_signature_leaves_it_required_until_somebody_agrees(lab: Lab) -> None:
    start(lab, SIGNED)
    report = lab.gate(lab.pull_request({"qgate.yml": policy(), "models/plate.onnx": lab.model(41)}))
    assert report.verdict is Verdict.INCONCLUSIVE
    assert judged(lab)[0].target.require_signature
    assert judged(lab)[0].signature.key.path == "keys/k.pub"


def test_a_bundle_that_moves_with_its_candidate_is_found_by_the_trusted_lines(lab: Lab) -> None:
    start(lab, SIGNED)
    moved = policy(SIGNED).replace("models/plate", "models/v2/plate")
    change = {
        "qgate.yml": moved,
        "models/v2/plate.onnx": lab.model(),
        "models/v2/plate.sig": "our signature",
    }
    lab.gate(lab.pull_request(change))
    first = judged(lab)[0]
    assert (first.candidate.path, first.signature.bundle.path) == (
        "models/v2/plate.onnx",
        "models/v2/plate.sig",
    )
    assert first.signature.key.path == "keys/k.pub"


def test_what_is_shown_for_comparison_trusts_no_more(lab: Lab) -> None:
    start(lab, ", reference: models/plate_fp32.onnx")
    changed = policy(", reference: models/plate_fp32.onnx, trust: code")
    lab.gate(lab.pull_request({"qgate.yml": changed, "models/plate_fp32.onnx": lab.model(60)}))
    assert lab.verifier.of("comparison")
    assert {run.target.trust for run in lab.verifier.runs} == {"data"}
