"""Measurements of class scores, from the records that the child returned. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qgate.measure.describe_spread import confidence_measurements
from qgate.measure.states import ClassState, ErrorState
from qgate.records import Measurement, Place
from qgate.stats.intervals import wilson

_BROKEN = "the candidate is not finite where the reference is"


def class_measurements(at: Place, classes: ClassState, errors: ErrorState) -> Iterator[Measurement]:
    """Agreement, divergence, change of probability and confidence of one output of class scores."""
    if not classes.n:
        for short in ("top1_agreement", "top5_agreement", "kl_mean", "kl_p99", "kl_max", "top_change_p01"):
            yield Measurement(name=f"output.{short}", at=at, not_measured="no finite row of class scores")
        return
    yield _agreement("top1_agreement", at, (classes.agree, classes.n, classes.near_ties), classes.form)
    if classes.ranked:
        counts = classes.agree_top, classes.ranked, classes.near_ties_top
        yield _agreement("top5_agreement", at, counts, classes.form)
    yield from _divergence(at, classes, errors)
    broken = _BROKEN if errors.nonfinite_candidate or not classes.rows else None
    yield _change(at, classes, broken)
    yield from confidence_measurements(at, classes.confidence, broken)


def _agreement(short: str, at: Place, counts: tuple[int, int, int], form: str) -> Measurement:
    agree, n, near = counts
    low, high = wilson(agree, n)
    return Measurement(
        name=f"output.{short}",
        at=at,
        value=agree / n,
        unit="ratio",
        n=n,
        low=low,
        high=high,
        detail={"disagreements": n - agree, "near_ties": near, "scores": form},
    )


def _divergence(at: Place, classes: ClassState, errors: ErrorState) -> Iterator[Measurement]:
    for short in ("kl_mean", "kl_p99", "kl_max"):
        value: float | None = getattr(classes, short)
        name = f"output.{short}"
        if value is None or errors.nonfinite_candidate:
            yield Measurement(name=name, at=at, not_measured=_BROKEN, unit="nats")
            continue
        detail: dict[str, Any] = {}
        if short == "kl_mean":
            detail = {"median": classes.kl_median, "p999": classes.kl_p999}
        elif short == "kl_max":
            detail = {"worst_sample": classes.kl_sample}
        yield Measurement(name=name, at=at, value=value, unit="nats", n=classes.rows, detail=detail)


def _change(at: Place, classes: ClassState, broken: str | None) -> Measurement:
    """How the probability of the reference's top class changes: the quantile that one sample in 100 is below."""
    name = "output.top_change_p01"
    if broken is not None or classes.change is None:
        return Measurement(name=name, at=at, not_measured=broken or _BROKEN, unit="probability")
    p01, p50, p99 = classes.change
    return Measurement(
        name=name,
        at=at,
        value=p01,
        unit="probability",
        n=classes.rows,
        detail={"p50": p50, "p99": p99, "min": classes.change_min, "worst_sample": classes.change_sample},
    )
