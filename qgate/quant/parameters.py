"""Scales and zero points must be constants, or those of the very tensor that was quantized dynamically.

A scale that the graph computes is a door for a trigger: the codes stay the reference's, and what they stand
for depends on the input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from qgate.formats.model import Node
from qgate.quant.floatgraph import Defect
from qgate.quant.layout import LAYOUT

if TYPE_CHECKING:
    from qgate.quant.build import Builder

# Operator -> positions of (codes, scale, zero point); -1 where there is none. Codes of -1 are its own output.
_UNARY = ((0, 1, 2), (-1, 3, 4))
_BINARY = ((0, 1, 2), (3, 4, 5), (-1, 6, 7))
PARAMETERS: Mapping[str, tuple[tuple[int, int, int], ...]] = {
    "QuantizeLinear": ((-1, 1, 2),), "DequantizeLinear": ((0, 1, 2),),
    "QLinearConv": _BINARY, "QLinearMatMul": _BINARY, "QLinearAdd": _BINARY, "QLinearMul": _BINARY,
    "QGemm": ((0, 1, 2), (3, 4, 5), (-1, 7, 8)),
    "QLinearSigmoid": _UNARY, "QLinearLeakyRelu": _UNARY, "QLinearAveragePool": _UNARY, "QLinearSoftmax": _UNARY,
    "QLinearGlobalAveragePool": _UNARY, "QLinearReduceMean": _UNARY,
    "ConvInteger": ((0, -1, 2), (1, -1, 3)), "MatMulInteger": ((0, -1, 2), (1, -1, 3)),
    "MatMulIntegerToFloat": ((0, 2, 4), (1, 3, 5)), "DynamicQuantizeMatMul": ((1, 2, 3),),
    "MatMulNBits": ((1, 2, 3),), "GatherBlockQuantized": ((0, 2, 3),),
    "DynamicQuantizeLSTM": ((1, 8, 9), (2, 10, 11)),
}  # fmt: skip
_CARRIES_CODES = LAYOUT | {"MaxPool", "Gather", "Slice", "Split", "Concat", "Relu", "Clip"}


def computed_parameters(builder: Builder, nodes: tuple[Node, ...]) -> Iterator[Defect]:
    """Every scale or zero point that is neither constant nor its own tensor's."""
    for node in nodes:
        for codes, scale, zero in positions(node):
            exchanged = _exchanged(builder, node, scale, zero)
            if exchanged is not None:
                yield exchanged
            for what, position in (("scale", scale), ("zero point", zero)):
                name = node.inputs[position] if 0 <= position < len(node.inputs) else ""
                if not name or builder.constant(name) is not None:
                    continue
                source = node.inputs[codes] if 0 <= codes < len(node.inputs) else ""
                if source and builder.dynamic_of.get(name) == coded_origin(builder, source):
                    continue
                yield Defect(
                    "computed",
                    f"the {what} {name!r} of {node.op} is computed while the model runs, and is not its own tensor's",
                    node=node.label,
                    tensor=name,
                )


def _exchanged(builder: Builder, node: Node, scale: int, zero: int) -> Defect | None:
    """A scale of whole numbers beside a zero point of floats: the one stands in the other's place."""
    held = [
        builder.constant(node.inputs[at]) if 0 <= at < len(node.inputs) and node.inputs[at] else None
        for at in (scale, zero)
    ]
    if held[0] is None or held[1] is None:
        return None
    if not ("int" in held[0].dtype and held[1].dtype.startswith(("float", "bfloat", "double"))):
        return None
    return Defect(
        "graph",
        f"scale and zero point of {node.op} {node.label!r} are exchanged: the scale {held[0].name!r} is {held[0].dtype} and the "
        f"zero point {held[1].name!r} is {held[1].dtype}",
        node=node.label,
        tensor=held[0].name,
    )


def coded_origin(builder: Builder, codes: str) -> str:
    """The codes that a tensor of codes came from, through operations that only move them."""
    for _ in range(64):
        maker = builder.maker(codes)
        if maker is None or maker.op not in _CARRIES_CODES or not maker.inputs:
            break
        codes = maker.inputs[0]
    return codes


def positions(node: Node) -> tuple[tuple[int, int, int], ...]:
    """Where an operator has codes, their scale and their zero point; -1 for none."""
    if node.op == "QLinearConcat":
        return ((-1, 0, 1), *((i, i + 1, i + 2) for i in range(2, len(node.inputs), 3)))
    return PARAMETERS.get(node.op, ())
