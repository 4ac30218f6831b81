"""What a model asks for at the least: exact where shapes are known, never more than what really happens."""

import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from qgate.errors import QgateError
from qgate.formats.read import read_model
from qgate.measure.demand.measured import measure_demand
from qgate.measure.demand.walk import need_of, tensors_of
from qgate.runtimes.onnx_taps import added_outputs
from qgate.sandbox.limits import Limits

EXAMPLES = Path(__file__).parents[2] / "examples"
GIB = 2**30
HEAD = '<ir_version: 10, opset_import: ["" : 21]>\n'


@pytest.fixture
def read(tmp_path):
    def write(proto):
        path = tmp_path / "m.onnx"
        path.write_bytes(proto.SerializeToString())
        return read_model(path)

    return write


def proto_of(text):
    return parser.parse_model(HEAD + text)


def told(model, **limits):
    return [(m.value, m.at.node, m.detail["message"]) for m in measure_demand(model, Limits(**limits))]


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
    assert told(model) == []


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
def test_sizes_of_an_operator_are_those_of_a_run(name, dynamic, read):
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


BOMBS = {
    "ConstantOfShape": (
        "memory",
        "s = Constant <value_ints = [100000, 100000]> () y = ConstantOfShape (s)",
        "37.3 GiB",
    ),
    "Expand": (
        "memory",
        "s = Constant <value_ints = [100000, 100000, 4]> () y = Expand (x, s)",
        "149.0 GiB",
    ),
    "Tile": (
        "memory",
        "s = Constant <value_ints = [1, 1000000000]> () y = Tile (x, s)",
        "14.9 GiB",
    ),
    "Pad": (
        "memory",
        "s = Constant <value_ints = [0, 0, 0, 9000000000]> () y = Pad (x, s)",
        "33.5 GiB",
    ),
    "Range": (
        "memory",
        "a = Constant <value_int = 0> () b = Constant <value_int = 4000000000> () c = Constant <value_int = "
        "1> () y = Range (a, b, c)",
        "29.8 GiB",
    ),
    "OneHot": (
        "memory",
        "d = Constant <value_int = 5000000000> () v = Constant <value_floats = [0.0, 1.0]> () i = Cast <to = "
        "7> (x) y = OneHot (i, d, v)",
        "74.5 GiB",
    ),
    "Resize": (
        "memory",
        "s = Constant <value_floats = [1.0, 3000000000.0]> () y = Resize (x, , s)",
        "44.7 GiB",
    ),
    "broadcast": (
        "memory",
        "a = Constant <value_ints = [100000, 1]> () b = Constant <value_ints = [1, 100000]> () p = "
        "ConstantOfShape (a) q = ConstantOfShape (b) y = Mul (p, q)",
        "37.3 GiB",
    ),
    "doubling": (
        "memory",
        "a1 = Concat <axis = 1> (x, x) "
        + " ".join(f"a{n + 1} = Concat <axis = 1> (a{n}, a{n})" for n in range(1, 34))
        + " y = Neg (a34)",
        "GiB",
    ),
    "conv": (
        "work",
        "s = Constant <value_ints = [1, 3000, 8000]> () u = ConstantOfShape (s) k = Constant <value_ints = "
        "[90000, 3000, 4000]> () w = Expand (one, k) y = Conv (u, w)",
        "",
    ),
    "matmul": (
        "work",
        "s = Constant <value_ints = [30000, 30000]> () u = ConstantOfShape (s) "
        + " ".join(f"v{n} = MatMul (u, u)" for n in range(80))
        + " y = MatMul (u, v0)",
        "",
    ),
    "loop": (
        "turns",
        "n = Constant <value_int = 1000000000000000> () i = Constant <value_int = 1> () go = Cast <to = 9> "
        "(i) y = Loop (n, go, x) <body = step (int64 t, bool c, float[A,B] v) => (bool d, float[A,B] w) {d = "
        "Identity (c) w = Neg (v)}>",
        "",
    ),
    "loop without end": (
        "turns",
        "i = Constant <value_int = 1> () go = Cast <to = 9> (i) y = Loop (, go, x) <body = step (int64 t, "
        "bool c, float[A,B] v) => (bool d, float[A,B] w) {e = Identity (c) d = Identity (e) w = Neg (v)}>",
        "",
    ),
    "loops in loops": (
        "turns",
        "n = Constant <value_int = 10000000> () i = Constant <value_int = 1> () go = Cast <to = 9> (i) y = "
        "Loop (n, go, x) <body = step (int64 t, bool c, float[A,B] v) => (bool d, float[A,B] w) {d = "
        "Identity (c) w = Loop (n, go, v) <body = deep (int64 t2, bool c2, float[A,B] v2) => (bool d2, "
        "float[A,B] w2) {d2 = Identity (c2) w2 = Neg (v2)}>}>",
        "",
    ),
    "growing loop": (
        "memory",
        "n = Constant <value_int = 40> () i = Constant <value_int = 1> () go = Cast <to = 9> (i) y = Loop "
        "(n, go, x) <body = step (int64 t, bool c, float[A,B] v) => (bool d, float[A,B] w) {d = Identity (c) "
        "w = Concat <axis = 1> (v, v)}>",
        "",
    ),
    "both branches": (
        "memory",
        "r = ReduceMax <keepdims = 0> (x) k = Constant <value_float = 0.0> () b = Greater (r, k) s = "
        "Constant <value_ints = [100000, 100000]> () y = If (b) <then_branch = one () => (float[A,B] p) {p = "
        "ConstantOfShape (s)}, else_branch = two () => (float[A,B] p) {q = ConstantOfShape (s) p = Neg (q)}>",
        "37.3 GiB",
    ),
}


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_bombs_are_told_before_anything_runs(name, read):
    kind, body, words = BOMBS[name]
    proto = proto_of(f"main (float[N,4] x) => (y) {{one = Constant <value_float = 0.5> () {body}}}")
    started = time.process_time()
    found = told(read(proto))
    assert time.process_time() - started < 2
    assert kind in [f[0] for f in found]
    (message,) = (f[2] for f in found if f[0] == kind)
    assert words in message
    assert "limits." in message
    assert all(f[1] for f in found)


UNCERTAIN = (
    # The size comes with the data, the condition too, a branch may be the small one.
    (
        "h = Cast <to = 7> (x) s = ReduceMax <keepdims = 0> (h) a = Constant <value_ints = [0]> () t = "
        "Unsqueeze (s, a) y = ConstantOfShape (t)"
    ),
    (
        "n = Constant <value_int = 9223372036854775807> () i = Constant <value_int = 1> () go = Cast <to = "
        "9> (i) y = Loop (n, go, x) <body = step (int64 t, bool c, float[A,B] v) => (bool d, float[A,B] w) "
        "{w = Neg (v) m = ReduceMax <keepdims = 0> (w) k = Constant <value_float = 0.0> () d = Greater (m, "
        "k)}>"
    ),
    (
        "r = ReduceMax <keepdims = 0> (x) k = Constant <value_float = 0.0> () b = Greater (r, k) s = "
        "Constant <value_ints = [100000, 100000]> () y = If (b) <then_branch = one () => (float[A,B] p) {p = "
        "ConstantOfShape (s)}, else_branch = two () => (float[A,B] p) {p = Neg (x)}>"
    ),
)


@pytest.mark.parametrize("body", UNCERTAIN)
def test_what_is_not_certain_is_left_to_the_sandbox(body, read):
    assert told(read(proto_of(f"main (float[N,4] x) => (y) {{{body}}}"))) == []


def test_the_limits_are_those_that_are_given(read):
    model = read(proto_of("main (float[1024,1024] x) => (y) {y = MatMul (x, x)}"))
    need = need_of(model.graph)
    # x is there once although it is taken twice.
    assert (need.bytes, need.work, need.turns) == (2 * 2**22, 2**30, 0)
    assert told(model, memory_mb=8) == []
    assert [f[0] for f in told(model, memory_mb=7)] == ["memory"]
    (found,) = measure_demand(model, Limits(memory_mb=4))
    assert (found.name, found.value, found.at.node, found.at.tensor) == (
        "artifact.demand",
        "memory",
        "MatMul->y",
        "y",
    )
    assert (found.detail["asked"], found.detail["limit"]) == (2**23, 2**22)
    assert "0.0 GiB" in found.detail["message"]


def attributes_of_every_kind(op, outputs):
    """A node whose attributes have wrong types and whose inputs are not there."""
    odd = {"axis": "a", "axes": [9, -9], "perm": [0, 0], "blocksize": 0, "shape": [-1], "split": [1], "pads": [-5],
           "strides": [0, -1], "dilations": [-7], "group": -3, "body": 3, "num_scan_inputs": 5, "equation": "ab,ab,...->",
           "kernel_shape": [10**9], "transA": "x", "keepdims": [1.5], "K": -1, "N": -5, "start": 10**9, "end": -(10**9),
           "to": 99, "output_shape": [-1], "then_branch": 1, "else_branch": 2, "auto_pad": 7, "direction": 1}  # fmt: skip
    for inputs in ([], ["x"], ["x", ""], ["x", "k", "k"], ["", "k", "x", "x"], ["k"] * 5):
        for names in ([], list(odd)):
            node = helper.make_node(op, inputs, outputs, **{n: odd[n] for n in names})
            yield node


def test_no_node_whatever_it_holds_breaks_the_walk(read):
    from qgate.measure.demand.rules import SHAPES

    constant = numpy_helper.from_array(np.array([3, -2, 2**62], np.int64), "k")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 0, 2**40])
    nodes = [
        n for op in (*SHAPES, "If", "Loop", "Scan", "Foo") for n in attributes_of_every_kind(op, ["y", "z"])
    ]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [x], [y], [constant])
    model = read(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10))
    need_of(model.graph)
    assert len(nodes) > 1000


@pytest.mark.parametrize(
    "piece",
    [
        "y{n} = Concat <axis = 0> ({many})",
        "y{n} = Sum ({many})",
        "y{n} = Reshape (x, y{p})",
        "y{n} = Mul (y{p}, y{p})",
    ],
)
def test_the_walk_ends_soon_whatever_the_graph(piece, read):
    """Every node as wide as the reader lets it be; the last squares a number again and again."""
    start = ", ".join(["3"] * 128)
    lines = [f"y0 = Constant <value_ints = [{start}]> ()"]
    for n in range(1, 400):
        lines.append(piece.format(n=n, p=n - 1, many=", ".join(["y0"] * 100)))
    model = read(proto_of(f"main (float[N,4] x) => (y399) {{{' '.join(lines)}}}"))
    started = time.process_time()
    need_of(model.graph)
    assert time.process_time() - started < 10


def test_a_loop_in_a_loop_in_a_loop_is_followed_within_bounds(read):
    body = "y{d} = Neg (v{d})"
    for depth in range(6, 0, -1):
        inner = body.replace("{d}", str(depth))
        body = (
            f"y{{d}} = Loop (n, go, v{{d}}) <body = b{depth} (int64 t{depth}, bool c{depth}, float[A,B] v{depth})"
            f" => (bool d{depth}, float[A,B] w{depth}) {{d{depth} = Identity (c{depth}) {inner}"
            f" w{depth} = Concat <axis = 1> (y{depth}, y{depth})}}>"
        )
    text = body.replace("{d}", "0").replace("y0 =", "y =").replace("v0", "x")
    head = "n = Constant <value_int = 1000000> () i = Constant <value_int = 1> () go = Cast <to = 9> (i) "
    model = read(proto_of(f"main (float[N,4] x) => (y) {{{head}{text}}}"))
    started = time.process_time()
    assert "turns" in [f[0] for f in told(model)]
    assert time.process_time() - started < 30


@pytest.mark.slow
def test_nothing_is_told_of_any_example():
    paths = sorted(EXAMPLES.rglob("*.onnx"))
    read = []
    for path in paths:
        try:
            model = read_model(path)
        except QgateError:
            continue
        read.append(path)
        assert told(model) == [], path
    assert len(read) > 40


def test_onnx_itself_would_not_tell():
    """Why this is done here: neither checker nor shape inference minds 64 GiB."""
    proto = proto_of(
        "main (float[N,4] x) => (float[A,B] y) {s = Constant <value_ints = [131072, 131072]> () y = ConstantOfShape (s)}"
    )
    onnx.checker.check_model(proto)
    assert onnx.shape_inference.infer_shapes(proto, data_prop=True).graph.output[0].name == "y"
