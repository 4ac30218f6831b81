"""Small files that ask for everything: memory, time, stack."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.corpus import graph
from tests.corpus.faults import Planted, Subject
from tests.corpus.faults_file import file_fault, write


@file_fault("f140_huge_dims")
def huge_dims(s: Subject) -> Planted:
    model = s.copy()
    bomb = TensorProto(name="bomb", data_type=TensorProto.FLOAT, dims=[2**20, 2**20, 2**11])
    model.graph.initializer.append(bomb)
    return write(s, model.SerializeToString(), "bomb")


@file_fault("f144_constant_of_shape_bomb")
def shape_bomb(s: Subject) -> Planted:
    """76 bytes that ask for 64 GB while the model runs."""
    model = s.copy()
    name = model.graph.output[0].name
    kind = model.graph.output[0].type.tensor_type.elem_type
    graph.put(model, "bomb_shape", np.array([2**17, 2**17], np.int64))
    nodes = [
        helper.make_node("ConstantOfShape", ["bomb_shape"], ["bomb"], "bomb_node"),
        helper.make_node("ReduceMax", ["bomb"], ["bomb_peak_f"], "bomb_max", keepdims=0),
        helper.make_node("Cast", ["bomb_peak_f"], ["bomb_peak"], "bomb_cast", to=kind),
        helper.make_node("Add", [name + "_true", "bomb_peak"], [name], "bomb_add"),
    ]
    graph.insert_before_output(model, name, nodes, name + "_true")
    return write(
        s, model.SerializeToString(), "bomb_node", "bomb", "bomb_shape", "bomb_max", "bomb_add", "bomb_cast"
    )


@file_fault("f145_expand_bomb")
def expand_bomb(s: Subject) -> Planted:
    """The same through Expand: no ConstantOfShape in the file."""
    model = s.copy()
    name = model.graph.output[0].name
    kind = model.graph.output[0].type.tensor_type.elem_type
    graph.put(model, "bomb_shape", np.array([2**18, 2**17], np.int64))
    graph.put(model, "bomb_seed", np.zeros((1, 1), np.float32))
    nodes = [
        helper.make_node("Expand", ["bomb_seed", "bomb_shape"], ["bomb"], "bomb_node"),
        helper.make_node("ReduceMax", ["bomb"], ["bomb_peak_f"], "bomb_max", keepdims=0),
        helper.make_node("Cast", ["bomb_peak_f"], ["bomb_peak"], "bomb_cast", to=kind),
        helper.make_node("Add", [name + "_true", "bomb_peak"], [name], "bomb_add"),
    ]
    graph.insert_before_output(model, name, nodes, name + "_true")
    return write(
        s, model.SerializeToString(), "bomb_node", "bomb", "bomb_shape", "bomb_max", "bomb_add", "bomb_cast"
    )


@file_fault("f146_endless_loop")
def endless_loop(s: Subject) -> Planted:
    """A Loop of 2^60 turns."""
    model = s.copy()
    name = model.graph.output[0].name
    kind = model.graph.output[0].type.tensor_type.elem_type
    graph.put(model, "turns", np.array(2**60, np.int64))
    graph.put(model, "go", np.array(True))
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_in"], ["go_out"], "loop_go"),
            helper.make_node("Neg", ["carried"], ["next"], "loop_neg"),
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
    node = helper.make_node("Loop", ["turns", "go", name + "_true"], [name], "forever", body=body)
    graph.insert_before_output(model, name, [node], name + "_true")
    return write(s, model.SerializeToString(), "forever", "turns", "loop_neg")


@file_fault("f147_deep_nesting")
def deep_nesting(s: Subject) -> Planted:
    """If within If, 200 levels deep: recursive readers run out of stack."""
    model = s.copy()
    name = model.graph.output[0].name
    kind = model.graph.output[0].type.tensor_type.elem_type
    graph.put(model, "always", np.array(True))

    def leaf(depth: int) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(f"leaf{depth}", kind, None)
        node = helper.make_node("Identity", [name + "_true"], [f"leaf{depth}"], f"leaf_node{depth}")
        return helper.make_graph([node], f"leaf{depth}", [], [out])

    data = leaf(0).SerializeToString()
    for depth in range(1, 200):
        data = _if_graph(depth, data, leaf(-depth).SerializeToString(), kind)
    nest = onnx.NodeProto(op_type="If", name="nest", input=["always"], output=[name])
    raw = (
        nest.SerializeToString()
        + _branch("then_branch", data)
        + _branch("else_branch", leaf(999).SerializeToString())
    )
    graph.insert_before_output(model, name, [], name + "_true")
    # Written by hand: the library itself refuses to build or copy a message nested this deep.
    extra = _field(7, _field(1, raw))
    return write(s, model.SerializeToString() + extra, "nest", "file", "graph")


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def _field(number: int, data: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _branch(name: str, data: bytes) -> bytes:
    """NodeProto.attribute of type GRAPH."""
    return _field(5, _field(1, name.encode()) + _field(6, data) + _varint(20 << 3) + _varint(5))


def _if_graph(depth: int, then: bytes, other: bytes, kind: int) -> bytes:
    """A serialized graph of one If."""
    node = onnx.NodeProto(op_type="If", name=f"if{depth}", input=["always"], output=[f"deep{depth}"])
    out = helper.make_tensor_value_info(f"deep{depth}", kind, None).SerializeToString()
    raw = node.SerializeToString() + _branch("then_branch", then) + _branch("else_branch", other)
    return _field(1, raw) + _field(2, b"g") + _field(12, out)
