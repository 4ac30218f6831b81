"""Small models in ONNX text, their float views, and the float model that a view stands for.

A float view is right if the model that it describes computes what the quantized file computes. ``twin``
writes a view down as an ordinary float model, so that a runtime can say so.
"""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from qgate.formats.read import read_model
from qgate.quant.build import float_view
from qgate.quant.floatgraph import FloatGraph

MS = "com.microsoft"
_OPERANDS = {"Clip": ("min", "max"), "ReduceMean": ("axes",), "Squeeze": ("axes",), "Unsqueeze": ("axes",)}


def model(text: str, opset: int = 21, ir: int = 10, **initializers: object) -> onnx.ModelProto:
    """A model from the text of its graph and its initializers by name."""
    domains = f'"" : {opset}, "{MS}" : 1'
    proto = onnx.parser.parse_model(f"<ir_version: {ir}, opset_import: [{domains}]> {text}")
    for name, values in initializers.items():
        proto.graph.initializer.append(tensor(name, values))
    return proto


def tensor(name: str, values: object) -> TensorProto:
    if isinstance(values, TensorProto):
        return values
    if isinstance(values, float):
        values = np.float32(values)
    return numpy_helper.from_array(np.asarray(values), name)


def half_bytes(values: np.ndarray, kind: str) -> np.ndarray:
    """int4 or uint4 values as the array type that onnx stores as such."""
    return np.asarray(values).astype(getattr(ml_dtypes, kind))


def save(proto: onnx.ModelProto, folder: Path, name: str = "model") -> Path:
    path = folder / f"{name}.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def view_of(proto: onnx.ModelProto, folder: Path, name: str = "model", **options: bool) -> FloatGraph:
    return float_view(read_model(save(proto, folder, name)), **options)


def run(proto: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """What ONNX Runtime computes, node by node as the file says."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def twin(view: FloatGraph, opset: int = 17) -> onnx.ModelProto:
    """The float model that a view describes."""
    nodes, held = [], []
    for name, value in view.constants.items():
        values = value.values()
        values = values.astype(np.float32) if values.dtype == np.float64 else values
        held.append(numpy_helper.from_array(np.ascontiguousarray(values).reshape(value.shape), name))
    for number, node in enumerate(view.nodes):
        inputs, attributes = list(node.inputs), {}
        for key, setting in node.attributes.items():
            if key in _OPERANDS.get(node.op, ()):
                position = 1 + _OPERANDS[node.op].index(key)
                inputs += [""] * (position + 1 - len(inputs))
                inputs[position] = f"operand|{number}|{key}"
                kind = np.int64 if key == "axes" else np.float32
                values = np.atleast_1d(setting).astype(kind) if key == "axes" else np.asarray(setting, kind)
                held.append(numpy_helper.from_array(values, inputs[position]))
            else:
                attributes[key] = list(setting) if isinstance(setting, tuple) else setting
        for key in ("strides", "pads", "axes", "dilations", "activations"):
            if key in attributes and not isinstance(attributes[key], list):
                attributes[key] = [attributes[key]]
        outputs = list(node.outputs)
        if node.op == "MatMul" and len(inputs) == 3:
            nodes.append(helper.make_node("MatMul", inputs[:2], [f"{outputs[0]}|product"]))
            nodes.append(helper.make_node("Add", [f"{outputs[0]}|product", inputs[2]], outputs))
        else:
            nodes.append(helper.make_node(node.op, inputs, outputs, domain=node.domain, **attributes))
    for name, ref in view.outputs:
        if name != ref:
            nodes.append(helper.make_node("Identity", [ref], [name]))
    inputs_ = [
        helper.make_tensor_value_info(
            t.name, TensorProto.INT64 if t.dtype == "int64" else TensorProto.FLOAT, None
        )
        for t in view.inputs
    ]
    outputs_ = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name, _ in view.outputs]
    graph = helper.make_graph(nodes, "twin", inputs_, outputs_, held)
    domains = [helper.make_opsetid("", opset), helper.make_opsetid(MS, 1)]
    return helper.make_model(graph, ir_version=10, opset_imports=domains)
