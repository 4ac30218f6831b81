"""Measurements of distributions: of an output's values, of its confidence, of its errors. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator

from qgate.measure.plain import plain_number
from qgate.measure.states import ErrorState, SpreadState
from qgate.records import Measurement, Place
from qgate.stats.decibel import sqnr_db

_TOO_FEW = "fewer than 100 values were seen"


def error_measurements(
    at: Place, errors: ErrorState, spread: SpreadState | None, step: float | None, reason: str | None
) -> Iterator[Measurement]:
    """The worst sample, quantiles of the absolute error, and the largest one in steps of the output's scale.

    Args:
        at: The output.
        errors: Its sums.
        spread: Some of its values; None where there are none.
        step: Step of the scale that the candidate gives the output, in its own unit; None where it has none.
        reason: Why nothing can be said; None where it can.
    """
    yield _worst_sample(at, errors, reason)
    if reason is not None or spread is None:
        why = reason or "no value is finite on both sides"
        yield Measurement(name="output.abs_error_p99", at=at, not_measured=why)
    else:
        median, p99, p999 = spread.errors
        detail = {"p50": plain_number(median), "p999": plain_number(p999), "sampled_of": spread.seen}
        yield Measurement(name="output.abs_error_p99", at=at, value=p99, n=spread.n, detail=detail)
    if step is None:
        return
    name = "output.max_abs_steps"
    if reason is not None:
        yield Measurement(name=name, at=at, not_measured=reason, unit="steps")
        return
    yield Measurement(
        name=name,
        at=at,
        value=errors.max_abs / step,
        unit="steps",
        n=errors.samples,
        detail={"step": step, "worst_sample": errors.max_sample, "index": errors.max_index},
    )


def _worst_sample(at: Place, errors: ErrorState, reason: str | None) -> Measurement:
    name = "output.worst_sample_db"
    if reason is None and not math.isfinite(errors.worst_ratio):
        reason = f"the reference is zero throughout sample {errors.worst_sample}"
    if reason is not None:
        return Measurement(name=name, at=at, not_measured=reason, unit="dB")
    return Measurement(
        name=name,
        at=at,
        value=sqnr_db(1.0, errors.worst_ratio),
        unit="dB",
        n=errors.samples,
        detail={"worst_sample": errors.worst_sample},
    )


def value_measurements(at: Place, spread: SpreadState | None, reason: str | None) -> Iterator[Measurement]:
    """Distances between the distributions of both sides' values; 1-Wasserstein in standard deviations."""
    why = reason
    if spread is None:
        why = why or "no value is finite on both sides"
    elif not spread.deviation > 0:
        why = why or "the reference's values are all the same"
    if why is not None or spread is None:
        for short in ("ks", "js", "wasserstein", "psi"):
            yield Measurement(name=f"output.{short}", at=at, not_measured=why)
        return
    yield from _distances("output", at, spread)
    yield Measurement(
        name="output.wasserstein",
        at=at,
        value=_over(spread.wasserstein, spread.deviation),
        unit="deviations",
        n=spread.n,
        detail={"absolute": plain_number(spread.wasserstein), "deviation": plain_number(spread.deviation)},
    )


def confidence_measurements(
    at: Place, spread: SpreadState | None, reason: str | None
) -> Iterator[Measurement]:
    """The same of the highest probability of each sample; 1-Wasserstein as a difference of probability."""
    if reason is not None or spread is None:
        for short in ("ks", "js", "wasserstein", "psi"):
            yield Measurement(name=f"confidence.{short}", at=at, not_measured=reason or "no finite row")
        return
    yield from _distances("confidence", at, spread)
    yield Measurement(
        name="confidence.wasserstein",
        at=at,
        value=spread.wasserstein,
        unit="probability",
        n=spread.n,
        detail={"deviation": plain_number(spread.deviation)},
    )


def _distances(prefix: str, at: Place, spread: SpreadState) -> Iterator[Measurement]:
    yield Measurement(name=f"{prefix}.ks", at=at, value=spread.ks, n=spread.n)
    yield Measurement(name=f"{prefix}.js", at=at, value=spread.js, n=spread.n)
    reason = _TOO_FEW if spread.psi is None else None
    yield Measurement(name=f"{prefix}.psi", at=at, value=spread.psi, not_measured=reason, n=spread.n)


def _over(distance: float, deviation: float) -> float:
    """A distance in standard deviations; both are infinite where squares overflow, which tells nothing."""
    return 0.0 if distance == 0 else distance / deviation if math.isfinite(deviation) else math.inf
