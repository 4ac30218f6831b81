"""Measurements of what the runtime's optimisations change and what quantizers hide, from the child's record. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from qgate.measure.layers.describe import PERFECT_DB, decibel
from qgate.measure.request import PairRequest
from qgate.measure.result import PairState
from qgate.records import Measurement, Place


def unoptimised_measurements(request: PairRequest, state: PairState) -> Iterator[Measurement]:
    """``output.unoptimised_db`` for each output, and ``layer.nonfinite`` where a quantizer hides what is not finite.

    Args:
        request: What was asked.
        state: What the child says.
    """
    found = state.unoptimised
    if found is None:
        return
    if found.reason:
        yield Measurement(name="output.unoptimised_db", not_measured=found.reason)
        return
    for position, signal, noise in found.outputs:
        if signal > 0:
            yield Measurement(
                name="output.unoptimised_db",
                at=Place(output=state.outputs[position].name) if position < len(state.outputs) else Place(),
                value=min(PERFECT_DB, decibel(signal, noise)),
                unit="dB",
                n=1,
                # Without optimisations the processor's own instructions show, which other machines do not have.
                deterministic=False,
            )
    broken = set(found.broken)
    told = zip(request.layers, state.layers, strict=True) if state.layers else ()
    for layer, of_layer in told:
        if request.fronts.get(layer.candidate) in broken and not of_layer.a_broken and not of_layer.b_broken:
            yield Measurement(
                name="layer.nonfinite",
                at=Place(tensor=request.fronts[layer.candidate], node=layer.node),
                value=1,
                unit="batches",
                n=1,
                detail={
                    "reference_tensor": layer.reference,
                    "operator": layer.op,
                    "hidden_by": layer.candidate,
                },
            )
