"""Biases in int32 whose scale is not the one that integer arithmetic reads them with.

A layer on integers adds the codes of its bias to the sum of products, whose unit is input scale times weight scale
(Jacob et al. 2018, arXiv:1712.05877, section 2.4). A QDQ file states a scale for the bias all the same. Runtimes
that fuse the layer never read it: with another scale the file says one bias, and the deployed layer has another.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from qgate.quant.bias_units import TOLERANCE, departures
from qgate.quant.constants import Array, ConstantValue, Quantized, numbers
from qgate.quant.edges import static_quantizers
from qgate.quant.floatgraph import FloatGraph, FloatNode, Quantizer
from qgate.quant.side_by_side import half_ulp

LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


@dataclass(frozen=True)
class BiasScale:
    """A bias with another scale or zero point than integer arithmetic has.

    Args:
        node: The layer.
        bias: The bias.
        index: Where in its scale the greatest deviation is.
        scale: The scale that the file states there; ``natural`` input scale times weight scale.
        deviation: The bias that the arithmetic adds over the one that the file states, minus one, as an absolute value less
            what the scale's storage type leaves open; infinite where a zero point is not 0 or the scales do not fit.
        stated: The bias of that channel as the file states it; ``added`` what integer arithmetic adds.
        count: Channels with a deviation above ``TOLERANCE``.
        zero_point: The zero point there.
    """

    node: FloatNode
    bias: ConstantValue
    index: tuple[int, ...]
    scale: float
    natural: float
    deviation: float
    count: int
    stated: float
    added: float
    zero_point: int


def bias_scales(view: FloatGraph) -> Iterator[BiasScale]:
    """Every such bias of a view and its bodies, of layers that read a quantized input and a quantized weight."""
    for graph in view.graphs():
        makers = graph.producers()
        for node in graph.nodes:
            if node.op not in LAYERS or len(node.inputs) < 3:
                continue
            weight, bias = (graph.constants.get(name) for name in node.inputs[1:3])
            if bias is None or bias.quantized is None or bias.dtype != "int32" or weight is None:
                continue
            if weight.quantized is None or weight.quantized.block:
                continue
            found = [
                deviation(node, bias, each, weight.quantized)
                for each in static_quantizers(graph, makers, node, node.inputs[0])
            ]
            odd = [each for each in found if each is not None]
            if odd:
                yield max(odd, key=lambda each: each.deviation)


def deviation(node: FloatNode, bias: ConstantValue, source: Quantizer, weight: Quantized) -> BiasScale | None:
    """How far a bias's scale is from input scale times weight scale; None where it is not, or a scale is defective.

    Args:
        node: The layer.
        bias: Its quantized bias.
        source: The quantizer of its input.
        weight: How its weight is quantized.
    """
    held = bias.quantized
    if held is None:
        return None
    own, product = numbers(held.scale).reshape(-1), _natural(node, source, weight)
    if not (_sound(own) and _sound(product)):
        return None  # A scale that is no positive number is a defect of its own.
    zeros = np.zeros(1) if held.zero_point is None else numbers(held.zero_point).reshape(-1)
    codes = numbers(bias.stored()).reshape(-1)
    size = max(own.size, product.size, zeros.size)
    if not codes.size:
        return None
    if not all(each.size in (1, size) for each in (own, product, zeros)) or size not in (1, codes.size):
        # Scales that do not fit their codes are a defect of their own; an input with scales of its own fits nothing.
        return (
            None if bias.misfit() else _odd(node, bias, (own, product, zeros), codes, 0, float("inf"), size)
        )
    off = departures(own, product, 2 * half_ulp(own, held.scale_dtype))
    off = np.where(zeros != 0, np.inf, np.broadcast_to(off, size))
    count = int(np.count_nonzero(off > TOLERANCE))
    if not count:
        return None
    at = int(np.argmax(off))
    return _odd(node, bias, (own, product, zeros), codes, at, float(off[at]), count)


def _odd(
    node: FloatNode,
    bias: ConstantValue,
    given: tuple[Array, Array, Array],
    codes: Array,
    at: int,
    off: float,
    count: int,
) -> BiasScale:
    place = (at,) if given[0].size > 1 else ()
    own, product, zero = (float(each[at] if each.size > at else each[0]) for each in given)
    # One scale for all: what becomes of the greatest of them.
    at = at if max(each.size for each in given) == codes.size else int(np.argmax(np.abs(codes)))
    code = float(codes[at])
    return BiasScale(
        node=node,
        bias=bias,
        index=place,
        scale=own,
        natural=product,
        deviation=off,
        count=count,
        stated=(code - zero) * own,
        added=code * product,
        zero_point=int(zero),
    )


def _natural(node: FloatNode, source: Quantizer, weight: Quantized) -> Array:
    """Input scale times weight scale, by output; QGemm's unit has ``alpha`` in it as well."""
    steps = numbers(weight.scale).reshape(-1)
    entry = numbers(source.scale).reshape(-1)
    alpha = float(node.node.attribute("alpha", 1.0)) if node.node.op == "Gemm" else 1.0
    return entry * steps * alpha if entry.size in (1, steps.size) or steps.size == 1 else np.array([])


def _sound(scales: Array) -> bool:
    return bool(scales.size and np.isfinite(scales).all() and (scales > 0).all())
