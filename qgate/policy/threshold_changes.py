"""Which thresholds in force differ between two policies, and in which direction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from qgate.policy.schema import Policy, Target
from qgate.policy.thresholds import profile_chain, profile_name, resolve
from qgate.records import Limit, Severity, Value
from qgate.rules.base import SCHEMES, Param, Rule, slice_of

_SEVERITIES = tuple(severity.value for severity in (Severity.ERROR, Severity.WARNING, Severity.NOTE))
_Limits = dict[str, dict[str, Limit]]


@dataclass(frozen=True)
class ThresholdChange:
    """One threshold of a target that is another than before.

    Args:
        rule: The rule's id.
        param: The parameter's name, with the slice behind it where it is that of one.
        old: The value in force before.
        new: The value in force after.
        unit: Unit of both.
        origin: Where the new value comes from.
        schemes: The quantization schemes that it concerns, in words; empty for all that the target may have.
        looser: True for looser, False for stricter, None where the direction cannot be known.
    """

    rule: str
    param: str
    old: Value
    new: Value
    unit: str
    origin: str
    schemes: str
    looser: bool | None

    def __str__(self) -> str:
        word = {True: "is looser", False: "is stricter", None: "is changed"}[self.looser]
        unit = f" {self.unit}" if self.unit else ""
        schemes = f" for {self.schemes}" if self.schemes else ""
        return (
            f"{self.rule}.{self.param} {word}{schemes}: {_text(self.old)} before, "
            f"{_text(self.new)}{unit} after, from {self.origin}"
        )


def is_looser(param: Param, old: Value, new: Value) -> bool | None:
    """Whether ``new`` lets more pass than ``old``.

    A lower ``min_``, a higher ``max_`` and a lower severity are looser. For other names the direction
    is that from the profile strict to permissive, for numbers by any scheme, for severities and
    yes or no by their place there; None where those do not say.
    """
    before, after = _rank(param, old), _rank(param, new)
    upwards = _looser_upwards(param)
    return None if before is None or after is None or upwards is None else (after > before) == upwards


def _looser_upwards(param: Param) -> bool | None:
    if param.name.startswith(("min_", "max_")):
        return param.name.startswith("max_")
    if set(param.choices) == set(_SEVERITIES):
        return True  # by rank, an error being the first
    ladders = [(param.strict, param.permissive), *((a, b) for a, _, b in param.by_scheme.values())]
    ranks = [(_rank(param, first), _rank(param, last)) for first, last in ladders if first != last]
    rising = {last > first for first, last in ranks if first is not None and last is not None}
    return rising.pop() if len(rising) == 1 else None


def _rank(param: Param, value: Value) -> float | None:
    """A number for a value: itself, or a word's position among the choices; None for other words."""
    if not isinstance(value, str):
        return value
    words = _SEVERITIES if set(param.choices) == set(_SEVERITIES) else param.choices
    return words.index(value) if value in words else None


def threshold_changes(
    old: tuple[Policy, Target], new: tuple[Policy, Target], rules: Mapping[str, Rule]
) -> Iterator[ThresholdChange]:
    """Every threshold in force for a target that differs between two policies.

    Where either side leaves the scheme open, every scheme is compared; otherwise the new one alone, on
    both sides, because a changed scheme is a change of its own.

    Args:
        old: The policy before and the target's lines in it.
        new: The same after.
        rules: The catalogue.
    """
    if _layers(*old) == _layers(*new):
        return
    open_ended = "auto" in (old[1].scheme, new[1].scheme)
    schemes = (None, *SCHEMES) if open_ended else (new[1].scheme,)
    before = {scheme: _resolve(old, scheme, rules) for scheme in schemes}
    after = {scheme: _resolve(new, scheme, rules) for scheme in schemes}
    for rule in rules.values():
        for param in rule.params:
            yield from _changes(rule.id, param, param.name, before, after)
            for key in _slice_keys(rule.id, param, before, after):
                yield from _changes(rule.id, param, key, before, after)


def _slice_keys(
    rule: str, param: Param, before: Mapping[str | None, _Limits], after: Mapping[str | None, _Limits]
) -> Iterator[str]:
    """The slices that have a threshold of their own on either side."""
    found = {key: None for side in (before, after) for limits in side.values() for key in limits[rule]}
    yield from (key for key in found if key != param.name and slice_of(key)[0] == param.name)


def _limit(limits: Mapping[str, Limit], key: str) -> Limit:
    """The threshold in force: a slice without one of its own has that of all."""
    return limits.get(key, limits[slice_of(key)[0]])


def _layers(policy: Policy, target: Target) -> object:
    return profile_chain(policy, profile_name(policy, target)), (
        target.thresholds,
        target.slice_thresholds,
        target.metric_thresholds,
    )


def _resolve(side: tuple[Policy, Target], scheme: str | None, rules: Mapping[str, Rule]) -> _Limits:
    policy, target = side
    lines = target.model_copy(update={"scheme": "auto"})  # the scheme asked for, not the declared one
    return resolve(policy, lines, None, scheme, rules=rules)


def _changes(
    rule: str,
    param: Param,
    key: str,
    before: Mapping[str | None, _Limits],
    after: Mapping[str | None, _Limits],
) -> Iterator[ThresholdChange]:
    groups: dict[tuple[Value, Value], list[str | None]] = {}
    for scheme in before:
        pair = _limit(before[scheme][rule], key).value, _limit(after[scheme][rule], key).value
        if pair[0] != pair[1]:
            groups.setdefault(pair, []).append(scheme)
    for (old, new), schemes in groups.items():
        limit = _limit(after[schemes[0]][rule], key)
        origin = limit.origin if len(schemes) == 1 else limit.origin.partition(", scheme ")[0]
        yield ThresholdChange(
            rule,
            key,
            old,
            new,
            param.unit,
            origin,
            _schemes(schemes, list(before)),
            is_looser(param, old, new),
        )


def _schemes(concerned: list[str | None], compared: list[str | None]) -> str:
    if None not in concerned:
        return ", ".join(map(str, concerned)) if concerned != compared else ""
    others = [str(scheme) for scheme in compared if scheme not in concerned]
    return f"every scheme but {', '.join(others)}" if others else ""


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
