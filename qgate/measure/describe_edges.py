"""Measurements of inputs at the edge, and of what a batch changes, from the records that the child returned. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from qgate.measure.result import PairState
from qgate.measure.states import EdgeState, OutputState
from qgate.records import Measurement, Place
from qgate.sandbox.quoting import one_line
from qgate.stats.decibel import sqnr_db


def edge_measurements(state: PairState) -> Iterator[Measurement]:
    """``edge.answered`` of every input at the edge; where both models ran it what their answers are like."""
    for edge in state.edges:
        at = Place(slice=f"edge: {one_line(edge.kind, 40)}")
        reason = one_line(edge.reason, 500)
        if edge.reason and not edge.refused:
            yield Measurement(name="edge.answered", at=at, not_measured=reason)
            continue
        detail = {"outside": edge.outside, **({"reason": reason} if edge.refused else {})}
        yield Measurement(name="edge.answered", at=at, value=not edge.refused, detail=detail)
        if not edge.refused:
            yield from _answered(at, edge, state)


def _answered(at: Place, edge: EdgeState, state: PairState) -> Iterator[Measurement]:
    detail = {"outside": edge.outside}
    if edge.nonfinite:
        yield Measurement(
            name="edge.nonfinite_candidate", at=at, value=edge.nonfinite, unit="elements", detail=detail
        )
    if edge.mismatched:
        yield Measurement(
            name="edge.shape_mismatch", at=at, value=edge.mismatched, unit="outputs", detail=detail
        )
    if edge.output < 0:
        yield Measurement(
            name="edge.signal_db", at=at, not_measured="no output has numbers to compare", unit="dB"
        )
        return
    yield Measurement(
        name="edge.signal_db",
        at=at,
        value=sqnr_db(edge.signal, edge.noise),
        unit="dB",
        detail={**detail, "output": one_line(state.outputs[edge.output].name, 200)},
    )


def batch_measurement(at: Place, output: OutputState) -> Measurement:
    """``output.batch_effect_db``: the answers to samples one by one over what a batch changes in them."""
    name = "output.batch_effect_db"
    if output.batch is None:
        reason = "the candidate takes one sample at a time, or there is only one"
        return Measurement(name=name, at=at, not_measured=reason, unit="dB")
    signal, noise = output.batch
    return Measurement(name=name, at=at, value=sqnr_db(signal, noise), unit="dB")
