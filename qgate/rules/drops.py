"""What rules on drops of a metric have in common: the allowance, the interval, the words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from qgate.records import Finding, Measurement, Place, Severity, Verdict
from qgate.rules.base import RuleContext
from qgate.rules.nearest import did_you_mean, nearest

ERRORS = ("mae", "rmse", "perplexity", "error")
"""Metrics that are judged by their growth, as a share of the reference's value."""


def first(context: RuleContext, name: str) -> Measurement | None:
    """The first measurement of that name."""
    return next(iter(context.all(name)), None)


def ends(found: Measurement) -> tuple[float, float]:
    """The interval; the value itself where there is none."""
    low = found.low if found.low is not None else found.number
    return low, found.high if found.high is not None else found.number


def allowed_drop(context: RuleContext, drop: Measurement, reference: Measurement | None) -> float:
    """The allowed drop in the metric's own unit: a ratio metric's is absolute, an error's is a share of it."""
    if drop.detail.get("metric") in ERRORS:
        growth = float(context.limit_for("max_error_growth", drop).value)
        return growth * (abs(reference.number) if reference is not None else 0.0)
    own = drop.detail.get("metric") == "same_boxes" and "max_other_boxes" in context.limits
    return float(context.limit_for("max_other_boxes" if own else "max_drop", drop).value)


JUDGED = 8
"""A class or slice of fewer samples is not judged."""


def pieces_of_their_own(context: RuleContext, name: str) -> Iterator[Measurement]:
    """The slices or classes that have thresholds of their own and samples enough to be held to them."""
    own = context.own_pieces()
    for found in context.all(name):
        if found.at.slice in own and found.value is not None and (found.n or 0) >= JUDGED:
            yield found


def unjudged_pieces(context: RuleContext, name: str, *, counted: bool = False) -> Iterator[Finding]:
    """Slices or classes that have bounds of their own and cannot be held to them: a bound is never silently off.

    Args:
        context: The rule's.
        name: The measurement of slices or classes.
        counted: The rule counts samples, and not every metric does.
    """
    if all(found.value is None for found in context.all("task.metric_drop")):
        return
    groups = {found.at.slice: found for found in context.all(name) if found.value is not None}
    for piece in context.own_pieces():
        found = groups.get(piece)
        n = (found.n or 0) if found is not None else 0
        what = "slice" if name == "task.slice_drop" else "class"
        if n < JUDGED:
            text = f"{what} {piece} has thresholds of its own and {n} samples; it takes {JUDGED} to judge it"
        elif counted and found is not None and not found.detail.get("counted"):
            text = f"{what} {piece} has thresholds of its own, and {found.detail.get('metric')} counts no samples"
        else:
            continue
        yield context.finding(
            text,
            at=Place(slice=piece),
            evidence={"n": n},
            effect=Verdict.INCONCLUSIVE,
            severity=Severity(str(context.limit_of("severity", piece).value)),
            remedy=f"{_meant(piece, groups)}Check its name under `slice_thresholds`, or give more samples of it",
        )


def _meant(piece: str, groups: Mapping[str | None, Measurement]) -> str:
    """Which of the slices that the data have was probably meant; nothing of one that they do have."""
    array, _, value = piece.partition("=")
    known = [each.removeprefix(f"{array}=") for each in groups if each and each.startswith(f"{array}=")]
    if piece in groups or not known:
        return ""
    near = nearest(value, known)
    return f"Did you mean `{array}={near}`? " if near is not None else f"{did_you_mean(value, known)}. "


def told(found: Measurement, allowed: float) -> tuple[str, dict[str, Any]]:
    """A drop beyond its allowance in words, and as evidence."""
    low, high = ends(found)
    metric = found.detail.get("metric", "metric")
    text = f"{metric} is worse by {found.number:.4g} [{low:.4g}, {high:.4g}] on {found.n} samples, {allowed:.4g} allowed"
    evidence = {
        "drop": found.number,
        "low": low,
        "high": high,
        "allowed": allowed,
        "n": found.n,
        **found.detail,
    }
    return text, evidence
