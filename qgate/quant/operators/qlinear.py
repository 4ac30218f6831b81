"""The QOperator form: one operator that reads codes, computes and writes codes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from qgate.formats.model import Node
from qgate.quant.constants import ConstantValue, Quantized
from qgate.quant.operators.shared import MS, Handler, input_at, linear

if TYPE_CHECKING:
    from qgate.quant.build import Builder


def _with_quantized_output(builder: Builder, node: Node, scale: str, zero: str) -> None:
    builder.mark(node, node.outputs[0], node.outputs[0], scale, zero)


def _bias(
    builder: Builder, node: Node, name: str, source_scale: str, weight: ConstantValue, alpha: float = 1.0
) -> ConstantValue | None:
    """The int32 bias of a quantized operator: scale = input scale times weight scale, zero point 0.

    QGemm's ``alpha`` is part of that scale.
    """
    held, scale = builder.constant(name), builder.array(source_scale)
    if held is None or scale is None or weight.quantized is None:
        return None
    product = scale.astype(np.float64).reshape(-1)[0] * weight.quantized.scale.astype(np.float64).reshape(-1)
    product = product * alpha
    made = Quantized(
        held.dtype,
        product,
        None,
        0 if product.size > 1 else None,
        0,
        weight.quantized.scale_name,
        "",
        "float",
    )
    return replace(held, quantized=made)


def _qlinear_conv(builder: Builder, node: Node) -> bool:
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, b = (input_at(node, i) for i in range(9))
    weight = builder.quantized(w, w_scale, w_zero, 0)
    if weight is None:
        return False
    builder.check_coded(node, x, x_scale, x_zero)
    inputs = [builder.ref(x), builder.put_constant(f"{node.outputs[0]}|weight", weight)]
    bias = _bias(builder, node, b, x_scale, weight) if b else None
    if bias is not None:
        inputs.append(builder.put_constant(f"{node.outputs[0]}|bias", bias))
    builder.emit(node, "Conv", inputs, list(node.outputs), node.attributes, Conv=node.outputs[0])
    _with_quantized_output(builder, node, y_scale, y_zero)
    return True


def _qlinear_matmul(builder: Builder, node: Node) -> bool:
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = (input_at(node, i) for i in range(8))
    inputs = []
    for name, scale, zero in ((a, a_scale, a_zero), (b, b_scale, b_zero)):
        held = builder.constant(name)
        if held is not None:
            made = builder.quantized(name, scale, zero, -1)
            if made is None:
                return False
            inputs.append(builder.put_constant(f"{node.outputs[0]}|{name}", made))
        else:
            builder.check_coded(node, name, scale, zero)
            inputs.append(builder.ref(name))
    builder.emit(node, "MatMul", inputs, list(node.outputs), {}, MatMul=node.outputs[0])
    _with_quantized_output(builder, node, y_scale, y_zero)
    return True


def _qgemm(builder: Builder, node: Node) -> bool:
    a, a_scale, a_zero, b, b_scale, b_zero, c, y_scale, y_zero = (input_at(node, i) for i in range(9))
    weight = builder.quantized(b, b_scale, b_zero, 0 if node.attribute("transB", 0) else 1)
    if weight is None or node.attribute("transA", 0):
        return False
    builder.check_coded(node, a, a_scale, a_zero)
    alpha = float(node.attribute("alpha", 1.0))
    bias = _bias(builder, node, c, a_scale, weight, alpha) if c else None
    name = builder.put_constant(f"{node.outputs[0]}|c", bias) if bias is not None else ""
    done = linear(builder, node, a, weight, name, alpha, 1.0)
    if done and y_scale:
        _with_quantized_output(builder, node, y_scale, y_zero)
    return done


def _qlinear_pointwise(op: str, operands: int) -> Handler:
    """QLinearAdd and its kin: operands come as (tensor, scale, zero point), then the output's pair."""

    def handle(builder: Builder, node: Node) -> bool:
        inputs = [_operand(builder, node, 3 * i) for i in range(operands)]
        builder.emit(node, op, inputs, list(node.outputs), node.attributes)
        _with_quantized_output(builder, node, input_at(node, 3 * operands), input_at(node, 3 * operands + 1))
        return True

    return handle


def _operand(builder: Builder, node: Node, at: int) -> str:
    """The float operand behind the three inputs tensor, scale and zero point that begin at ``at``."""
    name, scale, zero = (input_at(node, at + k) for k in range(3))
    made = builder.quantized(name, scale, zero, None) if builder.constant(name) is not None else None
    if made is not None:
        return builder.put_constant(f"{node.outputs[0]}|{name}", made)
    builder.check_coded(node, name, scale, zero)
    return builder.ref(name)


def _qlinear_concat(builder: Builder, node: Node) -> bool:
    inputs = [_operand(builder, node, i) for i in range(2, len(node.inputs), 3)]
    builder.emit(node, "Concat", inputs, list(node.outputs), node.attributes)
    _with_quantized_output(builder, node, input_at(node, 0), input_at(node, 1))
    return True


HANDLERS: dict[tuple[str, str], Handler] = {
    ("", "QLinearConv"): _qlinear_conv,
    (MS, "QLinearConv"): _qlinear_conv,
    ("", "QLinearMatMul"): _qlinear_matmul,
    (MS, "QGemm"): _qgemm,
    (MS, "QLinearAdd"): _qlinear_pointwise("Add", 2),
    (MS, "QLinearMul"): _qlinear_pointwise("Mul", 2),
    (MS, "QLinearSigmoid"): _qlinear_pointwise("Sigmoid", 1),
    (MS, "QLinearLeakyRelu"): _qlinear_pointwise("LeakyRelu", 1),
    (MS, "QLinearAveragePool"): _qlinear_pointwise("AveragePool", 1),
    (MS, "QLinearGlobalAveragePool"): _qlinear_pointwise("GlobalAveragePool", 1),
    (MS, "QLinearReduceMean"): _qlinear_pointwise("ReduceMean", 1),
    (MS, "QLinearSoftmax"): _qlinear_pointwise("Softmax", 1),
    (MS, "QLinearConcat"): _qlinear_concat,
}
