"""From a planned target to what is measured and by whose lines it is judged. Pure.

A target whose lines the change alters is judged by both sides' lines; one that the change adds by its own
and by the built-in ``balanced``. Whoever reads a verdict is told by which lines it was reached.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from qgate.plan.authority import Authority
from qgate.plan.code import trusted_code
from qgate.plan.targets import Planned, TargetRun

if TYPE_CHECKING:
    from qgate.plan.sides import Sides
    from qgate.policy.schema import Policy, Target

FLOOR_PROFILE = "balanced"
_THRESHOLDS = ("thresholds", "slice_thresholds", "metric_thresholds")
"""Keys of a target that hold thresholds of its own."""

_MEASURING_KEYS = (
    "candidate",
    "reference",
    "data",
    "task",
    "io",
    "scheme",
    "derivation",
    "runtimes",
    "trust",
    "factory",
)


@dataclass(frozen=True)
class Order:
    """One judgement of a target: by whose lines, and the run that reaches it."""

    by: str
    run: TargetRun


def make_orders(planned: Planned, authority: Authority, sides: Sides, repo: Path) -> tuple[Order, ...]:
    """The judgements that a target needs, the one that counts most first.

    Empty where the target is removed from the policy and that removal is granted.
    """
    if planned.trusted is None:
        return _proposed(planned, authority, sides, repo)
    if planned.judged is None:
        if authority.loosening_granted:
            return ()
        return (Order("the trusted policy", _run(planned, planned.trusted, authority.trusted, sides, repo)),)
    theirs = Order("the policy as changed", _changed_run(planned, authority, sides, repo))
    if authority.loosening_granted:
        return (theirs,)
    lines = planned.trusted.model_copy(update=_judged_set(planned))
    ours = Order("the trusted policy", _run(planned, lines, authority.trusted, sides, repo))
    same = ours.run.target == theirs.run.target and _judges_alike(authority)
    return (ours,) if same else (ours, theirs)


def same_measurements(one: TargetRun, other: TargetRun) -> bool:
    """Whether what one run measures can be judged by the other's lines."""
    return all(getattr(one.target, key) == getattr(other.target, key) for key in _MEASURING_KEYS) and replace(
        one, target=other.target, policy=other.policy, profile=other.profile
    ) == replace(other, number=one.number)


def baseline_run(run: TargetRun, lines: Target, sides: Sides) -> TargetRun:
    """Measures the trusted side's candidate as a run measures the judged one's."""
    return replace(
        run,
        candidate=lines.candidate,
        candidate_revision=sides.previous,
        signature=None,
        signer_revision=None,
        purpose="baseline",
        proposed=False,
    )


def comparison_runs(planned: Planned, run: TargetRun, sides: Sides) -> tuple[Order, ...]:
    """What a change of reference or data looks like from outside: old against new.

    The old reference against the new one, and the old candidate against the new one on the old data.
    """
    old, new = planned.trusted, planned.judged
    if old is None or new is None:
        return ()
    plain: dict[str, object] = {
        "scheme": "none",
        "derivation": "none",
        "task": None,
        **{key: {} for key in _THRESHOLDS},
    }
    # What may execute was decided for the run that this one shows the background of.
    plain |= {"trust": run.target.trust, "signature": None, "require_signature": False}
    shared = replace(
        run,
        target=new.model_copy(update=plain),
        data=old.data,
        data_revision=sides.trusted,
        signature=None,
        signer_revision=None,
        purpose="comparison",
    )
    orders = []
    if "reference" in planned.rereferenced and old.reference is not None and new.reference is not None:
        swapped = replace(
            shared,
            candidate=new.reference,
            candidate_revision=sides.judged,
            reference=old.reference,
            reference_revision=sides.trusted,
        )
        orders.append(Order("the new reference against the old one", _built_by(swapped, run, "reference")))
    candidates = replace(shared, reference=old.candidate, reference_revision=sides.trusted)
    candidates = _built_by(candidates, run, "candidate")
    return (*orders, Order("the new candidate against the old one, on the old data", candidates))


def _built_by(comparison: TargetRun, run: TargetRun, side: str) -> TargetRun:
    """A comparison of two models of one side: both are built by that side's factory."""
    factory = run.target.factory
    spec = getattr(factory, side) if factory is not None else None
    both = None if factory is None else factory.model_copy(update={"candidate": spec, "reference": spec})
    return replace(comparison, target=comparison.target.model_copy(update={"factory": both}))


def _proposed(planned: Planned, authority: Authority, sides: Sides, repo: Path) -> tuple[Order, ...]:
    own = _changed_run(planned, authority, sides, repo)
    orders = (Order("its own lines", own),)
    floor_lines = own.target.model_copy(update={**{key: {} for key in _THRESHOLDS}, "profile": FLOOR_PROFILE})
    # Known operators are no matter of profiles: what a bootstrap declares must be able to hold.
    known = authority.trusted if authority.trusted and not authority.loosening_granted else own.policy
    floor_policy = own.policy.model_copy(
        update={"profile": FLOOR_PROFILE, "profiles": {}, "waivers": (), "allow_ops": known.allow_ops}
    )
    own_waivers = any(waiver.target == planned.name for waiver in own.policy.waivers)
    effective = own.target.profile or own.policy.profile
    own_bounds = any(getattr(own.target, name) for name in _THRESHOLDS)
    plain = not own_bounds and not own_waivers and own.policy.allow_ops == known.allow_ops
    if plain and effective in (FLOOR_PROFILE, "strict"):
        return orders
    floor = replace(own, target=floor_lines, policy=floor_policy)
    return (*orders, Order(f"the built-in profile {FLOOR_PROFILE}", floor))


def _changed_run(planned: Planned, authority: Authority, sides: Sides, repo: Path) -> TargetRun:
    """A run by the change's own lines, with what must not be in the change's hands from the trusted side."""
    policy = authority.judged
    if policy is None:
        raise ValueError(f"target {planned.name} has no lines on the judged side")
    lines = planned.lines
    if not authority.loosening_granted:
        trusted = authority.trusted
        hosts = trusted.allow_hosts if trusted else ()
        limits = trusted.limits if trusted else policy.limits
        # What may execute, and behind which walls, is the trusted side's word alone.
        sandbox = trusted.sandbox if trusted else "required"
        policy = policy.model_copy(update={"allow_hosts": hosts, "limits": limits, "sandbox": sandbox})
        trust = planned.trusted.trust if planned.trusted else "data"
        code = trusted_code(planned.trusted, lines)
        lines = lines.model_copy(update={"trust": trust, **code})
    run = _run(planned, lines, policy, sides, repo)
    # Code that judges is the trusted side's until somebody has approved the change's.
    run = replace(run, code_revision=sides.judged if authority.loosening_granted else sides.trusted)
    # By the change's own lines, the signer is the one that would be named after a merge.
    signer = sides.judged if planned.resigned else run.signer_revision
    return replace(run, proposed=planned.trusted is None, signer_revision=signer)


def _judged_set(planned: Planned) -> dict[str, object]:
    """What the change proposes and the trusted lines then judge: candidate, and a new reference or data."""
    lines = planned.lines
    return {
        "candidate": lines.candidate,
        **{key: getattr(lines, key) for key in ("reference", "data", "task") if key in planned.rereferenced},
        **_moved_bundle(planned),
    }


def _moved_bundle(planned: Planned) -> dict[str, object]:
    """The trusted side says who must sign; the signature itself lies where the change puts it."""
    ours = planned.trusted.signature if planned.trusted else None
    theirs = planned.lines.signature
    if ours is None or theirs is None:
        return {}
    return {"signature": ours.model_copy(update={"bundle": theirs.bundle})}


def _run(planned: Planned, lines: Target, policy: Policy | None, sides: Sides, repo: Path) -> TargetRun:
    if policy is None:
        raise ValueError(f"target {planned.name} has no policy to be judged by")
    theirs = planned.trusted is None
    return TargetRun(
        planned.name,
        lines,
        policy,
        repo,
        candidate=lines.candidate,
        candidate_revision=sides.judged,
        reference=lines.reference,
        reference_revision=sides.judged if theirs or "reference" in planned.rereferenced else sides.trusted,
        data=lines.data,
        data_revision=sides.judged if theirs or "data" in planned.rereferenced else sides.trusted,
        signature=lines.signature,
        signer_revision=sides.judged if theirs else sides.trusted,
        code_revision=sides.trusted,
    )


def _judges_alike(authority: Authority) -> bool:
    """Whether both policies judge a target with the same lines in the same way."""
    if authority.trusted is None or authority.judged is None:
        return False
    keys = (
        "profile",
        "profiles",
        "waivers",
        "require_baseline",
        "allow_ops",
        "allow_hosts",
        "limits",
        "sandbox",
    )
    return all(getattr(authority.trusted, key) == getattr(authority.judged, key) for key in keys)
