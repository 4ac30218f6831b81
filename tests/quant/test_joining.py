# ruff: noqa: E501 - one graph a line
"""Fused operators and the arithmetic that other exporters write for them are one thing; near misses are not."""

import numpy as np
import onnx
import pytest

from qgate.align.walk import align
from qgate.quant.joining import join
from tests.optimised import optimised
from tests.quant.twin import model, run, view_of

HEAD = "g (float[2,5,8] x) => (float[2,5,8] y)"
RNG = np.random.default_rng(6)
HELD = {
    "half": np.float32(0.5), "one": np.float32(1), "two": np.float32(2), "three": np.float32(3), "root2": np.float32(np.sqrt(2)), "cube": np.float32(0.044715),
    "rootpi": np.float32(np.sqrt(2 / np.pi)), "six": np.float32(6), "zero": np.float32(0), "quick": np.float32(1.702), "eps": np.float32(1e-5),
    "last": np.int64([-1]), "s": RNG.standard_normal(8).astype(np.float32), "b": RNG.standard_normal(8).astype(np.float32),
    "w": RNG.standard_normal((8, 8)).astype(np.float32), "sixth": np.float32(1 / 6),
}  # fmt: skip
GELU = "d = Div (h, root2) e = Erf (d) f = Add (e, one) m = Mul (h, f) k = Mul (m, half)"
NORM = "a = ReduceMean <axes = [-1]> (h) c = Sub (h, a) p = Pow (c, two) v = ReduceMean <axes = [-1]> (p) e = Add (v, eps) r = Sqrt (e) n = Div (c, r) m = Mul (n, s) k = Add (m, b)"
SOFT = "a = ReduceMax <axes = [-1], keepdims = 1> (h) d = Sub (h, a) e = Exp (d) t = ReduceSum <keepdims = 1> (e, last) k = Div (e, t)"
BENT = "m = Mul (s, h) c = Less (h, zero) k = Where (c, m, h)"
SAME = [
    ("Gelu", "k = Gelu (h)", GELU),
    ("Gelu", "k = Gelu (h)", "g = Mul (h, half) d = Div (h, root2) e = Erf (d) f = Add (one, e) k = Mul (f, g)"),
    ("Gelu", "k = Gelu <approximate = \"tanh\"> (h)", "p = Pow (h, three) q = Mul (p, cube) a = Add (h, q) t = Mul (a, rootpi) u = Tanh (t) f = Add (u, one) m = Mul (h, f) k = Mul (half, m)"),
    ("Gelu", "k = com.microsoft.FastGelu (h)", "c = Mul (h, h) p = Mul (c, h) q = Mul (p, cube) a = Add (h, q) t = Mul (a, rootpi) u = Tanh (t) f = Add (u, one) m = Mul (h, f) k = Mul (half, m)"),
    ("Swish", "k = com.microsoft.QuickGelu <alpha = 1.702> (h)", "q = Mul (h, quick) t = Sigmoid (q) k = Mul (h, t)"),
    ("Swish", "k = com.microsoft.QuickGelu <alpha = 1.0> (h)", "t = Sigmoid (h) k = Mul (t, h)"),
    ("Mish", "k = Mish (h)", "t = Softplus (h) u = Tanh (t) k = Mul (h, u)"),
    ("HardSwish", "k = HardSwish (h)", "a = Add (h, three) c = Clip (a, zero, six) m = Mul (h, c) k = Div (m, six)"),
    ("HardSwish", "k = HardSwish (h)", "a = Add (h, three) c = Clip (a, zero, six) d = Mul (c, sixth) k = Mul (d, h)"),
    ("HardSigmoid", "k = HardSigmoid <alpha = 0.16666667, beta = 0.5> (h)", "a = Mul (h, sixth) c = Add (a, half) k = Clip (c, zero, one)"),
    ("LayerNormalization", "k = LayerNormalization <axis = -1, epsilon = 0.00001> (h, s, b)", NORM),
    ("LayerNormalization", "k = LayerNormalization <axis = -1, epsilon = 0.00001> (h, s, b)",
     "a = ReduceMean <axes = [-1]> (h) c = Sub (h, a) p = Mul (c, c) v = ReduceMean <axes = [-1]> (p) e = Add (v, eps) r = Sqrt (e) i = Reciprocal (r) n = Mul (c, i) m = Mul (n, s) k = Add (b, m)"),
    ("RMSNormalization", "k = SimplifiedLayerNormalization <axis = -1, epsilon = 0.00001> (h, s)",
     "p = Pow (h, two) v = ReduceMean <axes = [-1]> (p) e = Add (v, eps) r = Sqrt (e) n = Div (h, r) k = Mul (s, n)"),
    ("LayerNormalization", "k = com.microsoft.SkipLayerNormalization <epsilon = 0.00001> (h, x, s, b)", f"hx = Add (h, x) {NORM.replace('(h', '(hx')}"),
    ("Softmax", "k = Softmax <axis = -1> (h)", SOFT),
    ("PRelu", "k = PRelu (h, s)", BENT),
    ("PRelu", "k = PRelu (h, s)", BENT.replace("(s, h)", "(h, s)")),
    ("", "k = com.microsoft.BiasGelu (h, b)", "z = Add (h, b) k = Gelu (z)"),
]  # fmt: skip


def views(folder, ours, theirs, held=None, opset=17, other=20):
    made = []
    for name, body, version in (("one", ours, opset), ("two", theirs, other)):
        text = f"{HEAD} {{h = Add (x, w0) {body} y = MatMul (k, w)}}"
        made.append(
            view_of(model(text, opset=version, w0=np.ones(8, np.float32), **(held or HELD)), folder, name)
        )
    join(*made)
    return made


@pytest.mark.parametrize(
    ("op", "fused", "parts"), SAME, ids=[f"{n}-{op}" for n, (op, _, _) in enumerate(SAME)]
)
def test_arithmetic_is_the_operator_that_it_amounts_to(op, fused, parts, tmp_path):
    held = dict(HELD)
    for one, two in ((fused, parts), (parts, fused)):
        opsets = [22 if "Mish" in t else 20 if "Gelu" in t else 17 for t in (one, two)]
        left, right = views(tmp_path, one, two, held, *opsets)
        found = align(left, right, {}, {})
        assert found.differences == []
        assert found.unmatched_reference == found.unmatched_candidate == []
        if op:
            assert op in [n.op for n in left.nodes]
            assert op in [n.op for n in right.nodes]


MISSES = [
    ("k = Gelu (h)", GELU, {"half": np.float32(0.51)}), ("k = Gelu (h)", GELU, {"root2": np.float32(1.42)}), ("k = Gelu (h)", GELU, {"one": np.float32(1.0001)}),
    ("k = LayerNormalization <axis = -1, epsilon = 0.00001> (h, s, b)", NORM, {"eps": np.float32(1e-3)}),
    ("k = LayerNormalization <axis = -1, epsilon = 0.00001> (h, s, b)", NORM, {"two": np.float32(2.01)}),
    ("k = HardSwish (h)", "a = Add (h, three) c = Clip (a, zero, six) m = Mul (h, c) k = Div (m, six)", {"six": np.float32(5.9)}),
    ("k = Gelu (h)", f"{GELU.replace('k = Mul (m, half)', 'o = Mul (m, half) k = Min (o, three)')}", {}),
    ("k = Gelu (h)", GELU.replace("Erf (d)", "Tanh (d)"), {}),
    ("k = Softmax <axis = -1> (h)", SOFT, {"last": np.int64([-2])}),
    ("k = Softmax <axis = -1> (h)", SOFT.replace("axes = [-1]", "axes = [1]"), {}),
    ("k = Softmax <axis = -1> (h)", SOFT.replace("Exp (d)", "Tanh (d)"), {}),
    ("k = Softmax <axis = -1> (h)", SOFT.replace("Sub (h, a)", "Sub (x, a)"), {}),
    ("k = Softmax <axis = -1> (h)", SOFT.replace("ReduceMax", "ReduceMean"), {}),
    ("k = Softmax <axis = -1> (h)", SOFT.replace("ReduceSum <keepdims = 1> (e", "ReduceSum <keepdims = 1> (d"), {}),
    ("k = Softmax <axis = -1> (h)", SOFT.replace("Div (e, t)", "Div (t, e)"), {}),
    ("k = Softmax <axis = 1> (h)", SOFT, {}),
    ("k = PRelu (h, s)", BENT, {"zero": np.float32(0.1)}), ("k = PRelu (h, s)", BENT.replace("(s, h)", "(s, x)"), {}),
    ("k = PRelu (h, s)", BENT.replace("Less (h, zero)", "Less (zero, h)"), {}), ("k = PRelu (h, s)", BENT.replace("(c, m, h)", "(c, h, m)"), {}),
    ("k = PRelu (h, s)", BENT.replace("(c, m, h)", "(c, m, x)"), {}),
    ("k = Gelu (h)", GELU.replace("m = Mul (h, f)", "m = Mul (x, f)"), {}),
]  # fmt: skip


@pytest.mark.parametrize(("fused", "parts", "changed"), MISSES, ids=range(len(MISSES)))
def test_a_near_miss_is_told(fused, parts, changed, tmp_path):
    left, right = views(tmp_path, fused, parts, HELD | changed, 20, 17)
    assert align(left, right, {}, {}).differences


def test_operators_that_both_have_stay_as_they_are(tmp_path):
    left, right = views(tmp_path, GELU, GELU)
    assert [n.op for n in left.nodes] == [n.op for n in right.nodes]
    assert "Gelu" not in {n.op for n in left.nodes}


def test_a_long_chain_ends_in_bounded_time(tmp_path):
    chain = " ".join(f"t{i + 1} = Mul (t{i}, t{i})" for i in range(400))
    text = f"{HEAD} {{t0 = Add (x, w0) {chain} k = Gelu (t400) y = MatMul (k, w)}}"
    one = view_of(model(text, opset=20, w0=np.ones(8, np.float32), **HELD), tmp_path, "one")
    two = view_of(
        model(text.replace("Gelu (t400)", "Sigmoid (t400)"), opset=20, w0=np.ones(8, np.float32), **HELD),
        tmp_path,
        "two",
    )
    join(one, two)
    assert align(one, two, {}, {}).differences


def test_what_onnx_runtime_fuses_is_the_same_model(tmp_path):
    norm = (
        "a2 = ReduceMean <axes = [-1]> (hx) c2 = Sub (hx, a2) p2 = Pow (c2, two) v2 = ReduceMean <axes = [-1]> (p2) e2 = Add (v2, eps)"
        " r2 = Sqrt (e2) n2 = Div (c2, r2) m3 = Mul (n2, s) y = Add (m3, b)"
    )
    body = (
        f"m1 = MatMul (x, w) h = Add (m1, b) {GELU} m2 = MatMul (k, w) l = Add (m2, b) hx = Add (l, x) {norm}"
    )
    proto = model(f"g (float[10,8] x) => (float[10,8] y) {{{body}}}", opset=17, **HELD)
    onnx.checker.check_model(proto)
    fused = optimised(proto, tmp_path, "ORT_ENABLE_EXTENDED")
    assert {n.op_type for n in fused.graph.node} & {
        "BiasGelu",
        "SkipLayerNormalization",
        "LayerNormalization",
    }
    one, two = view_of(proto, tmp_path, "one"), view_of(fused, tmp_path, "two")
    join(one, two)
    assert align(one, two, {}, {}).differences == []
    x = {"x": RNG.standard_normal((10, 8)).astype(np.float32)}
    np.testing.assert_allclose(run(fused, x)[0], run(proto, x)[0], rtol=1e-3, atol=1e-4)
