"""What each quantized operator stands for in the float view.

A handler returns True when it has dealt with the node; False leaves the node as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.formats.model import Constant, Node
from qgate.quant.constants import (
    FLOATS,
    INTEGER_RANGES,
    Array,
    ConstantValue,
    Quantized,
    View,
    computed,
    plain,
    transposed,
)
from qgate.quant.parameters import coded_origin

if TYPE_CHECKING:
    from qgate.quant.build import Builder

Handler = Callable[["Builder", Node], bool]
MS = "com.microsoft"
_FLOAT_CODES = {1, 10, 11, 16}
# float8 types with their greatest number.
_FLOAT8 = {"float8e4m3fn": 448.0, "float8e4m3fnuz": 240.0, "float8e5m2": 57344.0, "float8e5m2fnuz": 57344.0}
_BITS = {"int4": 4, "uint4": 4, "int2": 2, "uint2": 2, "int16": 16, "uint16": 16, "int32": 32}


def _input(node: Node, index: int) -> str:
    return node.inputs[index] if index < len(node.inputs) else ""


def _constant(builder: Builder, node: Node) -> bool:
    held = _attribute_constant(node)
    if held is None:
        return False
    value = plain(held) if isinstance(held, Constant) else computed(node.outputs[0], held)
    builder.put_constant(node.outputs[0], value)
    return True


def _is_float_cast(node: Node) -> bool:
    """Whether a Cast goes to a float type."""
    return int(node.attribute("to", 0)) in _FLOAT_CODES


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
    builder.alias[node.outputs[0]] = _input(node, 0)
    if _input(node, 0) in builder.coded:
        builder.coded[node.outputs[0]] = builder.coded[_input(node, 0)]
    return True


def _dropout(builder: Builder, node: Node) -> bool:
    training = builder.array(_input(node, 2)) if _input(node, 2) else np.zeros(1)
    if training is None or bool(np.any(training)):
        # Trains, or decides while it runs whether to.
        return False
    return _alias(builder, node)


def _hard_swish(builder: Builder, node: Node) -> bool:
    """x * HardSigmoid(x), which is how ONNX defines it and how optimisers write it."""
    source, inner = builder.ref(_input(node, 0)), f"{node.outputs[0]}|HardSigmoid"
    attributes = {"alpha": 1 / 6, "beta": 0.5}
    gate = replace(node, op="HardSigmoid", outputs=(inner,), attributes=attributes)
    builder.emit(gate, "HardSigmoid", [source], [inner], attributes)
    builder.emit(node, "Mul", [source, inner], list(node.outputs), {})
    return True


def _cast(builder: Builder, node: Node) -> bool:
    source = _input(node, 0)
    if builder.constant(source) is not None:
        return False
    if _is_float_cast(node) and _is_float(builder, source):
        return _alias(builder, node)
    return False


def _is_float(builder: Builder, name: str) -> bool:
    named = builder.graph.types.get(name)
    if named is not None and named.dtype:
        return named.dtype in FLOATS
    maker = builder.makers.get(name)
    integer_makers = ("Shape", "ArgMax", "ArgMin", "Size", "NonZero", "Equal", "Greater", "Less", "Not", "And", "Or",
                      "ConvInteger", "MatMulInteger", "GreaterOrEqual", "LessOrEqual", "TopK")  # fmt: skip
    if maker is not None and maker.op == "Cast":
        return _is_float_cast(maker)
    return maker is not None and maker.op not in integer_makers


def _quantize(builder: Builder, node: Node) -> bool:
    source, scale, zero = _input(node, 0), _input(node, 1), _input(node, 2)
    if builder.constant(scale) is None:
        return False
    held = builder.constant(source)
    if held is not None and held.dtype in FLOATS:
        made = _quantized_on_load(builder, node, held)
        if made is None:
            return False
        builder.put_constant(node.outputs[0], made)
        return True
    builder.mark(node, source, node.outputs[0], scale, zero)
    builder.alias[node.outputs[0]] = source
    return True


def _quantized_on_load(builder: Builder, node: Node, held: ConstantValue) -> ConstantValue | None:
    """A float weight that the graph itself quantizes: the codes that any runtime computes for it."""
    scale, zero = _input(node, 1), _input(node, 2)
    zero_value = builder.constant(zero) if zero else None
    dtype = zero_value.dtype if zero_value is not None else builder.code_type(node, node.outputs[0])
    scales = builder.constant(scale)
    if scales is None or dtype not in {*INTEGER_RANGES, *_FLOAT8}:
        return None
    shape = held.shape
    quantized = Quantized(
        dtype,
        scales.values(),
        None if zero_value is None else zero_value.codes(),
        int(node.attribute("axis", 1)) if scales.size > 1 else None,
        int(node.attribute("block_size", 0)),
        scales.name,
        zero,
        scales.dtype,
    )

    def codes() -> Array:
        step = quantized.spread(quantized.scale, shape)
        if dtype in _FLOAT8:
            return _to_float8(held.values() / step, dtype)
        least, greatest = INTEGER_RANGES[dtype]
        offset = 0 if quantized.zero_point is None else quantized.spread(quantized.zero_point, shape)
        with np.errstate(all="ignore"):
            rounded = np.rint(held.values() / step) + offset
        return np.nan_to_num(np.clip(rounded, least, greatest)).astype(np.int32)

    return ConstantValue(held.name, dtype, shape, codes, _BITS.get(dtype, 8), on_load=True)


def _to_float8(values: Array, dtype: str) -> Array:
    """Saturating, as QuantizeLinear is by default."""
    import ml_dtypes

    kind = getattr(ml_dtypes, dtype.replace("float8e", "float8_e"))
    return np.clip(values, -_FLOAT8[dtype], _FLOAT8[dtype]).astype(kind).astype(np.float32)


def _dequantize(builder: Builder, node: Node) -> bool:
    source, scale, zero = _input(node, 0), _input(node, 1), _input(node, 2)
    if builder.constant(source) is not None and source not in builder.coded:
        made = builder.quantized(
            source, scale, zero, int(node.attribute("axis", 1)), int(node.attribute("block_size", 0))
        )
        if made is None:
            return False
        builder.put_constant(node.outputs[0], made)
        return True
    if builder.constant(scale) is None and scale not in builder.dynamic_of:
        return False
    inputs = {t.name for t in builder.graph.inputs}
    if source not in builder.coded and source not in builder.dynamic_of.values() and source not in inputs:
        gathered = builder.quantize_table(source, scale, zero)
        if not gathered:
            # Codes that no quantizer made: a cast to them is an operation of its own.
            return False
    builder.check_coded(node, source, scale, zero)
    builder.alias[node.outputs[0]] = source
    return True


def _dynamic_quantize(builder: Builder, node: Node) -> bool:
    builder.dynamic = True
    builder.alias[node.outputs[0]] = _input(node, 0)
    builder.dynamic_of.update(dict.fromkeys(node.outputs[1:], node.outputs[0]))
    return True


def _gemm(builder: Builder, node: Node) -> bool:
    a, b, c = (_input(node, i) for i in range(3))
    weight = builder.constant(b)
    if weight is None or node.attribute("transA", 0) or len(weight.shape) != 2:
        return False
    if builder.constant(a) is not None:
        return False
    return _linear(
        builder, node, a, weight, c, float(node.attribute("alpha", 1.0)), float(node.attribute("beta", 1.0))
    )


def _linear(
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
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, b = (_input(node, i) for i in range(9))
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
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = (_input(node, i) for i in range(8))
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
    a, a_scale, a_zero, b, b_scale, b_zero, c, y_scale, y_zero = (_input(node, i) for i in range(9))
    weight = builder.quantized(b, b_scale, b_zero, 0 if node.attribute("transB", 0) else 1)
    if weight is None or node.attribute("transA", 0):
        return False
    builder.check_coded(node, a, a_scale, a_zero)
    alpha = float(node.attribute("alpha", 1.0))
    bias = _bias(builder, node, c, a_scale, weight, alpha) if c else None
    name = builder.put_constant(f"{node.outputs[0]}|c", bias) if bias is not None else ""
    done = _linear(builder, node, a, weight, name, alpha, 1.0)
    if done and y_scale:
        _with_quantized_output(builder, node, y_scale, y_zero)
    return done


def _qlinear_pointwise(op: str, operands: int) -> Handler:
    """QLinearAdd and its kin: operands come as (tensor, scale, zero point), then the output's pair."""

    def handle(builder: Builder, node: Node) -> bool:
        inputs = [_operand(builder, node, 3 * i) for i in range(operands)]
        builder.emit(node, op, inputs, list(node.outputs), node.attributes)
        _with_quantized_output(builder, node, _input(node, 3 * operands), _input(node, 3 * operands + 1))
        return True

    return handle


def _operand(builder: Builder, node: Node, at: int) -> str:
    """The float operand behind the three inputs tensor, scale and zero point that begin at ``at``."""
    name, scale, zero = (_input(node, at + k) for k in range(3))
    made = builder.quantized(name, scale, zero, None) if builder.constant(name) is not None else None
    if made is not None:
        return builder.put_constant(f"{node.outputs[0]}|{name}", made)
    builder.check_coded(node, name, scale, zero)
    return builder.ref(name)


def _qlinear_concat(builder: Builder, node: Node) -> bool:
    inputs = [_operand(builder, node, i) for i in range(2, len(node.inputs), 3)]
    builder.emit(node, "Concat", inputs, list(node.outputs), node.attributes)
    _with_quantized_output(builder, node, _input(node, 0), _input(node, 1))
    return True


def _weight_scale(builder: Builder, name: str, codes: str) -> str | None:
    """The constant scale in a product of the weight's scale and that of the codes it is multiplied with."""
    maker = builder.makers.get(name)
    if maker is None or maker.op != "Mul":
        return None
    constants = [i for i in maker.inputs if builder.constant(i) is not None]
    origin = coded_origin(builder, codes)
    dynamic = [i for i in maker.inputs if builder.dynamic_of.get(i) == origin]
    return constants[0] if len(constants) == 1 and len(dynamic) == 1 else None


def _integer_product(op: str, axis: int) -> Handler:
    """ConvInteger or MatMulInteger, Cast and the Mul with input scale times weight scale."""

    def handle(builder: Builder, node: Node) -> bool:
        x, w, w_zero = _input(node, 0), _input(node, 1), _input(node, 3)
        cast = builder.only_reader(node.outputs[0], "Cast")
        mul = builder.only_reader(cast.outputs[0], "Mul") if cast is not None else None
        if cast is None or mul is None or builder.constant(w) is None:
            return False
        other = next((i for i in mul.inputs if i != cast.outputs[0]), "")
        scale = _weight_scale(builder, other, x)
        if scale is None:
            return False
        weight = builder.quantized(w, scale, w_zero, axis)
        if weight is None:
            return False
        builder.dynamic = True
        builder.absorbed.update((cast.position, mul.position))
        inputs = [builder.ref(x), builder.put_constant(f"{mul.outputs[0]}|weight", weight)]
        attributes = dict(node.attributes) if op == "Conv" else {}
        made = builder.emit(node, op, inputs, [mul.outputs[0]], attributes)
        made.stages[op] = mul.outputs[0]
        builder.known.update((*cast.outputs, *mul.outputs))
        return True

    return handle


def _integer_to_float(builder: Builder, node: Node) -> bool:
    a, b, b_scale, b_zero, bias = (_input(node, i) for i in (0, 1, 3, 5, 6))
    return _dynamic_matmul(builder, node, a, b, b_scale, b_zero, bias)


def _dynamic_quantize_matmul(builder: Builder, node: Node) -> bool:
    a, b, b_scale, b_zero, bias = (_input(node, i) for i in range(5))
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


def _matmul_nbits(builder: Builder, node: Node) -> bool:
    """com.microsoft MatMulNBits: B is [N, blocks, block bytes], packed low half first."""
    k, n = int(node.attribute("K", 0)), int(node.attribute("N", 0))
    bits, block = int(node.attribute("bits", 4)), int(node.attribute("block_size", 0))
    packed, scales = builder.constant(_input(node, 1)), builder.constant(_input(node, 2))
    if (
        packed is None
        or scales is None
        or bits not in (4, 8)
        or block <= 0
        or k <= 0
        or n <= 0
        or _input(node, 4)
    ):
        return False
    blocks = -(-k // block)
    if packed.size != n * blocks * block * bits // 8 or scales.size != n * blocks:
        builder.defect("nbits", "the packed weight does not have the size that K, N, bits and block_size give",
                       node=node.label, tensor=packed.name)  # fmt: skip
        return False
    zero = _nbits_zero_points(builder, _input(node, 3), n, blocks, bits)
    if zero is None:
        return False
    source = packed

    def codes() -> Array:
        return _unpacked(source.codes(), n, bits)[:, :k]

    made = Quantized(
        dtype=f"uint{bits}",
        scale=scales.values().reshape(n, blocks),
        zero_point=zero,
        axis=1,
        block=block,
        scale_name=scales.name,
        zero_name=_input(node, 3),
        scale_dtype=scales.dtype,
    )
    weight = ConstantValue(packed.name, f"uint{bits}", (n, k), codes, bits, made, (), None)
    inputs = [
        builder.ref(_input(node, 0)),
        builder.put_constant(f"{node.outputs[0]}|weight", transposed(weight)),
    ]
    bias = _input(node, 5)
    inputs += [builder.ref(bias)] if bias else []
    builder.emit(node, "MatMul", inputs, list(node.outputs), {}, MatMul=node.outputs[0])
    return True


def _unpacked(packed: Array, rows: int, bits: int) -> Array:
    """Codes by row; two to a byte where they have four bits, the first in the low half."""
    raw = packed.astype(np.uint8).reshape(rows, -1)
    return raw if bits == 8 else np.stack([raw & 15, raw >> 4], axis=-1).reshape(rows, -1)


def _nbits_zero_points(builder: Builder, name: str, n: int, blocks: int, bits: int) -> Array | None:
    """One for each block, by default the middle of the range; None where those of the file do not fit."""
    if not name:
        return np.full((n, blocks), 1 << (bits - 1), np.uint8)
    held = builder.constant(name)
    if held is None:
        return None
    if held.dtype in FLOATS:
        return held.values().reshape(n, blocks) if held.size == n * blocks else None
    if held.size != n * -(-blocks * bits // 8):
        return None
    return _unpacked(held.codes(), n, bits)[:, :blocks]


def _gather_block(builder: Builder, node: Node) -> bool:
    data, indices, scale, zero = (_input(node, i) for i in range(4))
    axis, block = int(node.attribute("quantize_axis", 1)), int(node.attribute("block_size", 128))
    weight = builder.quantized(data, scale, zero, axis, block)
    if weight is not None and weight.dtype == "uint8":
        weight = _packed_table(builder, node, weight, axis, zero)
    if weight is None or weight.dtype not in ("int4", "uint4", "uint8"):
        return False
    inputs = [builder.put_constant(f"{node.outputs[0]}|weight", weight), builder.ref(indices)]
    builder.emit(node, "Gather", inputs, list(node.outputs), {"axis": int(node.attribute("gather_axis", 0))})
    return True


def _packed_table(
    builder: Builder, node: Node, table: ConstantValue, axis: int, zero: str
) -> ConstantValue | None:
    """A table whose bytes hold 8-bit codes or two 4-bit ones, blocked along its last axis."""
    bits, rank = int(node.attribute("bits", 4)), len(table.shape)
    quantized = table.quantized
    if quantized is None or bits not in (4, 8) or axis % max(rank, 1) != rank - 1 or rank < 2:
        return None
    shape = (*table.shape[:-1], table.shape[-1] * 8 // bits)
    rows, blocks = int(np.prod(shape[:-1], dtype=np.int64)), quantized.scale.shape[-1]
    points = _nbits_zero_points(builder, zero, rows, blocks, bits)
    if points is None or quantized.scale.shape[:-1] != shape[:-1]:
        return None
    made = replace(
        quantized, dtype=f"uint{bits}", zero_point=points.reshape(quantized.scale.shape), axis=rank - 1
    )
    return ConstantValue(
        table.name, made.dtype, shape, lambda: _unpacked(table.codes(), rows, bits).reshape(shape), bits, made
    )


def _dynamic_lstm(builder: Builder, node: Node) -> bool:
    names = [_input(node, i) for i in range(12)]
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
    ("*", "QuantizeLinear"): _quantize,
    ("*", "DequantizeLinear"): _dequantize,
    ("", "DynamicQuantizeLinear"): _dynamic_quantize,
    ("", "Gemm"): _gemm,
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
    ("", "ConvInteger"): _integer_product("Conv", 0),
    ("", "MatMulInteger"): _integer_product("MatMul", -1),
    (MS, "MatMulIntegerToFloat"): _integer_to_float,
    (MS, "DynamicQuantizeMatMul"): _dynamic_quantize_matmul,
    (MS, "DynamicQuantizeLSTM"): _dynamic_lstm,
    (MS, "MatMulNBits"): _matmul_nbits,
    (MS, "GatherBlockQuantized"): _gather_block,
    (MS, "FusedConv"): _fused("Conv"),
    (MS, "FusedGemm"): _fused("Gemm"),
}
