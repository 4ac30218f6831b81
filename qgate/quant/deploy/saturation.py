"""Where integer products can saturate on processors with AVX2 and no VNNI.

There ONNX Runtime multiplies unsigned with signed bytes by ``vpmaddubsw``, which adds the products of two neighbours along
the inner dimension in 16 bits and saturates. Signed activations are shifted to unsigned first, so that int8 with int8
saturates as well. With the largest activation, 255, the pair (a, b) of neighbouring weights can leave the range where

    255 * (max(a, 0) + max(b, 0)) > 32767   or   255 * (min(a, 0) + min(b, 0)) < -32768

so weights of 7 bits never do. Source: the description of ``session.x64quantprecision`` in ONNX Runtime, and its
documentation of quantization ("reduce_range").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from qgate.quant.constants import Array, ConstantValue
from qgate.quant.floatgraph import FloatGraph, FloatNode

_PRODUCTS = {"Conv", "MatMul", "Gemm"}
_ACTIVATIONS = {"int8", "uint8"}
_BYTE = 255
_LEAST, _GREATEST = -(2**15), 2**15 - 1


@dataclass(frozen=True)
class Saturation:
    """One layer whose products can saturate.

    Args:
        node: The node, in the file's own words.
        tensor: Its weight.
        pairs: Pairs of neighbouring weights that can saturate; ``of`` how many pairs there are.
    """

    node: str
    tensor: str
    pairs: int
    of: int


def saturating_layers(view: FloatGraph) -> Iterator[Saturation]:
    """Layers of a candidate with pairs of weights that saturate for some activations.

    Args:
        view: The candidate's float view.
    """
    for graph in view.graphs():
        for node in graph.nodes:
            weight = graph.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
            if weight is None or node.op not in _PRODUCTS or not _is_integer_product(graph, node, weight):
                continue
            rows = _inner(node, weight.codes())
            if rows is not None and rows.shape[-1] > 1:
                pairs, of = count_pairs(rows)
                if pairs:
                    yield Saturation(node.label, weight.name, pairs, of)


def count_pairs(rows: Array) -> tuple[int, int]:
    """Pairs that can saturate, and all pairs.

    Args:
        rows: int8 weights, the inner dimension last.
    """
    even = rows.shape[-1] // 2 * 2
    left, right = rows[..., 0:even:2].astype(np.int32), rows[..., 1:even:2].astype(np.int32)
    high = _BYTE * (np.maximum(left, 0) + np.maximum(right, 0)) > _GREATEST
    low = _BYTE * (np.minimum(left, 0) + np.minimum(right, 0)) < _LEAST
    return int(np.count_nonzero(high | low)), int(left.size)


def _is_integer_product(graph: FloatGraph, node: FloatNode, weight: ConstantValue) -> bool:
    if weight.quantized is None or weight.quantized.dtype != "int8" or weight.dtype != "int8":
        return False
    op = node.node.op
    integer = op.startswith(("QLinear", "QGemm", "MatMulInteger", "ConvInteger", "DynamicQuantize"))
    return integer or any(q.dtype in _ACTIVATIONS for q in graph.quantizers.get(node.inputs[0], ()))


def _inner(node: FloatNode, codes: Array) -> Array | None:
    """Codes with the inner dimension of the product last, in the order in which it is added up."""
    if node.op == "Conv":
        if codes.ndim < 3 or codes.shape[1] == 1:
            return None  # depthwise kernels widen before they multiply
        return np.moveaxis(codes, 1, -1).reshape(codes.shape[0], -1)
    if codes.ndim < 2:
        return None
    if node.op == "Gemm" and node.attributes.get("transB", 0):
        return codes
    return np.swapaxes(codes, -1, -2)
