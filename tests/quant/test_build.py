# ruff: noqa: E501 - one graph a line
"""The float view as a whole: its marks and defects, its order, and what it never does with a malformed graph."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from qgate.errors import FormatError
from qgate.formats.read import read_model
from qgate.quant.build import float_view
from qgate.quant.order import in_order
from tests.quant.twin import half_bytes, model, view_of

ROWS = "g (float[3,8] x) => (float[N,M] y)"
W = np.random.default_rng(1).integers(-63, 64, (8, 5)).astype(np.int8)
PAIR = {"s": np.float32(0.1), "z": np.uint8(128)}


def defects(folder, text, **held):
    return [(d.kind, d.tensor, d.node) for d in view_of(model(text, **held), folder).defects]


def test_a_quantizer_marks_its_tensor_with_the_range_of_its_codes(tmp_path):
    text = f"{ROWS} {{q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) y = Relu (d)}}"
    view = view_of(model(text, s=np.float32(0.1), z=np.uint8(100)), tmp_path)
    (mark,) = view.quantizers["x"]
    assert (mark.tensor, mark.source, mark.dtype, mark.scale_name, mark.zero_name) == (
        "x",
        "x",
        "uint8",
        "s",
        "z",
    )
    assert mark.bounds() == pytest.approx((-10, 15.5))
    assert [n.op for n in view.nodes] == ["Relu"]


@pytest.mark.parametrize(
    ("zero", "attributes", "dtype", "low", "high"),
    [
        (None, "", "uint8", 0, 25.5),
        (None, "<output_dtype = 3>", "int8", -12.8, 12.7),
        (None, "<output_dtype = 5>", "int16", -3276.8, 3276.7),
        (None, "<output_dtype = 17>", "float8e4m3fn", -np.inf, np.inf),
        (np.int8(-128), "", "int8", 0, 25.5),
        (half_bytes(np.array(3), "uint4"), "", "uint4", -0.3, 1.2),
    ],
)
def test_the_range_follows_the_type_of_the_codes(zero, attributes, dtype, low, high, tmp_path):
    z = ", z" if zero is not None else ""
    text = f"{ROWS} {{q = QuantizeLinear {attributes} (x, s{z}) d = DequantizeLinear (q, s{z}) y = Relu (d)}}"
    view = view_of(model(text, s=np.float32(0.1), **({"z": zero} if z else {})), tmp_path)
    (mark,) = view.quantizers["x"]
    assert mark.dtype == dtype
    assert mark.bounds() == pytest.approx((low, high), rel=1e-6)


def test_codes_read_with_other_parameters_than_they_were_made_with_are_a_defect(tmp_path):
    text = f"{ROWS} {{q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, t, u) y = Relu (d)}}"
    assert defects(tmp_path, text, **PAIR, t=np.float32(0.1), u=np.uint8(128)) == []
    assert defects(tmp_path, text, **PAIR, t=np.float32(0.2), u=np.uint8(128)) == [
        ("requantized", "t", "DequantizeLinear->d")
    ]
    assert defects(tmp_path, text, **PAIR, t=np.float32(0.1), u=np.uint8(127)) == [
        ("requantized", "u", "DequantizeLinear->d")
    ]
    through = f"{ROWS} {{q = QuantizeLinear (x, s, z) r = Reshape (q, k) d = DequantizeLinear (r, t, z) y = Relu (d)}}"
    found = defects(tmp_path, through, **PAIR, t=np.float32(0.2), k=np.array([8, 3]))
    assert [kind for kind, _, _ in found] == ["requantized"]
    bare = f"{ROWS} {{q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s) y = Relu (d)}}"
    assert [(k, t) for k, t, _ in defects(tmp_path, bare, **PAIR)] == [("requantized", "s")]


def test_what_nothing_makes_and_what_two_make_are_defects(tmp_path):
    assert defects(tmp_path, f"{ROWS} {{y = Add (x, gone)}}") == [("graph", None, "Add->y")]
    assert defects(tmp_path, f"{ROWS} {{a = Relu (x)}}") == [("graph", "y", None)]
    proto = model(f"{ROWS} {{a = Relu (x) y = Neg (a)}}")
    proto.graph.node.append(helper.make_node("Sin", ["x"], ["a"]))
    assert [d.tensor for d in view_of(proto, tmp_path).defects] == ["a"]
    shadow = model(f"{ROWS} {{a = Relu (x) y = Neg (a)}}", a=np.ones(3, np.float32))
    assert [d.tensor for d in view_of(shadow, tmp_path).defects] == ["a"]


def test_nodes_are_taken_in_the_order_of_their_data(tmp_path):
    proto = model(f"{ROWS} {{a = Relu (x) b = Neg (a) y = Sin (b)}}")
    nodes = list(proto.graph.node)[::-1]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    read = read_model(path)
    assert [n.op for n in in_order(read.graph)] == ["Relu", "Neg", "Sin"]
    view = float_view(read)
    assert view.defects == []


@pytest.mark.parametrize("op", ["Identity", "Relu", "Dropout", "Cast"])
def test_a_circle_is_a_defect_and_ends(op, tmp_path):
    to = {"to": 1} if op == "Cast" else {}
    proto = model(f"{ROWS} {{y = Add (x, a)}}")
    proto.graph.node.extend(
        [helper.make_node(op, ["b"], ["a"], **to), helper.make_node(op, ["a"], ["b"], **to)]
    )
    assert "graph" in {d.kind for d in view_of(proto, tmp_path).defects}


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "domain"),
    [
        ("QuantizeLinear", ["x"], {}, ""), ("DequantizeLinear", ["w"], {"axis": [1, 2]}, ""),
        ("DequantizeLinear", ["w", "s"], {"block_size": "word"}, ""), ("Gemm", ["x", "w"], {"alpha": "word"}, ""),
        ("Transpose", ["w"], {"perm": 3}, ""), ("Cast", ["w"], {"to": "float"}, ""), ("Flatten", ["w"], {"axis": "a"}, ""),
        ("MatMulNBits", ["x", "w", "s"], {"K": "many", "N": 5}, "com.microsoft"),
        ("QLinearConv", ["x"], {}, ""), ("QGemm", ["x", "s", "z", "w"], {}, "com.microsoft"),
        ("Conv", ["x", "w"], {"strides": 3}, ""), ("DynamicQuantizeLSTM", ["x", "w", "w"], {}, "com.microsoft"),
        ("ConvInteger", [], {}, ""), ("QLinearConcat", ["s", "z", "x"], {}, "com.microsoft"), ("Reshape", ["w", "s"], {}, ""),
        ("Identity", [], {}, ""), ("Unsqueeze", ["w", "s"], {}, ""), ("Slice", ["w", "s", "s", "x"], {}, ""),
        ("ConvTranspose", ["x", "k"], {"group": 0}, ""), ("BatchNormalization", ["x"], {}, ""),
    ],
    ids=lambda v: v if isinstance(v, str) else None,
)  # fmt: skip
def test_operands_and_attributes_of_no_sense_are_refused_or_kept_never_a_crash(
    op, inputs, attributes, domain, tmp_path
):
    proto = model(
        f"{ROWS} {{z9 = Relu (x)}}",
        w=W,
        s=np.float32(0.1),
        z=np.uint8(3),
        k=np.ones((4, 3, 2, 2), np.float32),
    )
    del proto.graph.node[:]
    proto.graph.node.append(helper.make_node(op, inputs, ["a"], "blamed", domain=domain, **attributes))
    proto.graph.node.append(helper.make_node("Add", ["a", "x"], ["y"]))
    try:
        assert view_of(proto, tmp_path).nodes
    except FormatError as error:
        assert (error.rule, error.tensor) == ("ART105", "blamed")
        assert op in error.what


def test_a_packed_weight_of_another_size_is_a_defect(tmp_path):
    text = "g (float[3,32] x) => (float[N,M] y) {y = com.microsoft.MatMulNBits <K = 32, N = 5, bits = 4, block_size = 16> (x, w, s)}"
    found = defects(tmp_path, text, w=np.zeros((5, 2, 7), np.uint8), s=np.ones(10, np.float32))
    assert found == [("nbits", "w", "MatMulNBits->y")]


@pytest.mark.parametrize("zero", [np.zeros(9, np.uint8), np.zeros(11, np.float32), None])
def test_zero_points_of_another_number_leave_the_operator_as_it_is(zero, tmp_path):
    operand = "z" if zero is not None else "x"
    text = f"g (float[3,32] x) => (float[N,M] y) {{y = com.microsoft.MatMulNBits <K = 32, N = 5, bits = 4, block_size = 16> (x, w, s, {operand})}}"
    held = {"w": np.zeros((5, 2, 8), np.uint8), "s": np.ones(10, np.float32)} | (
        {"z": zero} if zero is not None else {}
    )
    assert [n.op for n in view_of(model(text, **held), tmp_path).nodes] == ["MatMulNBits"]


def test_two_recurrent_layers_without_a_first_output_keep_their_own_weights(tmp_path):
    rng = np.random.default_rng(0)
    w, v = (rng.integers(-9, 9, (1, 3, 16)).astype(np.int8) for _ in range(2))
    proto = model("g (float[5,2,3] x) => (float[D,B,H] y) {y = Relu (x)}", w=w, v=v, s=np.float32([0.1]),
                  r=rng.integers(-9, 9, (1, 4, 16)).astype(np.int8))  # fmt: skip
    del proto.graph.node[:]
    for weight, out in (("w", "a"), ("v", "b")):
        inputs = ["x", weight, "r", "", "", "", "", "", "s", "", "s", ""]
        proto.graph.node.append(
            helper.make_node("DynamicQuantizeLSTM", inputs, ["", out], domain="com.microsoft", hidden_size=4)
        )
    proto.graph.node.append(helper.make_node("Add", ["a", "b"], ["y"]))
    view = view_of(proto, tmp_path)
    assert [view.constants[n.inputs[1]].name for n in view.nodes if n.op == "LSTM"] == ["w", "v"]


def test_rows_gathered_from_a_table_of_codes_make_the_table_quantized(tmp_path):
    text = "g (int64[3] i) => (float[N,M] y) {g = Gather (t, i) y = DequantizeLinear (g, s, z)}"
    view = view_of(model(text, t=W, s=np.float32(0.1), z=np.int8(3)), tmp_path)
    (gather,) = view.nodes
    table = view.constants[gather.inputs[0]]
    assert (gather.op, table.name, table.quantized.scale_name) == ("Gather", "t", "s")
    np.testing.assert_allclose(table.values(), (W.astype(np.float32) - 3) * np.float32(0.1), rtol=1e-6)


def test_a_mean_of_codes_is_a_mean(tmp_path):
    text = f"{ROWS} {{q = QuantizeLinear (x, s, z) m = com.microsoft.QLinearReduceMean <axes = [1]> (q, s, z, s, z) y = DequantizeLinear (m, s, z)}}"
    view = view_of(model(text, **PAIR), tmp_path)
    assert [(n.op, n.attributes["axes"]) for n in view.nodes] == [("ReduceMean", 1)]
    assert set(view.quantizers) == {"x", "m"}


def test_dropout_in_training_and_casts_to_integers_stay(tmp_path):
    held = {"r": np.float32(0.5), "t": np.array(True)}
    assert [n.op for n in view_of(model(f"{ROWS} {{y = Dropout (x, r, t)}}", **held), tmp_path).nodes] == [
        "Dropout"
    ]
    text = f"{ROWS} {{i = Cast <to = 7> (x) y = Cast <to = 1> (i)}}"
    assert [n.op for n in view_of(model(text), tmp_path).nodes] == ["Cast", "Cast"]


FLOAT = np.random.default_rng(2).standard_normal((8, 5)).astype(np.float32)


def ops(folder, body, outs="(float[N,M] y)", **held):
    text = f"g (float[3,8] x) => {outs} {{{body}}}"
    return [n.op for n in view_of(model(text, w=FLOAT, b=np.ones(5, np.float32), **held), folder).nodes]


def test_nothing_is_folded_into_a_layer_whose_own_output_is_read_elsewhere(tmp_path):
    assert ops(tmp_path, "p = MatMul (x, w) q = Add (p, b) y = Mul (q, p)") == ["MatMul", "Add", "Mul"]
    assert ops(tmp_path, "p = MatMul (x, w) y = Add (p, b)", "(float[N,M] y, float[N,M] p)") == [
        "MatMul",
        "Add",
    ]
    assert ops(tmp_path, "p = MatMul (x, w) y = Add (p, p)") == ["MatMul", "Add"]


@pytest.mark.parametrize(("zero", "kept"), [(0, ["MatMul", "Add"]), (100, ["MatMul"])])
def test_a_bias_behind_a_quantizer_that_clips_is_none_of_the_layers(zero, kept, tmp_path):
    body = "p = MatMul (x, w) q = QuantizeLinear (p, s, z) d = DequantizeLinear (q, s, z) y = Add (d, b)"
    assert ops(tmp_path, body, s=np.float32(0.1), z=np.uint8(zero)) == kept


def test_norms_stay_where_both_models_still_have_theirs(tmp_path):
    text = (
        "g (float[1,2,4,4] x) => (float[N,C,H,W] y) {c = Conv (x, w) y = BatchNormalization (c, s, b, m, v)}"
    )
    held = {"w": np.ones((3, 2, 1, 1), np.float32)} | {k: np.ones(3, np.float32) for k in "sbmv"}
    assert [n.op for n in view_of(model(text, **held), tmp_path, fold_norms=False).nodes] == [
        "Conv",
        "BatchNormalization",
    ]
    assert [n.op for n in view_of(model(text, **held), tmp_path).nodes] == ["Conv"]
    held["v"] = np.full(3, -1, np.float32)  # a variance that no training gives
    assert [n.op for n in view_of(model(text, **held), tmp_path).nodes] == ["Conv", "BatchNormalization"]


def test_a_constant_too_large_to_compute_with_is_not_computed(tmp_path):
    big = np.zeros((2100, 2000), np.float32)
    text = "g (float[1,2100] x) => (float[N,M] y) {n = Neg (w) t = Transpose (w) u = Transpose (t) a = MatMul (x, n) b = MatMul (x, u) y = Add (a, b)}"
    assert [n.op for n in view_of(model(text, w=big), tmp_path).nodes] == ["Neg", "MatMul", "MatMul", "Add"]


@pytest.mark.parametrize("sizes", [[2**20, 2**20, 2**20], [-3, 2], [70000]])
def test_a_filled_constant_of_any_size_asks_for_no_memory(sizes, tmp_path):
    text = "g (float[3] x) => (float[N] y) {f = ConstantOfShape (t) y = Add (x, f)}"
    view = view_of(model(text, t=np.array(sizes)), tmp_path)
    assert [n.op for n in view.nodes] == ["ConstantOfShape", "Add"]


def test_a_range_of_any_length_asks_for_no_memory(tmp_path):
    text = "g (int64[3] x) => (int64[N] y) {r = Range (a, b, c) y = Add (x, r)}"
    held = {"a": np.int64(0), "b": np.int64(2**60), "c": np.int64(1)}
    assert [n.op for n in view_of(model(text, **held), tmp_path).nodes] == ["Range", "Add"]
    assert [n.op for n in view_of(model(text, **held | {"c": np.int64(0)}), tmp_path).nodes] == [
        "Range",
        "Add",
    ]


def test_tensors_that_bodies_read_from_around_them_are_kept(tmp_path):
    outs = [helper.make_tensor_value_info("o", TensorProto.FLOAT, None)]
    bodies = [helper.make_graph([helper.make_node(op, ["a"], ["o"])], op, [], outs) for op in ("Sin", "Cos")]
    proto = model("g (float[3] x, bool c) => (float[N] y) {a = Relu (x)}")
    proto.graph.node.append(
        helper.make_node("If", ["c"], ["y"], then_branch=bodies[0], else_branch=bodies[1])
    )
    view = view_of(proto, tmp_path)
    assert [(n.op, n.implicit) for n in view.nodes] == [("Relu", ()), ("If", ("a",))]
    assert [n.op for n in view.consumers()["a"]] == ["If"]
