"""What is to be verified: one immutable order for each target, and which targets a change touches."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel

from qgate.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from qgate.policy.schema import DataSpec, Policy, Target
    from qgate.repository import Change
    from qgate.sources.locator import Locator

_JUDGING_KEYS = ("profile", "profiles", "require_baseline", "allow_ops", "allow_hosts", "limits")
_FULL_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
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


@dataclass(frozen=True)
class Planned:
    """One target that the change touches, on both sides.

    Args:
        name: The target's name.
        trusted: Its lines on the trusted side; None where the change adds it.
        judged: Its lines on the judged side; None where the change removes it.
        reasons: Why it is run, for the reader.
        rereferenced: Which of reference, data, labels, slices and task the change changes.
        gone: The candidate's path that the change deletes, and where its bytes went if that is known.
    """

    name: str
    trusted: Target | None
    judged: Target | None
    reasons: tuple[str, ...]
    rereferenced: tuple[str, ...] = ()
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
    reasons = [*_policy_reasons(old, new, trusted, judged), *_file_reasons(name, old, new, changed)]
    reasons += [f"{shown(path)} belongs to a model and changes" for path in sorted(related)]
    return Planned(
        name,
        old,
        new,
        tuple(dict.fromkeys(reasons)),
        rereferenced=_rereferenced(old, new, changed),
        gone=_gone(new or old, changed),
    )


def _policy_reasons(
    old: Target | None, new: Target | None, trusted: Policy | None, judged: Policy | None
) -> list[str]:
    if old is None or trusted is None:
        return ["the change adds the target"]
    if new is None or judged is None:
        return ["the change removes the target from the policy"]
    reasons = [
        f"the change alters `{key}` of the target"
        for key in type(old).model_fields
        if getattr(old, key) != getattr(new, key)
    ]
    reasons += [
        f"the change alters `{key}` of the policy"
        for key in _JUDGING_KEYS
        if getattr(trusted, key) != getattr(judged, key)
    ]
    waivers = [[w for w in policy.waivers if w.target == old.name] for policy in (trusted, judged)]
    return reasons + (["the change alters a waiver of the target"] if waivers[0] != waivers[1] else [])


def _file_reasons(
    name: str, old: Target | None, new: Target | None, changed: Mapping[str, Change]
) -> Iterator[str]:
    for lines in (old, new):
        if lines is None:
            continue
        for what, locator in (
            ("candidate", lines.candidate),
            ("reference", lines.reference),
            ("data", lines.data.inputs if lines.data else None),
        ):
            path = locator.repository_path if locator is not None else None
            for pointer in (path, f"{path}.dvc") if path is not None else ():
                if pointer in changed:
                    yield f"{what} {shown(pointer)} is {changed[pointer].status}"
            revision = getattr(locator, "git", None)
            if revision is not None and not _FULL_SHA.fullmatch(revision):
                yield f"{what} is at {revision}, which may have moved"
    if (path := baseline_path(name)) in changed:
        yield f"baseline {path} is {changed[path].status}"


def _rereferenced(old: Target | None, new: Target | None, changed: Mapping[str, Change]) -> tuple[str, ...]:
    if old is None or new is None:
        return ()
    found = [key for key in ("reference", "data", "task") if _differs(getattr(old, key), getattr(new, key))]
    paths = {
        "reference": new.reference.repository_path if new.reference else None,
        "data": new.data.inputs.repository_path if new.data else None,
    }
    found += [key for key, path in paths.items() if path in changed and key not in found]
    return tuple(found)


def _differs(old: object, new: object) -> bool:
    """Whether two places or tasks differ; a digest that only one of them pins is no difference."""
    if type(old) is not type(new):
        return True
    one, other = ((item.model_dump() if isinstance(item, BaseModel) else {"": item}) for item in (old, new))
    for place, twin in ((one, other), (one.get("inputs"), other.get("inputs"))):
        if (
            isinstance(place, dict)
            and isinstance(twin, dict)
            and None in (place.get("sha256"), twin.get("sha256"))
        ):
            place.pop("sha256", None)
            twin.pop("sha256", None)
    return one != other


def _gone(lines: Target | None, changed: Mapping[str, Change]) -> tuple[str, str | None] | None:
    path = lines.candidate.repository_path if lines else None
    change = changed.get(path) if path is not None else None
    if path is None or change is None or change.status != "deleted":
        return None
    return path, change.moved


def baseline_path(name: str) -> str:
    """Where a target's baseline lies in the repository."""
    return f".qgate/baseline/{name}.json"


def gate_files(changes: Collection[Change]) -> tuple[str, ...]:
    """Changed paths that may decide whether and how the gate itself runs, for the reader's eye."""
    return tuple(sorted(change.path for change in changes if _GATE_FILE.fullmatch(change.path)))


def shown(path: str) -> str:
    """A path of the repository as text that any encoding takes; undecodable bytes as ``\\xNN``."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")[:300]
