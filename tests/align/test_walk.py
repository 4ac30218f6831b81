# ruff: noqa: E501, RUF059 - one graph a line
"""Alignment: the same graph under other names and orders aligns whole; every real difference has its place."""

import time

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from qgate.align.fingerprint import match_by_values
from qgate.align.walk import align
from tests.quant.twin import model, run, view_of

RNG = np.random.default_rng(5)
HEAD = "g (float[2,8] x) => (float[2,4] y)"
HELD = {
    "w1": RNG.standard_normal((8, 6)).astype(np.float32), "b1": RNG.standard_normal(6).astype(np.float32),
    "w2": RNG.standard_normal((6, 4)).astype(np.float32), "b2": RNG.standard_normal(4).astype(np.float32),
}  # fmt: skip
CHAIN = "p = MatMul (x, w1) q = Add (p, b1) r = Relu (q) s = MatMul (r, w2) y = Add (s, b2)"


def aligned(folder, ours, theirs, held=None, other=None, **names):
    one = view_of(model(f"{HEAD} {{{ours}}}" if "=>" not in ours else ours, **(held or HELD)), folder, "one")
    two = view_of(
        model(f"{HEAD} {{{theirs}}}" if "=>" not in theirs else theirs, **(other or held or HELD)),
        folder,
        "two",
    )
    return align(one, two, names.get("outputs", {}), names.get("inputs", {})), one, two


def whole(found, one, two):
    assert found.differences == []
    assert found.unmatched_reference == found.unmatched_candidate == []
    assert len(found.nodes) == len(one.nodes) == len(two.nodes)


SAME = [
    ("itself", CHAIN),
    ("renamed", "a = MatMul (x, w1) b = Add (a, b1) c = Relu (b) d = MatMul (c, w2) y = Add (d, b2)"),
    ("operands swapped", "p = MatMul (x, w1) q = Add (b1, p) r = Relu (q) s = MatMul (r, w2) y = Add (b2, s)"),
    ("gemm", "q = Gemm (x, w1, b1) r = Relu (q) y = Gemm (r, w2, b2)"),
    ("identities", "i = Identity (x) p = MatMul (i, w1) q = Add (p, b1) r = Relu (q) j = Identity (r) s = MatMul (j, w2) y = Add (s, b2)"),
    ("casts", "i = Cast <to = 1> (x) p = MatMul (i, w1) q = Add (p, b1) r = Relu (q) s = MatMul (r, w2) y = Add (s, b2)"),
]  # fmt: skip


@pytest.mark.parametrize("theirs", [t for _, t in SAME], ids=[n for n, _ in SAME])
def test_the_same_graph_aligns_whole(theirs, tmp_path):
    found, one, two = aligned(tmp_path, CHAIN, theirs)
    whole(found, one, two)
    pairs = {(p.reference.name, p.candidate.name, p.role, p.method) for p in found.constants}
    assert pairs == {("w1", "w1", "weight", "graph"), ("b1", "b1", "bias", "graph"),
                     ("w2", "w2", "weight", "graph"), ("b2", "b2", "bias", "graph")}  # fmt: skip


def test_tensors_are_paired_also_inside_folded_layers(tmp_path):
    found, _, _ = aligned(tmp_path, CHAIN, SAME[1][1])
    assert {found.tensors[name] for name in ("d", "b", "c", "y")} == {"s", "q", "r", "y"}


def test_renamed_inputs_and_outputs_align_as_declared(tmp_path):
    theirs = "g (float[2,8] image) => (float[2,4] scores) {p = MatMul (image, w1) q = Add (p, b1) r = Relu (q) s = MatMul (r, w2) scores = Add (s, b2)}"
    found, one, two = aligned(tmp_path, CHAIN, theirs, outputs={"y": "scores"}, inputs={"x": "image"})
    whole(found, one, two)
    found, _, _ = aligned(tmp_path, CHAIN, theirs)
    assert found.nodes == []
    assert len(found.unmatched_reference) == len(one.nodes)


QUANTIZED = {"rs": np.float32(0.05), "rz": np.uint8(0)}
IMPLIED = "p = MatMul (x, w1) q = Add (p, b1) c = QuantizeLinear (q, rs, rz) r = DequantizeLinear (c, rs, rz) s = MatMul (r, w2) y = Add (s, b2)"


@pytest.mark.parametrize(("zero", "same"), [(0, True), (3, False), (128, False)])
def test_a_quantizer_that_begins_at_zero_stands_for_the_relu(zero, same, tmp_path):
    held = HELD | QUANTIZED | {"rz": np.uint8(zero)}
    found, _, _ = aligned(tmp_path, CHAIN, IMPLIED, HELD, held)
    assert (found.differences == []) is same
    if not same:
        (difference,) = found.differences
        assert (difference.kind, [n.op for n in difference.reference]) == ("range", ["Relu"])
    assert len(found.constants) == 4


def test_a_quantizer_that_ends_at_six_stands_for_the_clip(tmp_path):
    ours = CHAIN.replace("Relu (q)", "Clip (q, low, high)")
    limits = {"low": np.float32(0), "high": np.float32(6)}
    for step, same in ((6 / 255, True), (10 / 255, False)):
        held = HELD | {"rs": np.float32(step), "rz": np.uint8(0)}
        found, _, _ = aligned(tmp_path, ours, IMPLIED, HELD | limits, held)
        assert (found.differences == []) is same


IMAGE = "g (float[1,3,5,5] x) => (float[1,4,3,3] y)"
NORM = {
    "w": RNG.standard_normal((4, 3, 3, 3)).astype(np.float32), "g": np.linspace(0.5, 2, 4).astype(np.float32),
    "be": RNG.standard_normal(4).astype(np.float32), "mu": RNG.standard_normal(4).astype(np.float32),
    "va": np.linspace(0.5, 2, 4).astype(np.float32),
}  # fmt: skip


def test_a_norm_folded_on_one_side_alone_aligns_with_equal_weights(tmp_path):
    factor = NORM["g"] / np.sqrt(NORM["va"] + np.float32(1e-5))
    folded = {"w": NORM["w"] * factor.reshape(-1, 1, 1, 1), "b": NORM["be"] - NORM["mu"] * factor}
    found, one, two = aligned(
        tmp_path, f"{IMAGE} {{c = Conv (x, w) n = BatchNormalization (c, g, be, mu, va) y = Relu (n)}}",
        f"{IMAGE} {{c = Conv (x, w, b) y = Relu (c)}}", NORM, folded,
    )  # fmt: skip
    whole(found, one, two)
    for pair in found.constants:
        np.testing.assert_allclose(pair.reference.values(), pair.candidate.values(), rtol=1e-5, atol=1e-6)
    assert found.tensors["c"] == "n"  # the layer's output with its norm


def chain(*middle):
    parts = ["p = MatMul (x, w1)", "q = Add (p, b1)", *middle, "s = MatMul (r, w2)", "y = Add (s, b2)"]
    return " ".join(parts)


@pytest.mark.parametrize(
    ("theirs", "kind", "ours", "candidate"),
    [
        (chain("t = Relu (q)", "r = Sin (t)"), "added", [], ["Sin"]),
        (chain("t = Sin (q)", "r = Relu (t)"), "added", [], ["Sin"]),
        (chain("r = Identity (q)"), "removed", ["Relu"], []),
        (chain("r = Tanh (q)"), "replaced", ["Relu"], ["Tanh"]),
        (f"{chain('r = Relu (q)').replace('y =', 'z =')} y = Mul (z, x4)", "added", [], ["Mul"]),
    ],
    ids=["after", "before", "removed", "replaced", "at the output"],
)
def test_operations_added_removed_and_replaced_are_located(theirs, kind, ours, candidate, tmp_path):
    held = HELD | {"x4": np.float32(RNG.standard_normal((2, 4)))}
    found, one, _ = aligned(tmp_path, CHAIN, theirs, HELD, held)
    (difference,) = found.differences
    assert (difference.kind, [n.op for n in difference.reference], [n.op for n in difference.candidate]) == (
        kind, ours, candidate
    )  # fmt: skip
    for op in (*ours, *candidate):
        assert op in difference.message
    assert len(found.constants) == 4  # and everything behind it is aligned again


def test_a_change_of_an_attribute_is_located(tmp_path):
    ours = chain("t = Softmax <axis = 1> (q)", "r = LeakyRelu <alpha = 0.1> (t)")
    theirs = chain("t = Softmax <axis = 0> (q)", "r = LeakyRelu <alpha = 0.2> (t)")
    found, _, _ = aligned(tmp_path, ours, theirs)
    told = {
        (d.kind, d.candidate[0].op, d.evidence["attribute"], d.evidence["candidate"], d.evidence["reference"])
        for d in found.differences
    }
    assert told == {("attribute", "Softmax", "axis", "0", "1"),
                    ("attribute", "LeakyRelu", "alpha", "0.20000000298023224", "0.10000000149011612")}  # fmt: skip


def test_spellings_of_the_same_attribute_are_no_difference(tmp_path):
    ours = f"{IMAGE} {{c = Conv <kernel_shape = [3,3], strides = [1,1], pads = [0,0,0,0], group = 1> (x, w) y = Clip (c, lo)}}"
    theirs = f"{IMAGE} {{c = Conv (x, w) y = Clip (c, lo, hi)}}"
    held = {"w": NORM["w"], "lo": np.float32(0)}
    found, one, two = aligned(tmp_path, ours, theirs, held, held | {"hi": np.float32("inf")})
    whole(found, one, two)


def test_a_layer_without_its_bias_is_told(tmp_path):
    found, _, _ = aligned(
        tmp_path, CHAIN, "p = MatMul (x, w1) r = Relu (p) s = MatMul (r, w2) y = Add (s, b2)"
    )
    (difference,) = found.differences
    assert (difference.kind, difference.evidence["operand"]) == ("wiring", "b1")
    assert "bias" in difference.message
    found, _, _ = aligned(
        tmp_path, "p = MatMul (x, w1) r = Relu (p) s = MatMul (r, w2) y = Add (s, b2)", CHAIN
    )
    assert "does not have" in found.differences[0].message
    zero = HELD | {"b1": np.zeros(6, np.float32)}
    found, _, _ = aligned(
        tmp_path, CHAIN, "p = MatMul (x, w1) r = Relu (p) s = MatMul (r, w2) y = Add (s, b2)", zero
    )
    assert found.differences == []  # a bias of zeros says nothing


TWO = "g (float[2,8] x, float[2,8] z) => (float[2,6] y)"


def test_crossed_inputs_are_told_and_commuted_ones_are_not(tmp_path):
    ours = f"{TWO} {{a = MatMul (x, w1) b = MatMul (z, w3) y = Sub (a, b)}}"
    held = HELD | {"w3": RNG.standard_normal((8, 6)).astype(np.float32)}
    found, _, _ = aligned(tmp_path, ours, ours.replace("Sub (a, b)", "Sub (b, a)"), held)
    assert {(p.reference.name, p.candidate.name) for p in found.constants} == {("w1", "w1"), ("w3", "w3")}
    assert "are exchanged" in found.differences[0].message
    assert [d.kind for d in found.differences] == ["wiring"]
    add = ours.replace("Sub (a, b)", "Add (a, b)")
    found, one, two = aligned(tmp_path, add, add.replace("Add (a, b)", "Add (b, a)"), held)
    whole(found, one, two)
    assert {(p.reference.name, p.candidate.name) for p in found.constants} == {("w1", "w1"), ("w3", "w3")}


def test_an_operand_that_became_constant_is_told(tmp_path):
    ours = f"{TWO} {{a = MatMul (x, w1) b = MatMul (z, w1) y = Mul (a, b)}}"
    theirs = f"{TWO} {{a = MatMul (x, w1) y = Mul (a, k)}}"
    found, _, _ = aligned(tmp_path, ours, theirs, HELD, HELD | {"k": np.ones((2, 6), np.float32) * 3})
    assert [d.kind for d in found.differences] == ["wiring"]
    assert "constant in the candidate alone" in found.differences[0].message


def test_graphs_that_never_meet_are_unmatched(tmp_path):
    found, one, two = aligned(tmp_path, CHAIN, "t = Sin (x) u = MatMul (t, w3) v = Cos (u) y = Sin (v)", HELD,
                              {"w3": RNG.standard_normal((8, 4)).astype(np.float32)})  # fmt: skip
    assert [d.kind for d in found.differences][:1] in (["unmatched"], ["replaced"])
    assert found.constants == []


def test_weights_that_the_walk_does_not_reach_are_matched_by_their_values(tmp_path):
    theirs = "t = Sin (x) u = MatMul (t, v1) a = Cos (u) b = MatMul (a, v2) y = Sin (b)"
    other = {"v1": -HELD["w1"] * -1.001, "v2": HELD["w2"] * np.float32(0.99)}
    found, one, two = aligned(tmp_path, "a = Gemm <transB = 1> (x, w1t) y = MatMul (a, w2)", theirs,
                              {"w1t": HELD["w1"].T.copy(), "w2": HELD["w2"]}, other)  # fmt: skip
    found.constants.clear()
    match_by_values(found, one, two)
    assert {(p.reference.name, p.candidate.name, p.method) for p in found.constants} == {
        ("w1t", "v1", "values"), ("w2", "v2", "values")
    }  # fmt: skip
    for pair in found.constants:
        assert pair.reference.shape == pair.candidate.shape
    count = len(found.constants)
    match_by_values(found, one, two)
    assert len(found.constants) == count


def test_unlike_weights_are_not_matched(tmp_path):
    other = {"v1": RNG.standard_normal((8, 6)).astype(np.float32), "v2": HELD["w2"]}
    found, one, two = aligned(tmp_path, "a = MatMul (x, w1) y = MatMul (a, w2)",
                              "t = Sin (x) u = MatMul (t, v1) a = Cos (u) b = MatMul (a, v2) y = Sin (b)", HELD, other)  # fmt: skip
    found.constants.clear()
    match_by_values(found, one, two)
    assert [p.candidate.name for p in found.constants] == ["v2"]


def long(ops):
    nodes = [helper.make_node(op, [f"t{i}"], [f"t{i + 1}"]) for i, op in enumerate(ops)]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("t0", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info(f"t{len(ops)}", TensorProto.FLOAT, [2])],
    )  # fmt: skip
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def test_a_chain_of_thousands_of_operations_is_walked(tmp_path):
    one = view_of(long(["Relu", "Neg"] * 1500), tmp_path)
    assert len(align(one, one, {}, {}).nodes) == 3000
    two = view_of(long(["Relu"] * 3000), tmp_path)
    assert len(align(two, two, {}, {}).nodes) == 3000


def test_shape_arithmetic_that_fans_out_is_walked_in_bounded_time(tmp_path):
    def fan(width):
        nodes = [helper.make_node("Shape", ["x"], ["s0"])]
        nodes += [helper.make_node("Concat", [f"s{i}"] * width, [f"s{i + 1}"], axis=0) for i in range(11)]
        nodes.append(helper.make_node("Expand", ["x", "s11"], ["y"]))
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in "xy"]
        graph = helper.make_graph(nodes, "g", ends[:1], ends[1:])
        return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])

    started = time.monotonic()
    align(view_of(fan(12), tmp_path, "a"), view_of(fan(13), tmp_path, "b"), {}, {})
    assert time.monotonic() - started < 5


def test_hundreds_of_layers_fold_in_bounded_time(tmp_path):
    nodes = []
    for i in range(1000):
        nodes.append(helper.make_node("MatMul", [f"t{i}", "w"], [f"m{i}"]))
        nodes.append(helper.make_node("Add", [f"m{i}", "b"], [f"t{i + 1}"]))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 2]) for name in ("t0", "t1000")]
    held = [
        numpy_helper.from_array(np.ones((2, 2), np.float32), "w"),
        numpy_helper.from_array(np.ones(2, np.float32), "b"),
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], held)
    started = time.monotonic()
    view = view_of(
        helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), tmp_path
    )
    assert [node.op for node in view.nodes] == ["MatMul"] * 1000
    assert time.monotonic() - started < 5


def test_the_chain_is_a_model_that_runs():
    (y,) = run(model(f"{HEAD} {{{CHAIN}}}", **HELD), {"x": np.ones((2, 8), np.float32)})
    assert y.shape == (2, 4)
