"""Measurements of activations against the ranges that a candidate gives them, from the child's records. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from qgate.measure.layers.layer import EAGER_BITS
from qgate.measure.plain import plain_number
from qgate.measure.request import Tap
from qgate.measure.result import PairState, TapState
from qgate.records import Measurement, Place
from qgate.sandbox.quoting import one_line


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
            "low": plain_number(tap.low),
            "high": plain_number(tap.high),
            "observed_min": plain_number(found.minimum),
            "observed_max": plain_number(found.maximum),
            "clipped_energy": plain_number(found.clipped_energy / found.energy if found.energy else 0.0),
            "range_ratio": plain_number(ratio),
            **({"half_range": True} if tap.bits == EAGER_BITS else {}),
        },
    )
    if found.minimum == 0 == found.maximum:
        yield Measurement(
            name="activation.used_range", at=at, not_measured="the reference's values are all zero"
        )
        return
    yield Measurement(
        name="activation.used_range",
        at=at,
        value=ratio,
        unit="ratio",
        n=found.elements,
        detail={"reference_tensor": tap.tensor, "bits": tap.bits},
    )
