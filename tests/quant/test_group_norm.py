"""GroupNormalization as ONNX Runtime's offline optimiser writes it out is the operator, of either opset; no near miss is."""

import numpy as np
import pytest
from onnx import helper, numpy_helper

from qgate.formats.read import read_model
from qgate.judge import judge
from qgate.measure.interface import Interface
from qgate.measure.static import inspect_pair
from qgate.policy.thresholds import resolve
from qgate.records import Severity
from tests.optimised import optimised
from tests.quant.twin import model, save

GROUPS, CHANNELS = 2, 4
RNG = np.random.default_rng(4)
WEIGHT = RNG.integers(-127, 128, (CHANNELS, 3, 3, 3)).astype(np.int8)
STEP = np.float32(0.01)


def held(opset):
    """Scale and bias: of each group up to opset 20, of each channel from then on."""
    size = GROUPS if opset < 21 else CHANNELS
    return {"s": np.linspace(0.5, 2, size, dtype=np.float32), "b": np.linspace(-1, 1, size, dtype=np.float32)}


def body(opset, head="", norm="y = GroupNormalization <epsilon = 0.01, num_groups = 2> (h, s, b)"):
    return (
        f"g (float[N,3,6,6] x) => (float[N,4,6,6] y) {{{head} h = Conv <pads = [1, 1, 1, 1]> (x, w) {norm}}}"
    )


def reference(opset):
    return model(body(opset), opset=opset, ir=8, w=WEIGHT * STEP, **held(opset))


def candidate(opset):
    return model(
        body(opset, "w = DequantizeLinear (codes, step)"),
        opset=opset, ir=8, codes=WEIGHT, step=STEP, **held(opset),
    )  # fmt: skip


def written_out(proto, folder):
    """What ONNX Runtime saves: the operator as its definition."""
    made = optimised(proto, folder, "ORT_ENABLE_BASIC")
    assert "GroupNormalization" not in {node.op_type for node in made.graph.node}
    return made


def blocking(one, two, folder):
    found = inspect_pair(
        read_model(save(one, folder, "one")), read_model(save(two, folder, "two")), Interface()
    )
    limits = resolve(None, None, "balanced", found.scheme.name)
    findings = judge(found.measurements, limits, scheme=found.scheme.name, declared={"scheme": "auto"})
    texts = [f"{f.rule} {f.at} {f.message} {f.evidence}" for f in findings if f.severity is Severity.ERROR]
    # How much of a model is quantized is no question of its graph.
    return [text for text in texts if not text.startswith(("QNT1", "CST"))]


@pytest.mark.parametrize("opset", [18, 21])
def test_the_definition_is_the_operator(opset, tmp_path):
    written = written_out(candidate(opset), tmp_path)
    assert blocking(reference(opset), candidate(opset), tmp_path) == []
    assert blocking(reference(opset), written, tmp_path) == []
    plain = written_out(reference(opset), tmp_path)
    assert blocking(plain, candidate(opset), tmp_path) == []
    assert blocking(plain, written, tmp_path) == []


def node(proto, made):
    return next(n for n in proto.graph.node if any(o.endswith(f"_{made}") or o == made for o in n.output))


def constant(proto, name, change):
    tensor = next(t for t in proto.graph.initializer if t.name == name or t.name.endswith(f"_{name}"))
    values = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(change(values), values.dtype), tensor.name))


def turned(proto, made):
    one = node(proto, made)
    one.input[:] = list(one.input)[::-1]


def another(proto, made, position, instead):
    """Lets an operation read another tensor of the definition, given by its end."""
    names = [o for n in proto.graph.node for o in n.output] + ["x"]
    node(proto, made).input[position] = next(n for n in names if n.endswith(instead))


def renamed(proto, made, op):
    node(proto, made).op_type = op


def quantized(proto, made):
    """A coarse quantizer inside of the definition."""
    one = node(proto, made)
    inner, place = one.output[0], list(proto.graph.node).index(one)
    one.output[0] = "inner"
    for name, value in (("evil_step", np.float32(0.5)), ("evil_zero", np.uint8(0))):
        proto.graph.initializer.append(numpy_helper.from_array(value, name))
    for back, (op, ends) in enumerate(
        (("QuantizeLinear", ("inner", "evil_codes")), ("DequantizeLinear", ("evil_codes", inner)))
    ):
        made_node = helper.make_node(op, [ends[0], "evil_step", "evil_zero"], [ends[1]], f"evil_{back}")
        proto.graph.node.insert(place + 1 + back, made_node)


def typed(proto, name, value):
    """A constant of another type, as no runtime would take it."""
    tensor = next(t for t in proto.graph.initializer if t.name.endswith(f"_{name}"))
    tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))


TAMPERED = {
    "groups are no number": lambda p: typed(p, "NumGroups", np.array([np.nan], np.float32)),
    "infinitely many groups": lambda p: typed(p, "NumGroups", np.array([np.inf], np.float32)),
    "groups in another type": lambda p: typed(p, "NumGroups", np.array([GROUPS], np.float32)),
    "epsilon": lambda p: constant(p, "FloatEpsilon", lambda v: v * 50),
    "groups": lambda p: constant(p, "NumGroups", lambda v: v * 2),
    "one group": lambda p: constant(p, "NumGroups", lambda v: v // 2),
    "axes of both means": lambda p: constant(p, "Axes2", lambda v: v - 1),
    "scale": lambda p: constant(p, "s", lambda v: v[::-1].copy()),
    "bias": lambda p: constant(p, "b", lambda v: v + np.eye(1, v.size).reshape(-1)),
    "rows": lambda p: constant(p, "Shape3D", lambda v: np.int64([0, 2, -1])[: v.size] * [1, 2, 1]),
    "epsilon taken away": lambda p: renamed(p, "VarPlusEpsilon", "Sub"),
    "no root": lambda p: renamed(p, "StdDev", "Abs"),
    "variance the wrong way around": lambda p: turned(p, "Var"),
    "deviation the wrong way around": lambda p: turned(p, "Deviation"),
    "mean not squared": lambda p: another(p, "Var", 1, "_Mean"),
    "second moment of what is left": lambda p: another(p, "Square", 0, "_Deviation"),
    "maximum for mean": lambda p: renamed(p, "MeanOfSquare", "ReduceMax"),
    "another mean": lambda p: another(p, "Deviation", 1, "_MeanOfSquare"),
    "scale added": lambda p: renamed(p, "Scaled", "Add"),
    "bias multiplied": lambda p: renamed(p, "Biased", "Mul"),
    "a shape of something else": lambda p: another(p, "GroupSize", 0, "_N"),
    "a quantizer inside": lambda p: quantized(p, "StdDev"),
}


@pytest.mark.parametrize("opset", [18, 21])
@pytest.mark.parametrize("change", TAMPERED)
def test_a_near_miss_is_blocked(opset, change, tmp_path):
    written = written_out(candidate(opset), tmp_path)
    before = written.SerializeToString()
    TAMPERED[change](written)
    assert written.SerializeToString() != before
    found = blocking(reference(opset), written, tmp_path)
    assert found
    assert any(
        word in text for text in found for word in ("GroupNorm", "'y'", "tensor s", "tensor b", "evil")
    )
