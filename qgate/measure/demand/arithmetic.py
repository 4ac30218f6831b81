"""Shapes of operators that compute, and the multiplications that they do (ONNX operator specifications)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from qgate.formats.model import Node
from qgate.measure.demand.rules import Inputs, axes, axis_of, given, known_shape, of
from qgate.measure.demand.sizes import (
    ANY,
    CEILING,
    MAX_VALUES,
    UNKNOWN,
    Shape,
    Size,
    Tensor,
    attribute,
    broadcast,
    exact,
    of_values,
    over,
    plus,
    product,
    times,
)  # fmt: skip

_COMPARED = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor")
_WIDE = ("Add", "Sub", "Mul", "Div", "Pow", "Mod", "Min", "Max", "Sum", "Mean", "PRelu", "Where", "BitShift")
_KEPT = """
Abs Neg Floor Ceil Round Relu LeakyRelu Sigmoid HardSigmoid Tanh
Elu Selu Celu Softplus Softsign ThresholdedRelu HardSwish Gelu Mish Swish
FastGelu QuickGelu Exp Log Sqrt Reciprocal Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh Erf Sign Not
Clip Dropout BatchNormalization InstanceNormalization LayerNormalization GroupNormalization RMSNormalization
SimplifiedLayerNormalization SkipLayerNormalization SkipSimplifiedLayerNormalization LpNormalization
MeanVarianceNormalization LRN Softmax LogSoftmax Hardmax CumSum Trilu Shrink IsNaN IsInf ReverseSequence
QLinearSigmoid QLinearLeakyRelu QLinearSoftmax RotaryEmbedding BiasGelu
"""
_REDUCED = """
ReduceMax ReduceMin ReduceMean ReduceSum ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceSumSquare
"""


@of(*_KEPT.split())
def _kept(_: Node, inputs: Inputs) -> Sequence[Tensor]:
    return [Tensor(inputs[0].shape, inputs[0].bits)]


@of(*_COMPARED)
def _compared(_: Node, inputs: Inputs) -> Sequence[Tensor]:
    return [Tensor(broadcast([t.shape for t in inputs]), 8)]


@of(*_WIDE)
def _wide(node: Node, inputs: Inputs) -> Sequence[Tensor]:
    shape = broadcast([t.shape for t in inputs])
    bits = max(t.bits for t in inputs[-2:])
    work: dict[str, Callable[[Size, Size], Size | None]] = {
        "Add": plus,
        "Mul": times,
        "Sub": lambda a, b: plus(a, Size(-b.low)) if b.exact else None,
        "Div": lambda a, b: over(a, b.low) if b.exact and b.low > 0 and a.low >= 0 else None,
        "Max": lambda a, b: Size(max(a.low, b.low), a.exact and b.exact),
        "Min": lambda a, b: Size(min(a.low, b.low)) if a.exact and b.exact else None,
    }
    one, *others = inputs
    if node.op in work and len(others) == 1 and one.values and others[0].values and shape is not None:
        count, pair = product(shape), (one.values, others[0].values)
        if all(len(v) in (1, count) for v in pair) and count <= MAX_VALUES:
            left, right = (v * count if len(v) == 1 else v for v in pair)
            both = zip(left[:count], right[:count], strict=True)
            values = [work[node.op](a, b) if a is not None and b is not None else None for a, b in both]
            return [of_values(values, shape, bits)]
    return [Tensor(shape, bits)]


@of("QuantizeLinear", "DynamicQuantizeLinear")
def _quantized(_: Node, inputs: Inputs) -> Sequence[Tensor]:
    return [
        Tensor(inputs[0].shape, given(inputs, 2).bits if len(inputs) > 2 else 8),
        Tensor((), 32),
        Tensor((), 8),
    ]


@of("DequantizeLinear")
def _dequantized(_: Node, inputs: Inputs) -> Sequence[Tensor]:
    return [Tensor(inputs[0].shape, given(inputs, 1).bits)]


@of("QLinearAdd", "QLinearMul")
def _quantized_wide(_: Node, inputs: Inputs) -> Sequence[Tensor]:
    return [Tensor(broadcast([inputs[0].shape, given(inputs, 3).shape]), 8)]


@of(*_REDUCED.split(), "ArgMax", "ArgMin")
def _reduced(node: Node, inputs: Inputs) -> Sequence[Tensor]:
    shape = known_shape(inputs, 0)
    keep = attribute(node.attribute("keepdims"), 1)
    bits = inputs[0].bits
    if node.op in ("ArgMax", "ArgMin"):
        gone, bits = [axis_of(node, len(shape), 0)], 64
    elif given(inputs, 1).values or node.attribute("axes"):
        gone = axes(node, inputs, 1, len(shape))
    elif len(inputs) > 1 and not given(inputs, 1).values:
        raise ValueError("axes that are not known")
    else:
        gone = [] if attribute(node.attribute("noop_with_empty_axes"), 0) else list(range(len(shape)))
    sizes = tuple(Size(1) if a in gone else s for a, s in enumerate(shape) if keep or a not in gone)
    if node.op == "ReduceProd" and inputs[0].values and all(v is not None for v in inputs[0].values):
        held = [v for v in inputs[0].values if v is not None]
        return [of_values([Size(product(held), all(v.exact for v in held))], sizes, bits)]
    return [Tensor(sizes, bits)]


def _multiplied(one: Shape, two: Shape) -> tuple[Shape, int]:
    """numpy's matmul: the shape and the multiplications."""
    left = (Size(1), *one) if len(one) == 1 else one
    right = (*two, Size(1)) if len(two) == 1 else two
    batch = broadcast([left[:-2], right[:-2]]) or ()
    inner = max(left[-1].low, right[-2].low)
    full = (*batch, left[-2], right[-1])
    shape = full[: -2 if len(one) == 1 else len(full)] + (full[-1:] if len(one) == 1 else ())
    return (shape[:-1] if len(two) == 1 else shape), min(product(full) * max(inner, 0), CEILING)


# Inputs that hold the two factors, and bits of the result; 0 are the first factor's.
_PRODUCTS = {
    "MatMul": (0, 1, 0), "FusedMatMul": (0, 1, 0), "MatMulInteger": (0, 1, 32), "QLinearMatMul": (0, 3, 8),
    "MatMulIntegerToFloat": (0, 1, 32), "DynamicQuantizeMatMul": (0, 1, 32),
}  # fmt: skip


@of(*_PRODUCTS)
def _matmul(node: Node, inputs: Inputs) -> Sequence[Tensor]:
    one, two, bits = _PRODUCTS[node.op]
    if any(attribute(node.attribute(name), 0) for name in ("transA", "transB", "transBatchA", "transBatchB")):
        return [UNKNOWN]
    shape, _ = _multiplied(known_shape(inputs, one), known_shape(inputs, two))
    return [Tensor(shape, bits or inputs[0].bits)]


@of("Gemm", "FusedGemm")
def _gemm(node: Node, inputs: Inputs) -> Sequence[Tensor]:
    shape, _ = _multiplied(*_gemm_factors(node, inputs))
    return [Tensor(shape, inputs[0].bits)]


def _gemm_factors(node: Node, inputs: Inputs) -> tuple[Shape, Shape]:
    one, two = known_shape(inputs, 0), known_shape(inputs, 1)
    if len(one) != 2 or len(two) != 2:
        raise ValueError("Gemm of something else than matrices")
    one = one[::-1] if attribute(node.attribute("transA"), 0) else one
    return one, two[::-1] if attribute(node.attribute("transB"), 0) else two


@of("MatMulNBits")
def _matmul_nbits(node: Node, inputs: Inputs) -> Sequence[Tensor]:
    return [Tensor((*known_shape(inputs, 0)[:-1], exact(attribute(node.attribute("N"), 1))), inputs[0].bits)]


# Inputs that hold signal and kernel, and bits of the result.
_CONVOLUTIONS = {
    "Conv": (0, 1, 0), "FusedConv": (0, 1, 0), "ConvInteger": (0, 1, 32), "QLinearConv": (0, 3, 8),
    "ConvTranspose": (0, 1, 0),
}  # fmt: skip


@of(*_CONVOLUTIONS)
def _conv(node: Node, inputs: Inputs) -> Sequence[Tensor]:
    signal, kernel, bits = _CONVOLUTIONS[node.op]
    shape, filters = known_shape(inputs, signal), known_shape(inputs, kernel)
    if len(shape) != len(filters) or len(shape) < 3:
        raise ValueError("a kernel of another rank")
    if node.op == "ConvTranspose":
        channels = times(filters[1], exact(attribute(node.attribute("group"), 1)))
        windows = [_grown(node, shape, filters, axis) for axis in range(len(shape) - 2)]
    else:
        channels = filters[0]
        windows = [_window(node, shape, filters[axis + 2], axis) for axis in range(len(shape) - 2)]
    return [Tensor((shape[0], channels, *windows), bits or inputs[0].bits)]


def _per_axis(node: Node, name: str, axis: int, default: int) -> int:
    held = attribute(node.attribute(name), ())
    return int(held[axis]) if axis < len(held) else default


def _window(node: Node, shape: Shape, kernel: Size, axis: int) -> Size:
    size, step = shape[axis + 2], max(1, _per_axis(node, "strides", axis, 1))
    if str(node.attribute("auto_pad", "")).startswith("SAME"):
        return Size(-(-size.low // step), size.exact)
    rank = len(shape) - 2
    pads = 0
    if node.attribute("auto_pad", "NOTSET") != "VALID":
        pads = _per_axis(node, "pads", axis, 0) + _per_axis(node, "pads", axis + rank, 0)
    reach = _per_axis(node, "dilations", axis, 1) * (kernel.low - 1) + 1
    return Size(max(0, (size.low + pads - reach) // step + 1), size.exact and kernel.exact)


def _grown(node: Node, shape: Shape, filters: Shape, axis: int) -> Size:
    if "output_shape" in node.attributes:
        return exact(_per_axis(node, "output_shape", axis, 1))
    size, step = shape[axis + 2], max(1, _per_axis(node, "strides", axis, 1))
    rank = len(shape) - 2
    pads = _per_axis(node, "pads", axis, 0) + _per_axis(node, "pads", axis + rank, 0)
    reach = _per_axis(node, "dilations", axis, 1) * (filters[axis + 2].low - 1) + 1
    grown = step * (size.low - 1) + reach + _per_axis(node, "output_padding", axis, 0)
    same = str(node.attribute("auto_pad", "")).startswith("SAME")
    return Size(min(max(0, step * size.low if same else grown - pads), CEILING), size.exact)


@of("MaxPool", "AveragePool", "LpPool", "QLinearAveragePool")
def _pool(node: Node, inputs: Inputs) -> Sequence[Tensor]:
    shape = known_shape(inputs, 0)
    sizes = (
        _window(node, shape, exact(_per_axis(node, "kernel_shape", a, 1)), a) for a in range(len(shape) - 2)
    )
    if attribute(node.attribute("ceil_mode"), 0):
        sizes = (Size(size.low, False) for size in sizes)
    pooled = Tensor((*shape[:2], *sizes), inputs[0].bits)
    return [pooled, Tensor(pooled.shape, 64)]


@of("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "QLinearGlobalAveragePool")
def _global_pool(_: Node, inputs: Inputs) -> Sequence[Tensor]:
    shape = known_shape(inputs, 0)
    return [Tensor((*shape[:2], *[Size(1)] * (len(shape) - 2)), inputs[0].bits)]


@of("LSTM", "GRU", "RNN")
def _recurrent(node: Node, inputs: Inputs) -> Sequence[Tensor]:
    steps, batch, _ = known_shape(inputs, 0)
    hidden = known_shape(inputs, 2)[-1]
    ways = Size(2 if node.attribute("direction") == "bidirectional" else 1)
    last = Tensor((ways, batch, hidden), inputs[0].bits)
    return [Tensor((steps, ways, batch, hidden), inputs[0].bits), last, last]


@of("Einsum")
def _einsum(node: Node, inputs: Inputs) -> Sequence[Tensor]:
    sizes, result = _letters(node, inputs)
    return [Tensor(tuple(sizes.get(letter, ANY) for letter in result), inputs[0].bits)]


def _letters(node: Node, inputs: Inputs) -> tuple[dict[str, Size], str]:
    """Each letter's size, and the letters of the result."""
    text = attribute(node.attribute("equation"), "").replace(" ", "")
    left, arrow, result = text.partition("->")
    terms = left.split(",")
    if "." in text or len(terms) != len(inputs) or len(text) > 200:
        raise ValueError("an equation that is not followed")
    sizes: dict[str, Size] = {}
    for at, term in enumerate(terms):
        shape = known_shape(inputs, at)
        if len(shape) != len(term):
            raise ValueError("an equation of other ranks")
        for letter, size in zip(term, shape, strict=True):
            other = sizes.get(letter, size)
            sizes[letter] = Size(max(size.low, other.low), size.exact and other.exact)
    implied = "".join(sorted(c for c in sizes if sum(t.count(c) for t in terms) == 1))
    return sizes, result if arrow else implied


def multiplications(node: Node, inputs: Inputs, outputs: Sequence[Tensor]) -> int:
    """Multiplications of one run of a node at the least; 0 where nothing is known."""
    try:
        return min(_work(node, inputs, outputs), CEILING)
    except (ValueError, IndexError, KeyError, TypeError):
        return 0


def _work(node: Node, inputs: Inputs, outputs: Sequence[Tensor]) -> int:
    if node.op in _CONVOLUTIONS:
        signal, kernel, _ = _CONVOLUTIONS[node.op]
        window = product(known_shape(inputs, kernel)[1:])
        if node.op == "ConvTranspose":
            return product(known_shape(inputs, signal)) * window
        return outputs[0].elements * window
    if node.op in _PRODUCTS:
        one, two, _ = _PRODUCTS[node.op]
        return _multiplied(known_shape(inputs, one), known_shape(inputs, two))[1]
    if node.op in ("Gemm", "FusedGemm"):
        return _multiplied(*_gemm_factors(node, inputs))[1]
    if node.op == "MatMulNBits":
        return outputs[0].elements * int(attribute(node.attribute("K"), 1))
    if node.op in ("LSTM", "GRU", "RNN"):
        steps, batch, _ = known_shape(inputs, 0)
        per_step = product(known_shape(inputs, 1)) + product(known_shape(inputs, 2))
        return steps.low * batch.low * per_step
    if node.op == "Einsum":
        return math.prod(s.low for s in _letters(node, inputs)[0].values())
    return 0
