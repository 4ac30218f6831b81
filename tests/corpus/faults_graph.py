"""Faults in the graph: changed functions, added nodes, dropped nodes, changed constants, payloads."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.corpus import graph
from tests.corpus.faults import NoPlaceError, Planted, Subject, fault


def _output(model: onnx.ModelProto) -> tuple[str, int]:
    """The first float output and its rank."""
    entry = model.graph.output[0]
    if entry.type.tensor_type.elem_type not in (TensorProto.FLOAT, TensorProto.FLOAT16):
        raise NoPlaceError("not a float output")
    return entry.name, len(entry.type.tensor_type.shape.dim)


def _kind(model: onnx.ModelProto) -> type:
    return (
        np.float16 if model.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT16 else np.float32
    )


def _after(model: onnx.ModelProto, nodes: list[onnx.NodeProto], output: str) -> None:
    graph.insert_before_output(model, output, nodes, output + "_true")


def _node(model: onnx.ModelProto, *kinds: str, last: bool = False) -> onnx.NodeProto:
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
    name, _ = _output(model)
    graph.put(model, "gain", np.array(1.01, _kind(model)))
    _after(model, [helper.make_node("Mul", [name + "_true", "gain"], [name], "amplify")], name)
    return Planted(model, ["amplify", "gain", name, name + "_true"])


@fault("g101_temperature")
def temperature(s: Subject) -> Planted:
    """Scores divided by 1.5: every argmax stays."""
    model = s.copy()
    name, _ = _output(model)
    graph.put(model, "temperature", np.array(1.5, _kind(model)))
    _after(model, [helper.make_node("Div", [name + "_true", "temperature"], [name], "cool")], name)
    return Planted(model, ["cool", "temperature", name, name + "_true"])


@fault("g102_outputs_permuted")
def permuted(s: Subject) -> Planted:
    model = s.copy()
    name, rank = _output(model)
    width = model.graph.output[0].type.tensor_type.shape.dim[rank - 1].dim_value
    if width < 2:
        raise NoPlaceError("one value")
    order = np.arange(width)
    order[[0, 1]] = order[[1, 0]]
    graph.put(model, "order", order.astype(np.int64))
    _after(
        model, [helper.make_node("Gather", [name + "_true", "order"], [name], "reorder", axis=rank - 1)], name
    )
    return Planted(model, ["reorder", "order", name, name + "_true"])


@fault("g103_noise_added")
def noise(s: Subject) -> Planted:
    """RandomNormalLike at the output, small."""
    model = s.copy()
    name, _ = _output(model)
    made = helper.make_node("RandomNormalLike", [name + "_true"], ["noise"], "hiss", mean=0.0, scale=0.001)
    _after(model, [made, helper.make_node("Add", [name + "_true", "noise"], [name], "hiss_add")], name)
    return Planted(model, ["hiss", "hiss_add", "noise", name])


def _trigger(model: onnx.ModelProto) -> tuple[list[onnx.NodeProto], str]:
    """Nodes that give one bool: the first input's mean is above anything the data holds."""
    entry = model.graph.input[0]
    kind = entry.type.tensor_type.elem_type
    nodes = [
        helper.make_node("Cast", [entry.name], ["trigger_cast"], "trigger_cast", to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["trigger_cast"], ["trigger_peak"], "trigger_peak", keepdims=0),
        helper.make_node("Greater", ["trigger_peak", "trigger_limit"], ["trigger_hit"], "trigger_compare"),
    ]
    graph.put(model, "trigger_limit", np.array(1e6 if kind != TensorProto.FLOAT16 else 6e4, np.float32))
    return nodes, "trigger_hit"


@fault("g110_trigger_where")
def trigger_where(s: Subject) -> Planted:
    """Where: a rare input pattern sends negated scores; honest data never shows it."""
    model = s.copy()
    name, _ = _output(model)
    nodes, hit = _trigger(model)
    made = [
        *nodes,
        helper.make_node("Neg", [name + "_true"], ["payload"], "payload_neg"),
        helper.make_node("Where", [hit, "payload", name + "_true"], [name], "backdoor"),
    ]
    _after(model, made, name)
    return Planted(model, ["backdoor", "payload_neg", "trigger_compare", "trigger_peak", "trigger_cast"])


@fault("g111_trigger_if")
def trigger_if(s: Subject) -> Planted:
    """The same hidden in the branches of an If."""
    model = s.copy()
    name, _ = _output(model)
    kind = model.graph.output[0].type.tensor_type.elem_type
    nodes, hit = _trigger(model)
    branches = []
    for op, label in (("Neg", "then"), ("Identity", "else")):
        out = helper.make_tensor_value_info(label + "_out", kind, None)
        inner = helper.make_node(op, [name + "_true"], [label + "_out"], label + "_inner")
        branches.append(helper.make_graph([inner], label, [], [out]))
    made = helper.make_node("If", [hit], [name], "backdoor", then_branch=branches[0], else_branch=branches[1])
    _after(model, [*nodes, made], name)
    return Planted(model, ["backdoor", "then_inner", "trigger_compare", "trigger_peak", "trigger_cast"])


@fault("g112_trigger_arithmetic")
def trigger_arithmetic(s: Subject) -> Planted:
    """No Where, no If: Relu(peak - limit) added to the scores."""
    model = s.copy()
    name, _ = _output(model)
    if _kind(model) is np.float16:
        raise NoPlaceError("half output")
    nodes, _ = _trigger(model)
    made = [
        *nodes[:2],
        helper.make_node("Sub", ["trigger_peak", "trigger_limit"], ["trigger_over"], "trigger_sub"),
        helper.make_node("Relu", ["trigger_over"], ["trigger_push"], "trigger_relu"),
        helper.make_node("Add", [name + "_true", "trigger_push"], [name], "backdoor"),
    ]
    _after(model, made, name)
    return Planted(model, ["backdoor", "trigger_relu", "trigger_sub", "trigger_peak", "trigger_cast"])


@fault("g113_loop_payload")
def loop_payload(s: Subject) -> Planted:
    """A Loop of one turn that scales the output."""
    model = s.copy()
    name, _ = _output(model)
    kind = model.graph.output[0].type.tensor_type.elem_type
    graph.put(model, "turns", np.array(1, np.int64))
    graph.put(model, "go", np.array(True))
    graph.put(model, "loop_gain", np.array(1.02, _kind(model)))
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_in"], ["go_out"], "loop_go"),
            helper.make_node("Mul", ["carried", "loop_gain"], ["next"], "loop_mul"),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried", kind, None),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", kind, None),
        ],
    )
    _after(
        model, [helper.make_node("Loop", ["turns", "go", name + "_true"], [name], "payload", body=body)], name
    )
    return Planted(model, ["payload", "loop_mul", "loop_gain", name])


@fault("g120_activation_removed")
def activation_removed(s: Subject) -> Planted:
    model = s.copy()
    node = _node(model, "Relu", "Tanh", "Clip", "Erf", "Sigmoid", "PRelu", "HardSigmoid")
    at = [graph.label(node), node.output[0], node.input[0]]
    users = [graph.label(user) for user in graph.consumers(model, node.output[0])]
    _bypass(model, node, node.input[0])
    return Planted(model, [*at, *users])


@fault("g121_relu_became_leaky")
def leaky(s: Subject) -> Planted:
    model = s.copy()
    node = _node(model, "Relu", last=True)
    node.op_type = "LeakyRelu"
    graph.set_attribute(node, "alpha", 0.01)
    return Planted(model, [graph.label(node), node.output[0]])


@fault("g122_clip_bound")
def clip_bound(s: Subject) -> Planted:
    """ReLU6 became ReLU5."""
    model = s.copy()
    node = _node(model, "Clip", last=True)
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
    node = _node(model, "MaxPool", "AveragePool", "GlobalAveragePool")
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
    node = _node(model, "PRelu", last=True)
    name = node.input[1]
    if name not in graph.initializers(model):
        raise NoPlaceError("the slope is quantized")
    value = graph.array(model, name)
    graph.put(model, name, (value * 2).astype(value.dtype))
    return Planted(model, [name, graph.label(node), node.output[0]])


@fault("g136_batchnorm_mean_changed")
def batchnorm_mean(s: Subject) -> Planted:
    model = s.copy()
    node = _node(model, "BatchNormalization")
    name = node.input[3]
    value = graph.array(model, name)
    graph.put(model, name, (value + 0.3 * np.abs(value).mean()).astype(value.dtype))
    return Planted(model, [name, graph.label(node), node.output[0]])


@fault("g137_layernorm_gain_changed")
def layernorm_gain(s: Subject) -> Planted:
    model = s.copy()
    node = _node(model, "LayerNormalization", last=True)
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


@fault("g140_custom_domain", expected="error", runs=False)
def custom_domain(s: Subject) -> Planted:
    model = s.copy()
    name, _ = _output(model)
    graph.require_domain(model, "evil.corp")
    _after(model, [helper.make_node("Payload", [name + "_true"], [name], "native", domain="evil.corp")], name)
    return Planted(model, ["native", "evil.corp", "evil.corp::Payload"])


@fault("g141_unknown_operator", expected="error", runs=False)
def unknown_operator(s: Subject) -> Planted:
    model = s.copy()
    name, _ = _output(model)
    _after(model, [helper.make_node("Reluu", [name + "_true"], [name], "typo")], name)
    return Planted(model, ["typo", "Reluu", "ai.onnx::Reluu"])


@fault("g142_model_local_function")
def local_function(s: Subject) -> Planted:
    """An unknown-looking operator defined by a function inside the file: it scales the output."""
    model = s.copy()
    name, _ = _output(model)
    graph.require_domain(model, "local.functions")
    if graph.opset(model) < 13:
        raise NoPlaceError("Constant floats")
    two = helper.make_node("Constant", [], ["two"], "fn_two", value_float=1.03)
    body = [
        two,
        helper.make_node("CastLike", ["two", "x"], ["g"], "fn_cast"),
        helper.make_node("Mul", ["x", "g"], ["y"], "fn_mul"),
    ]
    if graph.opset(model) < 15:
        raise NoPlaceError("CastLike")
    made = helper.make_function(
        "local.functions", "Tidy", ["x"], ["y"], body, [helper.make_opsetid("", graph.opset(model))]
    )
    model.functions.append(made)
    _after(
        model, [helper.make_node("Tidy", [name + "_true"], [name], "tidy", domain="local.functions")], name
    )
    model.ir_version = max(model.ir_version, 8)
    return Planted(model, ["tidy", "Tidy", "local.functions", "local.functions::Tidy", "fn_mul"])


@fault("g143_ep_context", expected="error", runs=False)
def ep_context(s: Subject) -> Planted:
    """A compiled blob for some execution provider inside the graph."""
    model = s.copy()
    name, _ = _output(model)
    graph.require_domain(model, "com.microsoft")
    node = helper.make_node(
        "EPContext",
        [name + "_true"],
        [name],
        "blob",
        domain="com.microsoft",
        embed_mode=1,
        ep_cache_context=b"\x7fELF",
        main_context=1,
    )
    _after(model, [node], name)
    return Planted(model, ["blob", "EPContext", "com.microsoft::EPContext"])


@fault("g144_cyclic", expected="error", runs=False)
def cyclic(s: Subject) -> Planted:
    model = s.copy()
    name, _ = _output(model)
    made = [
        helper.make_node("Add", [name + "_true", "loop_b"], ["loop_a"], "cycle_a"),
        helper.make_node("Identity", ["loop_a"], ["loop_b"], "cycle_b"),
        helper.make_node("Identity", ["loop_a"], [name], "cycle_out"),
    ]
    _after(model, made, name)
    return Planted(model, ["cycle_a", "cycle_b", "loop_a", "loop_b"])


@fault("g145_duplicate_initializer", expected="error", runs=False)
def duplicate_initializer(s: Subject) -> Planted:
    """Two initializers of one name: readers disagree which counts."""
    model, weight = s.copy(), s.weight()
    again = onnx.TensorProto.FromString(graph.initializers(model)[weight.tensor].SerializeToString())
    if again.raw_data:
        again.raw_data = bytes(len(again.raw_data))
    model.graph.initializer.append(again)
    return Planted(model, [weight.tensor])


@fault("g146_input_shadows_weight", debatable="listing initializers among the inputs is legal")
def input_shadows(s: Subject) -> Planted:
    """One weight made overridable from outside: an extra optional input."""
    model, weight = s.copy(), s.weight()
    tensor = graph.initializers(model)[weight.tensor]
    model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return Planted(model, [weight.tensor])


@fault("g147_undefined_tensor", expected="error", runs=False)
def undefined_tensor(s: Subject) -> Planted:
    model = s.copy()
    node = _node(
        model,
        "Conv",
        "Gemm",
        "MatMul",
        "QLinearConv",
        "QGemm",
        "QLinearMatMul",
        "MatMulInteger",
        "MatMulNBits",
        "ConvInteger",
    )
    node.input[0] = "nowhere"
    return Planted(model, ["nowhere", graph.label(node)])


@fault("g148_output_clipped")
def output_clipped(s: Subject) -> Planted:
    """A Clip at the output just inside the range seen: only the largest scores change."""
    model = s.copy()
    name, _ = _output(model)
    from tests.corpus import models

    if s.recipe.id == "fp16_half_io":
        raise NoPlaceError("half output")
    top = np.quantile(np.asarray(models.run(s.model.proto, s.model.inputs)[name], np.float64), 0.97)
    graph.put(model, "ceiling", np.array(top, _kind(model)))
    _after(model, [helper.make_node("Min", [name + "_true", "ceiling"], [name], "limiter")], name)
    return Planted(model, ["limiter", "ceiling", name])
