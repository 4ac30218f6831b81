"""Operators of the standard domain that quantization leaves as they are, brought to one form."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.formats.model import Constant, Node
from qgate.quant.constants import Array, computed, plain
from qgate.quant.operators.shared import MS, Handler, input_at, is_float_cast, linear
from qgate.quant.types import cast_type, element_type, is_float, widens

if TYPE_CHECKING:
    from qgate.quant.build import Builder


def _constant(builder: Builder, node: Node) -> bool:
    held = _attribute_constant(node)
    if held is None:
        return False
    value = plain(held) if isinstance(held, Constant) else computed(node.outputs[0], held)
    builder.put_constant(node.outputs[0], value)
    return True


def _attribute_constant(node: Node) -> Constant | Array | None:
    """What a Constant node holds."""
    for key, value in node.attributes.items():
        if key == "value" and isinstance(value, Constant):
            return replace(value, name=node.outputs[0] if node.outputs else value.name)
        if key in ("value_float", "value_floats"):
            return np.asarray(value, np.float32)
        if key in ("value_int", "value_ints"):
            return np.asarray(value, np.int64)
        if key in ("value_string", "value_strings"):
            return np.asarray(value, dtype=object)
    return None


def _alias(builder: Builder, node: Node) -> bool:
    builder.alias[node.outputs[0]] = input_at(node, 0)
    if input_at(node, 0) in builder.coded:
        builder.coded[node.outputs[0]] = builder.coded[input_at(node, 0)]
    return True


def _dropout(builder: Builder, node: Node) -> bool:
    training = builder.array(input_at(node, 2)) if input_at(node, 2) else np.zeros(1)
    if training is None or bool(np.any(training)):
        # Trains, or decides while it runs whether to.
        return False
    return _alias(builder, node)


def _hard_swish(builder: Builder, node: Node) -> bool:
    """x * HardSigmoid(x), which is how ONNX defines it and how optimisers write it."""
    source, inner = builder.ref(input_at(node, 0)), f"{node.outputs[0]}|HardSigmoid"
    attributes = {"alpha": 1 / 6, "beta": 0.5}
    gate = replace(node, op="HardSigmoid", outputs=(inner,), attributes=attributes)
    builder.emit(gate, "HardSigmoid", [source], [inner], attributes)
    builder.emit(node, "Mul", [source, inner], list(node.outputs), {})
    return True


def _cast(builder: Builder, node: Node) -> bool:
    source = input_at(node, 0)
    if builder.constant(source) is not None:
        return False
    if (is_float_cast(node) and is_float(builder, source)) or _changes_nothing(builder, node):
        return _alias(builder, node)
    return _leads_back(builder, node)


def _changes_nothing(builder: Builder, node: Node) -> bool:
    """Whether a Cast goes to the type that its tensor has already."""
    return bool(cast_type(node)) and element_type(builder, input_at(node, 0)) == cast_type(node)


def _leads_back(builder: Builder, node: Node) -> bool:
    """Takes out a Cast that undoes another one, which lost nothing."""
    before = builder.makers.get(input_at(node, 0))
    if before is None or before.domain or before.op != "Cast":
        return False
    source = input_at(before, 0)
    held = element_type(builder, source)
    if not held or held != cast_type(node) or not widens(held, cast_type(before)):
        return False
    builder.alias[node.outputs[0]] = source
    if source in builder.coded:
        builder.coded[node.outputs[0]] = builder.coded[source]
    return True


def _gemm(builder: Builder, node: Node) -> bool:
    a, b, c = (input_at(node, i) for i in range(3))
    weight = builder.constant(b)
    plain_sum = not any(node.attribute(key, 0) for key in ("transA", "transB")) and all(
        node.attribute(key, 1.0) == 1.0 for key in ("alpha", "beta")
    )
    if weight is None and builder.constant(a) is not None and plain_sum:
        # A constant on the left: no layer, and yet the same operation as one, so that it can be told from it.
        operands = [builder.ref(name) for name in (a, b, c) if name]
        builder.emit(node, "MatMul", operands, list(node.outputs), {}, MatMul=node.outputs[0])
        return True
    if weight is None or node.attribute("transA", 0) or len(weight.shape) != 2:
        return False
    if builder.constant(a) is not None:
        return False
    return linear(
        builder, node, a, weight, c, float(node.attribute("alpha", 1.0)), float(node.attribute("beta", 1.0))
    )


def _fused(op: str) -> Handler:
    """FusedConv and FusedGemm: the operation, then its activation as a node of its own."""

    def handle(builder: Builder, node: Node) -> bool:
        activation = str(node.attribute("activation", ""))
        if op == "Conv" and len(node.inputs) > 3:
            return False
        inner = f"{node.outputs[0]}|{op}" if activation else node.outputs[0]
        attributes = {k: v for k, v in node.attributes.items() if not k.startswith("activation")}
        plain_node = replace(node, op=op, domain="", outputs=(inner,), attributes=attributes)
        if not (op == "Gemm" and _gemm(builder, plain_node)):
            builder.emit(plain_node, op, [builder.ref(n) for n in node.inputs], [inner], attributes)
        if activation:
            builder.emit(
                node, activation, [inner], list(node.outputs), _activation_settings(node, activation)
            )
        return True

    return handle


def _activation_settings(node: Node, activation: str) -> dict[str, Any]:
    """FusedConv lists them in order, FusedGemm names them."""
    names = {"LeakyRelu": ("alpha",), "HardSigmoid": ("alpha", "beta"), "Clip": ("min", "max")}
    wanted = names.get(activation, ())
    listed = node.attribute("activation_params") or ()
    if len(listed) == len(wanted):
        return dict(zip(wanted, listed, strict=True))
    named = {key: node.attribute(f"activation_{key}") for key in wanted}
    return {key: value for key, value in named.items() if value is not None}


HANDLERS: dict[tuple[str, str], Handler] = {
    ("", "Constant"): _constant,
    ("", "Identity"): _alias,
    ("", "Dropout"): _dropout,
    ("", "Cast"): _cast,
    ("", "HardSwish"): _hard_swish,
    ("", "Gemm"): _gemm,
    (MS, "FusedConv"): _fused("Conv"),
    (MS, "FusedGemm"): _fused("Gemm"),
}
