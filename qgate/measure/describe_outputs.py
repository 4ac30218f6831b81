"""Measurements of outputs and activations, from the records that the child returned. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from qgate.measure.request import Tap
from qgate.measure.result import ClassState, ErrorState, OutputState, PairState, TapState
from qgate.records import Measurement, Place
from qgate.sandbox.quoting import one_line
from qgate.stats.decibel import cosine, relative_l2, sqnr_db
from qgate.stats.intervals import wilson

_COMPARED = ("sqnr_db", "relative_l2", "cosine", "max_abs", "mean_relative_error")
_UNITS = {
    "sqnr_db": "dB",
    "relative_l2": "ratio",
    "cosine": "ratio",
    "max_abs": "",
    "mean_relative_error": "ratio",
}


def output_measurements(state: PairState) -> Iterator[Measurement]:
    """All ``output.*`` measurements; every output of the reference has them, or a reason."""
    for output in state.outputs:
        name = one_line(output.name, 1024)
        yield from _alone(name, output) if state.alone else _compared(name, output)


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


def _compared(name: str, output: OutputState) -> Iterator[Measurement]:
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
    if output.classes is not None:
        yield from _class_measurements(at, output.classes, errors)


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
        "worst_sample_db": _plain(worst),
        "elements": errors.elements,
    }


def _relative(errors: ErrorState) -> tuple[float, dict[str, Any]]:
    value = relative_l2(errors.rr, errors.dd)
    return value, {"nmse": _plain(value * value)}


def _largest(errors: ErrorState) -> tuple[float, dict[str, Any]]:
    return errors.max_abs, {
        "worst_sample": errors.max_sample,
        "index": errors.max_index,
        **{
            key: _plain(getattr(errors, key))
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


def _plain(value: float) -> float | str:
    """A number that JSON can hold; details are not encoded as values are."""
    if math.isfinite(value):
        return value
    return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")


def _class_measurements(at: Place, classes: ClassState, errors: ErrorState) -> Iterator[Measurement]:
    if not classes.n:
        for short in ("top1_agreement", "kl_mean", "kl_p99", "kl_max"):
            yield Measurement(name=f"output.{short}", at=at, not_measured="no finite row of class scores")
        return
    low, high = wilson(classes.agree, classes.n)
    yield Measurement(
        name="output.top1_agreement",
        at=at,
        value=classes.agree / classes.n,
        unit="ratio",
        n=classes.n,
        low=low,
        high=high,
        detail={
            "disagreements": classes.n - classes.agree,
            "near_ties": classes.near_ties,
            "scores": classes.form,
        },
    )
    for short in ("kl_mean", "kl_p99", "kl_max"):
        value: float | None = getattr(classes, short)
        name = f"output.{short}"
        if value is None or errors.nonfinite_candidate:
            reason = "the candidate is not finite where the reference is"
            yield Measurement(name=name, at=at, not_measured=reason, unit="nats")
            continue
        detail: dict[str, Any] = {}
        if short == "kl_mean":
            detail = {"median": classes.kl_median, "p999": classes.kl_p999}
        elif short == "kl_max":
            detail = {"worst_sample": classes.kl_sample}
        yield Measurement(name=name, at=at, value=value, unit="nats", n=classes.rows, detail=detail)


def activation_measurements(state: PairState, taps: Sequence[Tap]) -> Iterator[Measurement]:
    """All ``activation.*`` measurements, one set for each tap asked for."""
    for number, tap in enumerate(taps):
        at = Place(tensor=tap.name, node=tap.node)
        reason = _untapped(state, number)
        if reason is not None:
            for short in ("clipped_share", "used_range", "nonfinite"):
                yield Measurement(
                    name=f"activation.{short}",
                    at=at,
                    not_measured=reason,
                    detail={"reference_tensor": tap.tensor},
                )
            continue
        yield from _range_use(at, tap, state.taps[number])


def _untapped(state: PairState, number: int) -> str | None:
    if state.untapped:
        return one_line(state.untapped, 500)
    if number >= len(state.taps):
        return "the reference was not run"
    found = state.taps[number]
    if not found.elements and not found.nonfinite:
        return "the reference has no such tensor of numbers"
    return None


def _range_use(at: Place, tap: Tap, found: TapState) -> Iterator[Measurement]:
    seen = found.elements + found.nonfinite
    yield Measurement(
        name="activation.nonfinite",
        at=at,
        value=found.nonfinite,
        unit="elements",
        n=seen,
        detail={"reference_tensor": tap.tensor},
    )
    if not found.elements:
        for short in ("clipped_share", "used_range"):
            yield Measurement(name=f"activation.{short}", at=at, not_measured="no finite value was observed")
        return
    span, width = found.maximum - found.minimum, tap.high - tap.low
    ratio = span / width if width > 0 else math.inf
    yield Measurement(
        name="activation.clipped_share",
        at=at,
        value=found.outside / found.elements,
        unit="ratio",
        n=found.elements,
        detail={
            "reference_tensor": tap.tensor,
            "low": _plain(tap.low),
            "high": _plain(tap.high),
            "observed_min": _plain(found.minimum),
            "observed_max": _plain(found.maximum),
            "clipped_energy": _plain(found.clipped_energy / found.energy if found.energy else 0.0),
            "range_ratio": _plain(ratio),
        },
    )
    yield Measurement(
        name="activation.used_range",
        at=at,
        value=ratio,
        unit="ratio",
        n=found.elements,
        detail={"reference_tensor": tap.tensor, "bits": tap.bits},
    )
