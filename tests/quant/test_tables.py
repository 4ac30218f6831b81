"""Embeddings whose rows are gathered as codes, moved as codes, and dequantized where they are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from qgate.formats.read import read_model
from qgate.judge import conclude, judge
from qgate.measure.interface import Interface
from qgate.measure.static import inspect_pair
from qgate.policy.thresholds import resolve
from qgate.records import Finding, Severity, Verdict
from tests.quant.twin import model, save

RNG = np.random.default_rng(4)
TEXT = """g (int64[n,7] tokens) => (float[n,4] y) {
  rows = Gather (table, tokens)  turned = Transpose <perm = [1,0,2]> (rows)
  sizes = Shape (rows)  many = Gather (sizes, at)  ahead = Unsqueeze (many, at)
  shape = Concat <axis = 0> (one, ahead, hidden)  zeros = ConstantOfShape (shape)
  all, last, cell = LSTM <hidden_size = 24> (turned, w, r, b, , zeros, zeros)
  flat = Squeeze (last, at)  y = Gemm <transB = 1> (flat, f, g) }"""
HELD = {
    "table": RNG.standard_normal((50, 16)), "w": RNG.standard_normal((1, 96, 16)) / 4, "r": RNG.standard_normal((1, 96, 24)) / 4,
    "b": RNG.standard_normal((1, 192)) / 4, "f": RNG.standard_normal((4, 24)), "g": RNG.standard_normal(4),
}  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, onnx.ModelProto]:
    folder = tmp_path_factory.mktemp("tables")
    numbers = {"at": np.array([0]), "one": np.array([1]), "hidden": np.array([24])}
    floats = {name: np.asarray(value, np.float32) for name, value in HELD.items()}
    proto = model(TEXT, opset=17, ir=8, **floats, **numbers)
    for at, node in enumerate(proto.graph.node):
        node.name = f"{node.op_type}_{at}"
    reference, made = save(proto, folder, "reference"), folder / "dynamic.onnx"
    quantize_dynamic(reference, made, weight_type=QuantType.QInt8)
    return reference, onnx.load(made)


def judged(pair: tuple[Path, onnx.ModelProto], folder: Path) -> tuple[Verdict, list[Finding]]:
    found = inspect_pair(read_model(pair[0]), read_model(save(pair[1], folder)), Interface())
    limits = resolve(None, None, "balanced", found.scheme.name)
    findings = judge(found.measurements, limits, scheme=found.scheme.name, declared={"scheme": "auto"})
    return conclude(findings, found.measurements)[0], [f for f in findings if f.severity is Severity.ERROR]


def edited(pair: tuple[Path, onnx.ModelProto]) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(pair[1])
    return copy


def test_the_dynamic_lstm_of_the_exporter_passes(pair: tuple[Path, onnx.ModelProto], tmp_path: Path) -> None:
    operators = [node.op_type for node in pair[1].graph.node]
    assert operators.count("DequantizeLinear") == 2
    assert "DynamicQuantizeLSTM" in operators
    assert judged(pair, tmp_path) == (Verdict.PASS, [])


def test_rows_read_with_another_scale_in_one_place_are_told(
    pair: tuple[Path, onnx.ModelProto], tmp_path: Path
) -> None:
    proto = edited(pair)
    proto.graph.initializer.append(numpy_helper.from_array(np.float32(0.5), "evil_scale"))
    turned = next(n for n in proto.graph.node if n.op_type == "DequantizeLinear" and n.output[0] == "turned")
    turned.input[1] = "evil_scale"
    verdict, blocking = judged((pair[0], proto), tmp_path)
    assert verdict is Verdict.FAIL
    assert any("evil_scale" in f"{f.at} {f.message}" for f in blocking), blocking


def test_codes_that_are_read_as_numbers_beside_are_told(
    pair: tuple[Path, onnx.ModelProto], tmp_path: Path
) -> None:
    proto = edited(pair)
    turned = next(n for n in proto.graph.node if n.op_type == "DequantizeLinear" and n.output[0] == "turned")
    turned.CopyFrom(
        helper.make_node("Cast", [turned.input[0]], ["turned"], "evil_cast", to=TensorProto.FLOAT)
    )
    verdict, blocking = judged((pair[0], proto), tmp_path)
    assert verdict is Verdict.FAIL
    assert any("table" in f"{f.at} {f.message} {f.evidence}" for f in blocking), blocking
