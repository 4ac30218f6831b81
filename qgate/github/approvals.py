"""Approvals by label, fetched from GitHub and bound to the head commit.

Labels in an event file prove nothing: the file can be stale or forged, a label survives pushes, and
whoever may triage can set one. So three things are asked of GitHub itself: who set the label that is
there now, what that person may do, and whether the head commit was already there.

The last is the hard one. A timeline shows commits by dates that their author chose, so a commit can be
made to look older than the label. The activity of the head branch carries the time at which GitHub
received each push; both have to agree.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from qgate.errors import PublishError
from qgate.github.client import Client, Json, segment
from qgate.github.pulls import PullFacts, pull_facts
from qgate.github.reading import field, moment
from qgate.github.refusals import NotFoundError
from qgate.plan.approval import WRITERS, Approval, approver

_MOVES = frozenset(
    (
        "committed",
        "head_ref_force_pushed",
        "head_ref_restored",
        "base_ref_changed",
        "automatic_base_change_succeeded",
    )
)
_GHOST = "(a deleted account)"


@dataclass(frozen=True)
class Approvals:
    """What was found: approvals of the head commit, and why a label that is there does not count."""

    facts: PullFacts
    granted: tuple[Approval, ...] = ()
    refused: tuple[str, ...] = ()


class _NotCountedError(Exception):
    """A label that is there but approves nothing."""


def fetch_approvals(client: Client, number: int, label: str, *, head_sha: str | None = None) -> Approvals:
    """Asks who approved the head commit of a pull request with the policy's label.

    Args:
        client: The repository.
        number: The pull request.
        label: The policy's label; case does not matter, as at GitHub.
        head_sha: The head that is being judged; a pull request that has moved on has no approval of it.

    Raises:
        PublishError: GitHub refuses, cannot be reached, or answers something unusable.
    """
    facts = pull_facts(client, number)
    if not any(_same(label, present) for present in facts.labels):
        return Approvals(facts)
    try:
        if head_sha is not None and head_sha != facts.head_sha:
            raise _NotCountedError(f"the head has moved to {facts.head_sha[:12]} since this run began")
        actor = _who_labelled(client, facts, label)
        role = _role(client, actor)
    except _NotCountedError as reason:
        return Approvals(facts, refused=(f"The label {label} does not count: {reason}.",))
    return _judged(facts, Approval(label, actor, facts.head_sha, role, facts.author))


def fetch_group_approvals(
    client: Client, numbers: Iterable[int], label: str, group_sha: str
) -> tuple[Approval, ...]:
    """The approval of a merge group: one, if each of its pull requests has its own, else none.

    Raises:
        PublishError: As for ``fetch_approvals``.
    """
    approvals = [fetch_approvals(client, number, label) for number in numbers]
    if not approvals or any(not one.granted for one in approvals):
        return ()
    last = approvals[-1].granted[0]
    return (Approval(label, last.actor, group_sha, last.role, last.author),)


def _judged(facts: PullFacts, approval: Approval) -> Approvals:
    if approver([approval], label=approval.label, head_sha=facts.head_sha) is not None:
        return Approvals(facts, granted=(approval,))
    if approval.role not in WRITERS:
        why = f"{approval.actor} has the permission {approval.role}, which is not enough"
    elif facts.author is None:
        why = "the author of the pull request is not known"
    else:
        why = f"{approval.actor} is the author of the pull request"
    return Approvals(facts, refused=(f"The label {approval.label} does not count: {why}.",))


def _who_labelled(client: Client, facts: PullFacts, label: str) -> str:
    """The login of whoever set the label, if nothing has moved since."""
    timeline = client.pages(f"/issues/{facts.number}/timeline")
    position, event = _labelled(timeline, label)
    moved = [str(later.get("event")) for later in timeline[position + 1 :] if later.get("event") in _MOVES]
    if moved:
        raise _NotCountedError(f"it was set before the latest change ({moved[-1]}); set it again")
    if event.get("actor") is None or field(event, "actor.type", str) != "User":
        raise _NotCountedError(f"it was set by {_login(event)}, which is no person")
    _require_after_push(client, facts, moment(event, "created_at"))
    return field(event, "actor.login", str)


def _labelled(timeline: list[Json], label: str) -> tuple[int, Json]:
    """The event that set the label which is there now, and its position."""
    for position in range(len(timeline) - 1, -1, -1):
        event = timeline[position]
        if event.get("event") in ("labeled", "unlabeled") and _same(label, field(event, "label.name", str)):
            if event["event"] == "labeled":
                return position, event
            break
    raise _NotCountedError("GitHub's timeline does not say who set it")


def _require_after_push(client: Client, facts: PullFacts, labelled_at: datetime) -> None:
    if facts.head_repository is None:
        raise _NotCountedError("the repository of the head branch was deleted")
    owner, _, name = facts.head_repository.partition("/")
    path = f"/repos/{segment(owner)}/{segment(name)}/activity"
    try:
        newest = client.pages(path, anywhere=True, limit=1, ref=f"refs/heads/{facts.head_ref}")
    except NotFoundError as error:
        raise _NotCountedError("GitHub does not say when the head commit was pushed") from error
    if not newest or newest[0].get("after") != facts.head_sha:
        raise _NotCountedError("GitHub does not say when the head commit was pushed; run the job again")
    # Whole seconds: within the same one it cannot be told which came first.
    if labelled_at <= moment(newest[0], "timestamp"):
        raise _NotCountedError("it was set before the head commit was pushed; set it again")


def _role(client: Client, login: str) -> str:
    try:
        return field(client.get(f"/collaborators/{segment(login)}/permission"), "permission", str)
    except NotFoundError:
        return "none"


def _login(event: Json) -> str:
    try:
        return field(event, "actor.login", str)
    except PublishError:
        return _GHOST


def _same(label: str, other: str) -> bool:
    return label.casefold() == other.casefold()
