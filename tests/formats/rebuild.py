"""A static model written down as ONNX again, so that a runtime can tell whether it was understood."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import TensorProto, helper, numpy_helper

from qgate.formats.model import Constant, Graph, StaticModel, TensorType
from qgate.formats.onnx.dtypes import DTYPES

CODES = {name: code for code, (name, _) in DTYPES.items()}


def model_of(model: StaticModel) -> onnx.ModelProto:
    """The model, functions inlined."""
    imports = [helper.make_opsetid(domain, version) for domain, version in model.opsets.items()]
    return helper.make_model(_graph(model.graph), opset_imports=imports, ir_version=model.ir_version)


def _graph(graph: Graph) -> onnx.GraphProto:
    nodes = []
    for node in graph.nodes:
        made = helper.make_node(node.op, node.inputs, node.outputs, node.name, domain=node.domain)
        made.attribute.extend(helper.make_attribute(k, _value(v)) for k, v in node.attributes.items())
        nodes.append(made)
    held = [_tensor(constant, name) for name, constant in graph.constants.items()]
    return helper.make_graph(nodes, "g", _types(graph.inputs), _types(graph.outputs), held)


def _types(types: tuple[TensorType, ...]) -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info(t.name, CODES[t.dtype], t.shape)
        if t.dtype in CODES
        else onnx.ValueInfoProto(name=t.name)
        for t in types
    ]


def _tensor(constant: Constant, name: str) -> TensorProto:
    if constant.dtype == "string":
        return helper.make_tensor(
            name, TensorProto.STRING, constant.shape, constant.load().reshape(-1).tolist()
        )
    return numpy_helper.from_array(constant.load(), name)


def _value(value: Any) -> Any:
    if isinstance(value, Graph):
        return _graph(value)
    if isinstance(value, Constant):
        return _tensor(value, value.name)
    return [_value(each) for each in value] if isinstance(value, tuple) else value
