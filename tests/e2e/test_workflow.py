"""The example workflow, executed by act against the local GitHub.

The team's repository holds the action's sources too, so that ``uses: ./`` is the one line that differs from
what a user pastes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from gate_stage.engine import ROOT
from gate_stage.github import READ, WRITE
from gate_stage.local_act import Act, upload_stand_in
from gate_stage.team import Team, corrupted, pull_request_event, smaller, write_event

if TYPE_CHECKING:
    from gate_stage.github import LocalGitHub
    from gate_stage.team import Proposal

CANDIDATE = "models/digits_int8.onnx"
WORKFLOW = ".github/workflows/qgate.yml"
EXAMPLE = ROOT / "examples" / "workflow.yml"


def action_named(part: str) -> str:
    """The action of the example whose name has this part, as the workflow writes it."""
    return next(name for name in re.findall(r"uses: (\S+)", EXAMPLE.read_text("utf-8")) if part in name)


@pytest.fixture
def team(tmp_path: Path, sources: Path) -> Team:
    """A team whose repository holds this action as well as its models and the workflow."""
    made = Team(tmp_path / "widgets")
    for path in sources.rglob("*"):
        if path.is_file():
            made.write(str(path.relative_to(sources)), path.read_bytes())
    made.write(WORKFLOW, EXAMPLE.read_text("utf-8").replace(action_named("/qgate@"), "./").encode())
    made.commit("An int8 model under a gate of our own")
    return made


@pytest.fixture
def act(image: str, github: LocalGitHub, tmp_path: Path) -> Act:
    """A local runner for which the upload needs no GitHub."""
    assert image  # its layers are the ones that act finds
    return Act(tmp_path, github.url, {action_named("upload-artifact"): upload_stand_in(tmp_path / "upload")})


def run(
    act: Act, team: Team, proposal: Proposal, *, fork: bool = False, token: str = WRITE
) -> tuple[int, str]:
    event = act.folder / "event.json"
    write_event(event, pull_request_event(proposal, fork=fork))
    ended = act.run(team, team.folder / WORKFLOW, event, token=token)
    return ended.code, ended.said


def test_the_example_differs_in_one_line(team: Team) -> None:
    pasted, used = (
        EXAMPLE.read_text("utf-8").splitlines(),
        (team.folder / WORKFLOW).read_text("utf-8").splitlines(),
    )

    assert [(old.strip(), new.strip()) for old, new in zip(pasted, used, strict=True) if old != new] == [
        (f"uses: {action_named('/qgate@')}", "uses: ./")
    ]


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
