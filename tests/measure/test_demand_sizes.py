"""Sizes of tensors that are told from the graph alone: those of a real run where they are called exact, never more."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from qgate.formats.read import read_model
from qgate.measure.demand.measured import measure_demand
from qgate.measure.demand.walk import tensors_of
from qgate.runtimes.onnx_taps import added_outputs
from qgate.sandbox.limits import Limits

EXAMPLES = Path(__file__).parents[2] / "examples"


def actual(data, names, feeds):
    """Shapes of inner tensors in a real run."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(data + added_outputs(names), options)
    return {o.name: v for o, v in zip(session.get_outputs(), session.run(None, feeds), strict=True)}


def assert_bounds(model, data, feeds):
    """Every size that is called exact is that of the run, every bound holds; returns how many were exact."""
    known = tensors_of(model.graph)
    declared = {o.name for o in model.graph.outputs}
    inner = [n for node in model.graph.nodes for n in node.outputs if n and n not in declared]
    found = actual(data, inner, feeds)
    sure = 0
    for name, value in found.items():
        tensor = known.get(name)
        if tensor is None or not isinstance(value, np.ndarray):
            continue
        if tensor.shape is not None:
            assert len(tensor.shape) == value.ndim, name
            for size, real in zip(tensor.shape, value.shape, strict=True):
                assert size.low == real if size.exact else size.low <= real, (name, tensor.shape, value.shape)
                sure += size.exact
            assert tensor.bytes <= value.nbytes, name
        for one, real in zip(tensor.values or (), value.reshape(-1), strict=False):
            if one is not None:
                assert one.low == real if one.exact else one.low <= real, (name, tensor.values, value)
    return sure, len(found)


SIZED = {"N": 2, "batch": 2, "batch_size": 2}


@pytest.mark.parametrize(
    "name",
    ["digits/digits_fp32", "digits/digits_int8_pc", "digits/digits_int8_qop", "digits/digits_dyn", "digits/digits_fp16",
     "digits/diabetes_int8", "ppocr_cls/ref", "ppocr_cls/ort_qdq_pc", "mtcnn_rnet/ref", "mtcnn_rnet/nncf_int8", "crepe_tiny/ref"],
)  # fmt: skip
def test_sizes_of_real_models_are_those_of_a_run(name):
    path = EXAMPLES / f"{name}.onnx"
    model = read_model(path)
    feeds = {}
    for given in model.graph.inputs:
        shape = [d if isinstance(d, int) else 2 for d in given.shape]
        if "ppocr" in name:
            shape[2:] = [48, 192]
        kind = np.float16 if given.dtype == "float16" else np.float32
        feeds[given.name] = np.random.default_rng(0).normal(size=shape).astype(kind)
    sure, tensors = assert_bounds(model, path.read_bytes(), feeds)
    assert sure > tensors / 2
    assert list(measure_demand(model, Limits())) == []


OPERATORS = {
    "Concat": ("y = Concat <axis = 1> (x, x, x)"),
    "Split": ("a, b = Split <axis = 1, num_outputs = 2> (x) y = Concat <axis = 0> (b, b)"),
    "Split sizes": ("s = Constant <value_ints = [1, 3]> () a, b = Split <axis = 1> (x, s) y = Neg (b)"),
    "Transpose": ("y = Transpose <perm = [2, 0, 1]> (x)"),
    "Reshape": ("s = Constant <value_ints = [0, -1, 2]> () y = Reshape (x, s)"),
    "Reshape of shapes": (
        "h = Shape (x) i = Constant <value_ints = [0, 1]> () p = Gather (h, i) m = Constant <value_ints = "
        "[-1]> () s = Concat <axis = 0> (p, m) y = Reshape (x, s)"
    ),
    "Flatten": ("y = Flatten <axis = 2> (x)"),
    "Squeeze": ("a = Constant <value_ints = [1]> () u = Unsqueeze (x, a) y = Squeeze (u, a)"),
    "Unsqueeze": ("a = Constant <value_ints = [-1, 0]> () y = Unsqueeze (x, a)"),
    "Slice": (
        "s = Constant <value_ints = [1, -1]> () e = Constant <value_ints = [9, -4]> () a = Constant "
        "<value_ints = [1, 2]> () t = Constant <value_ints = [2, -1]> () y = Slice (x, s, e, a, t)"
    ),
    "Slice of shapes": (
        "h = Shape (x) s = Constant <value_ints = [1]> () e = Constant <value_ints = [3]> () p = Slice (h, "
        "s, e) y = ConstantOfShape (p)"
    ),
    "Gather": ("i = Constant <value_ints = [0, 2, 1, 0, 0]> () y = Gather <axis = 1> (x, i)"),
    "Gather scalar": ("i = Constant <value_int = 1> () y = Gather <axis = 1> (x, i)"),
    "Expand": ("s = Constant <value_ints = [3, 1, 1, 1]> () y = Expand (x, s)"),
    "Tile": ("s = Constant <value_ints = [1, 2, 3]> () y = Tile (x, s)"),
    "Pad": ("p = Constant <value_ints = [0, 1, 2, 0, 3, -1]> () y = Pad (x, p)"),
    "Pad axes": (
        "p = Constant <value_ints = [1, 2]> () a = Constant <value_ints = [-1]> () z = Constant <value_float "
        "= 0.0> () y = Pad (x, p, z, a)"
    ),
    "Range": (
        "a = Constant <value_int = 3> () b = Constant <value_int = 11> () c = Constant <value_int = 3> () r "
        "= Range (a, b, c) y = Cast <to = 1> (r)"
    ),
    "Range down": (
        "a = Constant <value_int = 7> () b = Constant <value_int = -4> () c = Constant <value_int = -2> () r "
        "= Range (a, b, c) y = Cast <to = 1> (r)"
    ),
    "Range of a shape": (
        "n = Shape <start = 0, end = 1> (x) a = Constant <value_ints = [0]> () l = Squeeze (n, a) z = "
        "Constant <value_int = 0> () o = Constant <value_int = 1> () r = Range (z, l, o) y = Cast <to = 1> "
        "(r)"
    ),
    "Size": ("n = Size (x) a = Constant <value_ints = [0]> () s = Unsqueeze (n, a) y = ConstantOfShape (s)"),
    "ReduceProd": ("h = Shape (x) n = ReduceProd (h) y = ConstantOfShape (n)"),
    "Arithmetic": (
        "h = Shape <start = 1> (x) two = Constant <value_int = 2> () d = Mul (h, two) e = Add (d, two) f = "
        "Sub (e, h) g = Div (f, two) k = Max (g, two) m = Min (k, h) y = ConstantOfShape (k)"
    ),
    "Where": ("c = Greater (x, x) y = Where (c, x, x)"),
    "Broadcast": (
        "w = Constant <value_floats = [1.0, 2.0, 3.0, 4.0]> () a = Constant <value_ints = [1]> () u = "
        "Unsqueeze (w, a) y = Mul (u, x)"
    ),
    "ReduceMean": ("a = Constant <value_ints = [-1]> () y = ReduceMean <keepdims = 0> (x, a)"),
    "ReduceSum all": ("y = ReduceSum (x)"),
    "ArgMax": ("i = ArgMax <axis = 1, keepdims = 0> (x) y = Cast <to = 1> (i)"),
    "TopK": ("k = Constant <value_ints = [2]> () y, i = TopK <axis = 1> (x, k)"),
    "OneHot": (
        "d = Constant <value_int = 7> () v = Constant <value_floats = [0.0, 1.0]> () i = Cast <to = 7> (x) y "
        "= OneHot <axis = 1> (i, d, v)"
    ),
    "CumSum": ("a = Constant <value_int = 1> () y = CumSum (x, a)"),
    "Softmax": ("y = Softmax (x)"),
    "MatMul": ("t = Transpose <perm = [0, 2, 1]> (x) y = MatMul (x, t)"),
    "MatMul vector": ("w = Constant <value_floats = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]> () y = MatMul (x, w)"),
    "MatMul vector left": ("w = Constant <value_floats = [1.0, 2.0, 3.0, 4.0]> () y = MatMul (w, x)"),
    "Gemm": ("m = ReduceSum <keepdims = 0> (x, zero) y = Gemm <transB = 1> (m, m)"),
    "Einsum": ('y = Einsum <equation = "nij,nkj->nik"> (x, x)'),
    "Einsum implied": ('y = Einsum <equation = "nij,nkj"> (x, x)'),
    "Conv": (
        "u = Unsqueeze (x, one) s = Constant <value_ints = [2, 1, 2, 2]> () w = ConstantOfShape (s) y = Conv "
        "<kernel_shape = [2, 2], strides = [2, 1], pads = [1, 0, 0, 1], dilations = [1, 2]> (u, w)"
    ),
    "Conv same": (
        "u = Unsqueeze (x, one) s = Constant <value_ints = [2, 1, 3, 3]> () w = ConstantOfShape (s) y = Conv "
        '<auto_pad = "SAME_UPPER", strides = [2, 2]> (u, w)'
    ),
    "Conv valid": (
        "u = Unsqueeze (x, one) s = Constant <value_ints = [2, 1, 3, 3]> () w = ConstantOfShape (s) y = Conv "
        '<auto_pad = "VALID"> (u, w)'
    ),
    "ConvTranspose": (
        "u = Unsqueeze (x, one) s = Constant <value_ints = [1, 3, 3, 2]> () w = ConstantOfShape (s) y = "
        "ConvTranspose <strides = [2, 3], pads = [1, 0, 0, 1], output_padding = [1, 0]> (u, w)"
    ),
    "MaxPool": (
        "u = Unsqueeze (x, one) y = MaxPool <kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1> (u)"
    ),
    "AveragePool": (
        "u = Unsqueeze (x, one) y = AveragePool <kernel_shape = [2, 3], pads = [1, 1, 0, 0]> (u)"
    ),
    "GlobalAveragePool": ("u = Unsqueeze (x, one) y = GlobalAveragePool (u)"),
    "Resize sizes": (
        "u = Unsqueeze (x, one) s = Constant <value_ints = [2, 1, 9, 5]> () y = Resize (u, , , s)"
    ),
    "Resize kept": (
        "u = Unsqueeze (x, one) s = Constant <value_ints = [2, 1, 9, 5]> () y = Resize "
        '<keep_aspect_ratio_policy = "not_larger"> (u, , , s)'
    ),
    "Resize scales": (
        "u = Unsqueeze (x, one) s = Constant <value_floats = [1.0, 1.0, 2.5, 0.5]> () y = Resize (u, , s)"
    ),
    "DepthToSpace": (
        "u = Unsqueeze (x, one) v = Concat <axis = 1> (u, u, u, u) y = DepthToSpace <blocksize = 2> (v)"
    ),
    "SpaceToDepth": ("u = Unsqueeze (x, one) y = SpaceToDepth <blocksize = 2> (u)"),
    "QDQ": (
        "s = Constant <value_float = 0.1> () i = Constant <value_int = 0> () z = Cast <to = 3> (i) q = "
        "QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z)"
    ),
    "Dynamic": ("q, s, z = DynamicQuantizeLinear (x) y = DequantizeLinear (q, s, z)"),
    "Fractions": (
        "h = Shape (x) f = Cast <to = 1> (h) k = Constant <value_float = 1.5> () m = Mul (f, k) o = Floor "
        "(m) t = Cast <to = 7> (m) y = ConstantOfShape (t)"
    ),
    "If": (
        "c = Constant <value_int = 1> () b = Cast <to = 9> (c) y = If (b) <then_branch = one () => "
        "(float[A,B,C] p) {p = Concat <axis = 1> (x, x)}, else_branch = two () => (float[A,B,C] p) {p = Neg "
        "(x)}>"
    ),
    "If unknown": (
        "r = ReduceMax <keepdims = 0> (x) k = Constant <value_float = 0.0> () b = Greater (r, k) y = If (b) "
        "<then_branch = one () => (float[A,B,C] p) {p = Concat <axis = 1> (x, x)}, else_branch = two () => "
        "(float[A,B,C] p) {p = Neg (x)}>"
    ),
    "Loop": (
        "n = Constant <value_int = 3> () i = Constant <value_int = 1> () go = Cast <to = 9> (i) last, y = "
        "Loop (n, go, x) <body = step (int64 t, bool c, float[A,B,C] v) => (bool d, float[A,B,C] w, "
        "float[A,B,C] row) {d = Identity (c) w = Concat <axis = 1> (v, v) row = Identity (x)}>"
    ),
    "Loop that ends": (
        "n = Constant <value_int = 3> () i = Constant <value_int = 1> () go = Cast <to = 9> (i) last, y = "
        "Loop (n, go, x) <body = step (int64 t, bool c, float[A,B,C] v) => (bool d, float[A,B,C] w, "
        "float[A,B,C] row) {d = Not (c) w = Concat <axis = 1> (v, v) row = Identity (x)}>"
    ),
    "Scan": (
        "s = Constant <value_ints = [4, 6]> () z = ConstantOfShape (s) t = Transpose <perm = [0, 1, 2]> (x) "
        "last, y = Scan <num_scan_inputs = 1, body = step (float[A,B] v, float[A,B] r) => (float[A,B] w, "
        "float[A,B] o) {w = Add (v, r) o = Neg (w)}> (z, t)"
    ),
}


@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "open"])
@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_sizes_of_an_operator_are_those_of_a_run(name, dynamic, read, proto_of):
    shape = "N,4,M" if dynamic else "2,4,6"
    body = "zero = Constant <value_ints = [0]> () one = Constant <value_ints = [1]> () " + OPERATORS[name]
    proto = proto_of(f"main (float[{shape}] x) => (y) {{{body}}}")
    x = np.random.default_rng(1).normal(size=(2, 4, 6)).astype(np.float32)
    feeds = {"x": np.abs(x)}
    sure, _ = assert_bounds(read(proto), proto.SerializeToString(), feeds)
    if not dynamic and name not in (
        "If unknown",
        "Loop that ends",
        "Resize kept",
        "Fractions",
        "Resize scales",
        "MaxPool",
        "Pad axes",
    ):
        last = tensors_of(read(proto).graph)["y"]
        assert last.shape is not None, name
        assert all(size.exact for size in last.shape), name
    assert sure > 0
