"""The facts of a pull request as GitHub's API tells them, for the event file can be forged or stale."""

from __future__ import annotations

from dataclasses import dataclass

from qgate.errors import PublishError
from qgate.events import Activity
from qgate.github.client import Client, Json
from qgate.github.reading import field


@dataclass(frozen=True)
class PullFacts:
    """A pull request as it is now.

    Args:
        number: Its number.
        state: ``open`` or ``closed``.
        author: Login of its author, None where the account was deleted.
        head_sha: The newest commit that it proposes.
        head_ref: The branch of that commit.
        head_repository: ``owner/name`` of the repository with that branch, None where it was deleted.
        base_ref: The branch that it goes into.
        base_sha: Tip of that branch when GitHub last looked.
        merge_sha: The test-merge commit, None where GitHub has none (yet).
        fork: The head lives in another repository, or in none any more.
        default_branch: Default branch of the repository that it goes into.
        labels: Its labels now.
    """

    number: int
    state: str
    author: str | None
    head_sha: str
    head_ref: str
    head_repository: str | None
    base_ref: str
    base_sha: str
    merge_sha: str | None
    fork: bool
    default_branch: str
    labels: tuple[str, ...]


def pull_facts(client: Client, number: int) -> PullFacts:
    """Asks for one pull request.

    Raises:
        PublishError: GitHub refuses, cannot be reached, or answers something unusable.
    """
    return _facts(client, client.get(f"/pulls/{number}"))


def pull_with_head(client: Client, head_sha: str) -> PullFacts:
    """The one open pull request whose head is this commit.

    Looked up in the list, for GitHub finds a fork's commits in no other way.

    Raises:
        PublishError: There is none (any more), or more than one; or as for ``pull_facts``.
    """
    found = [
        item for item in client.pages("/pulls", state="open") if field(item, "head.sha", str) == head_sha
    ]
    if not found:
        raise PublishError(
            "no open pull request has this head",
            where=head_sha,
            remedy="Nothing to do if commits were pushed since: their own run publishes",
        )
    if len(found) > 1:
        numbers = ", ".join(f"#{field(item, 'number', int)}" for item in found)
        raise PublishError(
            f"several open pull requests have this head ({numbers})",
            where=head_sha,
            remedy="Close all but one, or push a commit to one of them",
        )
    return pull_facts(client, field(found[0], "number", int))


def disagreements(activity: Activity, facts: PullFacts) -> tuple[str, ...]:
    """Where the event file says something else than GitHub, one sentence each; none is good."""
    compared = (
        ("number", activity.number, facts.number),
        ("head commit", activity.head_sha, facts.head_sha),
        ("base branch", activity.base_ref, facts.base_ref),
        ("author", activity.author, facts.author),
        ("fork", activity.fork, facts.fork),
        ("default branch", activity.default_branch, facts.default_branch),
    )
    return tuple(
        f"The event's {name} is {told}, GitHub's {actual}."
        for name, told, actual in compared
        if told != actual
    )


def _facts(client: Client, body: Json) -> PullFacts:
    head, user, merge = body.get("head"), body.get("user"), body.get("merge_commit_sha")
    there = isinstance(head, dict) and head.get("repo") is not None
    head_repository = field(body, "head.repo.full_name", str) if there else None
    base_repository = field(body, "base.repo.full_name", str)
    if base_repository.lower() != client.repository.lower():
        raise PublishError(f"the pull request goes into {base_repository}", where=client.repository)
    return PullFacts(
        number=field(body, "number", int),
        state=field(body, "state", str),
        author=None if user is None else field(body, "user.login", str),
        head_sha=field(body, "head.sha", str),
        head_ref=field(body, "head.ref", str),
        head_repository=head_repository,
        base_ref=field(body, "base.ref", str),
        base_sha=field(body, "base.sha", str),
        merge_sha=merge if isinstance(merge, str) else None,
        fork=head_repository is None or head_repository.lower() != base_repository.lower(),
        default_branch=field(body, "base.repo.default_branch", str),
        labels=tuple(field(label, "name", str) for label in field(body, "labels", list)),
    )
