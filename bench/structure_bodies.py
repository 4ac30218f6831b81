"""Small models whose nodes hold bodies: a loop, a branch and a scan."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def _floats(*shape: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _loop(proto: onnx.ModelProto) -> None:
    """Three rounds of an elementwise body that reads a tensor of the graph around it."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Tanh", ["state"], ["t"], "body_tanh"),
            helper.make_node("LeakyRelu", ["t"], ["l"], "body_leaky", alpha=0.2),
            helper.make_node("Add", ["l", "shift"], ["s"], "body_add"),
            helper.make_node("Sub", ["s", "h"], ["next"], "body_sub"),
            helper.make_node("Identity", ["go"], ["on"], "body_go"),
        ],
        "body",
        [value("round", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("state", 1, None)],
        [value("on", TensorProto.BOOL, []), value("next", 1, None)],
        [numpy_helper.from_array(_floats(8, seed=3), "shift")],
    )
    del proto.graph.node[1:]
    rounds = {"rounds": np.int64(3), "yes": np.asarray(True)}
    proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), k) for k, v in rounds.items())
    proto.graph.node.append(helper.make_node("Loop", ["rounds", "yes", "h"], ["y"], body=body))


def _branch(proto: onnx.ModelProto) -> None:
    """A branch whose two bodies each hold a weight and read a tensor of the graph around them."""
    value = helper.make_tensor_value_info
    bodies = []
    for which, op in enumerate(("Tanh", "Sigmoid")):
        bodies.append(
            helper.make_graph(
                [
                    helper.make_node("MatMul", ["h", f"w{which}"], [f"m{which}"], f"product_{which}"),
                    helper.make_node(op, [f"m{which}"], [f"n{which}"], f"activation_{which}"),
                    helper.make_node("Softmax", [f"n{which}"], [f"o{which}"], f"softmax_{which}", axis=1),
                ],
                f"body{which}",
                [],
                [value(f"o{which}", 1, None)],
                [numpy_helper.from_array(_floats(8, 8, seed=20 + which), f"w{which}")],
            )
        )
    del proto.graph.node[1:]
    proto.graph.initializer.append(numpy_helper.from_array(np.float32(0), "zero"))
    proto.graph.node.extend(
        [
            helper.make_node("ReduceSum", ["h"], ["total"], keepdims=0),
            helper.make_node("Greater", ["total", "zero"], ["choice"]),
            helper.make_node("If", ["choice"], ["y"], then_branch=bodies[0], else_branch=bodies[1]),
        ]
    )


def _scan(proto: onnx.ModelProto) -> None:
    """A running sum with decay."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Mul", ["sum", "decay"], ["d"], "body_mul"),
            helper.make_node("Add", ["d", "row"], ["sum_out"], "body_add"),
            helper.make_node("Sigmoid", ["sum_out"], ["row_out"], "body_sigmoid"),
        ],
        "body",
        [value("sum", 1, [8]), value("row", 1, [8])],
        [value("sum_out", 1, [8]), value("row_out", 1, [8])],
        [numpy_helper.from_array(np.float32(0.9), "decay")],
    )
    del proto.graph.node[1:]
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros(8, np.float32), "start"))
    proto.graph.node.append(
        helper.make_node("Scan", ["start", "h"], ["last", "y"], body=body, num_scan_inputs=1)
    )


BODIES = {"loop": _loop, "branch": _branch, "scan": _scan}
"""What makes a model with ``h`` in it one whose output a body computes."""
