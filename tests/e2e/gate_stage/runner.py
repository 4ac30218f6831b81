"""Runs the image exactly as a GitHub runner runs a container action."""

from __future__ import annotations

import json
import os
import re
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from gate_stage.engine import ROOT, docker
from gate_stage.team import REPOSITORY, Proposal, Team, write_event

FILES = ("set_output", "step_summary", "set_env", "add_path", "save_state")


@dataclass(frozen=True)
class StepEnded:
    """What a runner sees of a step."""

    code: int
    stdout: str
    stderr: str
    outputs: dict[str, str]
    summary: str
    workspace: Path
    report: dict[str, Any] = field(repr=False, default_factory=dict)

    @property
    def said(self) -> str:
        return self.stdout + self.stderr

    @property
    def commands(self) -> list[str]:
        """The workflow commands, as a runner finds them."""
        return [line for line in self.stdout.splitlines() if re.match(r"\s*::[a-z]", line)]


def action() -> dict[str, Any]:
    return dict(YAML(typ="safe").load((ROOT / "action.yml").read_text(encoding="utf-8")))


def parse_outputs(text: str) -> dict[str, str]:
    """Reads GITHUB_OUTPUT as a runner does: ``name=value`` lines and heredocs."""
    outputs, lines = {}, iter(text.splitlines())
    for line in lines:
        if heredoc := re.fullmatch(r"([^=<]+)<<(.+)", line):
            value = []
            for inner in lines:
                if inner == heredoc[2]:
                    break
                value.append(inner)
            else:
                raise AssertionError(f"output {heredoc[1]} is never closed")
            outputs[heredoc[1]] = "\n".join(value)
        elif line:
            name, equals, plain = line.partition("=")
            assert equals, f"not an output: {line!r}"
            outputs[name] = plain
    return outputs


class Runner:
    """One runner with its work folder."""

    def __init__(self, image: str, folder: Path, api: str) -> None:
        self.image, self.folder, self.api = image, folder, api

    def step(
        self,
        team: Team,
        proposal: Proposal,
        event: dict[str, Any],
        *,
        name: str = "pull_request",
        token: str = "ghs_rw",
        api: str | None = None,
        **inputs: str,
    ) -> StepEnded:
        """Runs one step ``uses: qgate`` on what the team has checked out."""
        temp = self.folder / f"temp-{uuid.uuid4().hex[:8]}"
        for part in ("_github_home", "_github_workflow", "_runner_file_commands"):
            (temp / part).mkdir(parents=True)
        write_event(temp / "_github_workflow" / "event.json", event)
        run = uuid.uuid4().hex
        for file in FILES:
            (temp / "_runner_file_commands" / f"{file}_{run}").touch()
        team.hand_over()
        environment = {
            **self._inputs(token, inputs),
            **self._environment(run, name, proposal, api or self.api),
        }
        ended = docker(
            "run",
            *(
                "--name",
                f"qgate_e2e_{run[:12]}",
                "--label",
                "290506",
                "--workdir",
                "/github/workspace",
                "--rm",
            ),
            *("--network", "host"),
            *(part for key, value in environment.items() for part in ("-e", f"{key}={value}")),
            *self._volumes(temp, team.folder),
            self.image,
            timeout=600,
        )
        commands = temp / "_runner_file_commands"
        outputs = parse_outputs((commands / f"set_output_{run}").read_text(encoding="utf-8"))
        report = team.folder / outputs.get("report", "no report").removeprefix("/github/workspace/")
        return StepEnded(
            ended.code,
            ended.stdout,
            ended.stderr,
            outputs,
            (commands / f"step_summary_{run}").read_text(encoding="utf-8"),
            team.folder,
            json.loads(report.read_bytes()) if report.is_file() else {},
        )

    @staticmethod
    def _inputs(token: str, given: dict[str, str]) -> dict[str, str]:
        """Every input of action.yml: what the workflow gives, else its default."""
        given = {key.replace("_", "-"): value for key, value in given.items()}
        declared = action()["inputs"]
        assert set(given) <= set(declared)
        values = {key: given.get(key, spec.get("default", "")) for key, spec in declared.items()}
        return {
            f"INPUT_{key.upper()}": token if value == "${{ github.token }}" else value
            for key, value in values.items()
        }

    @staticmethod
    def _volumes(temp: Path, workspace: Path) -> list[str]:
        mounts = {
            temp: "/github/runner_temp",
            temp / "_github_home": "/github/home",
            temp / "_github_workflow": "/github/workflow",
            temp / "_runner_file_commands": "/github/file_commands",
            workspace: "/github/workspace",
        }
        socket = Path(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://"))
        if socket.exists():  # a runner hands the engine to every container action
            mounts[socket] = "/var/run/docker.sock"
        return [part for source, target in mounts.items() for part in ("-v", f"{source}:{target}")]

    @staticmethod
    def _environment(run: str, event: str, proposal: Proposal, api: str) -> dict[str, str]:
        queue = event == "merge_group"
        ref = "refs/heads/gh-readonly-queue/main/pr-7" if queue else "refs/pull/7/merge"
        return {
            "HOME": "/github/home",
            "GITHUB_ACTION": "gate",
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTOR": "contributor",
            "GITHUB_API_URL": api,
            "GITHUB_BASE_REF": "" if queue else "main",
            "GITHUB_ENV": f"/github/file_commands/set_env_{run}",
            "GITHUB_EVENT_NAME": event,
            "GITHUB_EVENT_PATH": "/github/workflow/event.json",
            "GITHUB_GRAPHQL_URL": f"{api}/graphql",
            "GITHUB_HEAD_REF": "" if queue else "topic",
            "GITHUB_JOB": "qgate",
            "GITHUB_OUTPUT": f"/github/file_commands/set_output_{run}",
            "GITHUB_PATH": f"/github/file_commands/add_path_{run}",
            "GITHUB_REF": ref,
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_RUN_ID": "1",
            "GITHUB_RUN_NUMBER": "1",
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_SHA": proposal.merge,
            "GITHUB_STATE": f"/github/file_commands/save_state_{run}",
            "GITHUB_STEP_SUMMARY": f"/github/file_commands/step_summary_{run}",
            "GITHUB_WORKFLOW": "qgate",
            "GITHUB_WORKSPACE": "/github/workspace",
            "RUNNER_ARCH": "X64",
            "RUNNER_OS": "Linux",
            "RUNNER_TEMP": "/github/runner_temp",
            "RUNNER_WORKSPACE": "/github/runner_workspace",
            "CI": "true",
        }
