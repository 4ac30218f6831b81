"""Which files a pull request changes: GitHub's answer, not that of a run that the pull request controls."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator

from qgate.errors import PublishError
from qgate.git.changes import Change
from qgate.github.client import Client, Json
from qgate.github.pulls import PullFacts
from qgate.github.reading import field
from qgate.plan.proposed import Proposed

MAX_POLICY = 2**20
_WORDS = {"added": "added", "copied": "added", "removed": "deleted"}


def proposed_by(client: Client, facts: PullFacts, config: str) -> Proposed:
    """The files of a pull request, bound to its head.

    GitHub lists at most 3000 files; a list that is shorter than the pull request says it is decides nothing.
    What cannot be found out is told as unknown, for the caller has to judge by less then.

    Args:
        client: The base repository.
        facts: The pull request.
        config: Path of the policy.

    Raises:
        PublishError: Commits were pushed while the list was read.
    """
    where = f"/pulls/{facts.number}"
    try:
        files = client.pages(f"{where}/files")
        changes = tuple(change for item in files for change in _changes(item))
        policy = _policy(client, files, config)
        after = client.get(where)
        head, count = field(after, "head.sha", str), field(after, "changed_files", int)
    except PublishError as error:
        return Proposed(None, unknown=f"GitHub does not tell: {error.what}")
    if head != facts.head_sha:
        raise PublishError(
            "commits were pushed while the pull request was read",
            where=where,
            remedy="Nothing to do: their own run publishes",
        )
    if count != len(files):
        return Proposed(None, unknown=f"GitHub lists {len(files)} of {count} changed files")
    return Proposed(changes, policy=policy)


def _changes(item: Json) -> Iterator[Change]:
    path, status = field(item, "filename", str), field(item, "status", str)
    if status == "renamed":
        before = field(item, "previous_filename", str)
        yield Change(before, "deleted", moved=path)
        yield Change(path, "added", moved=before)
    else:
        yield Change(path, _WORDS.get(status, "modified"))


def _policy(client: Client, files: list[Json], config: str) -> bytes | None:
    """The policy's content at the head, checked against the name that git gives it."""
    for item in files:
        if item.get("filename") != config or item.get("status") == "removed":
            continue
        sha = field(item, "sha", str)
        blob = client.get(f"/git/blobs/{sha}")
        if field(blob, "size", int) > MAX_POLICY or field(blob, "encoding", str) != "base64":
            raise PublishError("the proposed policy is too large")
        try:
            content = base64.b64decode(field(blob, "content", str))
        except binascii.Error as error:
            raise PublishError("the proposed policy is no base64") from error
        name = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        if name != sha:
            raise PublishError("the proposed policy has other bytes than git names")
        return content
    return None
