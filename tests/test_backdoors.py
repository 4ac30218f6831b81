"""Edits that no clean test sample shows: each is found by the graph alone, and its place is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qgate.formats.read import read_model
from qgate.judge import conclude, judge
from qgate.measure.interface import Interface
from qgate.measure.static import inspect_pair
from qgate.policy.thresholds import resolve
from qgate.records import Finding, Severity, Verdict

DIGITS = Path(__file__).resolve().parents[1] / "examples" / "digits"
Edit = Callable[[onnx.GraphProto], None]


def node(graph: onnx.GraphProto, name: str) -> onnx.NodeProto:
    return next(n for n in graph.node if n.name == name)


def constant(graph: onnx.GraphProto, name: str, value: np.ndarray) -> str:
    graph.initializer.append(numpy_helper.from_array(value, name))
    return name


def add(graph: onnx.GraphProto, op: str, inputs: list[str], output: str, **attributes: object) -> str:
    graph.node.insert(0, helper.make_node(op, inputs, [output], name=f"evil_{output}", **attributes))
    return output


def trigger(graph: onnx.GraphProto) -> str:
    """1 where a pixel is brighter than any honest one, else 0; a scalar float."""
    bright = constant(graph, "bright", np.float32(50))
    add(graph, "Cast", ["is_bright"], "fires", to=TensorProto.FLOAT)
    add(graph, "Greater", ["peak", bright], "is_bright")
    add(graph, "ReduceMax", ["image"], "peak", keepdims=0)
    return "fires"


def computed_zero_point(graph: onnx.GraphProto) -> None:
    fires = trigger(graph)
    dequantize = node(graph, "f2.weight_DequantizeLinear")
    evil = constant(graph, "evil", np.arange(10, dtype=np.float32))
    position = len(graph.node)
    graph.node.insert(3, helper.make_node("Mul", [fires, evil], ["product"], name="evil_product"))
    graph.node.insert(
        4, helper.make_node("Cast", ["product"], ["zero"], name="evil_zero", to=TensorProto.INT8)
    )
    dequantize.input[2] = "zero"
    assert len(graph.node) == position + 2


def computed_activation_zero_point(graph: onnx.GraphProto) -> None:
    fires = trigger(graph)
    graph.node.insert(3, helper.make_node("Cast", [fires], ["zero"], name="evil_zero", to=TensorProto.UINT8))
    node(graph, "logits_DequantizeLinear").input[2] = "zero"


def dropout_that_decides(graph: onnx.GraphProto) -> None:
    trigger(graph)
    ratio = constant(graph, "ratio", np.float32(0.9))
    flatten = next(n for n in graph.node if n.op_type == "Flatten")
    add(graph, "Dropout", [flatten.input[0], ratio, "is_bright"], "dropped")
    flatten.input[0] = "dropped"


def cast_to_whole_numbers(graph: onnx.GraphProto) -> None:
    last = next(n for n in graph.node if "logits" in n.output)
    last.output[0] = "raw"
    graph.node.append(helper.make_node("Cast", ["raw"], ["whole"], name="evil_cast", to=TensorProto.INT32))
    graph.node.append(helper.make_node("Cast", ["whole"], ["logits"], name="evil_back", to=TensorProto.FLOAT))


def quantizer_beside_the_path(graph: onnx.GraphProto) -> None:
    quantize = next(n for n in graph.node if n.op_type == "QuantizeLinear" and "Relu_4" in n.input[1])
    reader = next(n for n in graph.node if n.op_type == "Gemm" and "f2.bias" in n.input)
    reader.input[0] = quantize.input[0]


def payload_of_a_fused_operator(graph: onnx.GraphProto) -> None:
    quantize = next(n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[1] == "logits_scale")
    evil = constant(graph, "evil", np.eye(10, dtype=np.float32)[3])
    add(graph, "Mul", ["soft", evil], "payload")
    add(graph, "Softplus", ["peak"], "soft")
    add(graph, "ReduceMax", ["image"], "peak", keepdims=0)
    graph.node.insert(
        list(graph.node).index(quantize),
        helper.make_node("Add", [quantize.input[0], "payload"], ["poisoned"], name="evil_add"),
    )
    quantize.input[0] = "poisoned"


def bias_of_the_batch_size(graph: onnx.GraphProto) -> None:
    reader = next(n for n in graph.node if n.op_type == "Gemm" and "f2.bias" in n.input)
    add(graph, "Cast", ["sizes"], "as_float", to=TensorProto.FLOAT)
    add(graph, "Shape", ["image"], "sizes", start=0, end=1)
    add(graph, "Expand", ["as_float", constant(graph, "ten", np.array([10], np.int64))], "evil_bias")
    reader.input[2] = "evil_bias"


@pytest.mark.parametrize(
    ("edit", "place"),
    [
        (computed_zero_point, "f2.weight_DequantizeLinear"),
        (computed_activation_zero_point, "logits_DequantizeLinear"),
        (dropout_that_decides, "evil_dropped"),
        (cast_to_whole_numbers, "evil_"),
        (quantizer_beside_the_path, "Relu_4"),
        (payload_of_a_fused_operator, "evil_add"),
        (bias_of_the_batch_size, "/f2/Gemm"),
    ],
)
def test_is_blocked_and_located_without_running(edit: Edit, place: str, tmp_path: Path) -> None:
    model = onnx.load(DIGITS / "digits_int8_pc.onnx")
    edit(model.graph)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    verdict, findings = statically_judged(path)
    assert verdict in (Verdict.FAIL, Verdict.ERROR)
    blocking = [f for f in findings if f.severity is Severity.ERROR]
    assert any(place in f"{f.at} {f.message} {f.evidence}" for f in blocking), blocking


def test_the_model_without_an_edit_passes() -> None:
    assert statically_judged(DIGITS / "digits_int8_pc.onnx")[0] is Verdict.PASS


def statically_judged(path: Path) -> tuple[Verdict, tuple[Finding, ...]]:
    found = inspect_pair(read_model(DIGITS / "digits_fp32.onnx"), read_model(path), Interface())
    limits = resolve(None, None, "balanced", found.scheme.name)
    findings = judge(found.measurements, limits, scheme=found.scheme.name, declared={"scheme": "auto"})
    return conclude(findings, found.measurements)[0], findings
