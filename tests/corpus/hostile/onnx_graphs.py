"""ONNX graphs that reach for code, or for more time and memory than anybody has."""

from __future__ import annotations

from functools import partial

import numpy as np
from onnx import helper, numpy_helper

from tests.corpus.hostile.case import hostile
from tests.corpus.hostile.native import shared_library
from tests.corpus.hostile.onnx_base import FLOAT, insert, spoiled

model = partial(hostile, "onnx", "model.onnx")


def constant(m, name, value):
    m.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))


def custom(domain: str, op: str, **attributes) -> bytes:
    """A node of a domain of its own before the output."""

    def change(m):
        insert(m, helper.make_node(op, ["y_in"], ["y"], "custom", domain=domain, **attributes))
        m.opset_import.append(helper.make_opsetid(domain, 1))

    return spoiled(change)


@model()
def custom_domain(t):
    """an operator of a domain that nobody knows"""
    return custom("com.evil", "Run", command=t.shell)


@model()
def python_operator(t):
    """an operator that calls Python"""
    return custom("ai.onnx.contrib", "PyCustomOp", opname="os.system")


@model()
def torch_operator(t):
    """an operator that embeds PyTorch"""
    return custom("com.microsoft", "PythonOp", func_name="os.system")


@model()
def aten_operator(t):
    """ATen: any function of torch by name"""
    return custom("org.pytorch.aten", "ATen", operator="from_file")


@model()
def ep_context(t):
    """EPContext: a blob that a driver executes"""
    return custom("com.microsoft", "EPContext", ep_cache_context=b"\x7fELF" + bytes(64), embed_mode=1)


@model()
def ep_context_file(t):
    """EPContext with a path"""
    return custom("com.microsoft", "EPContext", ep_cache_context=b"../../engine.plan", embed_mode=0)


@model()
def tensorrt_plugin(t):
    """a TensorRT plugin"""
    return custom("trt.plugins", "MyPlugin", plugin_namespace="x")


@model()
def standard_name_other_domain(t):
    """a domain that looks like the standard one"""
    return custom("ai.onnx.", "Relu")


@model()
def unknown_standard_operator(t):
    """an operator that the standard does not have"""

    def change(m):
        insert(m, helper.make_node("System", ["y_in"], ["y"], "custom"))

    return spoiled(change)


@model()
def library_in_attribute(t):
    """a shared library as text of an attribute"""
    return spoiled(
        lambda m: m.graph.node[0].attribute.append(helper.make_attribute("doc", shared_library(t.canary)))
    )


def local(m, name, body, domain="local", inputs=("a",), outputs=("b",)):
    """A model-local function."""
    made = helper.make_function(
        domain, name, list(inputs), list(outputs), body, [helper.make_opsetid("", 17)]
    )
    m.functions.append(made)
    if all(known.domain != domain for known in m.opset_import):
        m.opset_import.append(helper.make_opsetid(domain, 1))


@model()
def function_shadows_standard(t):
    """a function that gives Relu another meaning"""

    def change(m):
        local(m, "Relu", [helper.make_node("Neg", ["a"], ["b"])], domain="")

    return spoiled(change)


@model()
def function_hides_operator(t):
    """the unknown operator stands in a function's body"""

    def change(m):
        local(m, "F", [helper.make_node("Run", ["a"], ["b"], domain="com.evil")])
        insert(m, helper.make_node("F", ["y_in"], ["y"], domain="local"))
        m.functions[0].opset_import.append(helper.make_opsetid("com.evil", 1))

    return spoiled(change)


@model()
def function_recursion(t):
    """a function that calls itself"""

    def change(m):
        local(m, "F", [helper.make_node("F", ["a"], ["b"], domain="local")])
        m.functions[0].opset_import.append(helper.make_opsetid("local", 1))
        insert(m, helper.make_node("F", ["y_in"], ["y"], domain="local"))

    return spoiled(change)


@model()
def function_bomb(t):
    """forty functions, each of which calls the next one twice"""

    def change(m):
        for level in range(40):
            body = [
                helper.make_node(f"F{level + 1}", ["a"], ["m"], domain="local"),
                helper.make_node(f"F{level + 1}", ["m"], ["b"], domain="local"),
            ]
            local(m, f"F{level}", body)
            m.functions[-1].opset_import.append(helper.make_opsetid("local", 1))
        local(m, "F40", [helper.make_node("Neg", ["a"], ["b"])])
        insert(m, helper.make_node("F0", ["y_in"], ["y"], domain="local"))

    return spoiled(change)


@model()
def function_twice(t):
    """two functions of one name"""

    def change(m):
        local(m, "F", [helper.make_node("Neg", ["a"], ["b"])])
        local(m, "F", [helper.make_node("Abs", ["a"], ["b"])])
        insert(m, helper.make_node("F", ["y_in"], ["y"], domain="local"))

    return spoiled(change)


def loop(m, trips, node, after):
    """Nodes before the output with a loop whose body is one node."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["cond"], ["more"]), node], "body",
        [helper.make_tensor_value_info("i", 7, []), helper.make_tensor_value_info("cond", 9, []),
         helper.make_tensor_value_info("state", FLOAT, None)],
        [helper.make_tensor_value_info("more", 9, []), helper.make_tensor_value_info("next", FLOAT, None)],
    )  # fmt: skip
    constant(m, "trips", np.int64(trips))
    constant(m, "always", True)
    made = helper.make_node("Loop", ["trips", "always", "y_in"], ["looped"], "loop", body=body)
    insert(m, made, after)


@model()
def loop_forever(t):
    """a loop of 2^60 turns"""

    def change(m):
        loop(
            m,
            2**60,
            helper.make_node("Neg", ["state"], ["next"]),
            helper.make_node("Identity", ["looped"], ["y"]),
        )

    return spoiled(change)


@model()
def loop_doubles(t):
    """a loop that doubles its tensor sixty times"""

    def change(m):
        grow = helper.make_node("Concat", ["state", "state"], ["next"], axis=0)
        loop(m, 60, grow, helper.make_node("Identity", ["looped"], ["y"]))

    return spoiled(change)


def filled(m, name, size):
    """A tensor of zeros of a size, reduced to one number and added to the output."""
    constant(m, f"{name}_size", np.array(size, np.int64))
    insert(
        m,
        helper.make_node("ConstantOfShape", [f"{name}_size"], [name], "bomb"),
        helper.make_node("ReduceMax", [name], [f"{name}_max"], "max", keepdims=0),
        helper.make_node("Add", ["y_in", f"{name}_max"], ["y"], "add"),
    )


@model()
def constant_of_shape(t):
    """64 GB of zeros out of sixteen bytes"""
    return spoiled(lambda m: filled(m, "z", [2**17, 2**17]))


@model()
def constant_of_shape_overflow(t):
    """a size that overflows"""
    return spoiled(lambda m: filled(m, "z", [2**40, 2**40]))


@model()
def constant_of_shape_negative(t):
    """a negative size"""
    return spoiled(lambda m: filled(m, "z", [-1, 8]))


def grown(op, extra, **attributes) -> bytes:
    """One node that makes the output huge, and a maximum behind it."""

    def change(m):
        for name, value in extra.items():
            constant(m, name, value)
        insert(
            m,
            helper.make_node(op, ["y_in", *extra], ["big"], "bomb", **attributes),
            helper.make_node("ReduceMax", ["big"], ["top"], "max", keepdims=0),
            helper.make_node("Add", ["y_in", "top"], ["y"], "add"),
        )

    return spoiled(change)


@model()
def tile(t):
    """Tile by 2^34"""
    return grown("Tile", {"times": np.array([2**20, 2**14], np.int64)})


@model()
def expand(t):
    """Expand to 2^36"""
    return grown("Expand", {"size": np.array([2**34, 1, 4], np.int64)})


@model()
def pad(t):
    """Pad by 2^36"""
    return grown("Pad", {"pads": np.array([0, 0, 2**36, 0], np.int64)})


@model()
def resize(t):
    """Resize by 2^20 both ways"""

    def change(m):
        constant(m, "none", np.zeros(0, np.float32))
        constant(m, "factors", np.array([2.0**18, 2.0**18], np.float32))
        insert(
            m,
            helper.make_node("Resize", ["y_in", "none", "factors"], ["big"], "bomb"),
            helper.make_node("ReduceMax", ["big"], ["top"], "max", keepdims=0),
            helper.make_node("Add", ["y_in", "top"], ["y"], "add"),
        )

    return spoiled(change)


@model()
def range_bomb(t):
    """Range over 2^40 numbers"""

    def change(m):
        for name, value in (("from", 0.0), ("to", 2.0**40), ("step", 1.0)):
            constant(m, name, np.float32(value))
        insert(
            m,
            helper.make_node("Range", ["from", "to", "step"], ["big"], "bomb"),
            helper.make_node("ReduceMax", ["big"], ["top"], "max", keepdims=0),
            helper.make_node("Add", ["y_in", "top"], ["y"], "add"),
        )

    return spoiled(change)


@model()
def one_hot(t):
    """OneHot of depth 2^36"""

    def change(m):
        constant(m, "depth", np.int64(2**36))
        constant(m, "values", np.array([0, 1], np.float32))
        insert(
            m,
            helper.make_node("ArgMax", ["y_in"], ["which"], "argmax", axis=1, keepdims=0),
            helper.make_node("OneHot", ["which", "depth", "values"], ["big"], "bomb"),
            helper.make_node("ReduceMax", ["big"], ["top"], "max", keepdims=0),
            helper.make_node("Add", ["y_in", "top"], ["y"], "add"),
        )

    return spoiled(change)


@model()
def input_of_terabytes(t):
    """an input of a fixed size of 2^42"""

    def change(m):
        m.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2**40

    return spoiled(change)


@model()
def matmul_chain(t):
    """a weight of eight numbers expanded by broadcasting, again and again"""

    def change(m):
        nodes, last = [], "y_in"
        for level in range(30):
            constant(m, f"axes{level}", np.array([0], np.int64))
            nodes.append(helper.make_node("Unsqueeze", [last, f"axes{level}"], [f"u{level}"]))
            nodes.append(helper.make_node("Concat", [f"u{level}", f"u{level}"], [f"c{level}"], axis=0))
            last = f"c{level}"
        nodes.append(helper.make_node("ReduceMax", [last], ["top"], keepdims=0))
        nodes.append(helper.make_node("Add", ["y_in", "top"], ["y"]))
        insert(m, *nodes)

    return spoiled(change)
