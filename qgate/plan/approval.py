"""Approvals: who said, of exactly this head commit, that an exception is meant. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from qgate.errors import QgateError

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


class Grants(Protocol):
    """What GitHub was found to say: approvals, and why what looks like one does not count."""

    @property
    def granted(self) -> tuple[Approval, ...]:
        """Approvals, still to be judged by ``approver``."""
        ...

    @property
    def refused(self) -> tuple[str, ...]:
        """Sentences for the reader."""
        ...


@dataclass(frozen=True)
class Granted:
    """The plain form of ``Grants``."""

    granted: tuple[Approval, ...] = ()
    refused: tuple[str, ...] = ()


def no_approvals(label: str) -> Grants:
    """Where nobody can be asked: a local run, a push, no token."""
    return Granted()


class Consent:
    """Asks at most once, and only when something needs it, whether the head commit is approved.

    Args:
        fetch: Asks GitHub who set a label.
        label: The trusted policy's label.
        head_sha: The commit that must be approved.
    """

    def __init__(self, fetch: Callable[[str], Grants], *, label: str, head_sha: str | None) -> None:
        self._fetch = fetch
        self._label = label
        self._head_sha = head_sha
        self._asked = False
        self._by: str | None = None
        self.notices: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The label that approves."""
        return self._label

    @property
    def used(self) -> str | None:
        """Who approved, where something needed it; None where nothing did or nobody has."""
        return self._by

    def given_by(self) -> str | None:
        """Who approved this head commit; None where nobody did, or GitHub could not be asked."""
        if not self._asked:
            self._asked = True
            try:
                grants = self._fetch(self._label)
            except QgateError as error:
                self.notices = (f"Approvals could not be fetched, so none counts: {error}",)
                return None
            self.notices = grants.refused
            self._by = approver(grants.granted, label=self._label, head_sha=self._head_sha)
        return self._by
