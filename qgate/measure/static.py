"""Everything that is measured without running: the whole static inspection of a pair."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np

from qgate.align.fingerprint import match_by_values
from qgate.align.walk import align
from qgate.formats.model import StaticModel
from qgate.measure.bias_scales import measure_bias_scales
from qgate.measure.demand.measured import measure_demand
from qgate.measure.deploy import measure_deployment
from qgate.measure.inspection import (
    Inspection,
    measure_activation_cover,
    measure_constants,
    measure_reference_bits,
    measure_sizes,
)
from qgate.measure.interface import Interface, measure_interface
from qgate.measure.layers.layer import Layer
from qgate.measure.layers.plan import keep_layers, plan_layers
from qgate.measure.operators import unknown_operators
from qgate.measure.request import Tap
from qgate.measure.structure import measure_structure
from qgate.measure.tensors import inspect_tensors
from qgate.measure.unread import measure_unread
from qgate.measure.untouched import measure_untouched
from qgate.measure.watched import watched_ranges
from qgate.measure.weights import measure_weights
from qgate.quant.build import float_view
from qgate.quant.floatgraph import FloatGraph
from qgate.quant.joining import join
from qgate.quant.repeated import reference_view
from qgate.quant.scheme import detect_scheme
from qgate.records import Measurement
from qgate.sandbox.limits import Limits


def inspect_pair(
    reference: StaticModel | None,
    candidate: StaticModel,
    interface: Interface,
    *,
    allowed_operators: frozenset[str] = frozenset(),
    limits: Limits | None = None,
    runtimes: Collection[str] = ("onnxruntime",),
    not_run: Mapping[str, str] | None = None,
) -> Inspection:
    """Inspects a pair, or a candidate alone where there is no reference.

    Args:
        reference: The full-precision model.
        candidate: The quantized one.
        interface: Declared differences of the interface.
        allowed_operators: Operators that the policy adds.
        limits: What a run may use; by default what the sandbox gives.
        runtimes: Where the candidate must run.
        not_run: Why a side that is not ONNX cannot be run, see ``executable``.
    """
    if candidate.format != "onnx" or (reference is not None and reference.format != "onnx"):
        return inspect_tensors(
            reference,
            candidate,
            allowed_operators=allowed_operators,
            limits=limits,
            runtimes=runtimes,
            not_run=not_run,
        )
    found: list[Measurement] = [Measurement(name="artifact.bytes", value=candidate.file_bytes, unit="bytes")]
    operators = list(unknown_operators(candidate, allowed_operators))
    found += operators
    demand = list(measure_demand(candidate, limits or Limits()))
    found += demand
    # BatchNorm that both models still have is compared as it stands, to the element.
    fold_norms = reference is None or _norms(reference) != _norms(candidate)
    view = float_view(candidate, fold_norms=fold_norms)
    scheme = detect_scheme(view)
    found += measure_constants(view, scheme)
    found += measure_activation_cover(view)
    found += measure_bias_scales(view)
    found += measure_unread(reference, candidate)
    found += measure_deployment(candidate, view, runtimes)
    taps: tuple[Tap, ...] = ()
    layers: tuple[Layer, ...] = ()
    if reference is not None:
        found.append(measure_sizes(reference.file_bytes, candidate.file_bytes))
        found += measure_interface(reference, candidate, interface)
        original = reference_view(reference, fold_norms=fold_norms)
        found += measure_reference_bits(original)
        join(original, view)
        alignment = align(original, view, interface.map, interface.map)
        match_by_values(alignment, original, view)
        found += measure_structure(alignment, original, view)
        found += measure_untouched(alignment, scheme)
        weights = measure_weights(alignment, view, original)
        found += weights.measurements
        taken, watched = watched_ranges(alignment, original, view, weights.scaled)
        # Tensors of a function's body have names that no runtime knows.
        taps = tuple(tap for tap in taken if tap.tensor not in reference.inlined)
        if not reference.inlined:
            planned = plan_layers(alignment, original, view, weights.scaled | candidate.inlined)
            layers = keep_layers(planned, lambda each: (each.reference, each.low, each.high) not in watched)
    # A loop that the reference does not have may never end: it is judged, and not run.
    loops = {"Loop", "Scan"} & _operators(candidate) - (_operators(reference) if reference else set())
    return Inspection(
        tuple(found),
        scheme,
        view.dynamic,
        taps,
        runnable=not (operators or demand or loops),
        layers=layers,
        steps=dict(_steps(view)),
    )


def _operators(model: StaticModel) -> set[str]:
    return {node.op for node in model.graph.all_nodes()}


def _steps(view: FloatGraph) -> Iterator[tuple[str, float]]:
    """Outputs that a quantizer stands before, and its step: the widest where it has several."""
    for name, tensor in view.outputs:
        widths = [float(np.max(q.scale)) for q in view.quantizers.get(tensor, ()) if q.scale.size]
        if widths and np.isfinite(max(widths)) and max(widths) > 0:
            yield name, max(widths)


def _norms(model: StaticModel) -> int:
    return sum(node.op == "BatchNormalization" for node in model.graph.nodes)
