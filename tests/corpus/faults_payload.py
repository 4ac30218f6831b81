"""Faults that bring something in: triggers, payloads in subgraphs, operators that nobody knows."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.corpus import graph
from tests.corpus.faults import NoPlaceError, Planted, Subject, fault
from tests.corpus.faults_graph import append_after, first_node, float_kind, main_output


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
    name, _ = main_output(model)
    nodes, hit = _trigger(model)
    made = [
        *nodes,
        helper.make_node("Neg", [name + "_true"], ["payload"], "payload_neg"),
        helper.make_node("Where", [hit, "payload", name + "_true"], [name], "backdoor"),
    ]
    append_after(model, made, name)
    return Planted(model, ["backdoor", "payload_neg", "trigger_compare", "trigger_peak", "trigger_cast"])


@fault("g111_trigger_if")
def trigger_if(s: Subject) -> Planted:
    """The same hidden in the branches of an If."""
    model = s.copy()
    name, _ = main_output(model)
    kind = model.graph.output[0].type.tensor_type.elem_type
    nodes, hit = _trigger(model)
    branches = []
    for op, label in (("Neg", "then"), ("Identity", "else")):
        out = helper.make_tensor_value_info(label + "_out", kind, None)
        inner = helper.make_node(op, [name + "_true"], [label + "_out"], label + "_inner")
        branches.append(helper.make_graph([inner], label, [], [out]))
    made = helper.make_node("If", [hit], [name], "backdoor", then_branch=branches[0], else_branch=branches[1])
    append_after(model, [*nodes, made], name)
    return Planted(model, ["backdoor", "then_inner", "trigger_compare", "trigger_peak", "trigger_cast"])


@fault("g112_trigger_arithmetic")
def trigger_arithmetic(s: Subject) -> Planted:
    """No Where, no If: Relu(peak - limit) added to the scores."""
    model = s.copy()
    name, _ = main_output(model)
    if float_kind(model) is np.float16:
        raise NoPlaceError("half output")
    nodes, _ = _trigger(model)
    made = [
        *nodes[:2],
        helper.make_node("Sub", ["trigger_peak", "trigger_limit"], ["trigger_over"], "trigger_sub"),
        helper.make_node("Relu", ["trigger_over"], ["trigger_push"], "trigger_relu"),
        helper.make_node("Add", [name + "_true", "trigger_push"], [name], "backdoor"),
    ]
    append_after(model, made, name)
    return Planted(model, ["backdoor", "trigger_relu", "trigger_sub", "trigger_peak", "trigger_cast"])


@fault("g113_loop_payload")
def loop_payload(s: Subject) -> Planted:
    """A Loop of one turn that scales the output."""
    model = s.copy()
    name, _ = main_output(model)
    kind = model.graph.output[0].type.tensor_type.elem_type
    graph.put(model, "turns", np.array(1, np.int64))
    graph.put(model, "go", np.array(True))
    graph.put(model, "loop_gain", np.array(1.02, float_kind(model)))
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
    append_after(
        model, [helper.make_node("Loop", ["turns", "go", name + "_true"], [name], "payload", body=body)], name
    )
    return Planted(model, ["payload", "loop_mul", "loop_gain", name])


@fault("g140_custom_domain", expected="error", runs=False)
def custom_domain(s: Subject) -> Planted:
    model = s.copy()
    name, _ = main_output(model)
    graph.require_domain(model, "evil.corp")
    append_after(
        model, [helper.make_node("Payload", [name + "_true"], [name], "native", domain="evil.corp")], name
    )
    return Planted(model, ["native", "evil.corp", "evil.corp::Payload"])


@fault("g141_unknown_operator", expected="error", runs=False)
def unknown_operator(s: Subject) -> Planted:
    model = s.copy()
    name, _ = main_output(model)
    append_after(model, [helper.make_node("Reluu", [name + "_true"], [name], "typo")], name)
    return Planted(model, ["typo", "Reluu", "ai.onnx::Reluu"])


@fault("g142_model_local_function")
def local_function(s: Subject) -> Planted:
    """An unknown-looking operator defined by a function inside the file: it scales the output."""
    model = s.copy()
    name, _ = main_output(model)
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
    append_after(
        model, [helper.make_node("Tidy", [name + "_true"], [name], "tidy", domain="local.functions")], name
    )
    model.ir_version = max(model.ir_version, 8)
    return Planted(model, ["tidy", "Tidy", "local.functions", "local.functions::Tidy", "fn_mul"])


@fault("g143_ep_context", expected="error", runs=False)
def ep_context(s: Subject) -> Planted:
    """A compiled blob for some execution provider inside the graph."""
    model = s.copy()
    name, _ = main_output(model)
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
    append_after(model, [node], name)
    return Planted(model, ["blob", "EPContext", "com.microsoft::EPContext"])


@fault("g144_cyclic", expected="error", runs=False)
def cyclic(s: Subject) -> Planted:
    model = s.copy()
    name, _ = main_output(model)
    made = [
        helper.make_node("Add", [name + "_true", "loop_b"], ["loop_a"], "cycle_a"),
        helper.make_node("Identity", ["loop_a"], ["loop_b"], "cycle_b"),
        helper.make_node("Identity", ["loop_a"], [name], "cycle_out"),
    ]
    append_after(model, made, name)
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
    node = first_node(
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
