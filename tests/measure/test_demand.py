"""What a model asks for at the least: exact where shapes are known, never more than what really happens."""

import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qgate.errors import QgateError
from qgate.formats.read import read_model
from qgate.measure.demand.measured import measure_demand
from qgate.measure.demand.walk import need_of
from qgate.sandbox.limits import Limits

EXAMPLES = Path(__file__).parents[2] / "examples"
GIB = 2**30
HEAD = '<ir_version: 10, opset_import: ["" : 21]>\n'


def told(model, **limits):
    return [(m.value, m.at.node, m.detail["message"]) for m in measure_demand(model, Limits(**limits))]


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
def test_bombs_are_told_before_anything_runs(name, read, proto_of):
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
def test_what_is_not_certain_is_left_to_the_sandbox(body, read, proto_of):
    assert told(read(proto_of(f"main (float[N,4] x) => (y) {{{body}}}"))) == []


def test_the_limits_are_those_that_are_given(read, proto_of):
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
def test_the_walk_ends_soon_whatever_the_graph(piece, read, proto_of):
    """Every node as wide as the reader lets it be; the last squares a number again and again."""
    start = ", ".join(["3"] * 128)
    lines = [f"y0 = Constant <value_ints = [{start}]> ()"]
    for n in range(1, 400):
        lines.append(piece.format(n=n, p=n - 1, many=", ".join(["y0"] * 100)))
    model = read(proto_of(f"main (float[N,4] x) => (y399) {{{' '.join(lines)}}}"))
    started = time.process_time()
    need_of(model.graph)
    assert time.process_time() - started < 10


def test_a_loop_in_a_loop_in_a_loop_is_followed_within_bounds(read, proto_of):
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


def test_onnx_itself_would_not_tell(proto_of):
    """Why this is done here: neither checker nor shape inference minds 64 GiB."""
    proto = proto_of(
        "main (float[N,4] x) => (float[A,B] y) {s = Constant <value_ints = [131072, 131072]> () y = ConstantOfShape (s)}"
    )
    onnx.checker.check_model(proto)
    assert onnx.shape_inference.infer_shapes(proto, data_prop=True).graph.output[0].name == "y"
