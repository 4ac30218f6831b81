"""The example workflow as a user pastes it, and ``uses: ./``, executed by act against the local GitHub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from gate_stage.engine import ROOT, prime
from gate_stage.github import READ
from gate_stage.local_act import Act, upload_stand_in
from gate_stage.team import corrupted, pull_request_event, smaller, write_event

if TYPE_CHECKING:
    from gate_stage.github import LocalGitHub
    from gate_stage.team import Proposal, Team

CANDIDATE = "models/digits_int8.onnx"
EXAMPLE = ROOT / "examples" / "workflow.yml"


def action_named(part: str) -> str:
    """The action of the example whose name has this part, as the workflow writes it."""
    return next(name for name in re.findall(r"uses: (\S+)", EXAMPLE.read_text("utf-8")) if part in name)


@pytest.fixture
def act(image: str, sources: Path, github: LocalGitHub, tmp_path: Path) -> Act:
    """A local runner for which this checkout is the action and the upload needs no GitHub."""
    assert image  # built with the engine's classic builder, whose layers act finds again
    upload = upload_stand_in(tmp_path / "upload")
    replaced = {action_named("/qgate@"): sources, action_named("upload-artifact"): upload}
    return Act(tmp_path, github.url, replaced)


def run(
    act: Act, team: Team, proposal: Proposal, *, workflow: Path = EXAMPLE, fork: bool = False, **options: str
) -> tuple[int, str]:
    event = act.folder / "event.json"
    write_event(event, pull_request_event(proposal, fork=fork))
    ended = act.run(team, workflow, event, **options)
    return ended.code, ended.said


def test_a_good_pull_request_is_green(act: Act, github: LocalGitHub, team: Team) -> None:
    proposal = team.propose({CANDIDATE: smaller()})
    github.set_up(proposal)

    code, said = run(act, team, proposal)

    assert code == 0, said
    assert "uploaded qgate-report" in said
    (comment,) = github.comments
    assert "PASS" in comment["body"]
    (status,) = github.statuses
    assert (status["sha"], status["state"]) == (proposal.head, "success")


def test_a_flipped_bit_is_red_and_the_next_push_edits_the_comment(
    act: Act, github: LocalGitHub, team: Team
) -> None:
    broken = team.propose({CANDIDATE: corrupted().content})
    github.set_up(broken)

    code, said = run(act, team, broken)

    assert code == 1, said
    assert "uploaded qgate-report" in said  # evidence is kept above all when the gate says no
    assert corrupted().tensor in said
    (before,) = github.comments
    assert "FAIL" in before["body"]

    mended = team.propose({CANDIDATE: smaller()})
    github.set_up(mended)
    code, said = run(act, team, mended)

    assert code == 0, said
    (after,) = github.comments
    assert (after["id"], after["edits"]) == (before["id"], before["edits"] + 1)
    assert [status["state"] for status in github.statuses] == ["failure", "success"]


def test_a_fork_is_red_without_a_word_on_the_pull_request(act: Act, github: LocalGitHub, team: Team) -> None:
    proposal = team.propose({CANDIDATE: corrupted().content})
    github.set_up(proposal, fork=True)

    code, said = run(act, team, proposal, fork=True, token=READ)

    assert code == 1, said
    assert "FAIL" in said
    assert github.comments == []
    assert github.statuses == []


def test_the_action_gates_the_repository_that_it_lies_in(
    act: Act, github: LocalGitHub, team: Team, sources: Path
) -> None:
    workflow = EXAMPLE.read_text("utf-8").replace(action_named("/qgate@"), "./")
    copied = {
        str(path.relative_to(sources)): path.read_bytes() for path in sources.rglob("*") if path.is_file()
    }
    prime(sources)
    proposal = team.propose(
        {**copied, "README.md": b"# Widgets\n", CANDIDATE: smaller(), "x.yml": workflow.encode()}
    )
    github.set_up(proposal)

    code, said = run(act, team, proposal, workflow=team.folder / "x.yml")

    assert code == 0, said
    (comment,) = github.comments
    assert "PASS" in comment["body"]
