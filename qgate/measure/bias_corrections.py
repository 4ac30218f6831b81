"""Biases that were moved for what rounding does to their layer's output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from qgate.measure.judged import Judged, reference_values
from qgate.quant.alignment import ConstantPair
from qgate.quant.bias_scales import deviation
from qgate.quant.correction import Layer, objection
from qgate.quant.edges import static_quantizers
from qgate.quant.floatgraph import FloatGraph, FloatNode, Quantizer

_PASSED = 8
MILD = 1.5
FEWEST = 3
"""Codes of a model that were cut off where rounding would have gone up, below which they may as well be flipped bits. One
flipped bit makes one such code, and only where it is the lowest and all others of its bias were to be rounded down."""

_QUOTIENT = 2.0**-21
"""Relative error of a quotient of two float32 numbers, and of the scale's own rounding."""

_TOLD = 0.05
"""Of a step: the rounding of quotients up to which it is plain what is behind the point."""

_RANGE_KEEPING = {"Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "MaxPool", "AveragePool",
                  "GlobalAveragePool", "GlobalMaxPool", "Relu", "Clip", "Slice", "Gather", "ReduceMean", "Pad"}  # fmt: skip


def explain_bias_corrections(judged: Sequence[Judged], candidate: FloatGraph) -> None:
    """A bias moved by no more, and no otherwise, than its layer's rounding shifts the output, or cut off by the exporter."""
    weights = {id(e.pair.candidate_node): e for e in judged if e.pair.position == 1}
    cut = _exporters_cuts(judged, weights, candidate)
    for entry in judged:
        pair = entry.pair
        if pair.role != "bias" or entry.derivation.verdict not in ("outsiders", "not-derived"):
            continue
        with np.errstate(invalid="ignore"):  # a signalling NaN
            nothing = pair.candidate.size and not np.any(pair.candidate.values())
        if nothing:
            entry.derivation = replace(
                entry.derivation, verdict="not-derived", outsiders=(), reason="all of it is zero"
            )
            continue
        if id(entry) in cut:
            entry.derivation = replace(
                entry.derivation,
                verdict="bias-corrected",
                outsiders=(),
                reason="every code is cut off towards zero, as PyTorch's legacy exporter does, by less than a step",
            )
            continue
        weight = weights.get(id(pair.candidate_node))
        # A correction moves every output; the only one there is cannot be told from a flipped bit by that.
        size = pair.candidate.size
        few = entry.derivation.verdict == "outsiders" and size > 1 and entry.derivation.count <= 0.5 * size
        layer = None if few or weight is None else _layer(pair, weight.pair, candidate)
        if layer is None:
            continue
        why = objection(layer)
        if why is not None:
            entry.derivation = replace(
                entry.derivation,
                verdict="not-derived",
                outsiders=(),
                reason=f"no bias correction moves it so: {why}",
            )
            continue
        entry.derivation = replace(
            entry.derivation,
            verdict="bias-corrected",
            outsiders=(),
            reason=f"moved by what rounding its layer shifts, {_root_mean_square(layer):.3g} on average",
        )


def _exporters_cuts(
    judged: Sequence[Judged], weights: Mapping[int, Judged], candidate: FloatGraph
) -> set[int]:
    """The biases, by ``id``, that an exporter cut off towards zero; none of a model where that may be a handful of flipped bits.

    What is excused has one form: every code of a bias is the one that cutting off gives, whatever rounding would have
    given, in steps of input scale times weight scale. So whoever changes codes by hand has no choice of his own and moves
    each by less than a step that is not his to choose: of free steps any smaller bias would be one that was cut off.
    """
    makers = candidate.producers()
    found = [
        entry
        for entry in judged
        if entry.pair.role == "bias"
        and entry.derivation.verdict in ("outsiders", "not-derived")
        and _is_cut_off(entry.pair)
        and _is_in_units(entry.pair, weights.get(id(entry.pair.candidate_node)), candidate, makers)
    ]
    return {id(entry) for entry in found} if sum(each.derivation.count for each in found) >= FEWEST else set()


def _is_in_units(
    bias: ConstantPair, weight: Judged | None, candidate: FloatGraph, makers: Mapping[str, FloatNode]
) -> bool:
    """Whether a bias's steps are input scale times weight scale, of a layer that reads both as codes."""
    node, held = bias.candidate_node, None if weight is None else weight.pair.candidate.quantized
    if held is None or held.block or not node.inputs:
        return False
    sources = static_quantizers(candidate, makers, node, node.inputs[0])
    return bool(sources) and all(deviation(node, bias.candidate, each, held) is None for each in sources)


def _is_cut_off(pair: ConstantPair) -> bool:
    """Whether all codes of a bias are the reference's values over their steps without what is behind the point.

    That is ``int32(bias / scale)``, which PyTorch's legacy exporter folds QuantizeLinear of a bias to.
    """
    before = reference_values(pair)
    if before is None or not pair.candidate.is_quantized or pair.candidate.dtype != "int32":
        return False
    codes = pair.candidate.codes().astype(np.float64).reshape(-1)
    steps, zeros = pair.candidate.scales().reshape(-1), pair.candidate.zero_points().reshape(-1)
    values = before.astype(np.float64).reshape(-1)
    if values.shape != codes.shape or np.any(zeros) or not (np.isfinite(steps).all() and np.all(steps > 0)):
        return False
    quotients = values / steps
    slack = _QUOTIENT * np.abs(quotients)
    if np.any(slack > _TOLD):
        return False  # Codes so large that float32 does not tell cutting off from rounding.
    size, low = np.abs(codes), np.trunc(np.abs(quotients) - slack)
    same_way = (codes == 0) | (np.sign(codes) == np.sign(quotients))
    return bool(np.all(same_way & (size >= low) & (size <= np.trunc(np.abs(quotients) + slack))))


def _root_mean_square(layer: Layer) -> float:
    return float(np.sqrt(np.mean(np.square(layer.shift))))


def _layer(bias: ConstantPair, weight: ConstantPair, candidate: FloatGraph) -> Layer | None:
    """What is known of the layer; None where that is not enough to explain anything."""
    before, target = reference_values(bias), reference_values(weight)
    after = bias.candidate.values().astype(np.float64).reshape(-1)
    quantizer = quantizer_before(candidate, bias.candidate_node.inputs[0])
    if before is None or target is None or quantizer is None or not np.any(after):
        return None
    shift = after - before.astype(np.float64).reshape(-1)
    if not float(np.linalg.norm(shift)) <= MILD * float(np.linalg.norm(before)):
        return None
    convolution = weight.candidate_node.op == "Conv"
    axis = 0 if convolution else target.ndim - 1
    if target.ndim < 2 or target.shape[axis] != shift.size:
        return None
    groups = int(weight.candidate_node.attributes.get("group", 1)) if convolution else 1
    if groups < 1 or shift.size % groups:
        return None
    wide = (target.shape[axis], target.shape[1] if convolution else -1, *((-1,) if convolution else (1,)))
    rows = np.moveaxis(target.astype(np.float64), axis, 0)
    error = np.moveaxis(weight.candidate.values().astype(np.float64), axis, 0) - rows
    low, high = quantizer.bounds()
    steps = bias.candidate.scales() if bias.candidate.is_quantized else np.zeros(1)
    return Layer(
        shift,
        error.reshape(wide),
        rows.reshape(wide),
        groups,
        low,
        high,
        float(np.max(quantizer.scale)),
        float(np.max(np.abs(steps), initial=0.0)),
    )


def quantizer_before(candidate: FloatGraph, tensor: str) -> Quantizer | None:
    """The static quantizer of what a layer reads, looked for through operations that keep values in range."""
    makers = candidate.producers()
    for _ in range(_PASSED):
        if candidate.quantizers.get(tensor):
            return candidate.quantizers[tensor][0]
        maker = makers.get(tensor)
        if maker is None or maker.op not in _RANGE_KEEPING or not maker.inputs:
            return None
        tensor = maker.inputs[0]
    return None
