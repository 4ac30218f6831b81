"""Measurements of the task, from the records that the child returned: differences are paired. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator

from qgate.measure.result import CountState, MomentState, PairState, TaskState
from qgate.records import Measurement, Place
from qgate.sandbox.quoting import one_line
from qgate.stats.intervals import mcnemar, paired_difference, student_quantile, wilson
from qgate.stats.power import detectable_mean, minimum_detectable_effect

_ALWAYS = ("metric_reference", "metric_candidate", "metric_drop")


def task_measurements(state: PairState, slices: str | None, asked: bool) -> Iterator[Measurement]:
    """All ``task.*`` measurements.

    Args:
        state: What the child returned.
        slices: Name of the array of slices.
        asked: Whether labels were given; then there are measurements or a reason.
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
    if isinstance(task.total, CountState):
        yield from _top1(task, task.total)
    else:
        yield from _errors(task, task.total)
    yield from _slices(task, slices or "slice")


def _not_measured(task: TaskState, state: PairState) -> str | None:
    if task.broken:
        return f"{task.broken} of {state.samples} samples have no finite output of the task's shape"
    if not task.total.n:
        return one_line(state.unfed, 500) or "the candidate has no such output"
    return None


def _top1(task: TaskState, total: CountState) -> Iterator[Measurement]:
    n = total.n
    for short, right in (("metric_reference", total.reference), ("metric_candidate", total.candidate)):
        low, high = wilson(right, n)
        yield Measurement(
            name=f"task.{short}",
            value=right / n,
            unit="ratio",
            n=n,
            low=low,
            high=high,
            detail={"metric": "top1", "right": right},
        )
    low, high = paired_difference(total.lost, total.gained, n)
    yield Measurement(
        name="task.metric_drop",
        value=(total.lost - total.gained) / n,
        unit="ratio",
        n=n,
        low=low,
        high=high,
        detail={
            "metric": "top1",
            "mde": minimum_detectable_effect(total.lost + total.gained, n),
            "discordant": total.lost + total.gained,
        },
    )
    yield Measurement(name="task.flips_to_wrong", value=total.lost, unit="samples", n=n)
    yield Measurement(name="task.flips_to_right", value=total.gained, unit="samples", n=n)
    yield Measurement(name="task.mcnemar_p", value=mcnemar(total.lost, total.gained), unit="p", n=n)
    for label, counts in task.classes.items():
        yield _count_drop("task.class_recall_drop", f"label={one_line(label, 40)}", counts)


def _count_drop(name: str, where: str, counts: CountState) -> Measurement:
    low, high = paired_difference(counts.lost, counts.gained, counts.n)
    return Measurement(
        name=name,
        at=Place(slice=where),
        value=(counts.lost - counts.gained) / counts.n if counts.n else 0.0,
        unit="ratio",
        n=counts.n,
        low=low,
        high=high,
        detail={
            "reference": counts.reference,
            "candidate": counts.candidate,
            "lost": counts.lost,
            "gained": counts.gained,
        },
    )


def _errors(task: TaskState, total: MomentState) -> Iterator[Measurement]:
    for short, sums in (("metric_reference", total.r), ("metric_candidate", total.c)):
        value = _mean(task.kind, sums, total.n)
        yield Measurement(name=f"task.{short}", value=value, n=total.n, detail={"metric": task.kind})
    drop, half, deviation = paired_errors(task.kind, total)
    yield Measurement(
        name="task.metric_drop",
        value=drop,
        n=total.n,
        low=drop - half,
        high=drop + half,
        detail={"metric": task.kind, "mde": _finite(detectable_mean(deviation, total.n))},
    )


def _finite(value: float) -> float | str:
    return value if math.isfinite(value) else "inf"


def _mean(kind: str, total: float, n: int) -> float:
    mean = total / n
    return math.sqrt(mean) if kind == "rmse" else mean


def paired_errors(kind: str, sums: MomentState) -> tuple[float, float, float]:
    """The candidate's error minus the reference's (positive is worse), its half interval and deviation.

    For a mean absolute error, the paired t interval of the mean difference. For a root mean square error,
    the delta method on the two means of squares and their covariance.
    """
    n = sums.n
    r, c = sums.r / n, sums.c / n
    drop = _mean(kind, sums.c, n) - _mean(kind, sums.r, n)
    if n < 2:
        return drop, math.inf, math.inf
    degrees = n - 1
    rr = max(sums.rr - n * r * r, 0.0) / degrees
    cc = max(sums.cc - n * c * c, 0.0) / degrees
    rc = (sums.rc - n * r * c) / degrees
    if kind == "rmse":
        if r == 0.0 or c == 0.0:
            return (drop, 0.0, 0.0) if drop == 0.0 else (drop, math.inf, math.inf)
        rr, cc, rc = rr / (4 * r), cc / (4 * c), rc / (4 * math.sqrt(r) * math.sqrt(c))
    deviation = math.sqrt(max(rr + cc - 2 * rc, 0.0))
    return drop, student_quantile(degrees) * deviation / math.sqrt(n), deviation


def _slices(task: TaskState, name: str) -> Iterator[Measurement]:
    for key, found in task.slices.items():
        where = f"{one_line(name, 80)}={one_line(key, 200)}"
        if isinstance(found, CountState):
            yield _count_drop("task.slice_drop", where, found)
        elif found.n:
            drop, half, _ = paired_errors(task.kind, found)
            yield Measurement(
                name="task.slice_drop",
                at=Place(slice=where),
                value=drop,
                n=found.n,
                low=drop - half,
                high=drop + half,
                detail={"metric": task.kind},
            )
