"""GitHub's event, as an immutable record of what is to be judged. Pure but for reading the event file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from qgate.errors import UsageError

if TYPE_CHECKING:
    from qgate.settings import Settings

MAX_EVENT_BYTES = 16 * 2**20

_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REPOSITORY = re.compile(r"[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}")
_LOGIN = re.compile(r"[A-Za-z0-9_\[\]-]{1,100}")
_REF = re.compile(r"[^\x00-\x20\x7f~^:?*\[\\\ud800-\udfff-][^\x00-\x20\x7f~^:?*\[\\\ud800-\udfff]{0,254}")
_QUEUE = re.compile(r"refs/heads/gh-readonly-queue/.+/pr-([1-9][0-9]{0,9})-[0-9a-f]{40}")
_PULL_REQUEST_EVENTS = ("pull_request", "pull_request_review")
_WHOLE_TREE_EVENTS = ("workflow_dispatch", "schedule", "repository_dispatch")


class Kind(StrEnum):
    """What is to be judged."""

    PULL_REQUEST = "pull_request"
    MERGE_GROUP = "merge_group"
    PUSH = "push"
    WHOLE_TREE = "whole_tree"
    LOCAL = "local"
    PUBLISH = "publish"


@dataclass(frozen=True)
class Activity:
    """What happened and what is to be judged because of it.

    Args:
        kind: What is to be judged; ``PUBLISH`` judges nothing by itself, it has a finished run's artifact.
        event: GitHub's name of the event, ``local`` where there is none.
        repository: ``owner/name`` of the repository that the change goes into.
        default_branch: Its default branch.
        base_ref: The branch that the change goes into.
        base_sha: Tip of that branch as the event tells it; for a push the commit before it.
        head_sha: The commit that the change proposes; statuses go there.
        merge_sha: The test-merge commit as the event tells it (may be out of date).
        number: Number of the pull request.
        fork: The head lives in another repository, so the token is read-only.
        author: Login of the pull request's author.
        labels: Labels as the event tells them; never proof of an approval.
        queued: For ``MERGE_GROUP``: the pull request that the queue's branch is named after, None if its name
            tells none.
        run_id: For ``PUBLISH``: the workflow run whose artifact is published.
    """

    kind: Kind
    event: str = "local"
    action: str | None = None
    repository: str | None = None
    default_branch: str | None = None
    base_ref: str | None = None
    base_sha: str | None = None
    head_sha: str | None = None
    merge_sha: str | None = None
    number: int | None = None
    fork: bool = False
    author: str | None = None
    labels: tuple[str, ...] = ()
    queued: int | None = None
    run_id: int | None = None

    @property
    def on_default_branch(self) -> bool:
        """Whether the change goes straight to, or is, the default branch."""
        return self.default_branch is not None and self.base_ref == self.default_branch


def read_activity(settings: Settings) -> Activity:
    """Reads GitHub's event file and says what is to be judged.

    Raises:
        UsageError: The file is missing, empty, too large, not JSON or lacks what the event must have; or
            the event is none that a gate can judge. File and key are named.
    """
    if not settings.event_name:
        return Activity(Kind.LOCAL, repository=settings.repository)
    return activity_of(settings.event_name, _read_event(settings), settings)


def activity_of(event: str, payload: Mapping[str, Any], settings: Settings) -> Activity:
    """Says what is to be judged for an event; see ``read_activity``."""
    reader = _Reader(payload, str(settings.event_path or "event"))
    default_branch = reader.optional("repository.default_branch", _REF)
    repository = reader.optional("repository.full_name", _REPOSITORY) or settings.repository
    if settings.repository is not None and repository != settings.repository:
        reader.refuse(
            "repository.full_name", f"{repository!r} is not GITHUB_REPOSITORY {settings.repository!r}"
        )
    if event in _PULL_REQUEST_EVENTS:
        return _pull_request(event, reader, repository, default_branch)
    if event == "merge_group":
        return _merge_group(event, reader, repository, default_branch)
    if event == "push":
        return _push(event, reader, repository, default_branch)
    if event in _WHOLE_TREE_EVENTS:
        return Activity(
            Kind.WHOLE_TREE,
            event,
            repository=repository,
            default_branch=default_branch,
            base_ref=_branch(settings.ref),
            head_sha=settings.sha,
        )
    if event == "workflow_run":
        return _workflow_run(event, reader, repository, default_branch)
    if event == "pull_request_target":
        raise UsageError(
            "pull_request_target runs with secrets and must not judge a pull request's files",
            where="GITHUB_EVENT_NAME",
            remedy="Trigger the workflow on pull_request; publish from workflow_run with mode: publish",
        )
    raise UsageError(
        f"the event {event[:80]!r} tells nothing that can be judged",
        where="GITHUB_EVENT_NAME",
        remedy="Trigger the workflow on pull_request, merge_group, push or workflow_dispatch",
    )


def _pull_request(
    event: str, reader: _Reader, repository: str | None, default_branch: str | None
) -> Activity:
    action = reader.optional("action", re.compile(r"[a-z_]{1,60}"))
    if action == "closed":
        raise UsageError(
            "the pull request is closed, there is nothing to judge",
            where=reader.where,
            remedy="Leave `closed` out of the workflow's `types`",
        )
    base = reader.optional("pull_request.base.repo.full_name", _REPOSITORY) or repository
    if repository is not None and base != repository:
        reader.refuse("pull_request.base.repo.full_name", f"{base!r} is not {repository!r}")
    # A deleted fork has no head repository: whatever is not known to be ours is a fork's.
    head = reader.optional("pull_request.head.repo.full_name", _REPOSITORY)
    return Activity(
        Kind.PULL_REQUEST,
        event,
        action=action,
        repository=base,
        default_branch=default_branch,
        base_ref=reader.text("pull_request.base.ref", _REF),
        base_sha=reader.text("pull_request.base.sha", _SHA),
        head_sha=reader.text("pull_request.head.sha", _SHA),
        merge_sha=reader.optional("pull_request.merge_commit_sha", _SHA),
        number=reader.number("pull_request.number"),
        fork=head is None or head != base,
        author=reader.optional("pull_request.user.login", _LOGIN),
        labels=reader.labels("pull_request.labels"),
    )


def _merge_group(event: str, reader: _Reader, repository: str | None, default_branch: str | None) -> Activity:
    head_sha = reader.text("merge_group.head_sha", _SHA)
    queue = _QUEUE.fullmatch(reader.optional("merge_group.head_ref", _REF) or "")
    return Activity(
        Kind.MERGE_GROUP,
        event,
        action=reader.optional("action", re.compile(r"[a-z_]{1,60}")),
        repository=repository,
        default_branch=default_branch,
        base_ref=_branch(reader.text("merge_group.base_ref", _REF)),
        base_sha=reader.text("merge_group.base_sha", _SHA),
        head_sha=head_sha,
        merge_sha=head_sha,
        queued=int(queue.group(1)) if queue else None,
    )


def _push(event: str, reader: _Reader, repository: str | None, default_branch: str | None) -> Activity:
    if reader.get("deleted") is True:
        raise UsageError(
            "the push deletes a branch, there is nothing to judge",
            where=reader.where,
            remedy="Run the gate on pushes to the branches you keep",
        )
    before = reader.optional("before", _SHA)
    return Activity(
        Kind.PUSH,
        event,
        repository=repository,
        default_branch=default_branch,
        base_ref=_branch(reader.text("ref", _REF)),
        base_sha=before if before is not None and before.strip("0") else None,
        head_sha=reader.text("after", _SHA),
    )


def _workflow_run(
    event: str, reader: _Reader, repository: str | None, default_branch: str | None
) -> Activity:
    head = reader.optional("workflow_run.head_repository.full_name", _REPOSITORY)
    return Activity(
        Kind.PUBLISH,
        event,
        action=reader.optional("action", re.compile(r"[a-z_]{1,60}")),
        repository=repository,
        default_branch=default_branch,
        head_sha=reader.text("workflow_run.head_sha", _SHA),
        fork=head is None or head != repository,
        run_id=reader.number("workflow_run.id"),
    )


def _branch(ref: str | None) -> str | None:
    """``refs/heads/main`` as ``main``; a tag or another ref stays as it is and so equals no branch."""
    return None if ref is None else ref.removeprefix("refs/heads/")


def _read_event(settings: Settings) -> Mapping[str, Any]:
    path = settings.event_path
    if path is None:
        raise UsageError(
            f"the event is {settings.event_name[:80]!r}, but no event file is named",
            where="GITHUB_EVENT_PATH",
            remedy="Run inside of GitHub Actions, or unset GITHUB_EVENT_NAME for a local run",
        )
    payload = _parse(_read_bounded(path), path)
    if not isinstance(payload, dict):
        _malformed(path, f"it holds a JSON {type(payload).__name__}, not an object")
    return payload


def _read_bounded(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_EVENT_BYTES + 1)
    except OSError as error:
        _malformed(path, f"it cannot be read ({error.strerror})")
    if len(content) > MAX_EVENT_BYTES:
        _malformed(path, f"it is larger than {MAX_EVENT_BYTES // 2**20} MiB")
    if not content.strip():
        _malformed(path, "it is empty")
    return content


def _parse(content: bytes, path: Path) -> object:
    try:
        return json.loads(content)
    except RecursionError:
        _malformed(path, "it is nested too deeply")
    except ValueError as error:
        _malformed(path, f"it is not JSON ({error})")


def _malformed(path: Path, what: str) -> NoReturn:
    raise UsageError(
        f"the event file cannot be used: {what}",
        where=str(path),
        remedy="Point GITHUB_EVENT_PATH at the file that GitHub wrote, or unset GITHUB_EVENT_NAME",
    )


class _Reader:
    """Reads dotted keys of the payload and names the one that is missing or malformed."""

    def __init__(self, payload: Mapping[str, Any], where: str) -> None:
        self._payload = payload
        self.where = where

    def get(self, key: str) -> object:
        value: object = self._payload
        for part in key.split("."):
            if value is None:
                return None
            if not isinstance(value, Mapping):
                self.refuse(key, "is not where it should be")
            value = value.get(part)
        return value

    def optional(self, key: str, pattern: re.Pattern[str]) -> str | None:
        value = self.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not pattern.fullmatch(value):
            self.refuse(key, "is malformed")
        return value

    def text(self, key: str, pattern: re.Pattern[str]) -> str:
        value = self.optional(key, pattern)
        if value is None:
            self.refuse(key, "is missing")
        return value

    def number(self, key: str) -> int:
        value = self.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**63:
            self.refuse(key, "is missing or malformed")
        return value

    def labels(self, key: str) -> tuple[str, ...]:
        value = self.get(key)
        if value is None:
            return ()
        if not isinstance(value, list):
            self.refuse(key, "is malformed")
        names = [item.get("name") if isinstance(item, Mapping) else None for item in value]
        return tuple(name for name in names if isinstance(name, str) and len(name) <= 200)

    def refuse(self, key: str, what: str) -> NoReturn:
        raise UsageError(
            f"{key}: {what}",
            where=self.where,
            remedy="Use the event file that GitHub wrote for this run",
        )
