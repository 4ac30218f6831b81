"""What all families of operators share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qgate.formats.model import Node
from qgate.quant.constants import ConstantValue, transposed

if TYPE_CHECKING:
    from qgate.quant.build import Builder

Handler = Callable[["Builder", Node], bool]
"""Deals with a node and returns True, or returns False and leaves it as it is."""
MS = "com.microsoft"
_FLOAT_CODES = {1, 10, 11, 16}


def input_at(node: Node, index: int) -> str:
    """The name of a node's operand, empty where there is none."""
    return node.inputs[index] if index < len(node.inputs) else ""


def is_float_cast(node: Node) -> bool:
    """Whether a Cast goes to a float type."""
    return int(node.attribute("to", 0)) in _FLOAT_CODES


def linear(
    builder: Builder, node: Node, source: str, weight: ConstantValue, bias: str, alpha: float, beta: float
) -> bool:
    """Gemm in the form MatMul(x, W, b) with W of shape [in, out]."""
    if node.attribute("transB", 0):
        weight = transposed(weight)
    if alpha != 1.0:
        weight = weight.times(alpha)
    inputs = [builder.ref(source), builder.put_constant(f"{node.outputs[0]}|weight", weight)]
    if bias:
        held = builder.constant(bias)
        if held is None and beta != 1.0:
            return False
        if held is not None:
            scaled = held.times(beta) if beta != 1.0 else held
            inputs.append(builder.put_constant(f"{node.outputs[0]}|bias", scaled))
        else:
            inputs.append(builder.ref(bias))
    builder.emit(node, "MatMul", inputs, list(node.outputs), {}, MatMul=node.outputs[0])
    return True
