"""Faults in what a caller sees: inputs and outputs."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from tests.corpus import graph
from tests.corpus.faults import NoPlaceError, Planted, Subject, fault


def _inner(model: onnx.ModelProto) -> str:
    outputs = {entry.name for entry in model.graph.output}
    node = next(
        (
            n
            for n in model.graph.node
            if n.op_type in ("Relu", "DequantizeLinear", "MatMul", "Conv", "Gemm", "QLinearConv")
            and n.output[0] not in outputs
            and n.input[0] not in graph.initializers(model)
        ),
        None,
    )
    if node is None:
        raise NoPlaceError("no inner tensor")
    return node.output[0]


@fault("i100_hidden_output")
def hidden_output(s: Subject) -> Planted:
    """An inner tensor exposed."""
    model = s.copy()
    name = _inner(model)
    inferred = onnx.shape_inference.infer_shapes(model)
    known = {entry.name: entry.type.tensor_type.elem_type for entry in inferred.graph.value_info}
    if name not in known:
        raise NoPlaceError("type unknown")
    model.graph.output.append(helper.make_tensor_value_info(name, known[name], None))
    return Planted(model, [name])


@fault("i101_copy_of_input_as_output")
def leak_input(s: Subject) -> Planted:
    """The input comes out again under another name."""
    model = s.copy()
    entry = model.graph.input[0]
    model.graph.node.append(helper.make_node("Identity", [entry.name], ["debug"], "leak"))
    fresh = onnx.ValueInfoProto.FromString(entry.SerializeToString())
    fresh.name = "debug"
    model.graph.output.append(fresh)
    return Planted(model, ["debug"])


@fault("i102_extra_input")
def extra_input(s: Subject) -> Planted:
    model = s.copy()
    model.graph.input.append(helper.make_tensor_value_info("control", TensorProto.FLOAT, [1]))
    return Planted(model, ["control"])


@fault("i103_input_renamed")
def input_renamed(s: Subject) -> Planted:
    model = s.copy()
    old = model.graph.input[0].name
    graph.rename_tensor(model, old, old + "_0")
    return Planted(model, [old + "_0", old])


@fault("i104_output_renamed")
def output_renamed(s: Subject) -> Planted:
    model = s.copy()
    old = model.graph.output[0].name
    graph.rename_tensor(model, old, old + "_0")
    return Planted(model, [old + "_0", old])


@fault("i105_output_removed")
def output_removed(s: Subject) -> Planted:
    model = s.copy()
    if len(model.graph.output) < 2:
        raise NoPlaceError("one output")
    name = model.graph.output[-1].name
    del model.graph.output[-1]
    return Planted(model, [name])


@fault("i106_outputs_exchanged")
def outputs_exchanged(s: Subject) -> Planted:
    """Names of two outputs exchanged."""
    model = s.copy()
    if len(model.graph.output) < 2:
        raise NoPlaceError("one output")
    a, b = (entry.name for entry in model.graph.output[:2])
    for node in model.graph.node:
        for position, name in enumerate(node.output):
            node.output[position] = {a: b, b: a}.get(name, name)
        for position, name in enumerate(node.input):
            node.input[position] = {a: b, b: a}.get(name, name)
    shapes = [onnx.TypeProto.FromString(entry.type.SerializeToString()) for entry in model.graph.output[:2]]
    model.graph.output[0].type.CopyFrom(shapes[1])
    model.graph.output[1].type.CopyFrom(shapes[0])
    return Planted(model, [a, b])


@fault("i107_output_type")
def output_type(s: Subject) -> Planted:
    """The output comes out as double."""
    model = s.copy()
    name = model.graph.output[0].name
    node = helper.make_node("Cast", [name + "_true"], [name], "widen", to=TensorProto.DOUBLE)
    graph.insert_before_output(model, name, [node], name + "_true")
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    return Planted(model, [name])


@fault("i108_output_shape")
def output_shape(s: Subject) -> Planted:
    """An axis of one added to the output."""
    import numpy as np

    model = s.copy()
    entry = model.graph.output[0]
    graph.put(model, "new_axis", np.array([1], np.int64))
    node = helper.make_node("Unsqueeze", [entry.name + "_true", "new_axis"], [entry.name], "widen_shape")
    graph.insert_before_output(model, entry.name, [node], entry.name + "_true")
    dims = [d.dim_param or d.dim_value for d in entry.type.tensor_type.shape.dim]
    entry.CopyFrom(
        helper.make_tensor_value_info(entry.name, entry.type.tensor_type.elem_type, [dims[0], 1, *dims[1:]])
    )
    return Planted(model, [entry.name])


@fault("i109_argmax_instead_of_scores")
def argmax(s: Subject) -> Planted:
    """Class numbers come out instead of scores."""
    model = s.copy()
    entry = model.graph.output[0]
    node = helper.make_node("ArgMax", [entry.name + "_true"], [entry.name], "decide", axis=1, keepdims=1)
    graph.insert_before_output(model, entry.name, [node], entry.name + "_true")
    entry.CopyFrom(helper.make_tensor_value_info(entry.name, TensorProto.INT64, None))
    return Planted(model, [entry.name])


@fault("i110_input_type")
def input_type(s: Subject) -> Planted:
    """The input wants double (or int32 for tokens)."""
    model = s.copy()
    entry = model.graph.input[0]
    old = entry.type.tensor_type.elem_type
    new = TensorProto.INT32 if old == TensorProto.INT64 else TensorProto.DOUBLE
    name = entry.name
    for node in model.graph.node:
        for position, used in enumerate(node.input):
            if used == name:
                node.input[position] = name + "_cast"
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([helper.make_node("Cast", [name], [name + "_cast"], "narrow", to=old), *nodes])
    entry.type.tensor_type.elem_type = new
    return Planted(model, [name])


@fault("i111_batch_fixed")
def batch_fixed(s: Subject) -> Planted:
    model = s.copy()
    if not graph.dynamic_batch(model):
        raise NoPlaceError("fixed already")
    for entry in [*model.graph.input, *model.graph.output]:
        entry.type.tensor_type.shape.dim[0].dim_value = 1
    return Planted(model, [model.graph.input[0].name])


@fault("i112_layout_nhwc")
def layout(s: Subject) -> Planted:
    """The input became channels-last."""
    model = s.copy()
    entry = model.graph.input[0]
    dims = [d.dim_param or d.dim_value for d in entry.type.tensor_type.shape.dim]
    if len(dims) != 4:
        raise NoPlaceError("no image")
    name = entry.name
    for node in model.graph.node:
        for position, used in enumerate(node.input):
            if used == name:
                node.input[position] = name + "_nchw"
    nodes = list(model.graph.node)
    del model.graph.node[:]
    made = helper.make_node("Transpose", [name], [name + "_nchw"], "to_nchw", perm=[0, 3, 1, 2])
    model.graph.node.extend([made, *nodes])
    order = [dims[0], dims[2], dims[3], dims[1]]
    entry.CopyFrom(helper.make_tensor_value_info(name, entry.type.tensor_type.elem_type, order))
    return Planted(model, [name])


@fault("i113_input_unused")
def input_unused(s: Subject) -> Planted:
    """The second input is read no more: a constant stands in."""
    import numpy as np

    model = s.copy()
    if len(model.graph.input) < 2:
        raise NoPlaceError("one input")
    entry = model.graph.input[1]
    width = entry.type.tensor_type.shape.dim[-1].dim_value
    graph.put(model, "stand_in", np.zeros((1, width), np.float32))
    users = graph.consumers(model, entry.name)
    at = [entry.name]
    nodes = list(model.graph.node)
    made = helper.make_node("Mul", [entry.name, "stand_in"], [entry.name + "_dead"], "deaden")
    for node in users:
        at.append(graph.label(node))
        for position, used in enumerate(node.input):
            if used == entry.name:
                node.input[position] = entry.name + "_dead"
    del model.graph.node[:]
    model.graph.node.extend([made, *nodes])
    return Planted(model, [*at, "deaden", "stand_in"])


@fault("i114_declared_width_wrong", expected="error")
def declared_width(s: Subject) -> Planted:
    """The declared last axis of the output is not what comes out."""
    model = s.copy()
    entry = model.graph.output[0]
    dims = entry.type.tensor_type.shape.dim
    if not dims or not dims[-1].dim_value:
        raise NoPlaceError("no declared width")
    dims[-1].dim_value += 1
    return Planted(model, [entry.name])
