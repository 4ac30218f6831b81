"""Integer arithmetic whose input is quantized while the model runs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qgate.formats.model import Node
from qgate.quant.constants import ConstantValue, View
from qgate.quant.operators.shared import MS, Handler, input_at
from qgate.quant.parameters import coded_origin

if TYPE_CHECKING:
    from qgate.quant.build import Builder


def _weight_scale(builder: Builder, name: str, codes: str) -> str | None:
    """The constant scale in a product of the weight's scale and that of the codes it is multiplied with."""
    maker = builder.maker(name)
    if maker is None or maker.op != "Mul":
        return None
    constants = [i for i in maker.inputs if builder.constant(i) is not None]
    origin = coded_origin(builder, codes)
    dynamic = [i for i in maker.inputs if builder.dynamic_of.get(i) == origin]
    return constants[0] if len(constants) == 1 and len(dynamic) == 1 else None


def _integer_product(op: str, axis: int) -> Handler:
    """ConvInteger or MatMulInteger, Cast and the Mul with input scale times weight scale."""

    def handle(builder: Builder, node: Node) -> bool:
        x, w, w_zero = input_at(node, 0), input_at(node, 1), input_at(node, 3)
        cast = builder.only_reader(node.outputs[0], "Cast")
        mul = builder.only_reader(cast.outputs[0], "Mul") if cast is not None else None
        if cast is None or mul is None or builder.constant(w) is None:
            return False
        other = next((i for i in mul.inputs if i != cast.outputs[0]), "")
        scale = _weight_scale(builder, other, x)
        if scale is None:
            maker = builder.maker(other)
            if maker is not None and maker.op not in ("DynamicQuantizeLinear", "Cast"):
                builder.defect(
                    "requantized",
                    f"{maker.op} {maker.label!r} computes the scale of what {node.op} {node.label!r} multiplies, and it is "
                    "not the scale of its own input times the constant scale of its weight",
                    node=maker.label,
                    tensor=other,
                )
            return False
        weight = builder.quantized(w, scale, w_zero, axis)
        if weight is None:
            return False
        builder.dynamic = True
        builder.check_dynamic(node, x, input_at(node, 2))
        builder.absorbed.update((cast.position, mul.position))
        inputs = [builder.ref(x), builder.put_constant(f"{mul.outputs[0]}|weight", weight)]
        attributes = dict(node.attributes) if op == "Conv" else {}
        made = builder.emit(node, op, inputs, [mul.outputs[0]], attributes)
        made.stages[op] = mul.outputs[0]
        builder.known.update((*cast.outputs, *mul.outputs))
        return True

    return handle


def _integer_to_float(builder: Builder, node: Node) -> bool:
    a, b, a_scale, b_scale, a_zero, b_zero, bias = (input_at(node, i) for i in range(7))
    if a not in builder.coded and coded_origin(builder, a) not in builder.dynamic_of.values():
        return False  # codes that no quantizer made
    builder.check_coded(node, a, a_scale, a_zero)
    return _dynamic_matmul(builder, node, a, b, b_scale, b_zero, bias)


def _dynamic_quantize_matmul(builder: Builder, node: Node) -> bool:
    a, b, b_scale, b_zero, bias = (input_at(node, i) for i in range(5))
    return _dynamic_matmul(builder, node, a, b, b_scale, b_zero, bias)


def _dynamic_matmul(
    builder: Builder, node: Node, a: str, b: str, b_scale: str, b_zero: str, bias: str
) -> bool:
    weight = builder.quantized(b, b_scale, b_zero, -1)
    if weight is None:
        return False
    builder.dynamic = True
    inputs = [builder.ref(a), builder.put_constant(f"{node.outputs[0]}|weight", weight)]
    inputs += [builder.ref(bias)] if bias else []
    builder.emit(node, "MatMul", inputs, list(node.outputs), {}, MatMul=node.outputs[0])
    return True


def _dynamic_lstm(builder: Builder, node: Node) -> bool:
    names = [input_at(node, i) for i in range(12)]
    weights: list[str] = []
    result = next(name for name in node.outputs if name)
    for index, scale, zero in ((1, 8, 9), (2, 10, 11)):
        held = builder.constant(names[index])
        made = builder.quantized(names[index], names[scale], names[zero], 0) if held is not None else None
        if made is None or made.quantized is None:
            return False
        weights.append(builder.put_constant(f"{result}|{index}", _lstm_weight(made)))
    builder.dynamic = True
    rest = [builder.ref(name) for name in names[3:8]]
    builder.emit(node, "LSTM", [builder.ref(names[0]), *weights, *rest], list(node.outputs), node.attributes)
    return True


def _lstm_weight(weight: ConstantValue) -> ConstantValue:
    """[directions, input, 4 hidden] with a scale per direction or gate, back to LSTM's [d, 4 hidden, input]."""
    quantized = weight.quantized
    assert quantized is not None  # noqa: S101 - the caller has checked; mypy cannot see it
    scale, zero = quantized.scale, quantized.zero_point
    if scale.ndim == 2:
        scale = scale[:, None, :]
        zero = zero[:, None, :] if zero is not None and zero.ndim == 2 else zero
    elif scale.size > 1:
        scale = scale.reshape(-1, 1, 1)
        zero = zero.reshape(-1, 1, 1) if zero is not None and zero.size > 1 else zero
    fitted = replace(weight, quantized=replace(quantized, scale=scale, zero_point=zero))
    return fitted.viewed(View(perm=(0, 2, 1)), (weight.shape[0], weight.shape[2], weight.shape[1]))


HANDLERS: dict[tuple[str, str], Handler] = {
    ("", "ConvInteger"): _integer_product("Conv", 0),
    ("", "MatMulInteger"): _integer_product("MatMul", -1),
    (MS, "MatMulIntegerToFloat"): _integer_to_float,
    (MS, "DynamicQuantizeMatMul"): _dynamic_quantize_matmul,
    (MS, "DynamicQuantizeLSTM"): _dynamic_lstm,
}
