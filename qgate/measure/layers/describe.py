"""Layers as measurements: one for each, its figures in the detail, and what they come to together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from qgate.measure.layers.layer import CODES, Layer
from qgate.measure.result import LayerState
from qgate.records import Measurement, Place

PERFECT_DB = 200.0
"""SQNR of two tensors that are equal, for the arithmetic of differences."""


def layer_measurements(
    layers: Sequence[Layer], states: Sequence[LayerState], unobserved: str
) -> Iterator[Measurement]:
    """``layer.sqnr_db`` for each layer, in whose detail ``drop_db`` is what it loses against those that it reads.

    Args:
        layers: What was asked for.
        states: What the child says of each; none where ``unobserved`` says why.
        unobserved: Why no layer was compared; empty where they were.
    """
    if unobserved or not states:
        yield Measurement(name="layer.count", not_measured=unobserved or "the models share no layer")
        return
    cumulative = [
        math.nan if layer.moved else decibel(state.aa, state.dd)
        for layer, state in zip(layers, states, strict=True)
    ]
    yield Measurement(name="layer.count", value=sum(not layer.moved for layer in layers), unit="layers")
    for position, (layer, state) in enumerate(zip(layers, states, strict=True)):
        if not layer.moved:
            yield from _one(position, layer, state, layers, cumulative)


def _one(
    position: int, layer: Layer, state: LayerState, layers: Sequence[Layer], cumulative: Sequence[float]
) -> Iterator[Measurement]:
    at = Place(tensor=layer.candidate, node=layer.node)
    if state.b_broken and not state.a_broken:
        yield Measurement(
            name="layer.nonfinite", at=at, value=state.b_broken, unit="batches", n=state.batches,
            detail={"reference_tensor": layer.reference, "operator": layer.op},
        )  # fmt: skip
    reason = _unmeasured(state)
    count = int(state.n)
    above = [cumulative[p] for p in _read(position, layers) if not math.isnan(cumulative[p])]
    detail = _detail(layer, state)
    if reason is None and above:
        detail |= {"before_db": min(above), "drop_db": min(above) - cumulative[position]}
    yield Measurement(
        name="layer.sqnr_db",
        at=at,
        value=None if reason else cumulative[position],
        not_measured=reason,
        unit="dB",
        n=count,
        detail=detail,
    )


def _read(position: int, layers: Sequence[Layer]) -> set[int]:
    """The layers above one, through those that only move values."""
    found: set[int] = set()
    todo = list(layers[position].before)
    seen: set[int] = set()
    while todo:
        place = todo.pop()
        if place in seen:
            continue
        seen.add(place)
        if layers[place].moved:
            todo += layers[place].before
        else:
            found.add(place)
    return found


def _unmeasured(state: LayerState) -> str | None:
    if state.a_broken:
        return "the reference's values are not finite, or too large for a sum of squares"
    if state.b_broken:
        return "the candidate's values are not finite, or too large for a sum of squares"
    return None if state.aa > 0 else "the reference's values are all zero"


def decibel(signal: float, noise: float) -> float:
    """10 log10(signal / noise), at most ``PERFECT_DB``; NaN without a signal."""
    if not signal > 0:
        return math.nan
    return PERFECT_DB if noise == 0 else min(PERFECT_DB, 10 * math.log10(signal / noise))


def _detail(layer: Layer, state: LayerState) -> dict[str, Any]:
    detail: dict[str, Any] = {
        "reference_tensor": layer.reference,
        "operator": layer.op,
        "dtype": layer.dtype,
        "nmse": state.dd / state.aa if state.aa > 0 else math.nan,
        "cosine": _cosine(state),
        "max_abs": max(abs(state.d_max), abs(state.d_min)),
        "reference_range": [state.a_min, state.a_max],
        "candidate_range": [state.b_min, state.b_max],
    }
    if layer.kind == CODES:
        detail["quantizer_range"] = [layer.low, layer.high]
        detail["outside"] = state.outside / state.n if state.n else 0.0
    if state.channels is not None:
        detail["channels"] = state.channels.model_dump(mode="json")
    if state.sampled:
        detail["reference_quantiles"] = list(state.a_quantiles)
        detail["candidate_quantiles"] = list(state.b_quantiles)
        detail["zero"] = [state.a_zero, state.b_zero]
        if layer.kind == CODES:
            detail["own_sqnr_db"] = decibel(state.sample_energy, state.rounding_energy)
    return detail


def _cosine(state: LayerState) -> float:
    norm = math.sqrt(state.aa) * math.sqrt(state.bb)
    return (state.aa + state.bb - state.dd) / (2 * norm) if norm > 0 else math.nan
