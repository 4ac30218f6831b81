"""Measurements of outputs, from the records that the child returned. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from qgate.measure.describe_classes import class_measurements
from qgate.measure.describe_edges import batch_measurement
from qgate.measure.describe_spread import error_measurements, value_measurements
from qgate.measure.plain import plain_number
from qgate.measure.result import PairState
from qgate.measure.states import ErrorState, OutputState
from qgate.records import Measurement, Place
from qgate.sandbox.quoting import one_line
from qgate.stats.decibel import cosine, relative_l2, sqnr_db

_COMPARED = ("sqnr_db", "relative_l2", "cosine", "max_abs", "mean_relative_error")
_UNITS = {
    "sqnr_db": "dB",
    "relative_l2": "ratio",
    "cosine": "ratio",
    "max_abs": "",
    "mean_relative_error": "ratio",
}


def output_measurements(
    state: PairState, steps: Mapping[str, float], *, dynamic: bool = False
) -> Iterator[Measurement]:
    """All ``output.*`` and ``confidence.*`` measurements; every output of the reference has them, or a reason.

    Args:
        state: What the child says.
        steps: Step of the scale that the candidate gives an output, by the reference's name of it.
        dynamic: The candidate quantizes its activations as it runs: what a batch changes is told.
    """
    for output in state.outputs:
        name = one_line(output.name, 1024)
        if output.boxes:
            yield _same_boxes(Place(output=name), state)
        elif state.alone:
            yield from _alone(name, output)
        else:
            yield from _compared(name, output, steps.get(output.name))
            if dynamic and output.missing is None:
                yield batch_measurement(Place(output=name), output)


def _same_boxes(at: Place, state: PairState) -> Measurement:
    """Of an output whose rows are boxes: the share of boxes that both models find, and no figure of rows."""
    name, figures = "output.same_boxes", state.task.figures if state.task is not None else ()
    found = next((each for each in figures if each.metric == "same_boxes"), None)
    if found is None:
        broken = state.task.broken if state.task is not None else 0
        reason = (
            f"{broken} of {state.samples} samples have no finite boxes" if broken else "no boxes were read"
        )
        return Measurement(name=name, at=at, not_measured=reason, unit="ratio")
    return Measurement(name=name, at=at, value=found.candidate, unit="ratio", n=found.n)


def _alone(name: str, output: OutputState) -> Iterator[Measurement]:
    """The candidate without a reference was compared with itself: only its finiteness means anything."""
    at = Place(output=name)
    reason = _not_compared(output)
    if reason or output.errors is None:
        yield Measurement(name="output.nonfinite_candidate", at=at, not_measured=reason, unit="elements")
        return
    errors = output.errors
    yield Measurement(
        name="output.nonfinite_candidate",
        at=at,
        value=errors.nonfinite_reference,
        unit="elements",
        n=errors.elements + errors.nonfinite_reference,
        detail={"min": errors.candidate_min, "max": errors.candidate_max},
    )


def _not_compared(output: OutputState) -> str | None:
    if output.missing is not None:
        return one_line(output.missing, 500) or "the output was not compared"
    if output.unsupported:
        return "the output is not a tensor of numbers"
    if output.errors is None or not output.errors.samples:
        return None if output.mismatched else "no sample was compared"
    return None


def _compared(name: str, output: OutputState, step: float | None) -> Iterator[Measurement]:
    at = Place(output=name)
    reason = _not_compared(output)
    if reason or output.errors is None:
        for short in ("nonfinite_candidate", "nonfinite_reference", "shape_mismatch", *_COMPARED):
            yield Measurement(name=f"output.{short}", at=at, not_measured=reason)
        return
    errors = output.errors
    yield from _finiteness(at, errors)
    yield _shapes(at, output, errors)
    if output.integer:
        yield _differing(at, errors)
        return
    reason = _no_sums(output, errors)
    for short in _COMPARED:
        if reason:
            yield Measurement(name=f"output.{short}", at=at, not_measured=reason, unit=_UNITS[short])
        else:
            yield _metric(short, at, errors)
    yield from error_measurements(at, errors, output.spread, step, reason)
    yield from value_measurements(at, output.spread, reason)
    if output.classes is not None:
        yield from class_measurements(at, output.classes, errors)


def _finiteness(at: Place, errors: ErrorState) -> Iterator[Measurement]:
    seen = errors.elements + errors.nonfinite_candidate + errors.nonfinite_reference
    detail = (
        {"first_sample": errors.first_sample, "index": errors.first_index}
        if errors.nonfinite_candidate
        else {}
    )
    yield Measurement(
        name="output.nonfinite_candidate",
        at=at,
        value=errors.nonfinite_candidate,
        unit="elements",
        n=seen,
        detail=detail,
    )
    yield Measurement(
        name="output.nonfinite_reference", at=at, value=errors.nonfinite_reference, unit="elements", n=seen
    )


def _shapes(at: Place, output: OutputState, errors: ErrorState) -> Measurement:
    detail: dict[str, Any] = {}
    if output.shapes is not None:
        reference, candidate = output.shapes
        detail = {
            "reference": list(reference),
            "candidate": list(candidate),
            "first_sample": output.first_mismatch,
        }
    return Measurement(
        name="output.shape_mismatch",
        at=at,
        value=output.mismatched,
        unit="samples",
        n=errors.samples + output.mismatched,
        detail=detail,
    )


def _differing(at: Place, errors: ErrorState) -> Measurement:
    share = errors.differing / errors.elements if errors.elements else 0.0
    return Measurement(
        name="output.differing_share",
        at=at,
        value=share,
        unit="ratio",
        n=errors.elements,
        detail={"differing": errors.differing, "max_abs": errors.max_abs},
    )


def _no_sums(output: OutputState, errors: ErrorState) -> str | None:
    if output.mismatched:
        return "the shapes differ"
    if errors.nonfinite_candidate:
        return "the candidate is not finite where the reference is"
    if not errors.elements:
        return "the reference has no finite value"
    if not all(map(math.isfinite, (errors.rr, errors.cc, errors.rc, errors.dd))):
        return "the values are too large to sum their squares"
    return None


def _metric(short: str, at: Place, errors: ErrorState) -> Measurement:
    value, detail = _VALUES[short](errors)
    return Measurement(
        name=f"output.{short}", at=at, value=value, unit=_UNITS[short], n=errors.samples, detail=detail
    )


def _sqnr(errors: ErrorState) -> tuple[float, dict[str, Any]]:
    worst = sqnr_db(1.0, errors.worst_ratio) if math.isfinite(errors.worst_ratio) else -math.inf
    return sqnr_db(errors.rr, errors.dd), {
        "worst_sample": errors.worst_sample,
        "worst_sample_db": plain_number(worst),
        "elements": errors.elements,
    }


def _relative(errors: ErrorState) -> tuple[float, dict[str, Any]]:
    value = relative_l2(errors.rr, errors.dd)
    return value, {"nmse": plain_number(value * value)}


def _largest(errors: ErrorState) -> tuple[float, dict[str, Any]]:
    return errors.max_abs, {
        "worst_sample": errors.max_sample,
        "index": errors.max_index,
        **{
            key: plain_number(getattr(errors, key))
            for key in ("reference_min", "reference_max", "candidate_min", "candidate_max")
        },
    }


def _cosine(errors: ErrorState) -> tuple[float, dict[str, Any]]:
    return cosine(errors.rr, errors.cc, errors.rc), {}


def _classic(errors: ErrorState) -> tuple[float, dict[str, Any]]:
    return errors.relative / errors.elements, {}


_VALUES: dict[str, Callable[[ErrorState], tuple[float, dict[str, Any]]]] = {
    "sqnr_db": _sqnr,
    "relative_l2": _relative,
    "cosine": _cosine,
    "max_abs": _largest,
    "mean_relative_error": _classic,
}
