"""The image as a GitHub runner starts it, on a real repository, against a GitHub that checks every word."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from gate_stage.github import READ
from gate_stage.team import POLICY, corrupted, merge_group_event, pull_request_event, smaller

if TYPE_CHECKING:
    from gate_stage.github import LocalGitHub
    from gate_stage.runner import Runner, StepEnded
    from gate_stage.team import Proposal, Team

CANDIDATE = "models/digits_int8.onnx"


@pytest.fixture
def good(team: Team, github: LocalGitHub) -> Proposal:
    """A pull request with another honest int8 model."""
    proposal = team.propose({CANDIDATE: smaller()})
    github.set_up(proposal)
    return proposal


@pytest.fixture
def bad(team: Team, github: LocalGitHub) -> Proposal:
    """A pull request with a model that has one flipped bit."""
    proposal = team.propose({CANDIDATE: corrupted().content})
    github.set_up(proposal)
    return proposal


def no_traceback(ended: StepEnded) -> None:
    assert "Traceback" not in ended.said, ended.said


def test_a_good_model_passes(runner: Runner, github: LocalGitHub, team: Team, good: Proposal) -> None:
    ended = runner.step(team, good, pull_request_event(good))

    assert ended.code == 0, ended.said
    no_traceback(ended)
    assert ended.outputs["verdict"] == "PASS"
    assert ended.outputs["failed-targets"] == ""
    assert ended.report["verdict"] == "PASS"
    assert ended.report["provenance"]["base_sha"] == good.base
    assert ended.report["provenance"]["head_sha"] == good.head
    assert [target["name"] for target in ended.report["targets"]] == ["digits"]
    assert "PASS" in ended.summary
    (comment,) = github.comments
    assert comment["number"] == 7
    assert "PASS" in comment["body"]
    assert ended.outputs["comment-url"].endswith(f"-{comment['id']}")
    (status,) = github.statuses
    assert (status["sha"], status["context"], status["state"]) == (good.head, "qgate / verdict", "success")


def test_a_flipped_bit_is_blocked_at_its_place(
    runner: Runner, github: LocalGitHub, team: Team, bad: Proposal
) -> None:
    ended = runner.step(team, bad, pull_request_event(bad))

    assert ended.code == 1, ended.said
    no_traceback(ended)
    assert ended.outputs["verdict"] == "FAIL"
    assert ended.outputs["failed-targets"] == "digits"
    (target,) = ended.report["targets"]
    errors = [finding["at"] for finding in target["findings"] if finding["severity"] == "error"]
    fault = corrupted()
    assert {"tensor": fault.tensor, "index": list(fault.index)} in [
        {key: place.get(key) for key in ("tensor", "index")} for place in errors
    ]
    (comment,) = github.comments
    assert fault.tensor in comment["body"]
    assert fault.tensor in ended.summary
    assert any(line.startswith("::error") and fault.tensor in line for line in ended.commands)
    (status,) = github.statuses
    assert (status["sha"], status["state"]) == (bad.head, "failure")


def test_the_reports_belong_to_whoever_owns_the_workspace(runner: Runner, team: Team, good: Proposal) -> None:
    ended = runner.step(team, good, pull_request_event(good), report_dir="out/of the way")

    assert ended.code == 0, ended.said
    assert ended.outputs["report"].endswith("out/of the way/report.json")
    owner = team.folder.stat().st_uid
    written = [team.folder / "out", *(team.folder / "out").rglob("*")]
    assert {path.name for path in written} >= {"report.json", "summary.md"}
    assert {path.stat().st_uid for path in written} == {owner}
    assert (
        team.git("-c", f"safe.directory={team.folder}", "status", "--porcelain", "models", "qgate.yml") == ""
    )


def test_the_next_push_edits_the_comment(
    runner: Runner, github: LocalGitHub, team: Team, bad: Proposal
) -> None:
    assert runner.step(team, bad, pull_request_event(bad)).code == 1
    (before,) = github.comments
    mended = team.propose({CANDIDATE: smaller()})
    github.set_up(mended)

    ended = runner.step(team, mended, pull_request_event(mended))

    assert ended.code == 0, ended.said
    (after,) = github.comments
    assert after["id"] == before["id"]
    assert after["edits"] == before["edits"] + 1
    assert "FAIL" in before["body"]
    assert "FAIL" not in after["body"]
    assert {status["sha"]: status["state"] for status in github.statuses} == {
        bad.head: "failure",
        mended.head: "success",
    }


@pytest.mark.parametrize(("content", "code"), [("smaller", 0), ("corrupted", 1)])
def test_a_fork_gets_the_summary_and_the_same_exit_code(
    runner: Runner, github: LocalGitHub, team: Team, content: str, code: int
) -> None:
    proposal = team.propose({CANDIDATE: smaller() if content == "smaller" else corrupted().content})
    github.set_up(proposal, fork=True)

    ended = runner.step(team, proposal, pull_request_event(proposal, fork=True), token=READ)

    assert ended.code == code, ended.said
    no_traceback(ended)
    assert github.comments == []
    assert github.statuses == []
    assert ended.outputs["verdict"] in ended.summary
    assert ended.outputs["comment-url"] == ""
    assert ended.report["verdict"] == ended.outputs["verdict"]


def test_a_change_of_no_model_passes_and_says_why(runner: Runner, github: LocalGitHub, team: Team) -> None:
    proposal = team.propose({"README.md": b"# Widgets, renamed\n"})
    github.set_up(proposal)

    ended = runner.step(team, proposal, pull_request_event(proposal))

    assert ended.code == 0, ended.said
    assert ended.report["verdict"] == "PASS"
    assert ended.report["targets"] == []
    assert [skipped["name"] for skipped in ended.report["skipped"]] == ["digits"]
    assert "no target" in ended.report["summary"]["headline"].lower()
    (status,) = github.statuses
    assert status["state"] == "success"


def test_a_merge_queue_gets_its_verdict_without_a_comment(
    runner: Runner, github: LocalGitHub, team: Team, bad: Proposal
) -> None:
    ended = runner.step(team, bad, merge_group_event(bad), name="merge_group")

    assert ended.code == 1, ended.said
    assert github.comments == []
    (status,) = github.statuses
    assert (status["sha"], status["state"]) == (bad.merge, "failure")


def test_modules_of_the_pull_request_are_not_imported(
    runner: Runner, github: LocalGitHub, team: Team
) -> None:
    traitor = b"import sys\nsys.stdout.write('TRAITOR')\nsys.exit(0)\n"
    names = (
        "json.py",
        "qgate/__init__.py",
        "qgate/action.py",
        "sitecustomize.py",
        "numpy/__init__.py",
        "git",
    )
    proposal = team.propose({CANDIDATE: corrupted().content, **dict.fromkeys(names, traitor)})
    github.set_up(proposal)

    ended = runner.step(team, proposal, pull_request_event(proposal))

    assert ended.code == 1, ended.said
    assert "TRAITOR" not in ended.said


def test_a_pull_request_cannot_loosen_its_own_judgement(
    runner: Runner, github: LocalGitHub, team: Team
) -> None:
    loose = POLICY + "profile: permissive\n"
    proposal = team.propose({CANDIDATE: corrupted().content, "qgate.yml": loose.encode()})
    github.set_up(proposal)

    ended = runner.step(team, proposal, pull_request_event(proposal))

    assert ended.code == 1, ended.said
    assert ended.report["policy"]["changes"] != []
    (comment,) = github.comments
    assert "policy" in comment["body"].lower(), comment["body"]


def test_measuring_alone_publishes_nothing(
    runner: Runner, github: LocalGitHub, team: Team, bad: Proposal
) -> None:
    ended = runner.step(team, bad, pull_request_event(bad), mode="verify")

    assert ended.code == 1, ended.said
    assert ended.outputs["verdict"] == "FAIL"
    assert {request["method"] for request in github.state["requests"]} <= {"GET"}
    assert github.comments == []
    assert github.statuses == []


def test_a_github_that_fails_after_the_write_gets_one_comment(
    runner: Runner, github: LocalGitHub, team: Team, good: Proposal
) -> None:
    github.faults({"match": "POST .*/comments", "status": 502, "commit": True})

    ended = runner.step(team, good, pull_request_event(good))

    assert ended.code == 0, ended.said
    assert len(github.comments) == 1


def test_a_github_that_is_not_there_changes_no_verdict(runner: Runner, team: Team, bad: Proposal) -> None:
    ended = runner.step(team, bad, pull_request_event(bad), api="http://127.0.0.1:9")

    assert ended.code == 1, ended.said
    no_traceback(ended)
    assert ended.outputs["verdict"] == "FAIL"
    assert "could not be published" in ended.said


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({CANDIDATE: b""}, "empty"),
        ({CANDIDATE: b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64}, "LFS"),
        ({CANDIDATE: os.urandom(4096)}, "digits_int8.onnx"),
        ({"qgate.yml": POLICY.replace("candidate", "candidat").encode()}, "candidat"),
    ],
    ids=["empty", "pointer", "noise", "policy"],
)
def test_what_cannot_be_judged_is_an_error_and_not_a_pass(
    runner: Runner, github: LocalGitHub, team: Team, files: dict[str, bytes], word: str
) -> None:
    proposal = team.propose(files)
    github.set_up(proposal)

    ended = runner.step(team, proposal, pull_request_event(proposal))

    assert ended.code == 2, ended.said
    no_traceback(ended)
    assert ended.outputs["verdict"] == "ERROR"
    assert word in ended.said
    (status,) = github.statuses
    assert status["state"] in ("error", "failure")


def test_a_malformed_event_is_an_error(runner: Runner, team: Team, good: Proposal) -> None:
    ended = runner.step(team, good, {"pull_request": None})

    assert ended.code == 2, ended.said
    no_traceback(ended)
    assert "event.json" in ended.said
