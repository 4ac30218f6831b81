"""What is to be verified: one immutable order for each target, and which targets a change touches."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal

from qgate.errors import UsageError
from qgate.git.changes import shown
from qgate.plan.touch import file_reasons, gone, policy_reasons, rereferenced, signer_paths

if TYPE_CHECKING:
    from pathlib import Path

    from qgate.git.changes import Change
    from qgate.policy.schema import DataSpec, Policy, SignatureSpec, Target
    from qgate.sources.locator import Locator

_GATE_FILE = re.compile(r"\.github/(workflows/[^/]+|actions/.+/action)\.ya?ml|action\.ya?ml")


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
        signature: Who must have signed the candidate, its bundle at the candidate's commit; None where nobody
            is asked for.
        signer_revision: The commit that the key, certificate or trusted root is read at.
        code_revision: The commit that code which the lines name (``factory``) is read at.
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
    signature: SignatureSpec | None = None
    signer_revision: str | None = None
    code_revision: str | None = None
    profile: str | None = None
    seed: int = 0
    proposed: bool = False
    purpose: Literal["judge", "baseline", "comparison"] = "judge"
    number: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class Planned:
    """One target that the change touches, on both sides.

    Args:
        name: The target's name.
        trusted: Its lines on the trusted side; None where the change adds it.
        judged: Its lines on the judged side; None where the change removes it.
        reasons: Why it is run, for the reader.
        rereferenced: Which of reference, data, labels, slices and task the change changes.
        resigned: Whether the change alters a file that says who must sign.
        gone: The candidate's path that the change deletes, and where its bytes went if that is known.
    """

    name: str
    trusted: Target | None
    judged: Target | None
    reasons: tuple[str, ...]
    rereferenced: tuple[str, ...] = ()
    resigned: bool = False
    gone: tuple[str, str | None] | None = None

    @property
    def lines(self) -> Target:
        """The lines that say where the candidate is: the judged side's, where it has any."""
        found = self.judged or self.trusted
        if found is None:
            raise ValueError(f"target {self.name} is on neither side")
        return found


@dataclass(frozen=True)
class Plan:
    """What is run, what is not and why.

    Args:
        run: Targets to verify, in the policy's order.
        untouched: Targets that the change does not touch.
        left_out: Targets of the trusted side that the change touches and the inputs leave out.
    """

    run: tuple[Planned, ...]
    untouched: tuple[str, ...] = ()
    left_out: tuple[Planned, ...] = ()


def make_plan(
    trusted: Policy | None,
    judged: Policy | None,
    changes: Collection[Change] | None,
    *,
    related: Mapping[str, Collection[str]] | None = None,
    only: Collection[str] = (),
) -> Plan:
    """Decides which targets are run.

    Args:
        trusted: The policy that judges; None where the change introduces the first one.
        judged: The policy as the change leaves it; the trusted one where the change does not touch it,
            None where it deletes it.
        changes: What the change does to files; None where there is nothing to compare with, and then every
            target is run.
        related: Changed paths that belong to a model without being it (external data, a link's target),
            by target name.
        only: Names that the inputs narrow the run to; empty for no narrowing.

    Raises:
        UsageError: ``only`` names a target that neither policy has.
    """
    names = tuple(dict.fromkeys(t.name for policy in (trusted, judged) if policy for t in policy.targets))
    _refuse_unknown(only, names)
    run, untouched, left_out = [], [], []
    for name in names:
        planned = _plan_target(name, trusted, judged, changes, (related or {}).get(name, ()))
        if not planned.reasons:
            untouched.append(name)
        elif not only or name in only:
            run.append(planned)
        elif changes is None:
            untouched.append(name)
        else:
            left_out.append(planned)
    return Plan(tuple(run), tuple(untouched), tuple(left_out))


def _refuse_unknown(only: Collection[str], names: tuple[str, ...]) -> None:
    for name in only:
        if name not in names:
            near = get_close_matches(name, names, n=1)
            hint = f"Did you mean {near[0]}?" if near else "It has " + ", ".join(names)[:300]
            raise UsageError(f"the policy has no target {name!r}", where="targets", remedy=hint)


def _plan_target(
    name: str,
    trusted: Policy | None,
    judged: Policy | None,
    changes: Collection[Change] | None,
    related: Collection[str],
) -> Planned:
    old = trusted.target(name) if trusted else None
    new = judged.target(name) if judged else None
    if changes is None:
        return Planned(name, old, new, ("nothing to compare with, so every target is run",))
    changed = {change.path: change for change in changes}
    reasons = [*policy_reasons(old, new, trusted, judged), *file_reasons(name, old, new, changed)]
    reasons += [f"{shown(path)} belongs to the target and changes" for path in sorted(related)]
    return Planned(
        name,
        old,
        new,
        tuple(dict.fromkeys(reasons)),
        rereferenced=rereferenced(old, new, changed),
        resigned=any(path in changed for path in signer_paths(old, new)),
        gone=gone(new or old, changed),
    )


def gate_files(changes: Collection[Change]) -> tuple[str, ...]:
    """Changed paths that may decide whether and how the gate itself runs, for the reader's eye."""
    return tuple(sorted(change.path for change in changes if _GATE_FILE.fullmatch(change.path)))
