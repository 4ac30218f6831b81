"""What the compute layers of a model cost in multiplications, from the shapes that its file declares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from qgate.quant.floatgraph import FloatGraph, FloatNode

Basis = Literal["macs", "parameters"]

COMPUTE = {"Conv", "ConvTranspose", "MatMul", "Gemm", "LSTM", "GRU", "RNN"}
_RECURRENT = {"LSTM", "GRU", "RNN"}


def costs(nodes: Sequence[FloatNode], graph: FloatGraph) -> tuple[list[float], Basis]:
    """Multiplications of each layer for one sample.

    A convolution multiplies each weight once for each place of its output (of its input, where it is transposed), a
    product each weight once for each row. A free size counts as one: it is the batch, or is common to all rows.

    Args:
        nodes: Compute layers, bodies included.
        graph: The graph that declares the shapes.

    Returns:
        The costs, and what they are: parameters of every layer where the file does not declare all shapes.
    """
    found = [_macs(node, graph) for node in nodes]
    known = [each for each in found if each is not None]
    if len(known) == len(found):
        return known, "macs"
    return [float(_weights(node, graph)) for node in nodes], "parameters"


def _macs(node: FloatNode, graph: FloatGraph) -> float | None:
    weights = _weights(node, graph)
    output = _shape(node.outputs[0] if node.outputs else "", graph)
    source = _shape(node.inputs[0] if node.inputs else "", graph)
    if node.op in _RECURRENT:
        # [steps, batch, features]
        return None if source is None or not weights else float(weights * (source[0] if source else 1))
    if node.op in ("Conv", "ConvTranspose"):
        places = source if node.op == "ConvTranspose" else output
        return None if places is None or not weights else float(weights * math.prod(places[2:]))
    if output is None:
        return None
    if weights:
        return float(weights * math.prod(output[:-1]))
    return None if not source else float(math.prod(output) * source[-1])


def _weights(node: FloatNode, graph: FloatGraph) -> int:
    """Elements of the constants that a layer multiplies with; a bias has one axis."""
    held = (graph.constants[name].shape for name in node.inputs if name in graph.constants)
    return sum(math.prod(shape) for shape in held if len(shape) > 1)


def _shape(name: str, graph: FloatGraph) -> tuple[int, ...] | None:
    """The declared sizes, 1 for a free one; None where the file declares none."""
    declared = next((each for each in graph.inputs if each.name == name), None) or graph.types.get(name)
    if declared is None or declared.shape is None:
        return None
    return tuple(size if isinstance(size, int) and size > 0 else 1 for size in declared.shape)
