"""A team's repository with a pull request: real commits, and the merge commit that GitHub would test."""

from __future__ import annotations

import importlib.util
import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import onnx

from gate_stage.engine import ROOT, command

REPOSITORY = "acme/widgets"
NUMBER = 7
RUNNER_UID = 1001
DIGITS = ROOT / "examples" / "digits"
POLICY = """\
version: 1
targets:
  - name: digits
    candidate: models/digits_int8.onnx
    reference: models/digits_fp32.onnx
    data: {inputs: data/digits_test.npz, labels: label}
    task: {metric: top1}
"""
IDENTITY = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_AUTHOR_DATE": "2026-11-01T12:00:00Z",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
    "GIT_COMMITTER_DATE": "2026-11-01T12:00:00Z",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
}


@dataclass(frozen=True)
class Proposal:
    """The commits of a pull request."""

    base: str
    head: str
    merge: str


class Team:
    """A repository of models under the gate. ``main`` has an honest int8 model and a policy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")
        self.git("remote", "add", "origin", f"https://github.com/{REPOSITORY}.git")
        self.write("README.md", b"# Widgets\n")
        self.write("qgate.yml", POLICY.encode())
        self.write("models/digits_fp32.onnx", (DIGITS / "digits_fp32.onnx").read_bytes())
        self.write("models/digits_int8.onnx", honest())
        self.write("data/digits_test.npz", (DIGITS / "digits_test.npz").read_bytes())

    def git(self, *arguments: str) -> str:
        ended = command(
            "git", "-c", "safe.directory=*", "-C", self.folder, *arguments, env={**os.environ, **IDENTITY}
        )
        assert ended.code == 0, f"git {' '.join(arguments)}: {ended.said}"
        return ended.stdout.strip()

    def write(self, path: str, content: bytes) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def commit(self, message: str) -> str:
        self.git("add", "--all")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")

    def propose(self, files: dict[str, bytes]) -> Proposal:
        """Commits ``files`` on a branch off main and leaves its merge with main checked out, detached."""
        self.git("checkout", "-q", "--force", "main")
        base = self.git("rev-parse", "HEAD")
        self.git("checkout", "-q", "-B", "topic")
        for path, content in files.items():
            self.write(path, content)
        head = self.commit("A change")
        self.git("checkout", "-q", "--detach", "main")
        self.git("merge", "-q", "--no-ff", "-m", "Merge the change into main", head)
        return Proposal(base, head, self.git("rev-parse", "HEAD"))

    def hand_over(self) -> None:
        """Gives the work tree to the user that a runner has, where the tests may do that."""
        if os.geteuid() != 0:
            return
        for path in (self.folder, *self.folder.rglob("*")):
            os.chown(path, RUNNER_UID, RUNNER_UID, follow_symlinks=False)


def honest() -> bytes:
    """An int8 model that a common recipe made of the reference (QuantizeLinear and DequantizeLinear)."""
    return (DIGITS / "digits_int8_pc.onnx").read_bytes()


def smaller() -> bytes:
    """The same with the operators of integer arithmetic (QLinearConv): other bytes, and fewer."""
    return (DIGITS / "digits_int8_qop.onnx").read_bytes()


@dataclass(frozen=True)
class Fault:
    """A model with one flipped bit, and where."""

    content: bytes
    tensor: str
    index: tuple[int, ...]


@cache
def corrupted() -> Fault:
    """The honest int8 model with one bit of one weight flipped, by the examples' own script."""
    specification = importlib.util.spec_from_file_location("corrupt", ROOT / "examples" / "corrupt.py")
    assert specification is not None
    assert specification.loader is not None
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    model = onnx.load_model_from_string(honest())
    tensor, index, _, _ = script.flip(model, element=-1000, bit=4)
    return Fault(model.SerializeToString(), tensor, index)


def pull_request_event(proposal: Proposal, *, fork: bool = False) -> dict[str, Any]:
    """What GitHub writes into the event file."""
    head_repository = "stranger/widgets" if fork else REPOSITORY
    return {
        "action": "synchronize",
        "number": NUMBER,
        "repository": {"full_name": REPOSITORY, "default_branch": "main", "fork": False},
        "pull_request": {
            "number": NUMBER,
            "state": "open",
            "draft": False,
            "merge_commit_sha": proposal.merge,
            "user": {"login": "contributor", "type": "User"},
            "labels": [],
            "head": {
                "ref": "topic",
                "sha": proposal.head,
                "repo": {"full_name": head_repository, "fork": fork},
            },
            "base": {"ref": "main", "sha": proposal.base, "repo": {"full_name": REPOSITORY, "fork": False}},
        },
        "sender": {"login": "contributor"},
    }


def merge_group_event(proposal: Proposal) -> dict[str, Any]:
    """What GitHub writes into the event file in a merge queue."""
    return {
        "action": "checks_requested",
        "repository": {"full_name": REPOSITORY, "default_branch": "main", "fork": False},
        "merge_group": {
            "head_sha": proposal.merge,
            "head_ref": f"refs/heads/gh-readonly-queue/main/pr-{NUMBER}-{proposal.base}",
            "base_sha": proposal.base,
            "base_ref": "refs/heads/main",
        },
        "sender": {"login": "contributor"},
    }


def write_event(path: Path, event: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(event), encoding="utf-8")
