"""Measurements of the task, from the records that the child returned: differences are paired. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from qgate.measure.request import WHOLE_CLASSES
from qgate.measure.result import FigureState, PairState, ReadingState, TaskState
from qgate.records import Measurement, Place
from qgate.sandbox.quoting import one_line
from qgate.stats.intervals import mcnemar, wilson
from qgate.stats.multiplicity import tarone_holm

_ALWAYS = ("metric_reference", "metric_candidate", "metric_drop")
_UNBOUNDED = ("mae", "rmse", "perplexity", "divergence", "r2", "score", "error")
"""Metrics that are no share of anything."""

SMALLEST_GROUP = 8
"""A class or slice of fewer samples is shown and not judged."""


def task_measurements(state: PairState, slices: str | None, asked: bool) -> Iterator[Measurement]:
    """All ``task.*`` measurements.

    Args:
        state: What the child returned.
        slices: Name of the array of slices.
        asked: Whether there is a task; then there are measurements or a reason.
    """
    task = state.task
    if task is None:
        if asked and state.unfed:
            for short in _ALWAYS:
                yield Measurement(name=f"task.{short}", not_measured=one_line(state.unfed, 500))
        return
    reason = _not_measured(task, state)
    if reason is not None:
        for short in _ALWAYS:
            yield Measurement(name=f"task.{short}", not_measured=reason, detail={"metric": task.kind})
        return
    judged, *others = task.figures
    yield from _figure(judged, "metric")
    yield _mde(judged)
    if judged.counted:
        yield from _flips(judged)
    for other in others:
        yield from _figure(other, other.metric)
    if task.chance is not None:
        yield _above_chance(task.chance, task.reading)
    yield from _changes(task)
    yield from _groups("task.class_recall_drop", "label", task.classes)
    yield from _groups("task.slice_drop", slices or "slice", task.slices)


def _not_measured(task: TaskState, state: PairState) -> str | None:
    if task.broken:
        return f"{task.broken} of {state.samples} samples have no finite output of the task's shape"
    if not task.n:
        return one_line(state.unfed, 500) or "the candidate has no such output"
    return None


def _figure(found: FigureState, short: str) -> Iterator[Measurement]:
    unit = "" if found.metric in _UNBOUNDED else "ratio"
    for side, value in (("reference", found.reference), ("candidate", found.candidate)):
        detail: dict[str, Any] = {"metric": found.metric}
        low = high = None
        if found.counted:
            right = round(value * found.n)
            low, high = wilson(right, found.n)
            detail["right"] = right
        yield Measurement(
            name=f"task.{short}_{side}", value=value, unit=unit, n=found.n, low=low, high=high, detail=detail
        )
    detail = {"metric": found.metric, "mde": _finite(found.mde)}
    if found.counted:
        detail["discordant"] = found.lost + found.gained
    yield Measurement(
        name=f"task.{short}_drop",
        value=found.drop,
        unit=unit,
        n=found.n,
        low=found.low,
        high=found.high,
        detail=detail,
    )


def _above_chance(found: FigureState, reading: ReadingState | None) -> Measurement:
    """How much better the reference is than what knows nothing of the inputs, and than its boxes read otherwise."""
    detail: dict[str, Any] = {
        "metric": found.metric,
        "reference": found.reference,
        "chance": found.candidate,
    }
    if reading is not None:
        low = reading.low if math.isfinite(reading.low) else None
        detail["reading"] = {**reading.model_dump(), "low": low}
    return Measurement(
        name="task.above_chance",
        value=found.drop,
        unit="" if found.metric in _UNBOUNDED else "ratio",
        n=found.n,
        low=found.low,
        high=found.high,
        detail=detail,
    )


def _mde(found: FigureState) -> Measurement:
    """The smallest drop that so many samples show."""
    unit = "" if found.metric in _UNBOUNDED else "ratio"
    name, detail = "task.mde", {"metric": found.metric}
    if not math.isfinite(found.mde):
        return Measurement(
            name=name, not_measured="one sample shows no drop at all", unit=unit, detail=detail
        )
    return Measurement(name=name, value=found.mde, unit=unit, n=found.n, detail=detail)


def _flips(found: FigureState) -> Iterator[Measurement]:
    n = found.n
    low, high = (share * n for share in wilson(found.lost, n))
    yield Measurement(name="task.flips_to_wrong", value=found.lost, unit="samples", n=n, low=low, high=high)
    yield Measurement(name="task.flips_to_right", value=found.gained, unit="samples", n=n)
    yield Measurement(name="task.mcnemar_p", value=mcnemar(found.lost, found.gained), unit="p", n=n)


def _changes(task: TaskState) -> Iterator[Measurement]:
    """How many samples are answered otherwise, right or wrong, and which answers turn into which."""
    if task.outcomes is None or (not task.changes and (task.kind not in WHOLE_CLASSES or not task.classes)):
        return
    pairs = [{"reference": a, "candidate": b, "samples": count} for a, b, count in task.confusion]
    yield Measurement(
        name="task.answers_changed", value=task.changes, unit="samples", n=task.n, detail={"confusion": pairs}
    )


def _finite(value: float) -> float | str:
    return value if math.isfinite(value) else "inf"


def _groups(name: str, of: str, groups: Mapping[str, FigureState]) -> Iterator[Measurement]:
    """The drop of each group, with the p-value that is left when all of them are looked at."""
    judged = [key for key, found in groups.items() if found.n >= SMALLEST_GROUP]
    adjusted = tarone_holm([groups[k].p for k in judged], [groups[k].p_min for k in judged])
    left = dict(zip(judged, adjusted, strict=True))
    for key, found in sorted(groups.items(), key=_by_number):
        if not found.n:
            continue
        yield Measurement(
            name=name,
            at=Place(slice=f"{one_line(of, 80)}={one_line(key, 200)}"),
            value=found.drop,
            unit="" if found.metric in _UNBOUNDED else "ratio",
            n=found.n,
            low=found.low,
            high=found.high,
            detail={
                "metric": found.metric,
                "reference": found.reference,
                "candidate": found.candidate,
                "lost": found.lost,
                "gained": found.gained,
                "counted": found.counted,
                "lost_low": wilson(found.lost, found.n)[0] * found.n,
                "p": found.p,
                "p_adjusted": left.get(key, 1.0),
                "groups": len(judged),
            },
        )


def _by_number(item: tuple[str, FigureState]) -> tuple[bool, int, str]:
    whole = item[0].isascii() and item[0].isdigit()
    return not whole, int(item[0]) if whole else 0, item[0]
