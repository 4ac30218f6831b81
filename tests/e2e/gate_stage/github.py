"""The local GitHub as a process of its own, as the container sees it."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gate_stage.engine import ROOT
from gate_stage.team import NUMBER, REPOSITORY, Proposal

WRITE, READ = "ghs_rw", "ghs_ro"


class LocalGitHub:
    """A client of the server's control side."""

    def __init__(self, url: str) -> None:
        self.url = url

    def _call(self, path: str, orders: object = None) -> dict[str, Any]:
        data = None if orders is None else json.dumps(orders).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data=data), timeout=30) as answer:
            return dict(json.load(answer))

    def set_up(self, proposal: Proposal, *, fork: bool = False) -> None:
        """Makes the pull request known."""
        pull = {
            "number": NUMBER,
            "head_sha": proposal.head,
            "base_sha": proposal.base,
            "merge_commit_sha": proposal.merge,
            "fork": "stranger/widgets" if fork else None,
        }
        self._call("/__setup", {"repository": REPOSITORY, "pull_request": pull})

    def faults(self, *orders: dict[str, Any]) -> None:
        self._call("/__faults", list(orders))

    @property
    def state(self) -> dict[str, Any]:
        return self._call("/__state")

    @property
    def comments(self) -> list[dict[str, Any]]:
        return list(self.state["repositories"][REPOSITORY]["comments"])

    @property
    def statuses(self) -> list[dict[str, Any]]:
        return list(self.state["repositories"][REPOSITORY]["statuses"])


@contextmanager
def serving(folder: Path) -> Iterator[LocalGitHub]:
    """Runs the server until the block ends, which fails if anything broke GitHub's own description."""
    with (folder / "github.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, ROOT / "tests" / "github" / "server.py"],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    with process:
        try:
            assert process.stdout is not None
            github = LocalGitHub(process.stdout.readline().strip())
            assert github.url.startswith("http://"), (folder / "github.log").read_text()
            yield github
            assert github.state["violations"] == []
        finally:
            process.terminate()
