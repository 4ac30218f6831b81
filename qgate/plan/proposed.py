"""What a pull request proposes, as GitHub tells it: for the trusted job, which has not checked it out."""

from __future__ import annotations

from dataclasses import dataclass

from qgate.git.changes import Change


@dataclass(frozen=True)
class Proposed:
    """The files of a pull request.

    Args:
        changes: What it does to files; None where that could not be found out.
        unknown: Why it could not.
        policy: The policy file at its head where the change touches it; None where it does not, or deletes it.
    """

    changes: tuple[Change, ...] | None
    unknown: str = ""
    policy: bytes | None = None
