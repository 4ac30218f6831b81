# ruff: noqa: E501 - one graph a line
"""Codes that are moved stay codes, codes that are computed with are told, and weights keep theirs on any path."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from qgate.align.walk import align
from tests.quant.twin import model, run, twin, view_of

HEAD = "g (float[2,3,4] x) => (float y)"
PAIR = {"s": np.float32(0.1), "z": np.uint8(128)}
RNG = np.random.default_rng(2)


def operators(folder, body, **held):
    return [n.op for n in view_of(model(f"{HEAD} {{{body}}}", **PAIR, **held), folder).nodes]


@pytest.mark.parametrize(
    ("carrier", "held"),
    [
        ("Transpose <perm = [2,0,1]> (q)", {}), ("Reshape (q, t)", {"t": np.int64([6, 4])}),
        ("Gather <axis = 2> (q, i)", {"i": np.int64([1, 3])}), ("Concat <axis = 0> (q, q)", {}), ("Tile (q, r)", {"r": np.int64([1, 1, 2])}),
        ("Expand (q, r)", {"r": np.int64([2, 2, 3, 4])}),
    ],
)  # fmt: skip
def test_what_moves_codes_moves_values(carrier, held, tmp_path):
    made = model(
        f"{HEAD} {{q = QuantizeLinear (x, s, z) m = {carrier} y = DequantizeLinear (m, s, z)}}",
        **PAIR,
        **held,
    )
    view = view_of(made, tmp_path)
    op = carrier.split()[0]
    assert [n.op for n in view.nodes] == [op]
    assert view.defects == []
    x = {"x": np.round(RNG.uniform(-10, 10, (2, 3, 4)) * 10).astype(np.float32) / 10}
    np.testing.assert_allclose(run(twin(view, 21), x)[0], run(made, x)[0], atol=0.051)


@pytest.mark.parametrize(
    ("body", "held"),
    [
        ("q = QuantizeLinear (x, s, z) y = Cast <to = 1> (q)", {}),
        ("q = QuantizeLinear (x, s, z) c = Cast <to = 1> (q) y = Mul (c, s)", {}),
        ("q = QuantizeLinear (x, s, z) t = Transpose (q) c = Cast <to = 1> (t) y = Mul (c, s)", {}),
        ("q = QuantizeLinear (x, s, z) m = Max (q, z) y = DequantizeLinear (m, s, z)", {}),
        ("q = QuantizeLinear (x, s, z) i = Cast <to = 7> (q) f = Reshape (i, n) y = Gather (w, f)", {"n": np.int64([-1]), "w": np.ones((256, 2), np.float32)}),
    ],
    ids=["cast", "scaled without its zero point", "transposed", "max", "index"],
)  # fmt: skip
def test_codes_that_are_read_as_numbers_keep_their_quantizer(body, held, tmp_path):
    assert "QuantizeLinear" in operators(tmp_path, body, **held)


def test_the_reference_without_codes_differs_there(tmp_path):
    ours = view_of(model(f"{HEAD} {{y = Mul (x, s)}}", **PAIR), tmp_path, "one")
    theirs = view_of(
        model(f"{HEAD} {{q = QuantizeLinear (x, s, z) c = Cast <to = 1> (q) y = Mul (c, s)}}", **PAIR),
        tmp_path,
        "two",
    )
    (difference,) = align(ours, theirs, {}, {}).differences
    assert difference.kind == "added"
    assert "QuantizeLinear" in difference.message


def test_codes_of_two_scales_are_not_joined(tmp_path):
    body = "q = QuantizeLinear (x, s, z) r = QuantizeLinear (x, t, z) c = Concat <axis = 0> (q, r) y = DequantizeLinear (c, s, z)"
    view = view_of(model(f"{HEAD} {{{body}}}", **PAIR, t=np.float32(0.4)), tmp_path)
    assert [(d.kind, d.tensor) for d in view.defects] == [("requantized", "r")]
    view = view_of(model(f"{HEAD} {{{body}}}", **PAIR, t=np.float32(0.1)), tmp_path)
    assert view.defects == []


@pytest.mark.parametrize(("code", "same"), [(128, True), (131, False), (None, False)])
def test_codes_are_padded_with_the_code_of_the_value(code, same, tmp_path):
    ours = view_of(model(f"{HEAD} {{y = Pad (x, p)}}", p=np.int64([0, 0, 1, 0, 0, 1])), tmp_path, "one")
    pad = "Pad (q, p)" if code is None else "Pad (q, p, v)"
    held = PAIR | {"p": np.int64([0, 0, 1, 0, 0, 1])} | ({} if code is None else {"v": np.uint8(code)})
    body = f"q = QuantizeLinear (x, s, z) m = {pad} y = DequantizeLinear (m, s, z)"
    theirs = view_of(model(f"{HEAD} {{{body}}}", **held), tmp_path, "two")
    found = align(ours, theirs, {}, {}).differences
    assert [d.evidence.get("attribute") for d in found] == ([] if same else ["value"])


@pytest.mark.parametrize("layout", ["Transpose (c)", "Transpose <perm = [1,0]> (c)", "Reshape (c, n)"])
@pytest.mark.parametrize("scale", [(1,), (5, 1), (1, 8)])
def test_weights_that_are_moved_before_their_scale_keep_their_codes(layout, scale, tmp_path):
    codes = RNG.integers(-100, 100, (8, 5)).astype(np.int8)
    step = RNG.uniform(0.01, 0.1, scale).astype(np.float32)
    text = f"g (float[2,5] x) => (float y) {{c = Cast <to = 1> (w) t = {layout} d = Mul (t, k) y = MatMul (x, d)}}"
    proto = model(text, w=codes, k=step, n=np.int64([5, 8]))
    view = view_of(proto, tmp_path)
    (node,) = view.nodes
    weight = view.constants[node.inputs[1]]
    assert weight.is_quantized
    assert weight.dtype == "int8"
    moved = codes.reshape(5, 8) if "Reshape" in layout else codes.T
    np.testing.assert_allclose(weight.values(), moved * step, rtol=1e-6)
    x = {"x": RNG.standard_normal((2, 5)).astype(np.float32)}
    np.testing.assert_allclose(run(twin(view, 21), x)[0], run(proto, x)[0], rtol=1e-4, atol=1e-4)


def test_positions_of_maxima_are_no_codes(tmp_path):
    proto = model("g (float[1,1,4,4] x) => (float y) {q = QuantizeLinear (x, s, z)}", **PAIR)
    proto.graph.node.append(helper.make_node("MaxPool", ["q"], ["m", "i"], kernel_shape=[2, 2]))
    proto.graph.node.append(helper.make_node("Cast", ["i"], ["y"], to=TensorProto.FLOAT))
    assert "QuantizeLinear" not in [n.op for n in view_of(proto, tmp_path).nodes]
