"""Which thresholds in force differ between two policies, and in which direction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from qgate.policy.schema import Policy, Target
from qgate.policy.thresholds import profile_chain, profile_name, resolve
from qgate.records import Limit, Severity, Value
from qgate.rules.base import SCHEMES, Param, Rule, limit_in_force, slice_key, slice_of

_SEVERITIES = tuple(severity.value for severity in (Severity.ERROR, Severity.WARNING, Severity.NOTE))
_Limits = dict[str, dict[str, Limit]]
_Sides = Mapping[str | None, _Limits]


@dataclass(frozen=True)
class ThresholdChange:
    """One threshold of a target that is another than before.

    Args:
        rule: The rule's id.
        param: The parameter's name, with the slice, class or metric behind it where it is that of one.
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
    both sides, because a changed scheme is a change of its own. What holds for a slice may come from its
    metric, so that each slice and class is compared for each metric; and where the judged metric is another, what held
    for the one with what holds for the other.

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
            told: set[tuple[object, ...]] = set()
            for place in _places(rule.id, param, before, after, judged_metric(old[1]), judged_metric(new[1])):
                for change in _changes(rule.id, param, place, before, after):
                    # What holds for all and for each metric alike is one change, not one for each.
                    same = (place.piece, change.old, change.new, change.schemes)
                    if same not in told:
                        told.add(same)
                        yield change


@dataclass(frozen=True)
class _Place:
    """What a threshold is looked up for: a slice or class, and the metric on either side."""

    piece: str | None
    old: str | None
    new: str | None

    def key(self, name: str) -> str:
        of = "" if self.old is self.new is None else self.new or "no metric"
        if self.old != self.new:
            of = f"{of}, it was {self.old or 'no metric'}"
        if self.piece is None:
            return slice_key(name, of) if of else name
        return slice_key(name, self.piece) + (f" of {of}" if of else "")


def judged_metric(target: Target) -> str | None:
    """The metric that the target's task names; None where it names none, or leaves it to the labels."""
    return None if target.task is None or target.task.metric == "none" else target.task.metric


def _places(
    rule: str, param: Param, before: _Sides, after: _Sides, old: str | None, new: str | None
) -> Iterator[_Place]:
    """Every slice, class and metric that has a threshold of its own on either side, what holds for all first."""
    keys = {key: None for side in (before, after) for limits in side.values() for key in limits[rule]}
    own = [slice_of(key)[1] for key in keys if key != param.name and slice_of(key)[0] == param.name]
    pieces = [None, *(each for each in own if "=" in each)]
    metrics: list[str | None] = [None, *dict.fromkeys((*(each for each in own if "=" not in each), old, new))]
    metrics = list(dict.fromkeys(metrics))
    for piece in pieces:
        yield from (_Place(piece, metric, metric) for metric in metrics)
        if old != new:  # a side that names no task is judged by any of them
            yield from (
                _Place(piece, first, last)
                for first in ([old] if old is not None else metrics)
                for last in ([new] if new is not None else metrics)
                if first != last
            )


def _layers(policy: Policy, target: Target) -> object:
    return profile_chain(policy, profile_name(policy, target)), (
        target.thresholds,
        target.slice_thresholds,
        target.metric_thresholds,
        judged_metric(target),
    )


def _resolve(side: tuple[Policy, Target], scheme: str | None, rules: Mapping[str, Rule]) -> _Limits:
    policy, target = side
    lines = target.model_copy(update={"scheme": "auto"})  # the scheme asked for, not the declared one
    return resolve(policy, lines, None, scheme, rules=rules)


def _changes(
    rule: str,
    param: Param,
    place: _Place,
    before: _Sides,
    after: _Sides,
) -> Iterator[ThresholdChange]:
    groups: dict[tuple[Value, Value], list[str | None]] = {}
    for scheme in before:
        pair = (
            limit_in_force(before[scheme][rule], param.name, place.piece, place.old).value,
            limit_in_force(after[scheme][rule], param.name, place.piece, place.new).value,
        )
        if pair[0] != pair[1]:
            groups.setdefault(pair, []).append(scheme)
    for (old, new), schemes in groups.items():
        limit = limit_in_force(after[schemes[0]][rule], param.name, place.piece, place.new)
        origin = limit.origin if len(schemes) == 1 else limit.origin.partition(", scheme ")[0]
        yield ThresholdChange(
            rule,
            place.key(param.name),
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
