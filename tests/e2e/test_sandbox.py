"""The sandbox in the image, under the engine's own profile: it engages, it holds, and nothing less passes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from gate_stage.engine import Ended, docker
from gate_stage.team import pull_request_event, smaller

if TYPE_CHECKING:
    from gate_stage.github import LocalGitHub
    from gate_stage.runner import Runner
    from gate_stage.team import Team

PYTHON = "/opt/qgate/venv/bin/python"
PROBES = Path(__file__).parents[1] / "sandbox"
HERE = "/probes"
ATTEMPTS = (
    "read /etc/passwd",
    "read another target's staging",
    "read the parent's environment",
    "read the parent's memory",
    "list the root",
    "make a file",
    "make a file in /tmp",
    "write its input",
    "connect to the network",
    "connect to a local socket",
    "a pair of sockets",
    "fork",
    "start a program",
    "signal the parent",
    "raise limits",
)


def inside(image: str, *command: str, options: tuple[str, ...] = ()) -> Ended:
    mounts = ("-v", f"{PROBES}:{HERE}:ro")
    return docker("run", "--rm", *mounts, *options, "--entrypoint", PYTHON, image, "-I", "-B", *command)


@pytest.mark.parametrize("options", [(), ("--user", "1001:1001"), ("--read-only", "--tmpfs", "/tmp")])
def test_both_walls_are_up_and_hold(image: str, options: tuple[str, ...]) -> None:
    ended = inside(image, f"{HERE}/probes/inside.py", *ATTEMPTS, options=options)

    assert ended.code == 0, ended.said
    told: dict[str, Any] = json.loads(ended.stdout)
    assert (told["landlock"] >= 1, told["seccomp"], told["signals"]) == (True, True, 0)
    assert told["user"] == (1001 if "--user" in options else 65534)
    assert {name: how for name, how in told["seen"].items() if how not in ("EPERM", "EACCES")} == {}


def test_a_profile_that_refuses_landlock_is_an_error(image: str, tmp_path: Path) -> None:
    calls = ["landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"]
    refused = {"names": calls, "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
    profile = tmp_path / "profile.json"
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [refused]}))
    options = ("--security-opt", f"seccomp={profile}")

    required = inside(image, f"{HERE}/probes/launch.py", "required", options=options)
    reduced = inside(image, f"{HERE}/probes/launch.py", "reduced", options=options)

    assert "Landlock (Operation not permitted)" in json.loads(required.stdout)["what"], required.said
    assert json.loads(reduced.stdout)["lacking"] == {"landlock": "Landlock (Operation not permitted)"}


def test_the_report_of_a_pull_request_says_what_held_the_models(
    runner: Runner, github: LocalGitHub, team: Team
) -> None:
    proposal = team.propose({"models/digits_int8.onnx": smaller()})
    github.set_up(proposal)

    ended = runner.step(team, proposal, pull_request_event(proposal))

    assert ended.code == 0, ended.said
    (target,) = ended.report["targets"]
    held = target["sandbox"]
    assert (held["user"], held["seccomp"], held["lacking"]) == (65534, True, {})
    assert held["landlock"] >= 1
