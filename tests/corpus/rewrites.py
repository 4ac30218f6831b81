"""Float rewrites that keep the function: other words, equalisation, SmoothQuant, bias correction."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.corpus import graph, handmade, models


def gemm_as_matmul(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Gemm rewritten as MatMul and Add: the same float function in another exporter's words."""
    out = graph.clone(proto)
    nodes = []
    for node in out.graph.node:
        if node.op_type != "Gemm" or node.input[1] not in graph.initializers(out):
            nodes.append(node)
            continue
        value = graph.array(out, node.input[1])
        name = node.input[1] + "_kn"
        graph.put(out, name, value.T if graph.attribute(node, "transB", 0) else value)
        inner = node.output[0] + "_product"
        nodes.append(helper.make_node("MatMul", [node.input[0], name], [inner], node.name + "_matmul"))
        nodes.append(helper.make_node("Add", [inner, node.input[2]], [node.output[0]], node.name + "_bias"))
    used = {name for node in nodes for name in node.input}
    keep = [tensor for tensor in out.graph.initializer if tensor.name in used]
    del out.graph.node[:], out.graph.initializer[:]
    out.graph.node.extend(nodes)
    out.graph.initializer.extend(keep)
    return out


def equalised(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Cross-layer equalisation over every Conv, Relu, Conv and Gemm, Relu, Gemm chain."""
    out = graph.clone(proto)
    by_input = {node.input[0]: node for node in out.graph.node if node.input}
    for first in list(out.graph.node):
        relu = by_input.get(first.output[0])
        second = by_input.get(relu.output[0]) if relu is not None and relu.op_type == "Relu" else None
        if second is None or first.op_type not in ("Conv", "Gemm") or second.op_type != first.op_type:
            continue
        if len(graph.consumers(out, relu.output[0])) != 1 or graph.attribute(second, "group", 1) != 1:
            continue
        w1, w2 = graph.array(out, first.input[1]), graph.array(out, second.input[1])
        a1 = handmade.out_axis(first)
        a2 = 1 - handmade.out_axis(second)
        r1 = np.abs(np.moveaxis(w1, a1, 0)).reshape(w1.shape[a1], -1).max(1)
        r2 = np.abs(np.moveaxis(w2, a2, 0)).reshape(w2.shape[a2], -1).max(1)
        factor = np.sqrt(np.maximum(r1, 1e-6) / np.maximum(r2, 1e-6)).clip(0.1, 10).astype(np.float32)
        graph.put(out, first.input[1], (w1 / handmade.spread(factor, w1, a1)).astype(np.float32))
        graph.put(out, second.input[1], (w2 * handmade.spread(factor, w2, a2)).astype(np.float32))
        if len(first.input) > 2:
            graph.put(out, first.input[2], (graph.array(out, first.input[2]) / factor).astype(np.float32))
    return out


def activation_aware(model: models.FloatModel, top: float = 7) -> onnx.ModelProto:
    """AWQ (Lin et al. 2023, arXiv:2306.00978): inputs that matter are multiplied before their weights are rounded.

    For each Conv or Gemm, Relu, Conv or Gemm the factors are the mean magnitudes of the second's inputs to a power
    that a grid of eleven gives the least error of its weights, weighed by the inputs' squares.
    """
    out = graph.clone(model.proto)
    by_input = {node.input[0]: node for node in out.graph.node if node.input}
    chains = []
    for first in out.graph.node:
        relu = by_input.get(first.output[0])
        second = by_input.get(relu.output[0]) if relu is not None and relu.op_type == "Relu" else None
        if second is None or first.op_type not in ("Conv", "Gemm") or second.op_type != first.op_type:
            continue
        if len(graph.consumers(out, relu.output[0])) == 1 and graph.attribute(second, "group", 1) == 1:
            chains.append((first, relu.output[0], second))
    tapped = graph.clone(model.proto)
    have = {entry.name for entry in tapped.graph.output}
    for _, tensor, _ in chains:
        if tensor not in have:
            tapped.graph.output.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None))
    seen = models.run(tapped, model.calibration, 64)
    for first, tensor, second in chains:
        w1, w2 = graph.array(out, first.input[1]), graph.array(out, second.input[1])
        a1, a2 = handmade.out_axis(first), 1 - handmade.out_axis(second)
        inputs = np.moveaxis(seen[tensor], 1, 0).reshape(seen[tensor].shape[1], -1)
        mean, power = np.abs(inputs).mean(1) + 1e-6, np.square(inputs).mean(1) + 1e-12

        def error(factor: np.ndarray, w: np.ndarray = w2, a: int = a2, p: np.ndarray = power) -> float:
            wide = handmade.spread(factor, w, a)
            scale = handmade.symmetric_scale(w * wide, 1 - a, top)
            step = handmade.spread(scale, w, 1 - a)
            left = np.rint(w * wide / step) * step / wide - w
            return float(np.sum(np.square(left) * handmade.spread(p, w, a)))

        powers = [mean**alpha for alpha in np.linspace(0, 1, 11)]
        factor = min((f / np.sqrt(f.max() * f.min()) for f in powers), key=error).astype(np.float32)
        graph.put(out, first.input[1], (w1 / handmade.spread(factor, w1, a1)).astype(np.float32))
        graph.put(out, second.input[1], (w2 * handmade.spread(factor, w2, a2)).astype(np.float32))
        if len(first.input) > 2:
            graph.put(out, first.input[2], (graph.array(out, first.input[2]) / factor).astype(np.float32))
    return out


def smoothed(model: models.FloatModel, alpha: float = 0.5) -> onnx.ModelProto:
    """SmoothQuant: activation outliers moved from a LayerNorm's gain into the MatMuls that read it."""
    out = graph.clone(model.proto)
    stored = graph.initializers(out)
    norms = [node for node in out.graph.node if node.op_type == "LayerNormalization"]
    tapped = graph.clone(out)
    for node in norms:
        tapped.graph.output.append(helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None))
    seen = models.run(tapped, model.calibration, 128)
    for node in norms:
        users = graph.consumers(out, node.output[0])
        if not users or any(user.op_type != "MatMul" or user.input[1] not in stored for user in users):
            continue
        peak = np.abs(seen[node.output[0]]).reshape(-1, seen[node.output[0]].shape[-1]).max(0)
        mass = np.max([np.abs(graph.array(out, user.input[1])).max(1) for user in users], 0)
        factor = (np.maximum(peak, 1e-5) ** alpha / np.maximum(mass, 1e-5) ** (1 - alpha)).astype(np.float32)
        for name in node.input[1:3]:
            graph.put(out, name, graph.array(out, name) / factor)
        for user in users:
            graph.put(out, user.input[1], graph.array(out, user.input[1]) * factor[:, None])
    return out


def bias_corrected(model: models.FloatModel, candidate: onnx.ModelProto) -> onnx.ModelProto:
    """The int32 bias before each output moved by the mean error there, in whole steps (QDQ form)."""
    out = graph.clone(candidate)
    want, got = models.run(model.proto, model.calibration), models.run(candidate, model.calibration)
    known = {tensor: scale for tensor, scale, _ in graph.biases(out) if scale}
    for entry in model.proto.graph.output:
        last = next((n for n in model.proto.graph.node if entry.name in n.output), None)
        if last is None or last.op_type not in ("Gemm", "Conv") or len(last.input) < 3:
            continue
        tensor = last.input[2] + "_quantized"
        if tensor in known:
            shift = (want[entry.name] - got[entry.name]).mean(0)
            steps = np.rint(shift / graph.array(out, known[tensor]))
            graph.put(out, tensor, (graph.array(out, tensor) + steps).astype(np.int32))
    return out


def typed_fields(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Float initializers in typed fields instead of raw bytes."""
    out = graph.clone(proto)
    for tensor in out.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            value = numpy_helper.to_array(tensor)
            tensor.CopyFrom(
                helper.make_tensor(tensor.name, tensor.data_type, value.shape, value.ravel().tolist())
            )
    return out
