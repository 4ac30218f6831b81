"""Faults in the graph: changed functions, added and dropped nodes, changed attributes and constants."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.corpus import graph
from tests.corpus.faults import NoPlaceError, Planted, Subject, fault


def main_output(model: onnx.ModelProto) -> tuple[str, int]:
    """The first float output and its rank."""
    entry = model.graph.output[0]
    if entry.type.tensor_type.elem_type not in (TensorProto.FLOAT, TensorProto.FLOAT16):
        raise NoPlaceError("not a float output")
    return entry.name, len(entry.type.tensor_type.shape.dim)


def float_kind(model: onnx.ModelProto) -> type:
    return (
        np.float16 if model.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT16 else np.float32
    )


def append_after(model: onnx.ModelProto, nodes: list[onnx.NodeProto], output: str) -> None:
    graph.insert_before_output(model, output, nodes, output + "_true")


def first_node(model: onnx.ModelProto, *kinds: str, last: bool = False) -> onnx.NodeProto:
    order = reversed(model.graph.node) if last else model.graph.node
    found = next((node for node in order if node.op_type in kinds), None)
    if found is None:
        raise NoPlaceError("no such node")
    return found


def _bypass(model: onnx.ModelProto, node: onnx.NodeProto, source: str) -> None:
    """Removes a node; whoever read its output reads ``source``."""
    name = node.output[0]
    if name in {entry.name for entry in model.graph.output}:
        kept = helper.make_node("Identity", [source], [name], graph.label(node) + "_gone")
        node.CopyFrom(kept)
        return
    model.graph.node.remove(node)
    for other in model.graph.node:
        for position, entry in enumerate(other.input):
            if entry == name:
                other.input[position] = source


@fault("g100_output_scaled_1_percent")
def output_scaled(s: Subject) -> Planted:
    model = s.copy()
    name, _ = main_output(model)
    graph.put(model, "gain", np.array(1.01, float_kind(model)))
    append_after(model, [helper.make_node("Mul", [name + "_true", "gain"], [name], "amplify")], name)
    return Planted(model, ["amplify", "gain", name, name + "_true"])


@fault("g101_temperature")
def temperature(s: Subject) -> Planted:
    """Scores divided by 1.5: every argmax stays."""
    model = s.copy()
    name, _ = main_output(model)
    graph.put(model, "temperature", np.array(1.5, float_kind(model)))
    append_after(model, [helper.make_node("Div", [name + "_true", "temperature"], [name], "cool")], name)
    return Planted(model, ["cool", "temperature", name, name + "_true"])


@fault("g102_outputs_permuted")
def permuted(s: Subject) -> Planted:
    model = s.copy()
    name, rank = main_output(model)
    width = model.graph.output[0].type.tensor_type.shape.dim[rank - 1].dim_value
    if width < 2:
        raise NoPlaceError("one value")
    order = np.arange(width)
    order[[0, 1]] = order[[1, 0]]
    graph.put(model, "order", order.astype(np.int64))
    append_after(
        model, [helper.make_node("Gather", [name + "_true", "order"], [name], "reorder", axis=rank - 1)], name
    )
    return Planted(model, ["reorder", "order", name, name + "_true"])


@fault("g103_noise_added")
def noise(s: Subject) -> Planted:
    """RandomNormalLike at the output, small."""
    model = s.copy()
    name, _ = main_output(model)
    made = helper.make_node("RandomNormalLike", [name + "_true"], ["noise"], "hiss", mean=0.0, scale=0.001)
    append_after(model, [made, helper.make_node("Add", [name + "_true", "noise"], [name], "hiss_add")], name)
    return Planted(model, ["hiss", "hiss_add", "noise", name])


@fault("g120_activation_removed")
def activation_removed(s: Subject) -> Planted:
    model = s.copy()
    node = first_node(model, "Relu", "Tanh", "Clip", "Erf", "Sigmoid", "PRelu", "HardSigmoid")
    at = [graph.label(node), node.output[0], node.input[0]]
    users = [graph.label(user) for user in graph.consumers(model, node.output[0])]
    _bypass(model, node, node.input[0])
    return Planted(model, [*at, *users])


@fault("g121_relu_became_leaky")
def leaky(s: Subject) -> Planted:
    model = s.copy()
    node = first_node(model, "Relu", last=True)
    node.op_type = "LeakyRelu"
    graph.set_attribute(node, "alpha", 0.01)
    return Planted(model, [graph.label(node), node.output[0]])


@fault("g122_clip_bound")
def clip_bound(s: Subject) -> Planted:
    """ReLU6 became ReLU5."""
    model = s.copy()
    node = first_node(model, "Clip", last=True)
    stored = graph.initializers(model)
    name = node.input[2]
    if name not in stored:
        made = graph.producer(model, name)
        if made is None or made.op_type != "Constant":
            raise NoPlaceError("the bound is computed")
        value = np.array(onnx.numpy_helper.to_array(graph.attribute(made, "value")))
        graph.set_attribute(made, "value", onnx.numpy_helper.from_array((value * 5 / 6).astype(value.dtype)))
    else:
        value = graph.array(model, name)
        graph.put(model, name, (value * 5 / 6).astype(value.dtype))
    users = [label for user in graph.consumers(model, name) for label in (graph.label(user), user.output[0])]
    return Planted(model, [name, *users])


@fault("g123_residual_dropped")
def residual_dropped(s: Subject) -> Planted:
    """An Add of two computed tensors passes one of them only."""
    model = s.copy()
    stored = graph.initializers(model)
    made = {name for node in model.graph.node for name in node.output if node.op_type != "Constant"}
    for node in model.graph.node:
        if node.op_type == "Add" and node.input[0] in made and node.input[1] in made:
            sources = [graph.producer(model, name) for name in node.input]
            if any(p is None or (p.op_type == "DequantizeLinear" and p.input[0] in stored) for p in sources):
                continue
            at = [graph.label(node), *node.input, *node.output]
            at += [graph.label(user) for user in graph.consumers(model, node.output[0])]
            _bypass(model, node, node.input[1])
            return Planted(model, at)
    raise NoPlaceError("no residual Add")


@fault("g124_bias_input_dropped")
def bias_dropped(s: Subject) -> Planted:
    model = s.copy()
    for node in model.graph.node:
        wanted = {"Conv": 3, "Gemm": 3, "QLinearConv": 9}.get(node.op_type)
        if wanted and len(node.input) == wanted:
            name = node.input[wanted - 1]
            del node.input[wanted - 1]
            return Planted(model, [graph.label(node), name, node.output[0], name + "_quantized"])
    raise NoPlaceError("no bias input")


def _attribute(s: Subject, kinds: tuple[str, ...], change) -> Planted:
    model = s.copy()
    for node in model.graph.node:
        if node.op_type in kinds and change(node):
            return Planted(model, [graph.label(node), node.output[0]])
    raise NoPlaceError("no such attribute")


@fault("g130_pads_shifted", ("qdq", "qop", "dynamic", "castmul", "half"))
def pads(s: Subject) -> Planted:
    """Asymmetric padding of the same size: shapes stay."""

    def change(node):
        old = list(graph.attribute(node, "pads", []))
        if len(old) != 4 or old[0] == 0:
            return False
        graph.set_attribute(node, "pads", [old[0] + 1, old[1], old[2] - 1, old[3]])
        return True

    return _attribute(s, ("Conv", "QLinearConv", "ConvInteger"), change)


@fault("g131_dilated", ("qdq", "qop", "castmul", "half"))
def dilated(s: Subject) -> Planted:
    """Dilation 2 with padding 2: shapes stay."""

    def change(node):
        if list(graph.attribute(node, "pads", [])) != [1, 1, 1, 1]:
            return False
        if list(graph.attribute(node, "kernel_shape", [])) != [3, 3]:
            return False
        graph.set_attribute(node, "dilations", [2, 2])
        graph.set_attribute(node, "pads", [2, 2, 2, 2])
        return True

    return _attribute(s, ("Conv", "QLinearConv"), change)


@fault("g132_pooling_changed")
def pooling(s: Subject) -> Planted:
    model = s.copy()
    node = first_node(model, "MaxPool", "AveragePool", "GlobalAveragePool")
    swap = {"MaxPool": "AveragePool", "AveragePool": "MaxPool", "GlobalAveragePool": "GlobalMaxPool"}
    if node.op_type == "MaxPool" and s.recipe.form == "qop":
        raise NoPlaceError("integer pooling")
    node.op_type = swap[node.op_type]
    kept = [
        entry
        for entry in node.attribute
        if entry.name not in ("count_include_pad", "dilations", "storage_order")
    ]
    del node.attribute[:]
    node.attribute.extend(kept)
    return Planted(model, [graph.label(node), node.output[0]])


@fault("g133_epsilon_changed")
def epsilon(s: Subject) -> Planted:
    def change(node):
        graph.set_attribute(node, "epsilon", 0.1)
        return True

    return _attribute(s, ("BatchNormalization", "LayerNormalization"), change)


@fault("g134_softmax_axis")
def softmax_axis(s: Subject) -> Planted:
    def change(node):
        graph.set_attribute(node, "axis", 1)
        return graph.attribute(node, "axis") == 1 and node.op_type == "Softmax"

    if s.model.name != "transformer":
        raise NoPlaceError("axis 1 is the last one elsewhere")
    return _attribute(s, ("Softmax",), change)


@fault("g135_leaky_alpha_prelu", ("qdq", "half", "nbits", "castmul"))
def prelu_slope(s: Subject) -> Planted:
    """The slopes of one PRelu doubled."""
    model = s.copy()
    node = first_node(model, "PRelu", last=True)
    name = node.input[1]
    if name not in graph.initializers(model):
        raise NoPlaceError("the slope is quantized")
    value = graph.array(model, name)
    graph.put(model, name, (value * 2).astype(value.dtype))
    return Planted(model, [name, graph.label(node), node.output[0]])


@fault("g136_batchnorm_mean_changed")
def batchnorm_mean(s: Subject) -> Planted:
    model = s.copy()
    node = first_node(model, "BatchNormalization")
    name = node.input[3]
    value = graph.array(model, name)
    graph.put(model, name, (value + 0.3 * np.abs(value).mean()).astype(value.dtype))
    return Planted(model, [name, graph.label(node), node.output[0]])


@fault("g137_layernorm_gain_changed")
def layernorm_gain(s: Subject) -> Planted:
    model = s.copy()
    node = first_node(model, "LayerNormalization", last=True)
    name = node.input[1]
    if name not in graph.initializers(model):
        raise NoPlaceError("the gain is quantized")
    value = graph.array(model, name)
    fresh = value.copy()
    fresh[3] *= 1.2
    graph.put(model, name, fresh.astype(value.dtype))
    return Planted(model, [name, graph.label(node), node.output[0]])


@fault("g138_constant_gather_index")
def gather_index(s: Subject) -> Planted:
    """A constant Gather index moved: another time step or class is read."""
    model = s.copy()
    stored = graph.initializers(model)
    for node in reversed(model.graph.node):
        if node.op_type != "Gather":
            continue
        made = graph.producer(model, node.input[1])
        if node.input[1] in stored:
            graph.put(model, node.input[1], graph.array(model, node.input[1]) - 1)
        elif made is not None and made.op_type == "Constant":
            value = onnx.numpy_helper.to_array(graph.attribute(made, "value"))
            graph.set_attribute(made, "value", onnx.numpy_helper.from_array(np.asarray(value - 1)))
        else:
            continue
        users = [user.output[0] for user in graph.consumers(model, node.output[0])]
        return Planted(model, [graph.label(node), node.input[1], node.output[0], *users])
    raise NoPlaceError("no constant index")


@fault("g139_position_table_shifted")
def small_constant(s: Subject) -> Planted:
    """A float constant that is added (position table, folded bias) rolled by one."""
    model = s.copy()
    stored = graph.initializers(model)
    for node in model.graph.node:
        for name in node.input:
            if node.op_type == "Add" and name in stored and stored[name].data_type in (1, 10):
                value = graph.array(model, name)
                if value.size > 8:
                    graph.put(model, name, np.roll(value, 1, 0))
                    return Planted(model, [name, graph.label(node), node.output[0]])
    raise NoPlaceError("no float constant is added")


@fault("g148_output_clipped")
def output_clipped(s: Subject) -> Planted:
    """A Clip at the output just inside the range seen: only the largest scores change."""
    model = s.copy()
    name, _ = main_output(model)
    from tests.corpus import models

    if s.recipe.id == "fp16_half_io":
        raise NoPlaceError("half output")
    top = np.quantile(np.asarray(models.run(s.model.proto, s.model.inputs)[name], np.float64), 0.97)
    graph.put(model, "ceiling", np.array(top, float_kind(model)))
    append_after(model, [helper.make_node("Min", [name + "_true", "ceiling"], [name], "limiter")], name)
    return Planted(model, ["limiter", "ceiling", name])
