"""Thresholds of single slices, classes and metrics: that each of them is one that a rule looks at."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping

from qgate.policy.document import Path, quoted
from qgate.policy.problems import Problem
from qgate.policy.schema import Policy, Target, TaskSpec
from qgate.policy.values import Thresholds
from qgate.rules.base import CLASS_RULES, METRIC_RULES, SLICE_RULES, Rule

Check = Callable[[Thresholds, Path, Mapping[str, Rule]], Iterator[Problem]]

CLASS = "label="
"""How a class is named, as the report prints it."""

_FAMILIES = (
    ("top1", "topk", "balanced_accuracy", "macro_f1", "ece"),
    ("mae", "rmse", "r2"),
    ("recall_at_k", "neighbours"),
    ("miou", "pixel_accuracy"),
    ("cer", "exact_match"),
    ("map", "map50"),
)
_OTHERS = "BEH106"
_UNHEARD = ("ece",)
"""Metrics that have a rule of their own (BEH107), and no say in BEH106."""

_WITH_CLASSES = (*_FAMILIES[0], *_FAMILIES[3], *_FAMILIES[5])
_COUNTED = ("top1", "topk", "recall_at_k", "neighbours", "exact_match", "decoded")
_GROWTHS = ("mae", "rmse", "perplexity")


def check_pieces(policy: Policy, rules: Mapping[str, Rule], check: Check) -> Iterator[Problem]:
    """Thresholds of slices, classes and metrics that no rule would ever hold anything against.

    Args:
        policy: The policy.
        rules: The catalogue.
        check: Finds what is wrong with rules, parameters and values as such.
    """
    for name, profile in policy.profiles.items():
        for metric, thresholds in profile.metric_thresholds.items():
            place: Path = ("profiles", name, "metric_thresholds", metric)
            if metric == "none":
                yield Problem(
                    place, "`none` is no metric, so that no rule looks at it", "Name a metric, or remove it"
                )
            yield from _known_rules(thresholds, place, METRIC_RULES, "metrics")
            yield from _speaking(thresholds, place, TaskSpec(metric=metric))
            yield from check(_only(thresholds, METRIC_RULES), place, rules)
            yield from _finite(thresholds, place, rules)
    for position, target in enumerate(policy.targets):
        path: Path = ("targets", position)
        yield from _slices(target, (*path, "slice_thresholds"), rules, check)
        yield from _metrics(target, (*path, "metric_thresholds"), rules, check)


def _slices(target: Target, path: Path, rules: Mapping[str, Rule], check: Check) -> Iterator[Problem]:
    array = target.data.slices if target.data is not None else None
    for name, thresholds in target.slice_thresholds.items():
        place = (*path, name)
        sliced = array is not None and name.startswith(f"{array}=") and name != f"{array}="
        classed = name.startswith(CLASS) and name != CLASS
        if sliced or classed:
            allowed = (*(SLICE_RULES if sliced else ()), *(CLASS_RULES if classed else ()))
            yield from _known_rules(thresholds, place, allowed, "slices" if sliced else "classes")
            yield from _heard(target, thresholds, place)
        elif array is None:
            yield Problem(
                place,
                "the target has no slices",
                "Name their array in `data: {slices: ...}`, or a class `label=3`",
            )
        else:
            yield Problem(
                place,
                f"{quoted(name)} is no slice of the array {quoted(array)}",
                f"Write `{array}={_value(name)}`, or a class as `label=3`",
            )
        yield from check(_only(thresholds, (*SLICE_RULES, *CLASS_RULES)), place, rules)
        yield from _finite(thresholds, place, rules)


def _value(name: str) -> str:
    """What follows the array in a slice's name, if it is plain."""
    value = name.partition("=")[2]
    return value if re.fullmatch(r"[A-Za-z0-9_.-]{1,60}", value) else "VALUE"


def _heard(target: Target, thresholds: Thresholds, place: Path) -> Iterator[Problem]:
    """Rules that say nothing of the target's metric in a slice or of a class."""
    task = target.task
    if task is None:
        if target.data is None or target.data.labels is None:
            yield Problem(
                place,
                "the target has no labels to judge slices by",
                "Name their array in `data: {labels: ...}`",
            )
        return
    if task.metric == "none":
        yield Problem(place, "the target has no task to judge slices by", "Name one under `task`")
        return
    for rule, fits, what in (
        ("BEH102", _COUNTED, "counts no samples, so that none flip"),
        ("BEH103", _WITH_CLASSES, "has no classes"),
    ):
        if rule in thresholds and task.metric not in (*fits, "python"):
            yield Problem(
                (*place, rule), f"the metric {task.metric} {what}", "Remove it, or name another rule"
            )
    yield from _speaking(thresholds, place, task)


def _metrics(target: Target, path: Path, rules: Mapping[str, Rule], check: Check) -> Iterator[Problem]:
    task = target.task
    for metric, thresholds in target.metric_thresholds.items():
        place = (*path, metric)
        yield from _known_rules(thresholds, place, METRIC_RULES, "metrics")
        if task is None or task.metric == "none":
            yield Problem(place, "the target names no task whose metrics these are", "Name it under `task`")
        else:
            family = next((each for each in _FAMILIES if task.metric in each), (task.metric,))
            if metric not in family:
                told = ", ".join(family)
                yield Problem(place, f"a task of {task.metric} has no {metric}", f"It has: {told}")
            yield from _other_or_judged(task.metric, metric, thresholds, place)
            yield from _speaking(thresholds, place, task.model_copy(update={"metric": metric}))
        yield from check(_only(thresholds, METRIC_RULES), place, rules)
        yield from _finite(thresholds, place, rules)


def _other_or_judged(judged: str, metric: str, thresholds: Thresholds, place: Path) -> Iterator[Problem]:
    """BEH106 looks at the metrics that are not judged, the other rules at the one that is."""
    for rule in thresholds:
        if rule == _OTHERS and (metric == judged or metric in _UNHEARD):
            who = "BEH107" if metric in _UNHEARD else "BEH101"
            yield Problem((*place, rule), f"{_OTHERS} does not look at {metric}", f"{who} does")
        elif rule in METRIC_RULES and rule != _OTHERS and metric != judged:
            yield Problem((*place, rule), f"{rule} looks at {judged} alone", f"{_OTHERS} looks at {metric}")


def _speaking(thresholds: Thresholds, place: Path, task: TaskSpec) -> Iterator[Problem]:
    """Errors are held to their growth and other metrics to their drop, never to both."""
    grows = task.metric in _GROWTHS or (task.metric == "python" and task.better == "lower")
    names = ("max_drop", "max_gain") if grows else ("max_error_growth", "max_error_gain")
    others = ("max_error_growth", "max_error_gain") if grows else ("max_drop", "max_gain")
    if task.metric == "python" and task.better is None and task.python is None:
        return  # a profile's, which knows no function
    for rule, values in thresholds.items():
        for name, other in zip(names, others, strict=True):
            if name in values:
                what = "is an error, which grows" if grows else "is no error, and drops"
                yield Problem(
                    (*place, rule, name), f"`{name}` says nothing: {task.metric} {what}", f"Write `{other}`"
                )


def _known_rules(
    thresholds: Thresholds, place: Path, allowed: tuple[str, ...], what: str
) -> Iterator[Problem]:
    for rule in thresholds:
        if rule not in allowed:
            verb = "do" if len(allowed) > 1 else "does"
            yield Problem(
                (*place, rule),
                f"{quoted(rule)} does not look at single {what}",
                f"{', '.join(allowed)} {verb}",
            )


def _finite(thresholds: Thresholds, place: Path, rules: Mapping[str, Rule]) -> Iterator[Problem]:
    """Bounds that are off by default (BEH110's) cannot be put off for one slice, class or metric."""
    for rule, values in thresholds.items():
        for name, value in values.items():
            param = rules[rule].param(name) if rule in rules else None
            infinite = isinstance(value, float) and math.isinf(value)
            if param is not None and infinite and value in (param.strict, param.balanced, param.permissive):
                yield Problem(
                    (*place, rule, name),
                    f"must be a finite number here, not {value}: it would switch the bound off",
                    "Write a number, or set the `severity` to note",
                )


def _only(thresholds: Thresholds, allowed: tuple[str, ...]) -> Thresholds:
    return {rule: values for rule, values in thresholds.items() if rule in allowed}
