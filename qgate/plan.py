"""What is to be verified: one immutable order for each target, and which targets a change touches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

    from qgate.policy.schema import DataSpec, Policy, Target
    from qgate.sources.locator import Locator


@dataclass(frozen=True)
class TargetRun:
    """One order to the verifier: measure this candidate against this reference, judge by these lines.

    Every locator comes with the commit that its repository paths are read at; None is the work tree.
    The verifier looks nowhere else: what is trusted and what is judged was decided when this was made.

    Args:
        name: The target's name.
        target: The lines of the policy that judge (scheme, derivation, task, io, thresholds).
        policy: The policy that those lines belong to (profiles, waivers, limits, hosts, operators).
        repo: The git work tree.
        candidate: Where the candidate is, and the commit its path is read at.
        reference: Where the reference is, and its commit; None where the target declares none.
        data: Inputs, labels and slices, and their commit; None for seeded inputs.
        profile: Replaces the target's and the policy's profile where it is not None.
        seed: Seed of everything random.
        proposed: The change itself added this target.
        purpose: ``judge`` the candidate, measure an older one to serve as the ``baseline``, or show what
            changed (``comparison``: its measurements inform, its verdict counts for nothing).
        number: Position of this run and how many there are, for the progress display.
    """

    name: str
    target: Target
    policy: Policy
    repo: Path
    candidate: Locator
    candidate_revision: str | None = None
    reference: Locator | None = None
    reference_revision: str | None = None
    data: DataSpec | None = None
    data_revision: str | None = None
    profile: str | None = None
    seed: int = 0
    proposed: bool = False
    purpose: Literal["judge", "baseline", "comparison"] = "judge"
    number: tuple[int, int] = (1, 1)
