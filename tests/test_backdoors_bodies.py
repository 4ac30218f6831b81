"""Edits inside the bodies of branches and loops: located at the body's own node; honest int8 bodies pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from qgate.formats.read import read_model
from qgate.judge import conclude, judge
from qgate.measure.interface import Interface
from qgate.measure.static import inspect_pair
from qgate.policy.thresholds import resolve
from qgate.records import Finding, Severity, Verdict
from tests.quant.twin import save

RNG = np.random.default_rng(12)
OUTER, STAY, LEAVE = (RNG.standard_normal((16, 16)).astype(np.float32) for _ in range(3))
SHIFT = RNG.standard_normal(16).astype(np.float32)
TEXT = """<ir_version: 9, opset_import: ["" : 20]>
g (float[2,16] x, bool c) => (float[2,16] y) {
  h = MatMul (x, outer)
  b = If (c) <
    then_branch = stay () => (float o) { m = MatMul (h, w) t = Tanh (m) o = Softmax <axis = 1> (t) },
    else_branch = leave () => (float o) { n = MatMul (h, v) s = Sub (n, h) o = LeakyRelu <alpha = 0.2> (s) } >
  y = Loop (rounds, yes, b) <
    body = turn (int64 i, bool go, float state) => (bool on, float next)
      { on = Identity (go) a = Add (state, shift) r = Relu (a) d = Sub (r, h) next = Clip (d, low, high) } >
}"""
HELD = {
    "outer": OUTER, "w": STAY, "v": LEAVE, "shift": SHIFT, "rounds": np.int64(3), "yes": np.asarray(True),
    "low": np.float32(-2), "high": np.float32(2),
}  # fmt: skip
INSIDE = {"then_branch": ("w",), "else_branch": ("v",), "body": ("shift",)}
Edit = Callable[[onnx.ModelProto], None]


def reference() -> onnx.ModelProto:
    """Weights of the bodies are theirs, one is of the graph around them; every node has a name."""
    proto = onnx.parser.parse_model(TEXT)
    inner = {name for names in INSIDE.values() for name in names}
    proto.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(v), k) for k, v in HELD.items() if k not in inner
    )
    for node in proto.graph.node:
        for attribute in node.attribute:
            for name in INSIDE.get(attribute.name, ()):
                attribute.g.initializer.append(numpy_helper.from_array(HELD[name], name))
            for each in attribute.g.node:
                each.name = f"{attribute.name}/{each.op_type}"
        node.name = node.op_type
    return proto


def body(proto: onnx.ModelProto, name: str) -> onnx.GraphProto:
    return next(a.g for n in proto.graph.node for a in n.attribute if a.name == name)


def quantize(graph: onnx.GraphProto, weight: str) -> None:
    """A weight in int8 by column, and the tensor that its layer reads between a quantizer and its opposite."""
    held = next(t for t in graph.initializer if t.name == weight)
    values = numpy_helper.to_array(held)
    step = (np.abs(values).max(axis=0) / 127).astype(np.float32)
    graph.initializer.remove(held)
    for name, value in ((f"{weight}_q", np.rint(values / step).astype(np.int8)), (f"{weight}_s", step)):
        graph.initializer.append(numpy_helper.from_array(value, name))
    layer = next(n for n in graph.node if weight in n.input)
    pair = [f"{layer.input[0]}_scale", f"{layer.input[0]}_zero"]
    if layer.input[0] != "x":
        graph.initializer.append(numpy_helper.from_array(np.float32(0.1), pair[0]))
        graph.initializer.append(numpy_helper.from_array(np.int8(0), pair[1]))
        for op, source, made in (
            ("DequantizeLinear", f"{weight}_codes", f"{weight}_read"),
            ("QuantizeLinear", layer.input[0], f"{weight}_codes"),
        ):
            graph.node.insert(0, helper.make_node(op, [source, *pair], [made], f"{weight}_{op}"))
        layer.input[0] = f"{weight}_read"
    graph.node.insert(
        0,
        helper.make_node(
            "DequantizeLinear", [f"{weight}_q", f"{weight}_s"], [weight], f"{weight}_dq", axis=1
        ),
    )


def candidate() -> onnx.ModelProto:
    proto = reference()
    quantize(proto.graph, "outer")
    quantize(body(proto, "then_branch"), "w")
    quantize(body(proto, "else_branch"), "v")
    return proto


def judged(theirs: onnx.ModelProto, folder: Path) -> tuple[Verdict, list[Finding]]:
    one, two = save(reference(), folder, "reference"), save(theirs, folder, "candidate")
    found = inspect_pair(read_model(one), read_model(two), Interface())
    limits = resolve(None, None, "balanced", found.scheme.name)
    findings = judge(found.measurements, limits, scheme=found.scheme.name, declared={"scheme": "auto"})
    return conclude(findings, found.measurements)[0], [f for f in findings if f.severity is Severity.ERROR]


def test_honest_int8_in_bodies_passes_and_is_derived(tmp_path: Path) -> None:
    verdict, blocking = judged(candidate(), tmp_path)
    assert (verdict, blocking) == (Verdict.PASS, [])
    found = inspect_pair(
        *(read_model(tmp_path / f"{n}.onnx") for n in ("reference", "candidate")), Interface()
    )
    derived = {m.at.tensor: m.value for m in found.measurements if m.name == "weight.derivation"}
    assert {k: derived[k] for k in ("outer_q", "w_q", "v_q", "shift")} == dict.fromkeys(
        ("outer_q", "w_q", "v_q", "shift"), "derived"
    )
    assert found.scheme.share == 1


def test_the_same_graph_in_other_names_passes(tmp_path: Path) -> None:
    proto = candidate()
    loop = body(proto, "body")
    for node in loop.node:
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                if name in ("state", "a", "r", "d"):
                    names[position] = f"other_{name}"
    loop.input[2].name = "other_state"
    assert judged(proto, tmp_path) == (Verdict.PASS, [])


def flipped_code(proto: onnx.ModelProto) -> None:
    held = next(t for t in body(proto, "else_branch").initializer if t.name == "v_q")
    codes = numpy_helper.to_array(held).copy()
    codes[3, 4] ^= 1 << 5
    held.CopyFrom(numpy_helper.from_array(codes, "v_q"))


def swapped_branches(proto: onnx.ModelProto) -> None:
    node = next(n for n in proto.graph.node if n.op_type == "If")
    node.attribute[0].name, node.attribute[1].name = node.attribute[1].name, node.attribute[0].name


def other_slope(proto: onnx.ModelProto) -> None:
    node = next(n for n in body(proto, "else_branch").node if n.op_type == "LeakyRelu")
    node.attribute[0].f = 0.25


def swapped_operands(proto: onnx.ModelProto) -> None:
    node = next(n for n in body(proto, "body").node if n.op_type == "Sub")
    node.input[0], node.input[1] = node.input[1], node.input[0]


def captures_another_tensor(proto: onnx.ModelProto) -> None:
    node = next(n for n in body(proto, "body").node if n.op_type == "Sub")
    node.input[1] = "x"


def reads_the_state_instead(proto: onnx.ModelProto) -> None:
    node = next(n for n in body(proto, "body").node if n.op_type == "Sub")
    node.input[1] = "state"


def moved_constant(proto: onnx.ModelProto) -> None:
    held = body(proto, "body").initializer[0]
    values = numpy_helper.to_array(held).copy()
    values[7] += 1
    held.CopyFrom(numpy_helper.from_array(values, held.name))


def wider_clip(proto: onnx.ModelProto) -> None:
    body(proto, "body").initializer.append(numpy_helper.from_array(np.float32(5), "wide"))
    next(n for n in body(proto, "body").node if n.op_type == "Clip").input[2] = "wide"


def noise(proto: onnx.ModelProto) -> None:
    graph = body(proto, "then_branch")
    last = graph.node[-1]
    last.output[0] = "quiet"
    graph.node.append(helper.make_node("RandomNormalLike", ["quiet"], ["noise"], "evil_noise", scale=0.01))
    graph.node.append(helper.make_node("Add", ["quiet", "noise"], ["o"], "evil_add"))


def other_output(proto: onnx.ModelProto) -> None:
    body(proto, "body").output[1].name = "d"


def payload(proto: onnx.ModelProto) -> None:
    body(proto, "body").initializer.append(
        numpy_helper.from_array(np.ones(50_000, np.float32), "evil_payload")
    )


@pytest.mark.parametrize(
    ("edit", "place"),
    [
        (flipped_code, "v_q"), (swapped_branches, "If"), (other_slope, "else_branch/LeakyRelu"), (swapped_operands, "body/Sub"),
        (captures_another_tensor, "body/Sub"), (reads_the_state_instead, "body/Sub"), (moved_constant, "shift"),
        (wider_clip, "body/Clip"), (noise, "evil_"), (other_output, "body/Clip"), (payload, "evil_payload"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_an_edit_in_a_body_is_blocked_and_located(edit: Edit, place: str, tmp_path: Path) -> None:
    proto = candidate()
    edit(proto)
    onnx.checker.check_model(proto)
    verdict, blocking = judged(proto, tmp_path)
    assert verdict is Verdict.FAIL
    assert any(place in f"{f.at} {f.message}" for f in blocking), blocking
