"""ONNX Runtime's fused operators, each written as the standard ones that its specification says it is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qgate.formats.model import Node
from qgate.quant.operators.shared import MS, Handler, input_at

if TYPE_CHECKING:
    from qgate.quant.build import Builder


def _gelu(approximate: str) -> Handler:
    """Gelu, FastGelu and BiasGelu: of x, or of x plus a bias."""

    def handle(builder: Builder, node: Node) -> bool:
        source = _sum(builder, node, [input_at(node, 0), input_at(node, 1)], "biased")
        _emit(builder, node, "Gelu", [source], {"approximate": approximate})
        return True

    return handle


def _quick_gelu(builder: Builder, node: Node) -> bool:
    _emit(
        builder,
        node,
        "Swish",
        [builder.ref(input_at(node, 0))],
        {"alpha": float(node.attribute("alpha", 1.702))},
    )
    return True


def _skip_norm(op: str, bias_at: int) -> Handler:
    """SkipLayerNormalization and its kin: the sum of two tensors and a bias, normalised, and the sum if it is asked for."""

    def handle(builder: Builder, node: Node) -> bool:
        if any(node.outputs[1:3]):
            return False  # mean and inverse deviation, which inference does not ask for
        first, second, bias = input_at(node, 0), input_at(node, 1), input_at(node, bias_at)
        # The bias is that of the layer before, which the other side still has where it was.
        if bias and _is_layer(builder, second):
            first, second = second, first
        biased = _sum(builder, node, [first, bias], "biased")
        total = node.outputs[3] if len(node.outputs) > 3 and node.outputs[3] else f"{node.outputs[0]}|sum"
        plain = replace(node, outputs=(total,))
        builder.emit(plain, "Add", [biased, builder.ref(second)], [total], {})
        operands = [builder.ref(name) for name in node.inputs[2:bias_at] if name]
        _emit(
            builder,
            node,
            op,
            [total, *operands],
            {"axis": -1, "epsilon": float(node.attribute("epsilon", 1e-5))},
        )
        return True

    return handle


def _simplified_norm(builder: Builder, node: Node) -> bool:
    if any(node.outputs[1:]):
        return False
    settings = {"axis": int(node.attribute("axis", -1)), "epsilon": float(node.attribute("epsilon", 1e-5))}
    _emit(builder, node, "RMSNormalization", [builder.ref(name) for name in node.inputs[:2]], settings)
    return True


def _is_layer(builder: Builder, name: str) -> bool:
    ref = builder.ref(name)
    maker = next((n for n in reversed(builder.nodes[-64:]) if ref in n.outputs), None)
    return maker is not None and maker.op == "MatMul" and len(maker.inputs) == 2


def _sum(builder: Builder, node: Node, names: list[str], what: str) -> str:
    """The tensor, or its sum with a bias where there is one."""
    source, bias = (builder.ref(name) if name else "" for name in names)
    if not bias:
        return source
    made = f"{node.outputs[0]}|{what}"
    builder.emit(replace(node, outputs=(made,)), "Add", [source, bias], [made], {})
    return made


def _emit(builder: Builder, node: Node, op: str, inputs: list[str], attributes: dict[str, Any]) -> None:
    builder.emit(node, op, inputs, [node.outputs[0]], attributes)


HANDLERS: dict[tuple[str, str], Handler] = {
    (MS, "Gelu"): _gelu("none"),
    (MS, "BiasGelu"): _gelu("none"),
    (MS, "FastGelu"): _gelu("tanh"),
    (MS, "QuickGelu"): _quick_gelu,
    (MS, "SkipLayerNormalization"): _skip_norm("LayerNormalization", 4),
    (MS, "SkipSimplifiedLayerNormalization"): _skip_norm("RMSNormalization", 3),
    (MS, "SimplifiedLayerNormalization"): _simplified_norm,
    ("", "SimplifiedLayerNormalization"): _simplified_norm,
}
