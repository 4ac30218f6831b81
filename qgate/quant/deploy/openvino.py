"""What OpenVINO does not convert, or computes wrongly, in an ONNX file; seen with OpenVINO 2026.4 on a CPU.

int16 and uint16 QuantizeLinear and DequantizeLinear give other numbers without a word, or end the process. QGemm is not
converted, nor is QLinearConv with a scale for each channel; with one scale it is.
"""

from __future__ import annotations

from collections.abc import Iterator

from qgate.formats.model import StaticModel
from qgate.quant.deploy.fact import Fact, gathered
from qgate.quant.deploy.scopes import DEQUANTIZE, QUANTIZE, is_op, operand, scopes

_WIDE = {"int16", "uint16"}


def lint(model: StaticModel) -> list[Fact]:
    """Known traps of a model, one fact of each kind: ``int16``, ``operator``.

    Args:
        model: The candidate, an ONNX model.
    """
    return gathered(_facts(model))


def _facts(model: StaticModel) -> Iterator[Fact]:
    for scope in scopes(model):
        for node in scope.graph.nodes:
            if is_op(node, QUANTIZE, DEQUANTIZE):
                dtype = scope.code_type(node) if node.op == QUANTIZE else scope.dtype(operand(node, 0))
                if dtype in _WIDE:
                    yield Fact("int16", f"{node.op} with codes of type {dtype}", node.label)
            elif is_op(node, "QGemm"):
                yield Fact("operator", "QGemm is not converted", node.label, refused=True)
            elif is_op(node, "QLinearConv"):
                scale = scope.constants.get(operand(node, 4))
                if scale is not None and scale.size > 1:
                    message = "QLinearConv with a scale for each channel is not converted"
                    yield Fact("operator", message, node.label, operand(node, 4), refused=True)
            elif node.op.startswith("QLinear") and node.domain == "com.microsoft":
                yield Fact("operator", f"{node.op} is ONNX Runtime's own operator", node.label)
