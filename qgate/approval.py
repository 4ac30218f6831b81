"""Approvals: who said, of exactly this head commit, that an exception is meant. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

WRITERS = frozenset(("admin", "maintain", "write"))


@dataclass(frozen=True)
class Approval:
    """One approval as GitHub tells it, before it is judged.

    Args:
        label: The label that was added; empty for a review.
        actor: Login of whoever added it.
        at_sha: The head commit that was the head when it was given (in a merge queue: the group's head,
            once each queued pull request has its own approval).
        role: The actor's permission on the repository: ``admin``, ``maintain``, ``write``, ``triage``,
            ``read`` or ``none``.
        author: Login of the author of what was approved; None if it is not known, and then it counts for
            nothing.
    """

    label: str
    actor: str
    at_sha: str
    role: str
    author: str | None = None


def approver(approvals: Iterable[Approval], *, label: str, head_sha: str | None) -> str | None:
    """Who approved this head commit; None where nobody did who could.

    An approval counts if it carries the policy's label, was given for exactly ``head_sha``, by someone
    who may write and who is not the author.
    """
    for approval in approvals:
        if (
            head_sha is not None
            and approval.at_sha == head_sha
            and approval.label == label
            and approval.role in WRITERS
            and approval.actor
            and approval.author
            and approval.actor.lower() != approval.author.lower()
        ):
            return approval.actor
    return None
