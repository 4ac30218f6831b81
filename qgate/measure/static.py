"""Everything that is measured without running: the whole static inspection of a pair."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from qgate.align.fingerprint import match_by_values
from qgate.align.walk import align
from qgate.formats.model import StaticModel
from qgate.measure.interface import Interface, measure_interface
from qgate.measure.operators import unknown_operators
from qgate.measure.request import Tap
from qgate.measure.structure import measure_structure
from qgate.measure.weights import measure_weights
from qgate.quant.alignment import Alignment
from qgate.quant.build import float_view
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
        runnable: False where a runtime must not see the candidate.
    """

    measurements: tuple[Measurement, ...]
    scheme: Scheme
    dynamic: bool
    taps: tuple[Tap, ...]
    runnable: bool


def inspect_pair(
    reference: StaticModel | None,
    candidate: StaticModel,
    interface: Interface,
    *,
    allowed_operators: frozenset[str] = frozenset(),
) -> Inspection:
    """Inspects a pair, or a candidate alone where there is no reference."""
    found: list[Measurement] = [Measurement(name="artifact.bytes", value=candidate.file_bytes, unit="bytes")]
    operators = list(unknown_operators(candidate, allowed_operators))
    found += operators
    # BatchNorm that both models still have is compared as it stands, to the element.
    fold_norms = reference is None or _norms(reference) != _norms(candidate)
    view = float_view(candidate, fold_norms=fold_norms)
    scheme = detect_scheme(view)
    found += _quantized(scheme)
    found += [
        Measurement(
            name="scale.defect", at=Place(tensor=d.tensor, node=d.node, index=d.index), value=d.kind,
            detail={"message": d.message, **d.evidence},
        )
        for d in scale_defects(view)
    ]  # fmt: skip
    found += _nonfinite(view)
    taps: tuple[Tap, ...] = ()
    if reference is not None:
        found.append(
            Measurement(
                name="artifact.size_ratio", value=candidate.file_bytes / max(reference.file_bytes, 1), unit="ratio",
                detail={"candidate": candidate.file_bytes, "reference": reference.file_bytes},
            )
        )  # fmt: skip
        found += measure_interface(reference, candidate, interface)
        original = float_view(reference, fold_norms=fold_norms)
        found += _reference_bits(original)
        alignment = align(original, view, interface.map, interface.map)
        match_by_values(alignment, original, view)
        found += measure_structure(alignment, original, view)
        weights = measure_weights(alignment, view)
        found += weights.measurements
        taps = tuple(_taps(alignment, original, view, weights.scaled))
    # A loop that the reference does not have may never end: it is judged, and not run.
    loops = {"Loop", "Scan"} & _operators(candidate) - (_operators(reference) if reference else set())
    return Inspection(tuple(found), scheme, view.dynamic, taps, runnable=not (operators or loops))


def _operators(model: StaticModel) -> set[str]:
    return {node.op for node in model.graph.all_nodes()}


def _norms(model: StaticModel) -> int:
    return sum(node.op == "BatchNormalization" for node in model.graph.nodes)


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


def _reference_bits(reference: FloatGraph) -> Iterator[Measurement]:
    scheme = detect_scheme(reference)
    if scheme.parameters:
        yield Measurement(name="quant.reference_bits", value=scheme.bits, unit="bits", n=scheme.parameters)


def _nonfinite(view: FloatGraph) -> Iterator[Measurement]:
    """Constants that hold NaN or infinity: weights and biases must not, masks may."""
    for node in view.nodes:
        for position, name in enumerate(node.inputs):
            value = view.constants.get(name)
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


def _taps(
    alignment: Alignment, reference: FloatGraph, view: FloatGraph, scaled: frozenset[str]
) -> Iterator[Tap]:
    """Quantizers whose tensor the reference has as well; an equalised one differs on purpose."""
    seen: set[tuple[str, str]] = set()
    constant = set(reference.constants)
    for tensor, quantizers in view.quantizers.items():
        for quantizer in quantizers if tensor not in scaled else ():
            matched = alignment.tensors.get(quantizer.source) or alignment.tensors.get(tensor)
            low, high = quantizer.bounds()
            if matched is None or matched in constant or (matched, quantizer.scale_name) in seen:
                continue
            if not (np.isfinite(low) and np.isfinite(high)):
                continue
            seen.add((matched, quantizer.scale_name))
            bits = 16 if quantizer.dtype.endswith("16") else 4 if quantizer.dtype.endswith("4") else 8
            yield Tap(matched, low, high, quantizer.scale_name, quantizer.node, bits)
