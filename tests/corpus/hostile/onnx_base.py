"""A small honest ONNX model, and the tools to spoil it: on the object, or on the bytes where protobuf would not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def base(batch: int | str = "batch") -> onnx.ModelProto:
    """x [batch, 8] to y [batch, 4]: Gemm, Relu, Gemm."""
    rng = np.random.default_rng(0)
    shapes = {"w1": (8, 6), "b1": (6,), "w2": (6, 4), "b2": (4,)}
    weights = [
        numpy_helper.from_array(rng.normal(0, 0.3, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], "first"),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["y"], "second"),
    ]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", FLOAT, [batch, 8])],
        [helper.make_tensor_value_info("y", FLOAT, [batch, 4])],
        weights,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def spoiled(change: Callable[[onnx.ModelProto], None]) -> bytes:
    """The model's bytes after a change."""
    model = base()
    change(model)
    return model.SerializeToString()


def varint(number: int) -> bytes:
    """A protobuf number."""
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number: int, data: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def insert(model: onnx.ModelProto, *nodes: onnx.NodeProto) -> None:
    """Puts nodes between the last Gemm and the output: they read ``y_in`` and write ``y``."""
    model.graph.node[-1].output[0] = "y_in"
    model.graph.node.extend(nodes)


def external(model: onnx.ModelProto, **entries: str) -> onnx.TensorProto:
    """Makes the first weight external data with these keys."""
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return tensor
