"""Scales of weights, biases and constants beside the largest value that each of them scales."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from qgate.measure.bias_corrections import quantizer_before
from qgate.measure.judged import Judged, reference_values
from qgate.quant.alignment import ConstantPair
from qgate.quant.coarseness import coarsest
from qgate.quant.constants import Array, numbers
from qgate.quant.floatgraph import FloatGraph
from qgate.records import Measurement, Place


def coarse_scales(judged: Sequence[Judged], candidate: FloatGraph) -> Iterator[Measurement]:
    """``weight.coarse_scale`` of every constant with a scale that leaves much of the codes unused."""
    weights = {id(e.pair.candidate_node): e.pair for e in judged if e.pair.position == 1}
    seen: set[tuple[str, str]] = set()
    for entry in judged:
        pair, quantized = entry.pair, entry.pair.candidate.quantized
        reference = reference_values(pair)
        if quantized is None or reference is None or entry.derivation.verdict in ("equalised", "not-derived"):
            continue
        natural = None
        if pair.role == "bias" or quantized.dtype == "int32":
            natural = _natural(pair, weights.get(id(pair.candidate_node)), candidate)
        found = coarsest(reference, pair.candidate, natural)
        key = (quantized.scale_name, pair.candidate.name)
        if found is None or key in seen:
            continue
        seen.add(key)
        yield Measurement(
            name="weight.coarse_scale",
            at=Place(tensor=key[0] or key[1], node=pair.candidate_node.label, index=found.index or None),
            value=found.share,
            unit="ratio",
            n=found.count,
            detail={
                "codes": pair.candidate.name,
                "role": pair.role,
                "dtype": pair.candidate.dtype,
                "scale": found.scale,
                "largest": found.largest,
            },
        )


def _natural(bias: ConstantPair, weight: ConstantPair | None, candidate: FloatGraph) -> Array | None:
    """Input step times weight step: what converters scale a bias by; None where either is not known.

    The shift of a normalisation is scaled as a bias is, by the step of what it is added to.
    """
    quantizer = quantizer_before(candidate, bias.candidate_node.inputs[0])
    held = weight.candidate.quantized if weight is not None else None
    if quantizer is None or held is None or held.block or quantizer.scale.size != 1:
        return None
    steps = np.abs(numbers(held.scale)).reshape(-1)
    own = bias.candidate.quantized
    if own is None or (own.scale.size > 1 and steps.size not in (1, own.scale.size)):
        return None
    # One scale for all of a bias: as coarse as the coarsest channel asks for, and no coarser.
    steps = steps if own.scale.size > 1 else np.max(steps, keepdims=True)
    product = steps * float(np.abs(quantizer.scale.reshape(-1)[0]))
    return product.reshape(own.scale.shape) if product.size == own.scale.size else product
