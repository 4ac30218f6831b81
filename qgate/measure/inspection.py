"""What looking at a model without running it gives, and what is measured of its constants alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from qgate.measure.layers.layer import Layer
from qgate.measure.request import Tap
from qgate.quant.activations import activation_cover
from qgate.quant.floatgraph import FloatGraph
from qgate.quant.plausibility import scale_defects
from qgate.quant.scheme import Scheme, detect_scheme
from qgate.records import Measurement, Place


@dataclass(frozen=True)
class Inspection:
    """The static half of a target's measurements.

    Args:
        measurements: In a fixed order.
        scheme: The candidate's scheme.
        dynamic: The candidate quantizes activations while it runs.
        taps: Reference tensors to watch, with the range that the candidate gives them.
        layers: Pairs of tensors to compare while the models run.
        runnable: False where a runtime must not see the candidate.
    """

    measurements: tuple[Measurement, ...]
    scheme: Scheme
    dynamic: bool
    taps: tuple[Tap, ...]
    runnable: bool
    layers: tuple[Layer, ...] = ()
    steps: Mapping[str, float] = field(default_factory=dict)


def measure_constants(view: FloatGraph, scheme: Scheme) -> Iterator[Measurement]:
    """``quant.*``, ``scale.defect`` and ``constant.nonfinite`` of a candidate's float view."""
    yield from _quantized(scheme)
    for defect in scale_defects(view):
        yield Measurement(
            name="scale.defect", at=Place(tensor=defect.tensor, node=defect.node, index=defect.index),
            value=defect.kind, detail={"message": defect.message, **defect.evidence},
        )  # fmt: skip
    for graph in view.graphs():
        yield from _nonfinite(graph)


def measure_activation_cover(view: FloatGraph) -> Iterator[Measurement]:
    """``quant.activation_share``: of the layers with integer weights, those that compute on integers; ``quant.recipe``."""
    cover = activation_cover(view)
    if cover.layers:
        yield Measurement(
            name="quant.activation_share", value=cover.quantized / cover.layers, unit="ratio", n=cover.layers,
            detail={"quantized": cover.quantized, "dynamic": cover.dynamic, "first": list(cover.left[:8])},
        )  # fmt: skip
        yield Measurement(name="quant.recipe", value=cover.recipe)


def measure_reference_bits(reference: FloatGraph) -> Iterator[Measurement]:
    """``quant.reference_bits``: storage bits of a weight of the reference."""
    scheme = detect_scheme(reference)
    if scheme.parameters:
        yield Measurement(name="quant.reference_bits", value=scheme.bits, unit="bits", n=scheme.parameters)


def measure_sizes(reference_bytes: int, candidate_bytes: int) -> Measurement:
    """``artifact.size_ratio``: bytes of the candidate with its side files over the reference's."""
    return Measurement(
        name="artifact.size_ratio", value=candidate_bytes / max(reference_bytes, 1), unit="ratio",
        detail={"candidate": candidate_bytes, "reference": reference_bytes},
    )  # fmt: skip


def _quantized(scheme: Scheme) -> Iterator[Measurement]:
    detail = {"types": scheme.types, "float_weights": list(scheme.float_weights[:32])}
    yield Measurement(name="quant.scheme", value=scheme.name, detail=detail)
    if not scheme.parameters:
        yield Measurement(name="quant.share", not_measured="the model has no weights")
        return
    yield Measurement(
        name="quant.share", value=scheme.share, unit="ratio", n=scheme.parameters, detail=detail
    )
    yield Measurement(name="quant.bits", value=scheme.bits, unit="bits", n=scheme.parameters)


def _nonfinite(graph: FloatGraph) -> Iterator[Measurement]:
    """Constants of a graph, its bodies aside, that hold NaN or infinity: weights and biases must not, masks may."""
    for node in graph.nodes:
        for position, name in enumerate(node.inputs):
            value = graph.constants.get(name)
            if (
                value is None
                or value.is_quantized
                or not value.dtype.startswith(("float", "bfloat", "double"))
            ):
                continue
            stored = value.codes()
            bad = ~np.isfinite(stored)
            if bad.any():
                flat = int(np.flatnonzero(bad.reshape(-1))[0])
                yield Measurement(
                    name="constant.nonfinite", at=Place(tensor=value.name, node=node.label, index=value.stored_index(flat)),
                    value=int(bad.sum()), unit="elements",
                    detail={"nan": int(np.isnan(stored).sum()), "operator": node.op, "position": position},
                )  # fmt: skip
