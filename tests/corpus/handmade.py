"""Quantizers written here: weight-only forms, other roundings, MatMulNBits packing.

They stand for tools that are not installed: AdaRound, GPTQ and exporters of weight-only models.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.corpus import graph, models

LIMITS = {"int8": (-127, 127), "int4": (-8, 7), "uint4": (0, 15), "uint8": (0, 255)}
DTYPES = {"int8": np.int8, "int4": ml_dtypes.int4, "uint4": ml_dtypes.uint4, "uint8": np.uint8}


def out_axis(node: onnx.NodeProto) -> int:
    """The axis of the output channels in the weight of a Conv, ConvTranspose, Gemm or MatMul."""
    if node.op_type == "Conv":
        return 0
    return 0 if node.op_type == "Gemm" and graph.attribute(node, "transB", 0) else 1


def spread(scale: np.ndarray, value: np.ndarray, axis: int | None) -> np.ndarray:
    if axis is None or scale.ndim == 0:
        return scale
    return scale.reshape([-1 if position == axis else 1 for position in range(value.ndim)])


def symmetric_scale(value: np.ndarray, axis: int | None, top: float) -> np.ndarray:
    others = None if axis is None else tuple(i for i in range(value.ndim) if i != axis)
    return np.asarray(np.maximum(np.abs(value).max(axis=others), 1e-8) / top, np.float32)


def nearest(value: np.ndarray, scale: np.ndarray, axis: int | None, kind: str = "int8") -> np.ndarray:
    low, high = LIMITS[kind]
    return np.clip(np.rint(value.astype(np.float64) / spread(scale, value, axis)), low, high).astype(np.int64)


def adaround(value: np.ndarray, scale: np.ndarray, axis: int | None, kind: str = "int8") -> np.ndarray:
    """Roundings near one half turned where that lowers each output channel's summed error."""
    low, high = LIMITS[kind]
    x = value.astype(np.float64) / spread(scale, value, axis)
    rows = np.moveaxis(x, axis or 0, 0).reshape(x.shape[axis or 0], -1)
    chosen = np.rint(rows)
    for row, q in zip(rows, chosen, strict=True):
        error = q - row
        for j in np.argsort(-np.abs(error))[: max(1, len(row) // 6)]:
            turned = q[j] - np.sign(error[j])
            if abs(error.sum() - np.sign(error[j])) < abs(error.sum()) and low <= turned <= high:
                q[j] = turned
                error[j] = turned - row[j]
    moved = np.moveaxis(x, axis or 0, 0).shape
    return np.clip(np.moveaxis(chosen.reshape(moved), 0, axis or 0), low, high).astype(np.int64)


def gptq(value: np.ndarray, scale: np.ndarray, axis: int, gram: np.ndarray, kind: str) -> np.ndarray:
    """GPTQ on a matrix: each column's error is pushed on to the columns not yet rounded."""
    low, high = LIMITS[kind]
    rows = np.array(value if axis == 0 else value.T, np.float64)
    size = rows.shape[1]
    damped = gram + np.eye(size) * (0.01 * np.trace(gram) / size + 1e-9)
    upper = np.linalg.cholesky(np.linalg.inv(damped)).T
    steps = np.asarray(scale, np.float64).reshape(-1)
    chosen = np.empty_like(rows)
    for j in range(size):
        chosen[:, j] = np.clip(np.rint(rows[:, j] / steps), low, high)
        error = (rows[:, j] - chosen[:, j] * steps) / upper[j, j]
        rows[:, j:] -= np.outer(error, upper[j, j:])
    result = chosen.astype(np.int64)
    return result if axis == 0 else result.T


def gram_matrices(proto: onnx.ModelProto, inputs: models.Arrays) -> dict[str, np.ndarray]:
    """X^T X of the inputs of every Gemm and MatMul with a constant float weight, by weight name."""
    tapped = graph.clone(proto)
    wanted = {
        name: node.input[0] for name, node in graph.float_weights(proto) if node.op_type in ("Gemm", "MatMul")
    }
    have = {entry.name for entry in tapped.graph.output} | {entry.name for entry in tapped.graph.input}
    for tensor in sorted(set(wanted.values()) - have):
        tapped.graph.output.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None))
    values = {**inputs, **models.run(tapped, inputs, 128)}
    flat = {name: values[tensor].reshape(-1, values[tensor].shape[-1]) for name, tensor in wanted.items()}
    return {name: (x.T @ x / len(x)).astype(np.float64) for name, x in flat.items()}


def replace_weight(
    proto: onnx.ModelProto,
    name: str,
    q: np.ndarray,
    scale: np.ndarray,
    axis: int | None,
    kind: str,
    form: str,
) -> None:
    """Puts integers behind DequantizeLinear (``qdq``) or Cast and Mul (``castmul``) in place of a float."""
    stored = np.asarray(q).astype(np.int32).astype(DTYPES[kind])
    keep = [tensor for tensor in proto.graph.initializer if tensor.name != name]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(keep)
    graph.put(proto, name + "_q", stored)
    if form == "castmul":
        graph.put(proto, name + "_scale", np.asarray(spread(scale, q, axis), np.float32))
        made = [
            helper.make_node("Cast", [name + "_q"], [name + "_float"], name + "_cast", to=TensorProto.FLOAT),
            helper.make_node("Mul", [name + "_float", name + "_scale"], [name], name + "_mul"),
        ]
    else:
        graph.put(proto, name + "_scale", np.asarray(scale, np.float32))
        graph.put(proto, name + "_zero_point", np.zeros(np.shape(scale), DTYPES[kind]))
        extra = {} if axis is None else {"axis": axis}
        parts = [name + "_q", name + "_scale", name + "_zero_point"]
        made = [helper.make_node("DequantizeLinear", parts, [name], name + "_dq", **extra)]
    rest = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend([*made, *rest])


def weight_only(
    proto: onnx.ModelProto,
    *,
    kind: str = "int8",
    form: str = "qdq",
    rounding: object = nearest,
    per_channel: bool = True,
) -> onnx.ModelProto:
    """Every Conv, Gemm and MatMul weight as integers; activations stay float."""
    out = graph.require_opset(graph.clone(proto), 21 if kind in ("int4", "uint4") else 13)
    seen: set[str] = set()
    for name, node in graph.float_weights(out, minimum=16):
        if name in seen:
            continue
        seen.add(name)
        value, axis = graph.array(out, name), out_axis(node) if per_channel else None
        scale = symmetric_scale(value, axis, LIMITS[kind][1])
        replace_weight(out, name, rounding(value, scale, axis, kind), scale, axis, kind, form)
    return out


def gptq_weights(model: models.FloatModel, kind: str = "int4") -> onnx.ModelProto:
    """Gemm and MatMul weights by GPTQ, other weights left float."""
    out = graph.require_opset(graph.clone(model.proto), 21)
    for name, gram in gram_matrices(out, model.calibration).items():
        node = next(node for weight, node in graph.float_weights(out) if weight == name)
        value, axis = graph.array(out, name), out_axis(node)
        scale = symmetric_scale(value, axis, LIMITS[kind][1])
        replace_weight(out, name, gptq(value, scale, axis, gram, kind), scale, axis, kind, "qdq")
    return out


def blocked(proto: onnx.ModelProto, *, kind: str = "int8", block: int = 16) -> onnx.ModelProto:
    """Gemm and MatMul weights with one scale a block along the reduction axis (opset 21)."""
    out = graph.require_opset(graph.clone(proto), 21)
    low, high = LIMITS[kind]
    for name, node in graph.float_weights(out, minimum=64):
        value = graph.array(out, name)
        axis = 1 - out_axis(node) if value.ndim == 2 else None
        if axis is None or value.shape[axis] % block or name not in graph.initializers(out):
            continue
        cut = np.moveaxis(value, axis, 0).reshape(value.shape[axis] // block, block, -1)
        scale = np.maximum(np.abs(cut).max(1), 1e-8).astype(np.float32) / np.float32(high)
        q = np.clip(np.rint(cut.astype(np.float64) / scale[:, None]), low, high).reshape(
            value.shape[axis], -1
        )
        replace_weight(out, name, np.moveaxis(q, 0, axis), np.moveaxis(scale, 0, axis), axis, kind, "qdq")
        made = next(node for node in out.graph.node if node.name == name + "_dq")
        graph.set_attribute(made, "block_size", block)
    return out


def float8_weights(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Weights as float8e4m3fn behind DequantizeLinear, one scale a tensor (opset 19)."""
    out = graph.require_opset(graph.clone(proto), 19)
    for name, _ in graph.float_weights(out, minimum=16):
        if name not in graph.initializers(out):
            continue
        value = graph.array(out, name)
        scale = np.float32(np.abs(value).max() / 448.0)
        replace_weight(out, name, np.zeros(1), scale, None, "int8", "qdq")
        graph.put(out, name + "_q", (value / scale).astype(ml_dtypes.float8_e4m3fn))
        graph.put(out, name + "_zero_point", np.zeros((), ml_dtypes.float8_e4m3fn))
    return out


def bfloat16_weights(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Weights stored as bfloat16 behind a Cast."""
    out = graph.clone(proto)
    made = []
    for name, _ in graph.float_weights(out, minimum=16):
        stored = graph.initializers(out).get(name)
        if stored is None:
            continue
        graph.put(out, name, graph.array(out, name).astype(ml_dtypes.bfloat16))
        graph.initializers(out)[name].name = name + "_bf16"
        made.append(helper.make_node("Cast", [name + "_bf16"], [name], name + "_cast", to=TensorProto.FLOAT))
    rest = list(out.graph.node)
    del out.graph.node[:]
    out.graph.node.extend([*made, *rest])
    return out


def pack_nbits(
    value: np.ndarray, block: int, symmetric: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """A [K, N] float matrix as MatMulNBits wants it: packed [N, blocks, block / 2], scales, zero points."""
    columns = value.T.astype(np.float64)
    n, k = columns.shape
    blocks = -(-k // block)
    cut = np.zeros((n, blocks * block))
    cut[:, :k] = columns
    cut = cut.reshape(n, blocks, block)
    if symmetric:
        peak = np.take_along_axis(cut, np.abs(cut).argmax(2)[..., None], 2)[..., 0]
        scale, zero = (peak / -8).astype(np.float32), np.full((n, blocks), 8)
    else:
        low, high = np.minimum(cut.min(2), 0), np.maximum(cut.max(2), 0)
        scale = ((high - low) / 15).astype(np.float32)
        zero = np.clip(np.rint(-low / np.where(scale == 0, 1, scale)), 0, 15).astype(np.int64)
    safe = np.where(scale == 0, 1, scale).astype(np.float64)
    q = np.clip(np.rint(cut / safe[..., None] + zero[..., None]), 0, 15).astype(np.uint8)
    packed = (q[..., 0::2] | (q[..., 1::2] << 4)).astype(np.uint8)
    if symmetric:
        return packed, scale, None
    even = np.zeros((n, blocks + blocks % 2), np.uint8)
    even[:, :blocks] = zero
    return packed, scale, (even[:, 0::2] | (even[:, 1::2] << 4)).astype(np.uint8)


def matmul_nbits(proto: onnx.ModelProto, *, block: int = 32, symmetric: bool = True) -> onnx.ModelProto:
    """Every MatMul with a constant [K, N] weight as com.microsoft MatMulNBits."""
    out = graph.clone(proto)
    graph.require_domain(out, "com.microsoft")
    for name, node in graph.float_weights(out, minimum=64):
        if node.op_type != "MatMul" or name not in graph.initializers(out):
            continue
        value = graph.array(out, name)
        packed, scale, zero = pack_nbits(value, block, symmetric)
        graph.put(out, name + "_Q4", packed)
        graph.put(out, name + "_scales", scale)
        parts = [node.input[0], name + "_Q4", name + "_scales"]
        if zero is not None:
            graph.put(out, name + "_zero_points", zero)
            parts.append(name + "_zero_points")
        sizes = {"K": value.shape[0], "N": value.shape[1], "bits": 4, "block_size": block}
        node.CopyFrom(
            helper.make_node(
                "MatMulNBits", parts, list(node.output), node.name, domain="com.microsoft", **sizes
            )
        )
        keep = [tensor for tensor in out.graph.initializer if tensor.name != name]
        del out.graph.initializer[:]
        out.graph.initializer.extend(keep)
    return out
