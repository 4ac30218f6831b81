"""Bounds that no input can leave: what the float view proves of each tensor, operation by operation.

Interval arithmetic (Moore 1966) with one interval for a whole tensor. A static quantizer bounds what reads
behind it, so that most tensors of a quantized model have bounds although its inputs have none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from qgate.quant.constants import Array, ConstantValue
from qgate.quant.floatgraph import FloatGraph, FloatNode, Quantizer

Interval = tuple[float, float]
EVERYTHING: Interval = (float("-inf"), float("inf"))
_MAX_ELEMENTS = 1 << 24
_SAME = frozenset(
    {
        "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Expand", "Tile", "Gather", "GatherElements", "GatherND",
        "Slice", "Split", "DepthToSpace", "SpaceToDepth", "ReverseSequence", "Compress", "MaxPool", "GlobalMaxPool",
        "GlobalAveragePool", "ReduceMean", "ReduceMax", "ReduceMin", "TopK", "Dropout",
    }
)  # fmt: skip
_FIXED: Mapping[str, Interval] = {
    "Sigmoid": (0, 1), "Softmax": (0, 1), "HardSigmoid": (0, 1), "Tanh": (-1, 1), "Softsign": (-1, 1), "Erf": (-1, 1),
    "Sin": (-1, 1), "Cos": (-1, 1), "Hardmax": (0, 1), "Sign": (-1, 1),
}  # fmt: skip
_TRUTH = {
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Equal",
    "Not",
    "And",
    "Or",
    "Xor",
    "IsNaN",
    "IsInf",
}


def intervals(graph: FloatGraph) -> dict[str, Interval]:
    """The bounds of every tensor of a graph that has any, bodies aside."""
    found: dict[str, Interval] = {}
    coded = {tensor: _Coded.of(held) for tensor, held in graph.quantizers.items() if held}
    for node in graph.nodes:
        read = frozenset(node.node.inputs)
        operands = [_read(graph, read, coded.get(name), name, found) for name in node.inputs]
        made = _FIXED.get(node.op) or _of(graph, node, operands)
        if made is not None and made[0] <= made[1]:
            for name in node.outputs[: len(node.outputs) if node.op == "Split" else 1]:
                found[name] = made
    return found


@dataclass(frozen=True)
class _Coded:
    """A tensor's quantizers: what the file calls the tensor in front of them, and what codes of any of them stand for."""

    sources: frozenset[str]
    bounds: Interval

    @classmethod
    def of(cls, quantizers: list[Quantizer]) -> _Coded:
        ends = [q.bounds() for q in quantizers]
        sources = frozenset(q.source for q in quantizers if not q.inherent)
        return cls(sources, (min(low for low, _ in ends), max(high for _, high in ends)))


def _read(
    graph: FloatGraph, read: frozenset[str], coded: _Coded | None, name: str, found: Mapping[str, Interval]
) -> Interval:
    """What an operation can read of a tensor: behind a quantizer no more than its codes stand for."""
    held = graph.constants.get(name)
    if held is not None:
        return _constant(held)
    low, high = found.get(name, EVERYTHING)
    if coded is not None and coded.sources.isdisjoint(read):
        low, high = max(low, coded.bounds[0]), min(high, coded.bounds[1])
    return (low, high) if low <= high else EVERYTHING


def _numbers(held: ConstantValue | None) -> Array | None:
    """A constant's values; None for text, for large constants, and where scale and codes do not fit."""
    if held is None or held.size == 0 or held.size > _MAX_ELEMENTS or held.dtype == "string":
        return None
    try:
        with np.errstate(invalid="ignore"):  # a signalling NaN
            return np.asarray(held.values(), np.float64)
    except ValueError:
        return None


def _constant(held: ConstantValue) -> Interval:
    values = _numbers(held)
    if values is None:
        return EVERYTHING
    low, high = float(np.min(values)), float(np.max(values))
    return (low, high) if low <= high else EVERYTHING


def _of(graph: FloatGraph, node: FloatNode, operands: list[Interval]) -> Interval | None:
    if node.op in _SAME and operands:
        return operands[0]
    if node.op in _TRUTH:
        return (0.0, 1.0)
    if node.op == "Cast" and operands and operands[0] != EVERYTHING:
        return (float(np.floor(operands[0][0])), float(np.ceil(operands[0][1])))
    if node.op in ("Conv", "MatMul") and len(node.inputs) > 1 and operands:
        return _product(graph, node, operands)
    rule = _RULES.get(node.op)
    # Operands that are left out count as well: what remains of a node may be less than its operator takes.
    enough = len(operands) >= (2 if node.op in _TWO else 1)
    with np.errstate(all="ignore"):
        made = rule(node, operands) if rule is not None and enough else None
    return None if made is None or np.isnan(made[0]) or np.isnan(made[1]) else made


def _product(graph: FloatGraph, node: FloatNode, operands: list[Interval]) -> Interval | None:
    """A sum of weights times values of one interval: positive weights take one end, negative ones the other."""
    weight = _numbers(graph.constants.get(node.inputs[1]))
    low, high = operands[0]
    if weight is None or not weight.ndim or not np.isfinite([low, high]).all():
        return None
    if node.op == "Conv":
        rows: Array = weight.reshape(weight.shape[0], -1)
        low, high = min(low, 0.0), max(high, 0.0)  # padding
    elif weight.ndim == 2:
        rows = weight.T
    else:
        return None
    positive, negative = np.maximum(rows, 0).sum(axis=1), np.minimum(rows, 0).sum(axis=1)
    with np.errstate(all="ignore"):
        least, most = positive * low + negative * high, positive * high + negative * low
    bias = _numbers(graph.constants.get(node.inputs[2])) if len(node.inputs) > 2 else None
    if bias is not None:
        shift = bias.reshape(-1)
        if shift.size not in (1, least.size):
            return None
        least, most = least + shift, most + shift
    elif len(node.inputs) > 2 and node.inputs[2]:
        return None
    made = float(np.min(least)), float(np.max(most))
    return made if np.isfinite(made).all() else None


def _corners(operation: Callable[[float, float], float], one: Interval, two: Interval) -> Interval:
    values = [operation(a, b) for a in one for b in two]
    return (float("nan"), float("nan")) if np.isnan(values).any() else (min(values), max(values))


def _clip(node: FloatNode, operands: list[Interval]) -> Interval | None:
    low, high = operands[0]
    least, most = node.attributes.get("min", EVERYTHING[0]), node.attributes.get("max", EVERYTHING[1])
    if len(node.inputs) > 1 or not isinstance(least, int | float) or not isinstance(most, int | float):
        return None
    return (min(max(low, least), most), max(min(high, most), least)) if least <= most else None


def _leaky(node: FloatNode, operands: list[Interval]) -> Interval | None:
    alpha = float(node.attributes.get("alpha", 0.01))
    ends = [v * alpha if v < 0 else v for v in operands[0]]
    return (min(ends), max(ends)) if 0 <= alpha <= 1 else None


def _union(operands: list[Interval]) -> Interval:
    return min(o[0] for o in operands), max(o[1] for o in operands)


def _pad(node: FloatNode, operands: list[Interval]) -> Interval | None:
    value = node.attributes.get("value", 0.0)
    if len(node.inputs) > 2 or not isinstance(value, int | float):
        return None
    return _union([operands[0], (float(value), float(value))])


def _bent(depth: float) -> Callable[[FloatNode, list[Interval]], Interval]:
    """Activations that are about x above zero, and above ``-depth`` below it."""
    return lambda _, o: (-depth if o[0][0] < 0 else 0.0, max(o[0][1], 0.0) * 1.001)


def _elu(node: FloatNode, operands: list[Interval]) -> Interval | None:
    alpha = float(node.attributes.get("alpha", 1.0))
    return (-alpha if operands[0][0] < 0 else 0.0, max(operands[0][1], 0.0)) if alpha >= 0 else None


def _prelu(_: FloatNode, operands: list[Interval]) -> Interval:
    below = _corners(lambda a, b: a * b, (operands[0][0], 0.0), operands[1])
    return _union([below, (0.0, max(operands[0][1], 0.0))])


def _quotient(_: FloatNode, operands: list[Interval]) -> Interval | None:
    low, high = operands[1]
    return None if low <= 0 <= high else _corners(lambda a, b: a / b, operands[0], operands[1])


_TWO = {"Add", "Sub", "Mul", "Div", "PRelu"}
_RULES: Mapping[str, Callable[[FloatNode, list[Interval]], Interval | None]] = {
    "Relu": lambda _, o: (max(o[0][0], 0.0), max(o[0][1], 0.0)),
    "Clip": _clip,
    "LeakyRelu": _leaky,
    "Elu": _elu,
    "Celu": _elu,
    "Selu": lambda _, o: (-1.7581 if o[0][0] < 0 else 0.0, max(o[0][1], 0.0) * 1.0508),
    "Gelu": _bent(0.1701),
    "Mish": _bent(0.3089),
    "HardSwish": _bent(0.3751),
    "ThresholdedRelu": lambda _, o: (0.0, max(o[0][1], 0.0)),
    "Softplus": lambda _, o: (0.0, max(o[0][1], 0.0) + 0.6932),
    "PRelu": _prelu,
    "Div": _quotient,
    "Sqrt": lambda _, o: (float(np.sqrt(max(o[0][0], 0.0))), float(np.sqrt(max(o[0][1], 0.0)))),
    "Exp": lambda _, o: (float(np.exp(o[0][0])), float(np.exp(o[0][1]))),
    "Neg": lambda _, o: (-o[0][1], -o[0][0]),
    "Abs": lambda _, o: (
        0.0 if o[0][0] <= 0 <= o[0][1] else min(abs(v) for v in o[0]),
        max(abs(v) for v in o[0]),
    ),
    "Add": lambda _, o: (o[0][0] + o[1][0], o[0][1] + o[1][1]),
    "Sub": lambda _, o: (o[0][0] - o[1][1], o[0][1] - o[1][0]),
    "Mul": lambda _, o: _corners(lambda a, b: a * b, o[0], o[1]),
    "Max": lambda _, o: (max(v[0] for v in o), max(v[1] for v in o)),
    "Min": lambda _, o: (min(v[0] for v in o), min(v[1] for v in o)),
    "Concat": lambda _, o: _union(o),
    "Where": lambda _, o: _union(o[1:3]) if len(o) > 2 else None,
    "AveragePool": lambda _, o: _union([o[0], (0.0, 0.0)]),
    "Pad": _pad,
    "Round": lambda _, o: (float(np.rint(o[0][0])), float(np.rint(o[0][1]))),
    "Floor": lambda _, o: (float(np.floor(o[0][0])), float(np.floor(o[0][1]))),
    "Ceil": lambda _, o: (float(np.ceil(o[0][0])), float(np.ceil(o[0][1]))),
}
