"""What the file alone says about where a model will run: TensorRT, OpenVINO, AVX2."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T

from qgate.formats.read import read_model
from qgate.judge import judge
from qgate.measure.deploy import measure_deployment
from qgate.measure.interface import Interface
from qgate.measure.static import inspect_pair
from qgate.policy.thresholds import resolve
from qgate.quant.build import float_view
from qgate.quant.deploy.openvino import lint as openvino_lint
from qgate.quant.deploy.saturation import count_pairs, saturating_layers
from qgate.quant.deploy.tensorrt import lint
from qgate.records import Verdict

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "bench"
sys.path.insert(0, str(BENCH))
try:
    models = importlib.import_module("tensorrt_models")
finally:
    sys.path.remove(str(BENCH))


def read(model: onnx.ModelProto, folder: Path):
    path = folder / "m.onnx"
    onnx.save(model, path)
    return read_model(path)


def rules_of(model, runtimes: tuple[str, ...] = ("tensorrt",), deploy: str | None = None):
    """Findings of the DEP family for a model that is deployed there."""
    found = tuple(measure_deployment(model, float_view(model), runtimes))
    declared = {"runtimes": list(runtimes), "deploy": deploy}
    judged = judge(found, resolve(None, None, "balanced", "int8"), scheme="int8", declared=declared)
    return [finding for finding in judged if finding.rule.startswith("DEP")]


@pytest.mark.parametrize("case", models.CASES, ids=lambda case: case.name.replace(" ", "_"))
def test_the_lint_says_what_the_truth_table_holds(case, tmp_path: Path) -> None:
    model = read(case.build(), tmp_path)
    found = [f for f in rules_of(model) if f.rule != "DEP301"]
    assert tuple(sorted(f.rule for f in found)) == case.rules
    names = {node.label for node in model.graph.all_nodes()}
    for finding in found:
        assert finding.remedy
        assert finding.rule == "DEP112" or finding.at.node in names
        assert "docs" in _how(finding.rule)


def _how(rule: str) -> str:
    from qgate.rules.catalogue import catalogue

    return catalogue()[rule].how


def test_who_declares_no_tensorrt_hears_nothing_of_it(tmp_path: Path) -> None:
    model = read(models.conv(activation={"zero": 3}, weight={}), tmp_path)
    assert {f.rule for f in rules_of(model, ("onnxruntime",))} <= {"DEP301"}


def test_one_finding_names_every_node_of_its_kind(tmp_path: Path) -> None:
    net = models.Net()
    data = net.input("x", 1, 8)
    for number in range(40):
        data = net.qdq(data, f"t{number}", zero=1)
    found = rules_of(read(net.model(data), tmp_path))
    assert [f.rule for f in found] == ["DEP101"]
    assert found[0].evidence["count"] == 40
    assert len(found[0].evidence["nodes"]) == 32
    assert "39 more" in found[0].message


def test_a_file_that_is_no_onnx_is_not_passed_over(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "m.safetensors"
    save_file({"w": np.zeros((2, 2), np.float32)}, path)
    found = list(measure_deployment(read_model(path), None, ("tensorrt",)))
    assert [(each.name, each.value) for each in found] == [("deploy.tensorrt", None), ("deploy.avx2", None)]
    judged = judge(found, resolve(None, None, "balanced", None), scheme=None, declared={})
    (finding,) = (f for f in judged if f.rule == "DEP200")
    assert finding.effect is Verdict.FAIL


def test_a_zero_point_that_is_computed_is_told(tmp_path: Path) -> None:
    net = models.Net(17)
    source = net.input("x", 1, 8)
    zero = net.node("Cast", [net.node("ReduceMax", [source], "m", keepdims=0)], "z", to=T.INT8)
    codes = net.node("QuantizeLinear", [source, net.constant("s", np.float32(0.1)), zero], "q")
    net.node("DequantizeLinear", [codes, "s", zero], "y")
    kinds = {fact.kind for fact in lint(read(net.model("y"), tmp_path))}
    assert "zero_point" in kinds


def test_openvinos_traps(tmp_path: Path) -> None:
    wide = read(models.conv(activation={"dtype": T.INT16}, weight={}), tmp_path)
    assert [(f.kind, f.node) for f in openvino_lint(wide)] == [("int16", "QuantizeLinear_x_q")]
    assert openvino_lint(read(models.qlinear_conv(), tmp_path)) == []  # one scale: it converts
    channels = models.qlinear_conv()
    scale = next(each for each in channels.graph.initializer if each.name == "ws")
    scale.CopyFrom(onnx.numpy_helper.from_array(np.full(8, 0.01, np.float32), "ws"))
    assert [(f.kind, f.refused) for f in openvino_lint(read(channels, tmp_path))] == [("operator", True)]


def test_pairs_of_weights_saturate_as_the_instruction_does() -> None:
    rng = np.random.default_rng(0)
    weights = rng.integers(-128, 128, (64, 37)).astype(np.int8)
    counted, of = count_pairs(weights)
    assert of == 64 * 18
    expected = 0
    for row in weights.astype(int):
        for a, b in zip(row[0:36:2], row[1:36:2], strict=True):
            sums = [x * a + y * b for x in (0, 255) for y in (0, 255)]
            expected += max(sums) > 32767 or min(sums) < -32768
    assert counted == expected > 0


def test_seven_bits_never_saturate() -> None:
    assert count_pairs(np.full((4, 8), 64, np.int8))[0] == 0
    assert count_pairs(np.full((4, 8), -64, np.int8))[0] == 0
    assert count_pairs(np.full((4, 8), 65, np.int8))[0] == 16


@pytest.mark.parametrize(("deploy", "severity"), [("avx2", "error"), (None, "note")])
def test_saturation_blocks_only_where_it_is_deployed(deploy, severity, tmp_path: Path) -> None:
    model = read(models.conv(activation={"dtype": T.UINT8}, weight={}), tmp_path)
    (finding,) = (f for f in rules_of(model, ("onnxruntime",), deploy) if f.rule == "DEP301")
    assert finding.severity == severity
    assert finding.at.node == "Conv_y"
    assert finding.at.tensor == "w_codes"


@pytest.mark.parametrize("runtimes", [("onnxruntime",), ("openvino", "tensorrt")], ids=lambda names: names[0])
def test_the_candidates_file_says_the_same_whatever_it_is_held_against(runtimes) -> None:
    examples = ROOT / "examples"
    candidate = read_model(examples / "digits" / "digits_int8_pc.onnx")
    references = [None, *(examples / name for name in ("digits/digits_fp32.onnx", "article/fp32.pt"))]

    def said(path: Path | None) -> list[object]:
        reference = None if path is None else read_model(path)
        found = inspect_pair(reference, candidate, Interface(), runtimes=runtimes).measurements
        return [each for each in found if each.name.startswith("deploy.")]

    alone, beside_onnx, beside_checkpoint = map(said, references)
    assert [each.value for each in alone if each.name == "deploy.avx2.saturating"] == [5]
    assert alone == beside_onnx == beside_checkpoint


@pytest.mark.parametrize("name", ["examples/article/eager_int8.pt", "tests/formats/tflite/cnn_int8.tflite"])
@pytest.mark.parametrize(("deploy", "effects"), [("avx2", [Verdict.INCONCLUSIVE]), (None, [])])
def test_what_is_no_onnx_is_not_passed_over_where_products_saturate(name, deploy, effects) -> None:
    found = inspect_pair(None, read_model(ROOT / name), Interface()).measurements
    judged = judge(found, resolve(None, None, "balanced", "int8"), scheme="int8", declared={"deploy": deploy})
    told = [each for each in judged if each.rule == "DEP301"]
    assert [each.effect for each in told] == effects
    assert all("was not checked: only ONNX models are looked at" in each.message for each in told)


def test_layers_that_multiply_in_float_do_not_saturate(tmp_path: Path) -> None:
    assert not list(saturating_layers(float_view(read(models.conv(weight={}), tmp_path))))
    integer = read(models.dynamic_matmul(), tmp_path)
    assert [each.tensor for each in saturating_layers(float_view(integer))] == ["w"]
