"""What is recorded of one judged constant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from qgate.measure.judged import Judged, compared_values
from qgate.quant.indicators import residual_spread
from qgate.quant.plausibility import odd_scales
from qgate.quant.scheme import levels_used
from qgate.records import Measurement, Place

_KNOWN = 0.02
"""Largest relative uncertainty of moved scales with which a range still tells the scale of a block."""


def records(entry: Judged) -> Iterator[Measurement]:
    """Measurements of one constant."""
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
    # Scales that are known leave a reference to measure against; factors that only cancel do not.
    if derivation.verdict == "equalised" and entry.scaled is None:
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
    if entry.is_coded:
        yield from _rounding(entry, at, finite, reason)


def _rounding(entry: Judged, at: Place, finite: bool, reason: str) -> Iterator[Measurement]:
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
            n=derivation.sampled if name == "weight.shrink_steps" else derivation.elements,
        )
    spread = residual_spread(entry.comparison.sample) if entry.comparison is not None and finite else None
    if spread is not None:
        yield Measurement(
            name="weight.residual_ks",
            at=at,
            value=spread.distance,
            unit="ratio",
            n=spread.elements,
            detail={"elsewhere": spread.elsewhere, "edge": spread.edge},
        )
    # Wider types show an edited scale in their codes already, and ONNX Runtime enlarges scales for biases.
    error = entry.scaled.error if entry.scaled is not None else 0.0
    narrow = entry.pair.candidate.bits <= 4 and error <= _KNOWN
    reference = compared_values(entry) if narrow else None
    if narrow and entry.pair.candidate.quantized is not None and reference is not None and finite:
        for odd in odd_scales(reference, entry.pair.candidate, slack=error):
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


def _detail(entry: Judged) -> dict[str, Any]:
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
