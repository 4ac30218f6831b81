"""The changes themselves: each takes a model, the graph and the node in it, and says whether it changed anything."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import helper, numpy_helper

Change = Callable[[onnx.ModelProto, onnx.GraphProto, onnx.NodeProto], bool]
QUANTIZERS = {"QuantizeLinear", "DequantizeLinear"}
_LARGE = 4096


def attribute(key: str, value: object) -> Change:
    def change(_: onnx.ModelProto, graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
        kept = [a for a in node.attribute if a.name != key]
        made = helper.make_attribute(key, value)
        same = any(a == made for a in node.attribute)
        del node.attribute[:]
        node.attribute.extend([*kept, made])
        return not same

    return change


def left_out(key: str) -> Change:
    def change(_: onnx.ModelProto, graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
        kept = [a for a in node.attribute if a.name != key]
        del node.attribute[:]
        node.attribute.extend(kept)
        return True

    return change


def constant(position: int) -> Change:
    """Changes one element of a constant operand that is no weight."""

    def change(proto: onnx.ModelProto, graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
        name = node.input[position]
        for holder in (graph, proto.graph):
            for tensor in holder.initializer:
                if tensor.name == name and np.prod(tensor.dims, dtype=int) <= _LARGE:
                    value = _another(numpy_helper.to_array(tensor).copy())
                    if value is not None:
                        tensor.CopyFrom(numpy_helper.from_array(value, name))
                    return value is not None
        maker = next((n for n in graph.node if name in n.output and n.op_type == "Constant"), None)
        if maker is not None and maker.attribute[0].HasField("t"):
            value = _another(numpy_helper.to_array(maker.attribute[0].t).copy())
            if value is not None:
                maker.attribute[0].t.CopyFrom(numpy_helper.from_array(value))
            return value is not None
        return False

    return change


def _another(value: np.ndarray) -> np.ndarray | None:
    if value.size == 0 or value.dtype == object or value.dtype.kind not in "fiub":
        return None
    flat = value.reshape(-1)
    at = value.size // 2
    if value.dtype.kind == "f":
        flat[at] = flat[at] * 1.5 + np.asarray(0.25 if abs(flat[at]) < 1e-3 else 0, value.dtype)
    elif value.dtype == bool:
        flat[at] = not flat[at]
    else:
        flat[at] += 1 if flat[at] < np.iinfo(value.dtype).max else -1
    return value


def outputs(position: int) -> Change:
    def change(_: onnx.ModelProto, graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
        one, two = node.output[position - 1], node.output[position]
        node.output[position - 1], node.output[position] = two, one
        return one != two

    return change


def rewired(position: int, name: str) -> Change:
    """Lets a node read another tensor, unless that is the same one before its quantization."""

    def change(_: onnx.ModelProto, graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
        makers = {output: n for n in graph.node for output in n.output}
        dequantize = makers.get(node.input[position])
        codes = (
            makers.get(dequantize.input[0])
            if dequantize is not None and dequantize.op_type in QUANTIZERS
            else None
        )
        if codes is not None and codes.input[0] == name:
            return False
        node.input[position] = name
        return True

    return change


def dropped(position: int) -> Change:
    def change(_: onnx.ModelProto, graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
        node.input[position] = ""
        while node.input and not node.input[-1]:
            del node.input[-1]
        return bool(node.input)

    return change


def swapped(position: int) -> Change:
    def change(_: onnx.ModelProto, graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
        one, two = node.input[position - 1], node.input[position]
        node.input[position - 1], node.input[position] = two, one
        return one != two

    return change


def operator(op: str) -> Change:
    def change(_: onnx.ModelProto, graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
        node.op_type = op
        return True

    return change


def bypassed(_: onnx.ModelProto, graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    name, output = node.input[0], node.output[0]
    if not name:
        return False
    at = list(graph.node).index(node)
    graph.node.remove(node)
    graph.node.insert(at, helper.make_node("Identity", [name], [output], "gone"))
    return True


def _split_off(graph: onnx.GraphProto, node: onnx.NodeProto) -> tuple[str, str, int]:
    """Lets a node write to another tensor, so that something can stand between it and its readers."""
    output = node.output[0]
    inner = output + "_evil"
    node.output[0] = inner
    return inner, output, list(graph.node).index(node) + 1


def inserted(op: str, value: float) -> Change:
    def change(proto: onnx.ModelProto, graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
        inner, output, at = _split_off(graph, node)
        proto.graph.initializer.append(numpy_helper.from_array(np.float32(value), "evil_value"))
        if op.startswith("Random"):
            graph.node.insert(at, helper.make_node("Add", [inner, "evil_noise"], [output], "evil_add"))
            graph.node.insert(at, helper.make_node(op, [inner], ["evil_noise"], "evil", scale=0.1, seed=2.0))
        else:
            graph.node.insert(at, helper.make_node(op, [inner, "evil_value"], [output], "evil"))
        return True

    return change


def quantizer(scale: float, read: float | None = None) -> Change:
    def change(proto: onnx.ModelProto, graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
        inner, output, at = _split_off(graph, node)
        held = {
            "evil_scale": np.float32(scale),
            "evil_read": np.float32(read or scale),
            "evil_zero": np.int8(0),
        }
        proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), k) for k, v in held.items())
        back = helper.make_node(
            "DequantizeLinear", ["evil_codes", "evil_read", "evil_zero"], [output], "evil_dequantize"
        )
        codes = helper.make_node(
            "QuantizeLinear", [inner, "evil_scale", "evil_zero"], ["evil_codes"], "evil_quantize"
        )
        graph.node.insert(at, back)
        graph.node.insert(at, codes)
        return True

    return change
