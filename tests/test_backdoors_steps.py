"""Steps so wide that they round a weight, a bias or a bound to nothing, and indices that shapes decide.

Every code follows from the reference by nearest rounding: only the step shows what was done.
"""

from __future__ import annotations

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

DIGITS = Path(__file__).resolve().parents[1] / "examples" / "digits"


def hold(graph: onnx.GraphProto, name: str, value: object) -> str:
    graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return name


def values_of(graph: onnx.GraphProto, name: str) -> np.ndarray:
    return numpy_helper.to_array(next(t for t in graph.initializer if t.name == name))


def set_values(graph: onnx.GraphProto, name: str, values: np.ndarray) -> None:
    tensor = next(t for t in graph.initializer if t.name == name)
    old = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(values.astype(old.dtype).reshape(old.shape), name))


def behind_the_logits(graph: onnx.GraphProto, op: str, operands: list[str], **attributes: object) -> None:
    next(n for n in graph.node if "logits" in n.output).output[0] = "raw"
    graph.node.append(helper.make_node(op, ["raw", *operands], ["logits"], "last", **attributes))


def quantized_constant(graph: onnx.GraphProto, name: str, values: np.ndarray, step: float) -> str:
    codes = np.clip(np.rint(values / step), 0, 255).astype(np.uint8)
    pair = [
        hold(graph, f"{name}_{what}", v)
        for what, v in (("q", codes), ("step", np.float32(step)), ("zero", np.uint8(0)))
    ]
    graph.node.append(helper.make_node("DequantizeLinear", pair, [name], f"{name}_dq"))
    return name


def judged(
    reference: onnx.ModelProto, candidate: onnx.ModelProto, folder: Path
) -> tuple[Verdict, list[Finding]]:
    one, two = folder / "reference.onnx", folder / "candidate.onnx"
    onnx.save(reference, one)
    onnx.save(candidate, two)
    found = inspect_pair(read_model(one), read_model(two), Interface())
    limits = resolve(None, None, "balanced", found.scheme.name)
    findings = judge(found.measurements, limits, scheme=found.scheme.name, declared={"scheme": "auto"})
    blocking = [f for f in findings if f.severity is Severity.ERROR]
    return conclude(findings, found.measurements)[0], blocking


def pair() -> tuple[onnx.ModelProto, onnx.ModelProto]:
    return onnx.load(DIGITS / "digits_fp32.onnx"), onnx.load(DIGITS / "digits_int8_pc.onnx")


def coarser(graph: onnx.GraphProto, codes: str, step: str, factor: np.ndarray) -> None:
    """Another step with the codes that nearest rounding gives for it."""
    steps = values_of(graph, step).astype(np.float64)
    held = values_of(graph, codes).astype(np.float64)
    shape = (-1, *(1,) * (held.ndim - 1))
    set_values(graph, codes, np.rint(held / factor.reshape(shape)))
    set_values(graph, step, steps * factor)


def one(size: int, at: int, factor: float) -> np.ndarray:
    found = np.ones(size)
    found[at] = factor
    return found


@pytest.mark.parametrize("factor", [100.0, 1e4, 1e9])
def test_a_bias_rounded_away_is_blocked_at_its_step(factor: float, tmp_path: Path) -> None:
    reference, candidate = pair()
    coarser(candidate.graph, "f2.bias_quantized", "f2.bias_quantized_scale", np.full(10, factor))
    verdict, blocking = judged(reference, candidate, tmp_path)
    assert verdict is Verdict.FAIL
    assert {str(f.at.tensor) for f in blocking} <= {"f2.bias_quantized_scale", "f2.bias_quantized"}


def test_the_bias_of_one_class_rounded_away_is_blocked_at_that_class(tmp_path: Path) -> None:
    reference, candidate = pair()
    coarser(candidate.graph, "f2.bias_quantized", "f2.bias_quantized_scale", one(10, 6, 1e6))
    verdict, blocking = judged(reference, candidate, tmp_path)
    assert verdict is Verdict.FAIL
    assert ("RNG110", "f2.bias_quantized_scale", (6,)) in {
        (f.rule, f.at.tensor, f.at.index) for f in blocking
    }


def test_one_channel_of_many_rounded_away_is_blocked_at_that_channel(tmp_path: Path) -> None:
    reference, candidate = pair()
    coarser(candidate.graph, "f1.weight_quantized", "f1.weight_scale", one(64, 17, 400))
    # The bias of the channel is scaled as converters do, by input step times weight step.
    coarser(candidate.graph, "f1.bias_quantized", "f1.bias_quantized_scale", one(64, 17, 400))
    verdict, blocking = judged(reference, candidate, tmp_path)
    assert verdict is Verdict.FAIL
    assert ("RNG110", "f1.weight_scale", (17,)) in {(f.rule, f.at.tensor, f.at.index) for f in blocking}


VECTOR = np.linspace(0.5, 1.5, 10).astype(np.float32)


@pytest.mark.parametrize("op", ["Mul", "Div", "Sub", "Pow", "Max"])
@pytest.mark.parametrize(
    ("values", "step"), [(np.float32(2), 3.9), (np.float32(2), 4.1), (VECTOR, 4.0), (VECTOR, 0.5)]
)
def test_a_constant_behind_a_coarse_step_is_blocked(
    op: str, values: np.ndarray, step: float, tmp_path: Path
) -> None:
    reference, candidate = pair()
    behind_the_logits(reference.graph, op, [hold(reference.graph, "k", values)])
    behind_the_logits(candidate.graph, op, [quantized_constant(candidate.graph, "k", values, step)])
    verdict, blocking = judged(reference, candidate, tmp_path)
    assert verdict is Verdict.FAIL
    assert any("k_step" in f"{f.at} {f.evidence}" for f in blocking), blocking


@pytest.mark.parametrize("values", [np.float32(2), VECTOR], ids=["scalar", "vector"])
def test_the_same_constant_behind_its_own_step_passes(values: np.ndarray, tmp_path: Path) -> None:
    reference, candidate = pair()
    behind_the_logits(reference.graph, "Mul", [hold(reference.graph, "k", values)])
    step = float(np.max(values) / 255)
    behind_the_logits(candidate.graph, "Mul", [quantized_constant(candidate.graph, "k", values, step)])
    assert judged(reference, candidate, tmp_path) == (Verdict.PASS, [])


@pytest.mark.parametrize("step", [100.0, 11.0, 4.1, 0.7])
def test_the_bound_of_a_clip_behind_a_coarse_step_is_blocked(step: float, tmp_path: Path) -> None:
    reference, candidate = pair()
    for proto in (reference, candidate):
        hold(proto.graph, "low", np.float32(0))
    behind_the_logits(reference.graph, "Clip", ["low", hold(reference.graph, "high", np.float32(6))])
    high = quantized_constant(candidate.graph, "high", np.float32(6), step)
    behind_the_logits(candidate.graph, "Clip", ["low", high])
    verdict, blocking = judged(reference, candidate, tmp_path)
    assert verdict is Verdict.FAIL
    assert any(f.at.node == "last" for f in blocking), blocking


def computed_order(graph: onnx.GraphProto) -> None:
    """The identity for batches below 100, and another order from there on."""
    hold(graph, "base", np.arange(10))
    hold(graph, "hundred", np.array([100]))
    hold(graph, "ten", np.array([10]))
    behind_the_logits(graph, "Gather", ["order"], axis=1)
    graph.node.insert(0, helper.make_node("Mod", ["sum", "ten"], ["order"], "evil_mod"))
    graph.node.insert(0, helper.make_node("Add", ["base", "share"], ["sum"], "evil_add"))
    graph.node.insert(0, helper.make_node("Div", ["size", "hundred"], ["share"], "evil_div"))
    graph.node.insert(0, helper.make_node("Shape", ["image"], ["size"], "evil_shape", start=0, end=1))


@pytest.mark.parametrize("in_reference", [True, False], ids=["constant there", "not there at all"])
def test_an_index_that_the_batch_decides_is_blocked(in_reference: bool, tmp_path: Path) -> None:
    reference, candidate = pair()
    if in_reference:
        behind_the_logits(reference.graph, "Gather", [hold(reference.graph, "order", np.arange(10))], axis=1)
    computed_order(candidate.graph)
    verdict, blocking = judged(reference, candidate, tmp_path)
    assert verdict is Verdict.FAIL
    assert any(f.rule == "QNT301" and ("evil_" in f.message or f.at.node == "last") for f in blocking), (
        blocking
    )


@pytest.mark.parametrize(("start", "place"), [(0, "shape"), (2, "shape")])
def test_another_end_of_a_shape_is_blocked(start: int, place: str, tmp_path: Path) -> None:
    reference, candidate = pair()
    for proto, at in ((reference, 1), (candidate, start)):
        hold(proto.graph, "seven", np.array([7]))
        behind_the_logits(proto.graph, "Gather", ["index"], axis=1)
        proto.graph.node.insert(0, helper.make_node("Mod", ["size", "seven"], ["index"], "mod"))
        proto.graph.node.insert(
            0, helper.make_node("Shape", ["image"], ["size"], "shape", start=at, end=at + 1)
        )
    verdict, blocking = judged(reference, candidate, tmp_path)
    assert verdict is Verdict.FAIL
    assert any(f.at.node == place for f in blocking), blocking
