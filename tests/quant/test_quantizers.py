# ruff: noqa: E501 - one graph a line
"""Quantizers that no converter places, and the proven bounds that say so."""

import numpy as np
import pytest

from qgate.quant.intervals import intervals
from qgate.quant.quantizers import odd_quantizers
from tests.quant.twin import half_bytes, model, run, twin, view_of

HEAD = "g (float[2,4,6] x) => (float y)"
HELD = {"s": np.float32(0.05), "z": np.int8(0), "t": np.float32(0.05), "u": np.int8(0)}
QDQ = "q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z)"
AGAIN = "p = QuantizeLinear ({of}, t, u) y = DequantizeLinear (p, t, u)"


def odd(folder, body, **held):
    return [
        (o.kind, o.quantizer.scale_name)
        for o in odd_quantizers(view_of(model(f"{HEAD} {{{body}}}", **{**HELD, **held}), folder))
    ]


@pytest.mark.parametrize(
    ("held", "kind"),
    [
        ({}, None), ({"t": np.float32(0.0502)}, None), ({"t": np.float32(0.06)}, "series-mild"), ({"t": np.float32(0.04)}, "series-mild"),
        ({"t": np.float32(0.2)}, "series"), ({"t": np.float32(0.02)}, "series"), ({"t": np.float32(3)}, "series"),
        ({"u": np.int8(-128)}, "series"), ({"t": np.float32(0.05 / 256), "u": np.int16(0)}, None),
        ({"t": np.float32(0.8), "u": half_bytes(np.int8(0), "int4")}, "series"),
    ],
)  # fmt: skip
def test_a_second_quantizer_may_not_be_narrower_or_coarser(held, kind, tmp_path):
    found = odd(tmp_path, f"{QDQ} {AGAIN.format(of='d')}", **held)
    assert found == ([(kind, "t")] if kind else [])


@pytest.mark.parametrize(
    ("scales", "kind"),
    [
        ((0.07, 0.09), "series-mild"),
        ((0.09, 0.16), "series"),
        ((0.05, 0.05), None),
        ((0.05, 0.09, 0.16), "series"),
    ],
)
def test_a_chain_is_held_against_its_first(scales, kind, tmp_path):
    """Each is less than twice as coarse as the one before it, and the last is more than twice as coarse as the first."""
    steps = {f"t{n}": np.float32(scale) for n, scale in enumerate(scales)}
    body, source = QDQ, "d"
    for n in range(len(scales)):
        made = "y" if n == len(scales) - 1 else f"d{n}"
        body += f" p{n} = QuantizeLinear ({source}, t{n}, u) {made} = DequantizeLinear (p{n}, t{n}, u)"
        source = made
    found = {name: kind for kind, name in odd(tmp_path, body, **steps)}
    assert found.get(f"t{len(scales) - 1}") == kind


@pytest.mark.parametrize("between", ["", " b = Relu (k)"])
def test_a_chain_through_rearrangements_is_held_against_its_first(between, tmp_path):
    """Two quantizers in a row before a transposition, and a reader beside them, hide none of what comes after."""
    body = (
        f"{QDQ} p0 = QuantizeLinear (d, t0, u) k = DequantizeLinear (p0, t0, u){between} r = Transpose <perm = [2,0,1]> (k)"
        " p1 = QuantizeLinear (r, t1, u) e = DequantizeLinear (p1, t1, u) m = Transpose <perm = [1,2,0]> (e)"
        " p2 = QuantizeLinear (m, t2, u) y = DequantizeLinear (p2, t2, u)"
    )
    steps = {"t0": np.float32(0.05), "t1": np.float32(0.15), "t2": np.float32(0.45)}
    found = {name: kind for kind, name in odd(tmp_path, body, **steps)}
    assert found == {"t2": "series"}


def test_two_readers_may_each_have_their_own_quantizer(tmp_path):
    body = "a = Relu (x) q = QuantizeLinear (a, s, z) d = DequantizeLinear (q, s, z) p = QuantizeLinear (a, t, u) e = DequantizeLinear (p, t, u) y = Add (d, e)"
    assert odd(tmp_path, body, t=np.float32(0.01)) == []


@pytest.mark.parametrize(("scale", "kind"), [(0.05, None), (0.02, None), (0.01, "series"), (1.0, "series")])
def test_a_rearrangement_has_the_range_of_what_it_rearranges(scale, kind, tmp_path):
    body = f"{QDQ} r = Transpose <perm = [2,0,1]> (d) {AGAIN.format(of='r')}"
    assert odd(tmp_path, body, t=np.float32(scale)) == ([(kind, "t")] if kind else [])


def test_part_of_a_tensor_may_have_a_range_of_its_own(tmp_path):
    body = f"{QDQ} r = Slice (d, b, e) {AGAIN.format(of='r')}"
    assert odd(tmp_path, body, t=np.float32(0.005), b=np.int64([0]), e=np.int64([1])) == []


@pytest.mark.parametrize(
    ("op", "scale", "flagged"),
    [
        ("Sigmoid (d)", 1 / 255, False), ("Sigmoid (d)", 1 / 3, True), ("Tanh (d)", 0.1, False), ("Tanh (d)", 0.5, True),
        ("Relu (d)", 2.0, True), ("Clip (d, lo, hi)", 0.2, True), ("Clip (d, lo, hi)", 0.01, False), ("Exp (x)", 5.0, False),
        ("MatMul (d, w)", 20.0, True), ("MatMul (d, w)", 0.5, False),
    ],
)  # fmt: skip
def test_a_handful_of_levels_is_told_where_bounds_prove_it(op, scale, flagged, tmp_path):
    held = {
        "t": np.float32(scale),
        "lo": np.float32(0),
        "hi": np.float32(1),
        "w": np.full((6, 3), 0.5, np.float32),
    }
    found = odd(tmp_path, f"{QDQ} r = {op} {AGAIN.format(of='r')}", **held)
    assert found == ([("levels", "t")] if flagged else [])


def test_four_bit_activations_have_sixteen_levels(tmp_path):
    nibble = {
        "s": np.float32(0.5),
        "z": half_bytes(np.uint8(8), "uint4"),
        "t": np.float32(1 / 15),
        "u": half_bytes(np.uint8(0), "uint4"),
    }
    assert odd(tmp_path, f"{QDQ} r = Sigmoid (d) {AGAIN.format(of='r')}", **nibble) == []


@pytest.mark.parametrize("scale", [np.nan, 0, -1, np.inf])
def test_a_scale_that_is_none_is_told_elsewhere(scale, tmp_path):
    assert odd(tmp_path, f"{QDQ} {AGAIN.format(of='d')}", t=np.float32(scale)) == []


BODIES = [
    "y = Relu (d)", "y = LeakyRelu <alpha = 0.2> (d)", "y = Elu <alpha = 0.7> (d)", "y = Selu (d)", "y = Gelu (d)", "y = Gelu <approximate = \"tanh\"> (d)",
    "y = Mish (d)", "y = HardSwish (d)", "y = Softplus (d)", "y = Celu <alpha = 0.5> (d)", "y = ThresholdedRelu (d)", "y = PRelu (d, w)",
    "a = Exp (d) y = Sqrt (a)", "y = Neg (d)", "y = Abs (d)", "a = Abs (d) b = Add (a, one) y = Div (d, b)", "a = Sigmoid (d) y = Mul (a, d)",
    "y = Sub (d, w)", "y = Max (d, w)", "y = Min (d, w)", "y = Concat <axis = 0> (d, w)", "a = Greater (d, w) y = Where (a, d, w)",
    "a = Greater (d, w) y = Cast <to = 1> (a)", "a = Cast <to = 7> (d) y = Cast <to = 1> (a)", "y = Pad (d, p, one)", "y = Round (d)", "y = Floor (d)",
    "y = AveragePool <kernel_shape = [3], pads = [1,1], count_include_pad = 1> (d)", "y = MaxPool <kernel_shape = [3]> (d)", "y = ReduceMean (d)",
    "y = Conv <pads = [1,1]> (d, k, c)", "y = MatMul (d, v)", "y = Softmax (d)", "y = Clip (d, lo, one)", "y = Softsign (d)", "y = Erf (d)",
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES)
def test_no_input_leaves_the_bounds(body, tmp_path):
    rng = np.random.default_rng(4)
    held = HELD | {
        "w": rng.standard_normal((2, 4, 6)).astype(np.float32), "one": np.float32(1), "lo": np.float32(-0.3),
        "p": np.int64([0, 0, 1, 0, 0, 1]), "k": rng.standard_normal((3, 4, 3)).astype(np.float32),
        "c": rng.standard_normal(3).astype(np.float32), "v": rng.standard_normal((6, 5)).astype(np.float32),
    }  # fmt: skip
    proto = model(f"{HEAD} {{{QDQ} {body}}}", **held)
    view = view_of(proto, tmp_path)
    low, high = intervals(view)[dict(view.outputs)["y"]]
    assert np.isfinite([low, high]).all()
    seen = []
    for size in (0.1, 2, 100):
        for _ in range(4):
            x = {"x": (rng.uniform(-size, size, (2, 4, 6))).astype(np.float32)}
            seen.append(run(proto, x)[0].astype(np.float64))
    least, most = min(v.min() for v in seen), max(v.max() for v in seen)
    slack = 1e-4 * max(abs(low), abs(high), 1)
    assert low - slack <= least
    assert most <= high + slack


def test_what_reads_beside_the_quantizer_is_not_bounded_by_it(tmp_path):
    view = view_of(model(f"{HEAD} {{{QDQ} e = Relu (d) f = Relu (x) y = Add (e, f)}}", **HELD), tmp_path)
    found = intervals(view)
    assert found.get("f", (0, np.inf))[1] == np.inf
    assert found["e"][1] == pytest.approx(0.05 * 127)


def test_the_twin_of_a_view_still_runs(tmp_path):
    view = view_of(model(f"{HEAD} {{{QDQ} y = Relu (d)}}", **HELD), tmp_path)
    assert run(twin(view), {"x": np.ones((2, 4, 6), np.float32)})[0].shape == (2, 4, 6)
