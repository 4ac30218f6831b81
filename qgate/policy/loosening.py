"""What a change of the policy loosens, deletes or waives, in sentences.

Where the direction of a difference cannot be known, it counts as loosening: whoever approves shall see
it. What is stricter, added or a matter of resources is listed apart. The gravest come first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from qgate.policy.document import quoted
from qgate.policy.piece_changes import piece_differences
from qgate.policy.places import Difference, Kind
from qgate.policy.schema import Policy, Target, Waiver
from qgate.policy.target_changes import loosened_profile, target_differences
from qgate.policy.threshold_changes import judged_metric, threshold_changes
from qgate.policy.thresholds import resolve
from qgate.policy.trust_changes import added_code
from qgate.policy.weights import Weight, by_weight
from qgate.records import Severity
from qgate.rules.base import Rule

Weighed = tuple[Weight, Difference]
_ORDERS = {
    "rereference": ("forbid", "approve", "allow"),
    "accept": ("approve", "allow"),
    "loosen": ("approve", "allow"),
    "sandbox": ("required", "reduced"),
}
_WAIVED = {
    Severity.ERROR: Weight.WAIVED_ERROR,
    Severity.WARNING: Weight.WAIVED_WARNING,
    Severity.NOTE: Weight.WAIVED_NOTE,
}
_NAMED = 5


@dataclass(frozen=True)
class PolicyChanges:
    """The differences of two policies.

    Args:
        loosened: What lets more pass, is deleted or waived, or cannot be told to be harmless.
        changed: Everything else.
    """

    loosened: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


def loosened(old: Policy, new: Policy, *, rules: Mapping[str, Rule] | None = None) -> tuple[str, ...]:
    """What ``new`` loosens against ``old``, one sentence each; empty if nothing."""
    return compare(old, new, rules=rules).loosened


def compare(old: Policy, new: Policy, *, rules: Mapping[str, Rule] | None = None) -> PolicyChanges:
    """Every difference of two policies in sentences, the gravest first.

    Args:
        old: The trusted policy.
        new: The policy as the change would have it.
        rules: The catalogue; the built-in one if None.
    """
    if rules is None:
        from qgate.rules.catalogue import catalogue

        rules = catalogue()
    found: dict[Kind, list[tuple[Weight, str]]] = {"loosened": [], "changed": []}
    for weight, (kind, sentence) in _all(old, new, rules):
        found[kind].append((weight, sentence))
    return PolicyChanges(tuple(by_weight(found["loosened"])), tuple(by_weight(found["changed"])))


def _all(old: Policy, new: Policy, rules: Mapping[str, Rule]) -> Iterator[Weighed]:
    yield from _targets(old, new)
    yield from _waivers(old, new, rules)
    yield from _requirements(old, new)
    yield from _permissions(old, new)
    yield from _common_targets(old, new, rules)


def _targets(old: Policy, new: Policy) -> Iterator[Weighed]:
    for target in old.targets:
        if new.target(target.name) is None:
            yield Weight.DELETION, ("loosened", f"target {target.name} is deleted")
    for target in new.targets:
        if old.target(target.name) is None:
            code = added_code(target)
            told: Difference = ("loosened", code) if code else ("changed", f"target {target.name} is added")
            yield Weight.CODE, told


def _waivers(old: Policy, new: Policy, rules: Mapping[str, Rule]) -> Iterator[Weighed]:
    severities: dict[str, dict[str, Severity]] = {}
    for waiver, told in _waiver_differences(old, new):
        name = waiver.target
        if name not in severities:
            severities[name] = _severities(old if old.target(name) is not None else new, name, rules)
        yield _WAIVED[severities[name].get(waiver.rule, Severity.ERROR)], told


def _severities(policy: Policy, name: str, rules: Mapping[str, Rule]) -> dict[str, Severity]:
    """What each rule weighs for a target; empty for a target that is not there."""
    target = policy.target(name)
    limits = resolve(policy, target, None, None, rules=rules) if target is not None else {}
    return {rule: Severity(str(own["severity"].value)) for rule, own in limits.items()}


def _waiver_differences(old: Policy, new: Policy) -> Iterator[tuple[Waiver, Difference]]:
    before = {(w.target, w.rule, w.at): w for w in old.waivers}
    after = {(w.target, w.rule, w.at): w for w in new.waivers}
    for key, waiver in after.items():
        earlier = before.get(key)
        if earlier is None:
            reason = quoted(waiver.reason, 200)
            yield waiver, ("loosened", f"{_waiver(waiver)} is waived until {waiver.until}: {reason}")
        elif waiver.until > earlier.until:
            yield waiver, ("loosened", f"the waiver of {_waiver(waiver)} is extended to {waiver.until}")
        elif waiver.until < earlier.until:
            yield waiver, ("changed", f"the waiver of {_waiver(waiver)} is shortened to {waiver.until}")
        elif waiver != earlier:
            yield waiver, ("changed", f"the waiver of {_waiver(waiver)} has another reason")
    for key, waiver in before.items():
        if key not in after:
            yield waiver, ("changed", f"the waiver of {_waiver(waiver)} is removed")


def _waiver(waiver: Waiver) -> str:
    place = f" at {quoted(waiver.at, 200)}" if waiver.at is not None else ""
    return f"{waiver.rule}{place} for target {waiver.target}"


def _requirements(old: Policy, new: Policy) -> Iterator[Weighed]:
    for key, order in _ORDERS.items():
        before, after = getattr(old, key), getattr(new, key)
        if before != after:
            kind: Kind = "loosened" if order.index(after) > order.index(before) else "changed"
            weight = Weight.SANDBOX if key == "sandbox" else Weight.APPROVAL
            yield weight, (kind, f"`{key}` is {after}, it was {before}")
    if old.require_baseline != new.require_baseline:
        if old.require_baseline:
            yield Weight.REQUIREMENT, ("loosened", "a baseline is no longer required")
        else:
            yield Weight.REQUIREMENT, ("changed", "a baseline is now required")
    if old.profile != new.profile:
        kind = "loosened" if loosened_profile(old, new, old.profile, new.profile) else "changed"
        yield Weight.REQUIREMENT, (kind, f"the profile is {new.profile}, it was {old.profile}")
    for name in dict.fromkeys((*old.profiles, *new.profiles)):
        if old.profiles.get(name) != new.profiles.get(name):
            verb = "added" if name not in old.profiles else "changed" if name in new.profiles else "removed"
            yield Weight.THRESHOLD, ("changed", f"the definition of profile {name} is {verb}")


def _permissions(old: Policy, new: Policy) -> Iterator[Weighed]:
    for key, what in (("allow_hosts", "host"), ("allow_ops", "operator")):
        before, after = getattr(old, key), getattr(new, key)
        for word in dict.fromkeys(after):
            if word not in before:
                yield Weight.PERMISSION, ("loosened", f"the {what} {word} is allowed")
        for word in dict.fromkeys(before):
            if word not in after:
                yield Weight.PERMISSION, ("changed", f"the {what} {word} is no longer allowed")
    if old.approval != new.approval:
        labels = quoted(old.approval.label), quoted(new.approval.label)
        yield Weight.APPROVAL, ("loosened", f"the label that approves is {labels[1]}, it was {labels[0]}")
    for key in type(old.limits).model_fields:
        before, after = getattr(old.limits, key), getattr(new.limits, key)
        if before != after:
            yield Weight.THRESHOLD, ("changed", f"the limit `{key}` is {after}, it was {before}")


def _common_targets(old: Policy, new: Policy, rules: Mapping[str, Rule]) -> Iterator[Weighed]:
    """Differences of targets that both have; one sentence for all targets that differ alike."""
    alike: dict[Weighed, list[str]] = {}
    common = [(before, after) for before in old.targets if (after := new.target(before.name)) is not None]
    known: dict[tuple[object, ...], list[Weighed]] = {}
    for before, after in common:
        # Resolving is slow, and most targets of a large policy have the same thresholds.
        key = tuple(
            (
                t.profile,
                t.scheme,
                judged_metric(t),
                repr(t.thresholds),
                repr(t.slice_thresholds),
                repr(t.metric_thresholds),
            )
            for t in (before, after)
        )
        if key not in known:
            known[key] = [
                (Weight.THRESHOLD, told) for told in _thresholds((old, before), (new, after), rules)
            ]
        for weighed in (*target_differences(old, new, before, after), *known[key]):
            alike.setdefault(weighed, []).append(before.name)
    for (weight, (kind, sentence)), names in alike.items():
        yield weight, (kind, f"{_names(names, len(common))}: {sentence}")


def _thresholds(
    old: tuple[Policy, Target], new: tuple[Policy, Target], rules: Mapping[str, Rule]
) -> Iterator[Difference]:
    for change in threshold_changes(old, new, rules):
        # The origin names the target, which would keep alike sentences of two targets apart.
        sentence = str(change).replace(f"target {new[1].name} (", "the target's own thresholds (")
        yield "changed" if change.looser is False else "loosened", sentence
    yield from piece_differences(old[1], new[1])


def _names(names: list[str], of: int) -> str:
    if len(names) == 1:
        return f"target {names[0]}"
    if len(names) == of:
        return f"all {of} common targets"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"targets {', '.join(names[:_NAMED])}{more}"
