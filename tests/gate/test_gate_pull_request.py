"""Pull requests: what is run, by which commits, and what a change of files means."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qgate.errors import UsageError
from qgate.events import Activity, Kind
from qgate.gate.run import failed_report
from qgate.records import Verdict
from qgate.settings import Settings

Lab = Any  # tests/gate/conftest.py


def test_a_sound_new_candidate_passes_and_says_whom_it_trusted(lab: Lab) -> None:
    base = lab.start()
    activity = lab.pull_request({"models/plate.onnx": lab.model(41)})
    report = lab.gate(activity)
    assert (report.verdict, report.summary.targets) == (Verdict.PASS, 1)
    assert report.provenance.base_sha == base
    assert report.provenance.head_sha == activity.head_sha
    assert report.provenance.merge_sha == activity.merge_sha
    assert report.provenance.pull_request == 7
    assert any(base in notice and activity.merge_sha in notice for notice in report.notices)
    run = lab.verifier.of("judge")[0]
    assert (run.candidate_revision, run.reference_revision) == (activity.merge_sha, base)


def test_a_bad_candidate_fails(lab: Lab) -> None:
    lab.start()
    report = lab.gate(lab.pull_request({"models/plate.onnx": lab.model(25)}))
    assert report.verdict is Verdict.FAIL
    assert "plate" in report.summary.headline


def test_a_change_of_no_target_passes_with_the_reason(lab: Lab) -> None:
    lab.start()
    report = lab.gate(lab.pull_request({"README.md": "new"}))
    assert report.verdict is Verdict.PASS
    assert "touches no target" in report.summary.headline
    assert [skipped.name for skipped in report.skipped] == ["plate"]
    assert lab.verifier.runs == []


@pytest.mark.parametrize(
    "path", ["models/plate.onnx", "models/plate_fp32.onnx", "data/plates.npz", ".qgate/baseline/plate.json"]
)
def test_each_file_of_a_target_touches_it(lab: Lab, path: str) -> None:
    lab.start()
    report = lab.gate(lab.pull_request({path: lab.model(41)}))
    assert report.summary.targets == 1


def test_external_data_that_the_model_names_touches_it(lab: Lab) -> None:
    named = lab.model(40, **{"weights.bin": 1.0})
    lab.start()
    lab.commit({"models/plate.onnx": named, "models/weights.bin": b"one", "models/other.bin": b"one"})
    report = lab.gate(lab.pull_request({"models/weights.bin": b"two"}))
    assert report.summary.targets == 1


def test_a_neighbour_that_the_model_does_not_name_does_not(lab: Lab) -> None:
    lab.start()
    lab.commit({"models/other.bin": b"one"})
    assert lab.gate(lab.pull_request({"models/other.bin": b"two"})).summary.targets == 0


def test_beside_a_pointer_every_model_file_counts(lab: Lab) -> None:
    lab.start()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 12\n"
    lab.commit({"models/plate.onnx": pointer, "models/plate.data": b"one"})
    report = lab.gate(lab.pull_request({"models/plate.data": b"two"}))
    assert report.summary.targets == 1
    assert report.verdict is Verdict.ERROR


def test_the_file_behind_a_link_touches_the_target(lab: Lab) -> None:
    lab.start()
    (lab.root / "models/plate.onnx").unlink()
    (lab.root / "models/plate.onnx").symlink_to("v1/plate.onnx")
    lab.commit({"models/v1/plate.onnx": lab.model(40)})
    report = lab.gate(lab.pull_request({"models/v1/plate.onnx": lab.model(10)}))
    assert report.summary.targets == 1
    assert report.verdict is not Verdict.PASS


def test_a_deleted_candidate_is_a_finding(lab: Lab) -> None:
    lab.start()
    report = lab.gate(lab.pull_request({"models/plate.onnx": None}))
    assert report.verdict is Verdict.FAIL
    assert lab.rules(report) == [("TRC108", "error")]
    assert lab.verifier.runs == []


def test_a_renamed_candidate_says_where_it_went(lab: Lab) -> None:
    lab.start()
    report = lab.gate(lab.pull_request({"models/plate.onnx": None, "models/v2.onnx": lab.model()}))
    finding = report.targets[0].findings[0]
    assert finding.rule == "TRC108"
    assert "models/v2.onnx" in finding.remedy


def test_one_target_s_crash_leaves_the_others_their_verdicts(lab: Lab) -> None:
    policy = (
        "version: 1\ntargets:\n  - {name: a, candidate: a.onnx}\n  - {name: b, candidate: b.onnx}\n"
        "  - {name: c, candidate: c.onnx}\n"
    )
    lab.start(policy, **{"a.onnx": lab.model(40), "b.onnx": lab.model(40), "c.onnx": lab.model(40)})
    activity = lab.pull_request({"a.onnx": "crash", "b.onnx": lab.model(41), "c.onnx": lab.model(5)})
    report = lab.gate(activity)
    assert {t.name: t.verdict for t in report.targets} == {
        "a": Verdict.ERROR,
        "b": Verdict.PASS,
        "c": Verdict.FAIL,
    }
    assert report.verdict is Verdict.ERROR
    assert "fell over" in report.targets[0].reason
    assert (report.summary.errors, report.summary.passed, report.summary.failed) == (1, 1, 1)


def test_narrowing_away_a_touched_target_is_inconclusive(lab: Lab) -> None:
    policy = "version: 1\ntargets:\n  - {name: a, candidate: a.onnx}\n  - {name: b, candidate: b.onnx}\n"
    lab.start(policy, **{"a.onnx": lab.model(40), "b.onnx": lab.model(40)})
    activity = lab.pull_request({"a.onnx": lab.model(41), "b.onnx": lab.model(41)})
    report = lab.gate(activity, targets=("b",))
    assert report.verdict is Verdict.INCONCLUSIVE
    assert ("TRC107", "error") in lab.rules(report)
    assert [t.name for t in report.targets] == ["b"]


def test_narrowing_away_an_untouched_target_is_fine(lab: Lab) -> None:
    policy = "version: 1\ntargets:\n  - {name: a, candidate: a.onnx}\n  - {name: b, candidate: b.onnx}\n"
    lab.start(policy, **{"a.onnx": lab.model(40), "b.onnx": lab.model(40)})
    activity = lab.pull_request({"b.onnx": lab.model(41)})
    assert lab.gate(activity, targets=("b",)).verdict is Verdict.PASS


def test_an_unknown_target_is_named_with_the_nearest(lab: Lab) -> None:
    lab.start()
    report = lab.gate(lab.pull_request({"README.md": "x"}), targets=("plte",))
    assert report.verdict is Verdict.ERROR
    assert "plate" in report.findings[0].remedy


def test_a_change_of_the_gate_s_workflow_is_said(lab: Lab) -> None:
    lab.start()
    workflow = "jobs: {gate: {steps: [{uses: octo/qgate@v1}]}}"
    report = lab.gate(lab.pull_request({".github/workflows/gate.yml": workflow}))
    assert report.verdict is Verdict.PASS
    assert any(".github/workflows/gate.yml" in notice for notice in report.notices)


def test_another_workflow_is_not(lab: Lab) -> None:
    lab.start()
    report = lab.gate(lab.pull_request({".github/workflows/docs.yml": "jobs: {}"}))
    assert not any("docs.yml" in notice for notice in report.notices)


def test_a_fork_is_said(lab: Lab) -> None:
    lab.start()
    report = lab.gate(lab.pull_request({"models/plate.onnx": lab.model(41)}, fork=True))
    assert any("fork" in notice for notice in report.notices)


def test_a_shallow_clone_is_an_error_that_names_the_depth(lab: Lab, tmp_path: Path) -> None:
    lab.start()
    activity = lab.pull_request({"models/plate.onnx": lab.model(41)})
    lab.git("branch", "merged")
    shallow = tmp_path / "shallow"
    lab.git("clone", "-q", "--depth", "1", "--branch", "merged", f"file://{lab.root}", str(shallow))
    report = lab.gate(activity, workspace=shallow)
    assert report.verdict is Verdict.ERROR
    assert "fetch-depth: 2" in report.findings[0].remedy
    deep = tmp_path / "deep"
    lab.git("clone", "-q", "--depth", "2", "--branch", "merged", f"file://{lab.root}", str(deep))
    assert lab.gate(activity, workspace=deep).verdict is Verdict.PASS


def test_a_checkout_of_something_else_is_an_error(lab: Lab) -> None:
    lab.start()
    activity = lab.pull_request({"models/plate.onnx": lab.model(41)})
    lab.git("checkout", "-q", "main")
    report = lab.gate(activity)
    assert report.verdict is Verdict.ERROR
    assert "checked out" in report.summary.headline


def test_a_merge_with_a_base_of_someone_s_choice_is_an_error(lab: Lab) -> None:
    lab.start()
    lab.git("checkout", "-q", "-b", "loose")
    lab.commit({"qgate.yml": POLICY_LOOSE})
    lab.git("checkout", "-q", "main")
    activity = lab.pull_request({"models/plate.onnx": lab.model(25)})
    lab.git("checkout", "-q", "--detach", "loose")
    lab.git("merge", "-q", "--no-ff", "-m", "merge", "patch")
    report = lab.gate(activity)
    assert report.verdict is Verdict.ERROR
    assert "first parent" in report.summary.headline


def test_a_base_that_moved_on_judges_as_merged(lab: Lab) -> None:
    old = lab.start()
    activity = lab.pull_request({"models/plate.onnx": lab.model(41)})
    lab.git("checkout", "-q", "main")
    moved = lab.commit({"README.md": "later"})
    lab.git("merge", "-q", "--no-ff", "-m", "merge", "patch")
    here = lab.git("rev-parse", "HEAD")
    report = lab.gate(replace(activity, merge_sha=here))
    assert activity.base_sha == old
    assert report.provenance.base_sha == moved
    assert any("moved" in notice for notice in report.notices)


def test_the_head_itself_is_judged_by_the_base_and_says_so(lab: Lab) -> None:
    lab.start()
    activity = lab.pull_request({"models/plate.onnx": lab.model(41)})
    lab.git("checkout", "-q", "main")
    tip = lab.commit({"qgate.yml": (lab.root / "qgate.yml").read_text() + "profile: strict\n"})
    lab.git("checkout", "-q", "patch")
    report = lab.gate(replace(activity, base_sha=tip))
    assert report.provenance.base_sha == tip
    assert lab.verifier.of("judge")[0].policy.profile == "strict"
    assert report.policy.changes == ()
    assert any("ref" in notice for notice in report.notices)


def test_an_old_branch_cannot_choose_an_old_policy(lab: Lab) -> None:
    lab.start(POLICY_LOOSE)
    activity = lab.pull_request({"models/plate.onnx": lab.model(25)})
    lab.git("checkout", "-q", "main")
    lab.commit({"qgate.yml": POLICY_LOOSE.replace("permissive", "strict")})
    lab.git("merge", "-q", "--no-ff", "-m", "merge", "patch")
    report = lab.gate(replace(activity, base_sha=lab.git("rev-parse", "HEAD^1")))
    assert report.verdict is Verdict.FAIL


POLICY_LOOSE = "version: 1\nprofile: permissive\ntargets:\n  - {name: plate, candidate: models/plate.onnx}\n"


def test_merge_group(lab: Lab) -> None:
    base = lab.start()
    head = lab.commit({"models/plate.onnx": lab.model(25)})
    activity = Activity(
        Kind.MERGE_GROUP, "merge_group", default_branch="main", base_ref="main", base_sha=base, head_sha=head
    )
    report = lab.gate(activity)
    assert report.verdict is Verdict.FAIL
    assert (report.provenance.base_sha, report.provenance.head_sha) == (base, head)
    assert lab.gate(replace(activity, head_sha=base)).verdict is Verdict.ERROR


def test_base_is_refused_in_a_pull_request(lab: Lab) -> None:
    lab.start()
    report = lab.gate(lab.pull_request({"README.md": "x"}), base="HEAD~1")
    assert report.verdict is Verdict.ERROR
    assert "--base" in report.summary.headline


def test_a_failed_start_is_a_report_too() -> None:
    error = UsageError("the event file is empty", where="event.json", remedy="Run again")
    report = failed_report(error, Settings())
    assert report.verdict is Verdict.ERROR
    assert report.verdict.exit_code == 2
    assert report.findings[0].remedy == "Run again"


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_a_file_that_git_was_told_not_to_look_at_is_run_all_the_same(lab: Lab, flag: str) -> None:
    """A local run judges the bytes of the work tree, not what the index says of them."""
    lab.start()
    lab.git("update-index", flag, "models/plate.onnx")
    (lab.root / "models/plate.onnx").write_bytes(lab.model(10))
    report = lab.gate(base="main")
    assert [target.verdict for target in report.targets] == [Verdict.FAIL]
