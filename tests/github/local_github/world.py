"""What the local GitHub remembers: accounts, repositories, pull requests, comments, statuses."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

EPOCH = "2026-11-01T00:00:00Z"
MAX_BODY = 65_536


@dataclass(frozen=True)
class Account:
    """Who a token speaks for.

    Installation tokens (``GITHUB_TOKEN`` and those of other apps) may not ask ``GET /user``.
    """

    login: str
    kind: str = "Bot"
    may_write: bool = True
    installation: bool = True


TOKENS = {
    "ghs_rw": Account("github-actions[bot]"),
    "ghs_ro": Account("github-actions[bot]", may_write=False),
    "ghs_app": Account("acme-quality[bot]"),
    "ghp_alice": Account("alice", kind="User", installation=False),
}


@dataclass
class Comment:
    """One comment of a pull request."""

    id: int
    number: int
    author: str
    kind: str
    body: str
    edits: int = 0


@dataclass
class Status:
    """One commit status."""

    id: int
    sha: str
    context: str
    state: str
    description: str | None
    target_url: str | None
    creator: str


@dataclass
class PullRequest:
    """The facts of a pull request that a test sets."""

    number: int
    head_sha: str = "1" * 40
    head_ref: str = "topic"
    base_ref: str = "main"
    base_sha: str = "0" * 40
    merge_commit_sha: str | None = None
    author: str = "contributor"
    fork: str | None = None
    fork_deleted: bool = False
    state: str = "open"
    labels: list[str] = field(default_factory=list)
    timeline: list[dict[str, Any]] = field(default_factory=list)
    pushed_at: str = EPOCH
    activity: list[dict[str, Any]] | None = None
    files: list[dict[str, Any]] = field(default_factory=list)
    """Changed files: ``filename``, ``status``, ``previous_filename`` and the ``content`` at the head as text."""

    def head_repository(self, repository: str) -> str:
        """The full name of the repository that the head branch is in."""
        return self.fork or repository

    def head_label(self, repository: str) -> str:
        """The head as ``owner:branch``."""
        return f"{self.head_repository(repository).split('/')[0]}:{self.head_ref}"

    def pushes(self) -> list[dict[str, Any]]:
        """What happened to the head branch, newest first; by default one push of the head commit."""
        if self.activity is not None:
            return self.activity
        return [{"before": self.base_sha, "after": self.head_sha, "timestamp": self.pushed_at}]


@dataclass
class Repository:
    """One repository with what has been written to it."""

    full_name: str
    default_branch: str = "main"
    permissions: dict[str, str] = field(default_factory=dict)
    pulls: dict[int, PullRequest] = field(default_factory=dict)
    comments: dict[int, Comment] = field(default_factory=dict)
    statuses: list[Status] = field(default_factory=list)


class World:
    """Everything behind the server. The server serialises access to it."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self._last_id = 1000

    def next_id(self) -> int:
        """A new number for a comment or status; they grow, as GitHub's do."""
        self._last_id += 1
        return self._last_id

    def set_up(self, order: dict[str, Any]) -> None:
        """Creates or changes a repository and, if one is named, a pull request in it.

        Args:
            order: ``repository`` (owner/name), ``default_branch``, ``permissions`` {login: role},
                ``pull_request`` {fields of PullRequest, and ``comments`` [{author, kind, body}]}.

        Raises:
            KeyError, TypeError: Something is missing or unknown.
        """
        known = {"repository", "default_branch", "permissions", "pull_request"}
        if unknown := set(order) - known:
            raise TypeError(f"unknown keys {sorted(unknown)}; known are {sorted(known)}")
        name = order["repository"]
        repository = self.repositories.setdefault(name, Repository(name))
        repository.default_branch = order.get("default_branch", repository.default_branch)
        repository.permissions.update(order.get("permissions", {}))
        if "pull_request" in order:
            self._set_up_pull_request(repository, dict(order["pull_request"]))

    def _set_up_pull_request(self, repository: Repository, facts: dict[str, Any]) -> None:
        comments = facts.pop("comments", [])
        number = int(facts.pop("number"))
        before = repository.pulls.get(number)
        merged = {**(vars(before) if before else {"number": number}), **facts}
        repository.pulls[number] = PullRequest(**merged)
        for comment in comments:
            kind = comment.get("kind", "User")
            self.add_comment(repository, number, comment["author"], kind, comment["body"])

    def add_comment(self, repository: Repository, number: int, author: str, kind: str, body: str) -> Comment:
        """Stores a comment as written by an account."""
        comment = Comment(self.next_id(), number, author, kind, body)
        repository.comments[comment.id] = comment
        return comment

    def state(self) -> dict[str, Any]:
        """All of it as JSON, for assertions."""
        return {
            name: {
                "pulls": {str(number): dict(vars(pull)) for number, pull in repository.pulls.items()},
                "comments": [dict(vars(comment)) for comment in repository.comments.values()],
                "statuses": [dict(vars(status)) for status in repository.statuses],
            }
            for name, repository in self.repositories.items()
        }


def is_sha(text: str) -> bool:
    """Whether a text is a full commit SHA."""
    return re.fullmatch(r"[0-9a-f]{40}", text) is not None
