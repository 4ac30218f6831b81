"""Biases that were moved for what rounding does to their layer's output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from qgate.measure.judged import Judged, reference_values
from qgate.quant.alignment import ConstantPair
from qgate.quant.floatgraph import FloatGraph, Quantizer

_PASSED = 8
_RANGE_KEEPING = {"Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "MaxPool", "AveragePool",
                  "GlobalAveragePool", "GlobalMaxPool", "Relu", "Clip", "Slice", "Gather", "ReduceMean", "Pad"}  # fmt: skip


def explain_bias_corrections(judged: Sequence[Judged], candidate: FloatGraph) -> None:
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


def _correctable(pair: ConstantPair, weight: Judged, candidate: FloatGraph) -> bool:
    reference = reference_values(pair)
    target = reference_values(weight.pair)
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
