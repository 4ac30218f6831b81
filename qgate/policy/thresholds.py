"""Which thresholds are in force for a target, and where each of them came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qgate.errors import UsageError
from qgate.policy.schema import Policy, ProfileSpec, Target
from qgate.policy.values import Thresholds
from qgate.records import Limit
from qgate.rules.base import PROFILES, Rule, slice_key, slice_of
from qgate.rules.nearest import did_you_mean

DEFAULT_PROFILE = "balanced"


def resolve(
    policy: Policy | None,
    target: Target | None,
    profile: str | None,
    scheme: str | None,
    *,
    rules: Mapping[str, Rule] | None = None,
    where: str = "qgate.yml",
) -> dict[str, dict[str, Limit]]:
    """Every threshold of every rule: the built-in profile's, then the team's profiles', then the target's.

    Args:
        policy: The policy, None for an ad-hoc pair.
        target: The target whose own thresholds come last.
        profile: Replaces the target's and the policy's profile; the command line's ``--profile``.
        scheme: The candidate's scheme; None takes what the target declares. Built-in thresholds may
            differ by scheme; a team's own replace them for every scheme.
        rules: The catalogue; the built-in one if None.
        where: What origins call the policy.

    Returns:
        Limits by rule id and parameter; those of a slice, class or metric by ``rules.base.slice_key``.

    Raises:
        UsageError: There is no such profile.
    """
    if rules is None:
        from qgate.rules.catalogue import catalogue

        rules = catalogue()
    if scheme is None and target is not None and target.scheme != "auto":
        scheme = target.scheme
    built_in, overrides = profile_chain(policy, profile_name(policy, target, profile))
    limits = {rule.id: _built_in(rule, built_in, scheme) for rule in rules.values()}
    for name, spec in overrides:
        _override(limits, spec.thresholds, f"profile {name} ({where})")
        _override_pieces(limits, spec.metric_thresholds, f"profile {name} (metric_thresholds, {where})")
    if target is not None:
        _override(limits, target.thresholds, f"target {target.name} ({where})")
        own = f"target {target.name}"
        _override_pieces(limits, target.metric_thresholds, f"{own} (metric_thresholds, {where})")
        _override_pieces(limits, target.slice_thresholds, f"{own} (slice_thresholds, {where})")
    return limits


def profile_name(policy: Policy | None, target: Target | None, profile: str | None = None) -> str:
    """The profile in force: the one asked for, else the target's, else the policy's, else ``balanced``."""
    if profile is not None:
        return profile
    if target is not None and target.profile is not None:
        return target.profile
    return policy.profile if policy is not None else DEFAULT_PROFILE


def profile_chain(policy: Policy | None, name: str) -> tuple[str, list[tuple[str, ProfileSpec]]]:
    """The built-in profile that ``name`` rests on, and the team's profiles above it, nearest to it first.

    Raises:
        UsageError: A profile does not exist, or profiles extend each other in a circle.
    """
    own = policy.profiles if policy is not None else {}
    above: list[tuple[str, ProfileSpec]] = []
    while name not in PROFILES:
        if name not in own:
            raise UsageError(
                f"there is no profile {name!r}", where="profile", remedy=did_you_mean(name, (*PROFILES, *own))
            )
        if any(name == seen for seen, _ in above):
            raise UsageError(f"profile {name!r} extends itself", where="profile", remedy="Break the circle")
        above.insert(0, (name, own[name]))
        name = own[name].extends
    return name, above


def _built_in(rule: Rule, profile: str, scheme: str | None) -> dict[str, Limit]:
    limits = {}
    for param in rule.params:
        value, origin = param.default(profile, scheme)
        limits[param.name] = Limit(value=value, unit=param.unit, origin=origin)
    return limits


def _override_pieces(
    limits: dict[str, dict[str, Limit]], pieces: Mapping[Any, Thresholds], origin: str
) -> None:
    """Thresholds of single slices, classes or metrics, by their own keys."""
    for piece, thresholds in pieces.items():
        keyed = {
            rule: {slice_key(name, piece): value for name, value in values.items()}
            for rule, values in thresholds.items()
        }
        _override(limits, keyed, origin)


def _override(limits: dict[str, dict[str, Limit]], thresholds: Thresholds, origin: str) -> None:
    for rule_id, values in thresholds.items():
        own = limits[rule_id]  # the loader has checked that rule and parameter exist
        for name, value in values.items():
            own[name] = Limit(value=value, unit=own[slice_of(name)[0]].unit, origin=origin)
