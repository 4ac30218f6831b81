"""What a generator needs to know about an ONNX graph: quantized weights, quantizers, and how to edit them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WEIGHT_TYPES = {
    TensorProto.INT8,
    TensorProto.UINT8,
    TensorProto.INT4,
    TensorProto.UINT4,
    TensorProto.INT16,
    TensorProto.UINT16,
    TensorProto.FLOAT8E4M3FN,
    TensorProto.FLOAT8E5M2,
}
FLOAT_CONSUMERS = {"Conv", "Gemm", "MatMul", "ConvTranspose", "LSTM", "GRU", "Gather"}


@dataclass(frozen=True)
class Weight:
    """One quantized (or half-precision) weight of a candidate."""

    tensor: str
    scale: str | None
    zero_point: str | None
    node: str
    axis: int | None
    form: str  # qdq, qop, dynamic, nbits, castmul, half


@dataclass(frozen=True)
class Quantizer:
    """One activation quantizer with constant parameters."""

    scale: str
    zero_point: str | None
    tensor: str
    node: str


def clone(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def initializers(model: onnx.ModelProto) -> dict[str, TensorProto]:
    return {tensor.name: tensor for tensor in model.graph.initializer}


def array(model: onnx.ModelProto, name: str) -> np.ndarray:
    return np.array(numpy_helper.to_array(initializers(model)[name]))


def put(model: onnx.ModelProto, name: str, value: np.ndarray) -> None:
    """Replaces (or adds) an initializer by an array, keeping its place in the file."""
    fresh = numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)
    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(fresh)
            return
    model.graph.initializer.append(fresh)


def integers(value: np.ndarray) -> np.ndarray:
    """Any integer array (sub-byte ones too) as int64."""
    return value.astype(np.int32).astype(np.int64) if value.dtype.kind == "V" else value.astype(np.int64)


def attribute(node: onnx.NodeProto, name: str, default: object = None) -> object:
    for entry in node.attribute:
        if entry.name == name:
            return helper.get_attribute_value(entry)
    return default


def set_attribute(node: onnx.NodeProto, name: str, value: object) -> None:
    kept = [entry for entry in node.attribute if entry.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def consumers(model: onnx.ModelProto, tensor: str) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if tensor in node.input]


def producer(model: onnx.ModelProto, tensor: str) -> onnx.NodeProto | None:
    return next((node for node in model.graph.node if tensor in node.output), None)


def label(node: onnx.NodeProto) -> str:
    """The name a finding would use: the node's own, else its first output."""
    return node.name or node.output[0]


def _argument(node: onnx.NodeProto, position: int) -> str | None:
    return node.input[position] if len(node.input) > position and node.input[position] else None


def weights(model: onnx.ModelProto, minimum: int = 8) -> list[Weight]:
    """The quantized weights of a candidate, largest first, whatever the form."""
    stored = initializers(model)
    found = [
        weight
        for node in model.graph.node
        for weight in _weights_of(model, node, stored)
        if weight.tensor in stored and int(np.prod(stored[weight.tensor].dims)) >= minimum
    ]
    unique = {weight.tensor: weight for weight in reversed(found)}
    return sorted(unique.values(), key=lambda w: (-int(np.prod(stored[w.tensor].dims)), w.tensor))


def _weights_of(
    model: onnx.ModelProto, node: onnx.NodeProto, stored: dict[str, TensorProto]
) -> Iterator[Weight]:
    kind = node.op_type
    if kind == "DequantizeLinear" and node.input[0] in stored:
        if stored[node.input[0]].data_type in WEIGHT_TYPES:
            users = consumers(model, node.output[0])
            zero = _argument(node, 2)
            axis = int(attribute(node, "axis", 1)) if stored.get(node.input[1]) is not None else None
            if node.input[1] in stored and int(np.prod(stored[node.input[1]].dims)) <= 1:
                axis = None
            yield Weight(node.input[0], node.input[1], zero, label(users[0] if users else node), axis, "qdq")
    elif kind in ("QLinearConv", "QLinearMatMul", "QGemm"):
        zero = _argument(node, 5)
        yield Weight(
            node.input[3], node.input[4], zero, label(node), 0 if kind == "QLinearConv" else None, "qop"
        )
    elif kind in ("ConvInteger", "MatMulInteger"):
        base = node.input[1].removesuffix("_quantized")
        scale = base + "_scale" if base + "_scale" in stored else None
        yield Weight(node.input[1], scale, _argument(node, 3), label(node), None, "dynamic")
    elif kind == "MatMulNBits":
        yield Weight(node.input[1], node.input[2], _argument(node, 3), label(node), None, "nbits")
    elif kind == "Cast" and node.input[0] in stored and stored[node.input[0]].data_type in WEIGHT_TYPES:
        users = [user for user in consumers(model, node.output[0]) if user.op_type == "Mul"]
        scale = next((name for user in users for name in user.input if name in stored), None)
        yield Weight(node.input[0], scale, None, label(node), 0, "castmul")
    elif kind in FLOAT_CONSUMERS:
        for name in node.input:
            if name in stored and stored[name].data_type in (TensorProto.FLOAT16, TensorProto.BFLOAT16):
                yield Weight(name, None, None, label(node), None, "half")


def float_weights(model: onnx.ModelProto, minimum: int = 8) -> list[tuple[str, onnx.NodeProto]]:
    """Names of float32 initializers used as the weight of a Conv, Gemm or MatMul, with the node."""
    stored = initializers(model)
    found = []
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul", "ConvTranspose") and len(node.input) > 1:
            name = node.input[1]
            tensor = stored.get(name)
            if (
                tensor is not None
                and tensor.data_type == TensorProto.FLOAT
                and np.prod(tensor.dims) >= minimum
            ):
                found.append((name, node))
    return found


def quantizers(model: onnx.ModelProto) -> list[Quantizer]:
    """The activation quantizers with constant scales, in graph order, QOperator outputs included."""
    stored = initializers(model)
    found: dict[str, Quantizer] = {}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] not in stored and node.input[1] in stored:
            entry = Quantizer(node.input[1], _argument(node, 2), node.input[0], label(node))
        elif node.op_type in ("QLinearConv", "QLinearMatMul"):
            entry = Quantizer(node.input[6], _argument(node, 7), node.output[0], label(node))
        elif node.op_type == "QGemm" and _argument(node, 7):
            entry = Quantizer(node.input[7], _argument(node, 8), node.output[0], label(node))
        else:
            continue
        if entry.scale in stored and stored[entry.scale].data_type == TensorProto.FLOAT:
            found.setdefault(entry.scale, entry)
    return list(found.values())


def biases(model: onnx.ModelProto) -> list[tuple[str, str | None, str]]:
    """(tensor, scale, node) of biases: int32 in QDQ and QOperator form, float elsewhere."""
    stored = initializers(model)
    found = []
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in stored:
            if stored[node.input[0]].data_type == TensorProto.INT32:
                users = consumers(model, node.output[0])
                found.append((node.input[0], node.input[1], label(users[0] if users else node)))
        elif node.op_type == "QLinearConv" and _argument(node, 8) in stored:
            found.append((node.input[8], None, label(node)))
        elif node.op_type in ("Conv", "Gemm") and _argument(node, 2) in stored:
            found.append((node.input[2], None, label(node)))
    return found


def rename_tensor(model: onnx.ModelProto, old: str, new: str) -> None:
    """Renames a tensor everywhere in the main graph."""
    for node in model.graph.node:
        for field in (node.input, node.output):
            for position, name in enumerate(field):
                if name == old:
                    field[position] = new
    for group in (model.graph.initializer, model.graph.input, model.graph.output, model.graph.value_info):
        for entry in group:
            if entry.name == old:
                entry.name = new


def insert_before_output(
    model: onnx.ModelProto, output: str, nodes: list[onnx.NodeProto], inner: str
) -> None:
    """Puts ``nodes``, which read ``inner`` and write ``output``, between the graph and its output."""
    for node in model.graph.node:
        for position, name in enumerate(node.output):
            if name == output:
                node.output[position] = inner
        for position, name in enumerate(node.input):
            if name == output:
                node.input[position] = inner
    model.graph.node.extend(nodes)


def opset(model: onnx.ModelProto, domain: str = "") -> int:
    return next((entry.version for entry in model.opset_import if entry.domain in (domain, "ai.onnx")), 0)


def require_domain(model: onnx.ModelProto, domain: str, version: int = 1) -> None:
    if all(entry.domain != domain for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid(domain, version))


def require_opset(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """The model converted to at least that opset of the default domain."""
    if opset(model) >= version:
        return model
    converted = onnx.version_converter.convert_version(model, version)
    for entry in model.opset_import:
        if entry.domain:
            require_domain(converted, entry.domain, entry.version)
    return converted


def dynamic_batch(model: onnx.ModelProto) -> bool:
    dims = model.graph.input[0].type.tensor_type.shape.dim
    return bool(dims) and not dims[0].dim_value
