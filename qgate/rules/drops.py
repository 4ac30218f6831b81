"""What rules on drops of a metric have in common: the allowance, the interval, the words. Pure."""

from __future__ import annotations

from typing import Any

from qgate.records import Measurement
from qgate.rules.base import RuleContext

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
        return context.limit("max_error_growth") * (abs(reference.number) if reference is not None else 0.0)
    return context.limit("max_drop")


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
