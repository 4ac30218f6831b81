"""Runs a workflow by act, the local runner, with the actions that it names replaced by local folders."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from gate_stage.engine import Ended, base_image, command, docker_must
from gate_stage.github import WRITE
from gate_stage.team import Team

JOB_IMAGE = "qgate-runner:local"
CHECKS_ARTIFACT = """\
name: upload
description: Stands in for the upload, which needs GitHub; fails where there is nothing to upload.
inputs:
  name: {description: Name, required: true}
  path: {description: Folder, required: true}
runs:
  using: composite
  steps:
    - run: test -s "$FOLDER/report.json" && test -s "$FOLDER/summary.md" && echo "uploaded $NAME"
      shell: bash
      env:
        FOLDER: ${{ inputs.path }}
        NAME: ${{ inputs.name }}
"""


@dataclass(frozen=True)
class Act:
    """The local runner.

    Args:
        folder: Where it keeps what it needs.
        api: Address of the GitHub that the job talks to.
        replaced: Folders by the action that they stand in for.
    """

    folder: Path
    api: str
    replaced: dict[str, Path]

    def run(self, team: Team, workflow: Path, event: Path, *, token: str = WRITE) -> Ended:
        """Runs the workflow for a pull request of the team."""
        docker_must("tag", base_image(), JOB_IMAGE)
        replaced = [
            part for name, path in self.replaced.items() for part in ("--local-repository", f"{name}={path}")
        ]
        return command(
            Path(sys.executable).parent / "act",
            "pull_request",
            *("--workflows", workflow, "--eventpath", event),
            *("-P", f"ubuntu-latest={JOB_IMAGE}", "-P", f"ubuntu-24.04={JOB_IMAGE}"),
            *("--pull=false", "--rm", "--network", "host", "--no-cache-server"),
            *("--secret", f"GITHUB_TOKEN={token}", "--env", f"GITHUB_API_URL={self.api}"),
            *("--action-cache-path", self.folder / "act-cache"),
            *replaced,
            cwd=team.folder,
            env={**os.environ, "XDG_CACHE_HOME": str(self.folder), "NO_COLOR": "1"},
            timeout=1200,
        )


def upload_stand_in(folder: Path) -> Path:
    """An action in place of the upload, which only checks that there is something to upload."""
    folder.mkdir(parents=True)
    (folder / "action.yml").write_text(CHECKS_ARTIFACT, encoding="utf-8")
    return folder
