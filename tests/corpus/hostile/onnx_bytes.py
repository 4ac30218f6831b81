"""ONNX files whose bytes say different things to different parsers, or more than there is."""

from __future__ import annotations

import struct
from functools import partial

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.corpus.hostile.case import hostile
from tests.corpus.hostile.gadgets import nested
from tests.corpus.hostile.native import shared_library
from tests.corpus.hostile.onnx_base import FLOAT, base, field, insert, spoiled, varint

model = partial(hostile, "onnx", "model.onnx")


@model()
def second_graph(t):
    """a second graph behind the first, which protobuf merges into it"""
    return base().SerializeToString() + field(7, base().graph.SerializeToString())


@model()
def merged_node(t):
    """a graph of one node behind the first: it becomes the last node"""
    extra = onnx.GraphProto(node=[helper.make_node("Mul", ["y", "y"], ["z"], "added")])
    return base().SerializeToString() + field(7, extra.SerializeToString())


@model()
def merged_name(t):
    """the graph's name stands there twice"""
    graph = base().graph.SerializeToString() + field(2, b"other")
    held = base()
    held.ClearField("graph")
    return held.SerializeToString() + field(7, graph)


@model()
def merged_tensor(t):
    """a tensor's bytes stand there twice: the last ones count"""
    held = base()
    tensor = held.graph.initializer[0]
    twice = tensor.SerializeToString() + field(9, bytes(len(tensor.raw_data)))
    rest = onnx.GraphProto()
    rest.CopyFrom(held.graph)
    del rest.initializer[0]
    held.ClearField("graph")
    return held.SerializeToString() + field(7, rest.SerializeToString() + field(5, twice))


@model()
def merged_type(t):
    """a tensor's element type stands there twice"""
    held = base()
    tensor = held.graph.initializer[0].SerializeToString() + varint(2 << 3) + varint(6)
    rest = onnx.GraphProto()
    rest.CopyFrom(held.graph)
    del rest.initializer[0]
    held.ClearField("graph")
    return held.SerializeToString() + field(7, rest.SerializeToString() + field(5, tensor))


@model()
def unknown_field(t):
    """a field that ONNX does not have, with a library in it"""
    return base().SerializeToString() + field(1000, shared_library(t.canary))


@model()
def unknown_field_in_graph(t):
    """the same within the graph"""
    held = base()
    graph = held.graph.SerializeToString() + field(999, nested(t))
    held.ClearField("graph")
    return held.SerializeToString() + field(7, graph)


@model()
def unknown_field_in_node(t):
    """the same within a node"""
    held = base()
    graph = onnx.GraphProto()
    graph.CopyFrom(held.graph)
    node = graph.node[0].SerializeToString() + field(999, nested(t))
    del graph.node[0]
    held.ClearField("graph")
    return held.SerializeToString() + field(7, field(1, node) + graph.SerializeToString())


@model()
def trailing_bytes(t):
    """a pickle behind the model"""
    return base().SerializeToString() + nested(t)


@model()
def trailing_zip(t):
    """a zip archive behind the model"""
    from tests.corpus.hostile.torch_bytes import checkpoint

    return base().SerializeToString() + checkpoint()


@model()
def group(t):
    """a group, which protobuf 3 skips without a look"""
    return base().SerializeToString() + varint(500 << 3 | 3) + b"secret" + varint(500 << 3 | 4)


@model()
def long_varint(t):
    """a number in eleven bytes"""
    return base().SerializeToString() + b"\x08" + b"\xff" * 10 + b"\x01"


@model()
def truncated(t):
    """half a model"""
    data = base().SerializeToString()
    return data[: len(data) // 2]


@model()
def length_lies(t):
    """a field longer than the file"""
    return base().SerializeToString() + varint(20 << 3 | 2) + varint(2**40) + b"x"


@model()
def no_graph(t):
    """a model without a graph"""
    held = base()
    held.ClearField("graph")
    return held.SerializeToString()


@model()
def duplicate_initializer(t):
    """two initializers of one name"""
    return spoiled(lambda m: m.graph.initializer.append(m.graph.initializer[0]))


@model()
def duplicate_output(t):
    """two nodes that write one tensor"""
    return spoiled(lambda m: m.graph.node.insert(0, helper.make_node("Relu", ["x"], ["h"], "shadow")))


@model()
def initializer_shadowed(t):
    """a node writes the name of a weight"""
    return spoiled(lambda m: m.graph.node.insert(0, helper.make_node("Relu", ["x"], ["w1"], "shadow")))


@model()
def duplicate_attribute(t):
    """one attribute twice: readers differ in which counts"""

    def change(m):
        m.graph.node[0].attribute.extend(
            [helper.make_attribute("alpha", 1.0), helper.make_attribute("alpha", 9.0)]
        )

    return spoiled(change)


@model()
def attribute_of_two_kinds(t):
    """an attribute that says FLOAT and holds an integer as well"""

    def change(m):
        made = helper.make_attribute("alpha", 1.0)
        made.i = 7
        m.graph.node[0].attribute.append(made)

    return spoiled(change)


@model()
def declared_more(t):
    """a weight that declares a gigabyte and holds six numbers"""

    def change(m):
        del m.graph.initializer[0].dims[:]
        m.graph.initializer[0].dims.extend([2**14, 2**14])

    return spoiled(change)


@model()
def dims_overflow(t):
    """dimensions whose product overflows to the right number of bytes"""

    def change(m):
        del m.graph.initializer[0].dims[:]
        m.graph.initializer[0].dims.extend([2**33, 2**31, 48])

    return spoiled(change)


@model()
def negative_dims(t):
    """two negative dimensions"""

    def change(m):
        del m.graph.initializer[0].dims[:]
        m.graph.initializer[0].dims.extend([-8, -6])

    return spoiled(change)


@model()
def many_dims(t):
    """a weight of ten thousand dimensions"""
    return spoiled(lambda m: m.graph.initializer[0].dims.extend([1] * 10_000))


@model()
def unknown_type(t):
    """an element type that does not exist"""
    return spoiled(lambda m: setattr(m.graph.initializer[0], "data_type", 99))


@model()
def string_tensor(t):
    """text where numbers are expected"""

    def change(m):
        tensor = m.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_type = TensorProto.STRING
        tensor.string_data.append(b"x")

    return spoiled(change)


@model()
def segment(t):
    """a tensor that is a segment of another"""

    def change(m):
        m.graph.initializer[0].segment.begin, m.graph.initializer[0].segment.end = 0, 1

    return spoiled(change)


@model()
def data_twice(t):
    """raw bytes and typed numbers in one tensor"""
    return spoiled(lambda m: m.graph.initializer[0].float_data.extend([1.0] * 48))


@model()
def sparse(t):
    """a sparse initializer with indices out of range"""

    def change(m):
        values = numpy_helper.from_array(np.ones(1, np.float32), "sparse")
        indices = numpy_helper.from_array(np.array([2**40], np.int64), "at")
        m.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [8, 6]))

    return spoiled(change)


@model()
def not_utf8(t):
    """a node's name that is no UTF-8"""
    return base().SerializeToString().replace(b"second", b"\xff\xfe\xfd\xfc\xfb\xfa")


@model()
def no_opset(t):
    """no operator set: nothing has a meaning"""
    return spoiled(lambda m: m.ClearField("opset_import"))


@model()
def opset_twice(t):
    """one domain imported in two versions"""
    return spoiled(lambda m: m.opset_import.append(helper.make_opsetid("", 9)))


@model()
def opset_future(t):
    """an operator set of the future"""
    return spoiled(lambda m: setattr(m.opset_import[0], "version", 9999))


@model()
def many_nodes(t):
    """a quarter of a million nodes"""
    node = field(1, helper.make_node("Relu", ["a"], ["a"]).SerializeToString())
    held = base()
    graph = held.graph.SerializeToString() + node * 250_000
    held.ClearField("graph")
    return held.SerializeToString() + field(7, graph)


@model()
def deep_graphs(t):
    """a thousand graphs, one within the other"""
    inner = helper.make_graph(
        [], "leaf", [], [helper.make_tensor_value_info("o", FLOAT, None)]
    ).SerializeToString()
    for _ in range(1000):
        branch = field(1, b"then_branch") + field(6, inner) + varint(20 << 3) + varint(5)
        inner = field(1, field(4, b"If") + field(2, b"o") + field(5, branch))
    held = base()
    graph = held.graph.SerializeToString() + inner
    held.ClearField("graph")
    return held.SerializeToString() + field(7, graph)


@model()
def training(t):
    """training information: a second set of graphs"""
    return spoiled(lambda m: m.training_info.add().algorithm.CopyFrom(m.graph))


@model()
def cycle(t):
    """two nodes that wait for each other"""

    def change(m):
        insert(m, helper.make_node("Add", ["y_in", "b"], ["a"], "a"), helper.make_node("Add", ["a", "b"], ["b"], "b"),
               helper.make_node("Relu", ["b"], ["y"], "c"))  # fmt: skip

    return spoiled(change)


@model()
def unknown_input(t):
    """a node reads what nobody writes"""
    return spoiled(lambda m: m.graph.node[1].input.__setitem__(0, "nothing"))


@model()
def huge_name(t):
    """a name of eighteen megabytes"""
    return spoiled(lambda m: setattr(m.graph.node[0], "name", "x" * (18 << 20)))


@model()
def packed_scalar(t):
    """a length where a number belongs"""
    return base().SerializeToString() + field(1, struct.pack("<q", 9))
