"""What a handful of operations between two tensors makes of given numbers, evaluated in double precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import erf

import numpy as np

from qgate.quant.constants import Array
from qgate.quant.floatgraph import FloatGraph, FloatNode

MOST = 12
"""Operations that are followed; no activation and no normalisation takes more."""
_HALF = 2e-3
_SINGLE = 2e-6


def erf_of(x: Array) -> Array:
    """The error function, by element."""
    return np.asarray([erf(v) for v in x.reshape(-1)]).reshape(x.shape)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(x / 2)))


_SMOOTH: Mapping[str, Callable[..., Array]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Pow": np.power, "Erf": erf_of, "Tanh": np.tanh,
    "Sigmoid": sigmoid, "Exp": np.exp, "Neg": np.negative, "Reciprocal": np.reciprocal, "Sqrt": np.sqrt,
    "Softplus": lambda x: np.logaddexp(x, 0.0),
}  # fmt: skip
_BENT = {"Clip", "HardSigmoid"}
_FOLLOWED = {*_SMOOTH, *_BENT, "ReduceMean"}


@dataclass(frozen=True)
class Evaluated:
    """Values of a tensor.

    Args:
        values: Of the shape of the numbers given.
        constants: The scalar constants on the way.
        tolerance: What their storage leaves uncertain, relative.
    """

    values: Array
    constants: tuple[float, ...]
    tolerance: float


def sources(graph: FloatGraph, root: FloatNode, made: Mapping[str, FloatNode]) -> list[str]:
    """Tensors that an operation's result could be a function of, nearest first."""
    seen: list[str] = []
    queue = [root]
    for _ in range(MOST):
        if not queue:
            break
        node = queue.pop(0)
        for name in node.inputs:
            if name and name not in graph.constants and name not in seen:
                seen.append(name)
                above = made.get(name)
                if above is not None and above.op in _FOLLOWED:
                    queue.append(above)
    return seen


def evaluate(
    graph: FloatGraph, name: str, source: str, made: Mapping[str, FloatNode], numbers: Array
) -> Evaluated | None:
    """A tensor as a function of another; None where it depends on more than that and scalar constants.

    One operation at most may bend (clip); all others are smooth, so that what agrees with a definition on a
    dense grid agrees everywhere.

    Args:
        graph: The view.
        name: The tensor.
        source: The tensor that it is a function of.
        made: The producers.
        numbers: Values of the source; means are taken along the last axis.
    """
    known: dict[str, Array] = {source: numbers}
    constants: list[float] = []
    tolerance, bends, followed = _SINGLE, 0, 0
    stack = [name]
    with np.errstate(all="ignore"):
        while stack:
            top = stack[-1]
            held = graph.constants.get(top)
            node = made.get(top)
            if top in known:
                stack.pop()
            elif held is not None:
                if held.size != 1 or held.is_quantized:
                    return None
                constants.append(float(held.values().reshape(-1)[0]))
                known[top] = np.asarray(constants[-1])
                tolerance = max(tolerance, _HALF if held.dtype in ("float16", "bfloat16") else _SINGLE)
            elif node is None or node.op not in _FOLLOWED or len(node.outputs) != 1 or len(stack) > 4 * MOST:
                return None
            elif waiting := [i for i in node.inputs if i and i not in known]:
                stack += waiting
            else:
                followed, bends = followed + 1, bends + (node.op in _BENT)
                result = (
                    _apply(node, [known[i] for i in node.inputs if i])
                    if followed <= MOST and bends <= 1
                    else None
                )
                if result is None:
                    return None
                known[top] = result
    values = known[name]
    return Evaluated(values, tuple(constants), tolerance) if values.shape == numbers.shape else None


def _apply(node: FloatNode, operands: list[Array]) -> Array | None:
    if node.op == "ReduceMean":
        last = node.attributes.get("axes") == -1 and node.attributes.get("keepdims", 1) == 1
        return operands[0].mean(axis=-1, keepdims=True) if last and operands[0].ndim else None
    if node.op == "Clip":
        low, high = node.attributes.get("min", -np.inf), node.attributes.get("max", np.inf)
        return np.clip(operands[0], low, high) if len(operands) == 1 else None
    if node.op == "HardSigmoid":
        slope, shift = float(node.attributes.get("alpha", 0.2)), float(node.attributes.get("beta", 0.5))
        return np.clip(operands[0] * slope + shift, 0, 1)
    two = node.op in ("Add", "Sub", "Mul", "Div", "Pow")
    return np.asarray(_SMOOTH[node.op](*operands)) if len(operands) == 1 + two else None
