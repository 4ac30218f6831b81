"""Measurements of every aligned constant: derivation, rounding, signal to noise, equalisation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from qgate.quant.alignment import Alignment, ConstantPair
from qgate.quant.constants import INTEGER_RANGES, Array
from qgate.quant.derivation import Derivation, derive, family_of
from qgate.quant.diagnosis import Diagnosis, diagnose
from qgate.quant.equalisation import infer
from qgate.quant.floatgraph import FloatGraph, Quantizer
from qgate.quant.floats import derive_float
from qgate.quant.plausibility import odd_scales
from qgate.quant.scheme import levels_used
from qgate.records import Measurement, Place

_PASSED = 8
_RANGE_KEEPING = {"Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "MaxPool", "AveragePool",
                  "GlobalAveragePool", "GlobalMaxPool", "Relu", "Clip", "Slice", "Gather", "ReduceMean", "Pad"}  # fmt: skip


@dataclass
class _Judged:
    pair: ConstantPair
    derivation: Derivation
    diagnosis: Diagnosis | None = None


@dataclass(frozen=True)
class WeightResult:
    """``weight.*`` measurements, and the candidate's tensors that equalisation scaled."""

    measurements: tuple[Measurement, ...]
    scaled: frozenset[str]


def measure_weights(alignment: Alignment, candidate: FloatGraph) -> WeightResult:
    """Measures every aligned constant of the candidate."""
    judged = [_Judged(pair, _derive(pair, "nearest")) for pair in _unique(alignment.constants)]
    rounding = family_of(e.derivation for e in judged if _is_coded(e) and e.pair.role == "weight")
    for entry in judged if rounding != "nearest" else ():
        if entry.derivation.verdict in ("outsiders", "not-derived") and _is_coded(entry):
            entry.derivation = _derive(entry.pair, rounding)
    scaled = _undo_equalisation(judged, alignment, candidate)
    _explain_bias_corrections(judged, candidate)
    _diagnose(judged)
    found = [m for entry in judged for m in _measurements(entry)]
    return WeightResult((*found, *_pooled(judged)), scaled)


def _unique(pairs: Sequence[ConstantPair]) -> list[ConstantPair]:
    """Each constant of the candidate once for each constant of the reference in its place."""
    found: dict[tuple[str, str, str], ConstantPair] = {}
    for pair in pairs:
        found.setdefault((pair.candidate.name, pair.reference.name, pair.role), pair)
    return list(found.values())


def _reference_values(pair: ConstantPair) -> Array | None:
    """The reference's values in the candidate's layout; None where the sizes differ."""
    if pair.reference.size != pair.candidate.size:
        return None
    if pair.reference.dtype == "string" or pair.candidate.dtype == "string":
        return None
    values = pair.reference.values()
    return values.reshape(pair.candidate.shape)


def _derive(pair: ConstantPair, rounding: str) -> Derivation:
    reference = _reference_values(pair)
    candidate = pair.candidate
    if reference is None:
        why = f"{list(candidate.shape)} where the reference has {list(pair.reference.shape)}"
        return Derivation("not-derived", "", candidate.size, reason=f"its shape is {why}")
    if candidate.dtype in INTEGER_RANGES and candidate.is_quantized:
        return derive(reference, candidate, rounding=rounding)
    if candidate.dtype.startswith(("float", "bfloat", "double")):
        return derive_float(reference, candidate)
    same = np.array_equal(candidate.codes(), pair.reference.codes().reshape(candidate.shape))
    return Derivation(
        "derived" if same else "not-derived", "float", candidate.size, reason="" if same else "changed"
    )


def _is_coded(entry: _Judged) -> bool:
    return entry.pair.candidate.is_quantized and entry.pair.candidate.dtype in INTEGER_RANGES


def _undo_equalisation(
    judged: Sequence[_Judged], alignment: Alignment, candidate: FloatGraph
) -> frozenset[str]:
    suspects = {
        e.pair.candidate.name for e in judged
        if e.derivation.verdict in ("not-derived", "outsiders")
    }  # fmt: skip
    if not suspects:
        return frozenset()
    found = infer(alignment, candidate, suspects)
    for entry in judged:
        name = entry.pair.candidate.name
        if name in found.explained and name in suspects:
            entry.derivation = replace(
                entry.derivation,
                verdict="equalised",
                family="nearest",
                outsiders=(),
                max_steps=found.explained[name],
                reason="factors on its channels are cancelled by the layers around it",
            )
        elif name in found.uncancelled:
            entry.derivation = replace(entry.derivation, reason=found.uncancelled[name])
    return found.scaled


def _explain_bias_corrections(judged: Sequence[_Judged], candidate: FloatGraph) -> None:
    """A bias moved by no more than the layer's rounding error can shift its output."""
    weights = {id(e.pair.candidate_node): e for e in judged if e.pair.position == 1}
    for entry in judged:
        pair = entry.pair
        if pair.role != "bias" or entry.derivation.verdict not in ("outsiders", "not-derived"):
            continue
        weight = weights.get(id(pair.candidate_node))
        few = entry.derivation.verdict == "outsiders" and entry.derivation.count < 0.5 * pair.candidate.size
        if few or weight is None or not _correctable(pair, weight, candidate):
            continue
        entry.derivation = replace(
            entry.derivation,
            verdict="bias-corrected",
            outsiders=(),
            reason="moved by what rounding its layer shifts",
        )


def _correctable(pair: ConstantPair, weight: _Judged, candidate: FloatGraph) -> bool:
    reference = _reference_values(pair)
    target = _reference_values(weight.pair)
    if reference is None or target is None:
        return False
    shift = np.abs(pair.candidate.values().astype(np.float64) - reference).reshape(-1)
    if not np.isfinite(shift).all():
        return False
    axis = 0 if weight.pair.candidate_node.op == "Conv" else target.ndim - 1
    rows = np.moveaxis(target, axis, 0).reshape(target.shape[axis], -1).astype(np.float64)
    if rows.shape[0] != shift.size:
        return False
    error = np.moveaxis(weight.pair.candidate.values() - target, axis, 0).reshape(rows.shape)
    quantizer = _quantizer_before(candidate, pair.candidate_node.inputs[0])
    if quantizer is None:
        return False
    span = max(abs(v) for v in quantizer.bounds())
    step = float(np.max(quantizer.scale))
    if not np.isfinite(span):
        return False
    # Root-sum-square of the layer's own rounding errors, and of the input's; four of them.
    bound = 4 * (np.linalg.norm(error, axis=1) * span + step * np.linalg.norm(rows, axis=1))
    before = reference.astype(np.float64).reshape(-1)
    mild = float(np.linalg.norm(shift)) <= 1.5 * float(np.linalg.norm(before))
    erased = not np.any(pair.candidate.values())
    return mild and not erased and bool((shift <= bound + 1e-6).all())


def _quantizer_before(candidate: FloatGraph, tensor: str) -> Quantizer | None:
    """The static quantizer of what a layer reads, looked for through operations that keep values in range."""
    makers = candidate.producers()
    for _ in range(_PASSED):
        if candidate.quantizers.get(tensor):
            return candidate.quantizers[tensor][0]
        maker = makers.get(tensor)
        if maker is None or maker.op not in _RANGE_KEEPING:
            return None
        tensor = maker.inputs[0]
    return None


def _diagnose(judged: Sequence[_Judged]) -> None:
    weights = [(e.pair.reference.name, e) for e in judged if e.pair.role == "weight"]
    for entry in judged:
        derivation = entry.derivation
        if not entry.pair.candidate.is_quantized or entry.pair.candidate.dtype not in INTEGER_RANGES:
            continue
        if derivation.verdict == "not-derived" or (
            derivation.verdict == "outsiders" and derivation.count > 8
        ):
            reference = _reference_values(entry.pair)
            if reference is None:
                continue
            others = (
                (name, other.pair.reference.values())
                for name, other in weights
                if other is not entry and other.pair.reference.size == entry.pair.candidate.size
            )
            entry.diagnosis = diagnose(entry.pair, others)


def _measurements(entry: _Judged) -> Iterator[Measurement]:
    pair, derivation = entry.pair, entry.derivation
    candidate = pair.candidate
    node = pair.candidate_node.label
    at = Place(tensor=candidate.name, node=node)
    yield Measurement(
        name="weight.derivation",
        at=at,
        value=derivation.verdict,
        n=derivation.elements,
        detail=_detail(entry),
    )
    if pair.role != "weight":
        return
    reason = "the dequantized values are not finite"
    finite = derivation.sqnr_db == derivation.sqnr_db and derivation.verdict != "unknown"
    if derivation.verdict == "equalised":
        finite, reason = False, "the weight is equalised, so it differs from the reference on purpose"
    yield Measurement(
        name="weight.sqnr_db",
        at=at,
        value=derivation.sqnr_db if finite else None,
        not_measured=None if finite else reason,
        unit="dB",
        n=derivation.elements,
        detail={"dtype": candidate.dtype, "blocked": bool(candidate.quantized and candidate.quantized.block)},
    )
    if candidate.is_quantized and candidate.dtype in INTEGER_RANGES:
        yield from _rounding(entry, at, finite, reason)


def _rounding(entry: _Judged, at: Place, finite: bool, reason: str) -> Iterator[Measurement]:
    derivation = entry.derivation
    for name, value, unit in (
        ("weight.rmse_steps", derivation.rmse_steps, "steps"),
        ("weight.bias_steps", derivation.bias_steps, "steps"),
        ("weight.shrink_steps", derivation.shrink_steps, "steps"),
        ("weight.nonnearest", derivation.nonnearest, "ratio"),
    ):
        yield Measurement(
            name=name,
            at=at,
            value=value if finite else None,
            not_measured=None if finite else reason,
            unit=unit,
            n=derivation.elements,
        )
    reference = _reference_values(entry.pair)
    # Wider types show an edited scale in their codes already, and ONNX Runtime enlarges scales for biases.
    narrow = entry.pair.candidate.bits <= 4
    if narrow and entry.pair.candidate.quantized is not None and reference is not None and finite:
        for odd in odd_scales(reference, entry.pair.candidate):
            yield Measurement(
                name="weight.odd_scale",
                at=Place(tensor=entry.pair.candidate.quantized.scale_name, node=at.node, index=odd.index),
                value=odd.scale / odd.expected,
                unit="ratio",
                detail={"scale": odd.scale, "expected": odd.expected, "codes": entry.pair.candidate.name},
            )
    levels = levels_used(entry.pair.candidate)
    if levels is not None:
        yield Measurement(name="weight.levels", at=at, value=levels, unit="codes", n=derivation.elements)


def _detail(entry: _Judged) -> dict[str, Any]:
    derivation, quantized = entry.derivation, entry.pair.candidate.quantized
    detail: dict[str, Any] = {
        "family": derivation.family,
        "role": entry.pair.role,
        "operator": entry.pair.candidate_node.op,
        "reference_tensor": entry.pair.reference.name,
        "dtype": entry.pair.candidate.dtype,
        "matched_by": entry.pair.method,
    }
    if derivation.count:
        detail["outsiders_count"] = derivation.count
        detail["max_steps"] = derivation.max_steps
    if derivation.outsiders:
        detail["outsiders"] = [
            {k: (list(v) if isinstance(v, tuple) else v) for k, v in asdict(o).items() if v is not None}
            for o in derivation.outsiders
        ]
    if derivation.reason:
        detail["reason"] = derivation.reason
    if derivation.evidence:
        detail.update(derivation.evidence)
    if quantized is not None:
        detail["scale"] = quantized.scale_name
        detail["zero_point"] = quantized.zero_name
    if entry.diagnosis is not None:
        diagnosis = entry.diagnosis
        detail["diagnosis"] = {
            "kind": diagnosis.kind,
            "message": diagnosis.message,
            "tensor": diagnosis.tensor,
            "index": list(diagnosis.index) if diagnosis.index is not None else None,
            **diagnosis.evidence,
        }
    return detail


def _pooled(judged: Sequence[_Judged]) -> Iterator[Measurement]:
    """Figures over all weights together, for the comparison with a baseline."""
    weights = [e for e in judged if e.pair.role == "weight"]
    if not weights:
        yield Measurement(name="weight.derived_share", not_measured="no weight is aligned with the reference")
        return
    total = sum(e.derivation.elements for e in weights)
    good = ("derived", "other-rounding", "equalised")
    derived = sum(e.derivation.elements for e in weights if e.derivation.verdict in good)
    yield Measurement(name="weight.derived_share", value=derived / total, unit="ratio", n=total)
    outsiders = sum(e.derivation.count for e in judged if e.derivation.verdict == "outsiders")
    yield Measurement(name="weight.outsiders", value=outsiders, unit="elements", n=total)
