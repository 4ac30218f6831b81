"""How many layers with integer weights compute on integer activations as well (W8A8), and how many only store codes."""

from __future__ import annotations

from dataclasses import dataclass

from qgate.quant.edges import is_quantized
from qgate.quant.floatgraph import FloatGraph, FloatNode

_POSITIONS = {
    "Conv": (0, 1), "ConvTranspose": (0, 1), "MatMul": (0, 1), "Gemm": (0, 1), "LSTM": (0, 1), "GRU": (0, 1),
    "RNN": (0, 1), "Einsum": (0, 1),
}  # fmt: skip
_INTEGER_PREFIXES = ("QLinear", "DynamicQuantize", "MatMulInteger", "ConvInteger")
_INTEGER = frozenset({"QGemm", "QAttention", "QMoE"})


@dataclass(frozen=True)
class ActivationCover:
    """Layers with integer weights, by what they compute on.

    Args:
        layers: How many there are.
        quantized: Those whose other operand is quantized, by calibrated or by dynamic ranges.
        dynamic: Those of them whose ranges are taken while the model runs.
        left: Nodes of the others, in the graph's order.
    """

    layers: int
    quantized: int
    dynamic: int
    left: tuple[str, ...]

    @property
    def recipe(self) -> str:
        """How the activations of these layers are quantized, in one word that a team would use."""
        if not self.quantized:
            return "weights only"
        if self.left or 0 < self.dynamic < self.quantized:
            return "mixed"
        return "dynamic" if self.dynamic else "static"


def activation_cover(view: FloatGraph) -> ActivationCover:
    """Counts the layers of a view, those of its bodies included."""
    calibrated = dynamic = 0
    left: list[str] = []
    for graph in view.graphs():
        makers = graph.producers()
        for node in graph.nodes:
            operands = [node.inputs[i] for i in _POSITIONS.get(node.op, ()) if i < len(node.inputs)]
            if not any(_is_integer(graph, name) for name in operands):
                continue
            others = [name for name in operands if name not in graph.constants]
            read = {is_quantized(graph, makers, node, name) for name in others} - {""}
            if _runs_dynamically(node):
                dynamic += 1
            elif _runs_on_integers(node) or "static" in read:
                calibrated += 1
            elif read:
                # Written as DynamicQuantizeLinear, DequantizeLinear and a float operation.
                dynamic += 1
            else:
                left.append(node.label)
    return ActivationCover(calibrated + dynamic + len(left), calibrated + dynamic, dynamic, tuple(left))


def _is_integer(graph: FloatGraph, name: str) -> bool:
    value = graph.constants.get(name)
    return value is not None and value.is_quantized and value.bits <= 8 and "int" in value.dtype


def _runs_on_integers(node: FloatNode) -> bool:
    own = node.node
    if own.op == "MatMulNBits":  # 4 is int8, by ONNX Runtime's contributed operators
        return own.attributes.get("accuracy_level") == 4
    return own.op.startswith(_INTEGER_PREFIXES) or own.op in _INTEGER


def _runs_dynamically(node: FloatNode) -> bool:
    own = node.node.op
    integer = own.startswith(("DynamicQuantize", "MatMulInteger", "ConvInteger"))
    return integer or (own == "MatMulNBits" and _runs_on_integers(node))
