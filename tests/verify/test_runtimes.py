"""The candidate in the other runtimes that are declared: real processes, in the sandbox."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper, numpy_helper

from qgate.formats.read import read_model
from qgate.judge import judge
from qgate.measure.deployed.runtimes import measure_runtimes
from qgate.measure.interface import Interface
from qgate.measure.request import PairRequest
from qgate.policy.thresholds import resolve
from qgate.records import Severity, Verdict
from qgate.sandbox.limits import Limits
from qgate.sandbox.staging import staging_directory
from qgate.verifier.adhoc import AdHoc, ad_hoc_pair
from qgate.verify.target import verify

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "examples" / "digits"
REFERENCE = DIGITS / "digits_fp32.onnx"
INPUTS = DIGITS / "digits_test.npz"


def report(candidate: Path, *runtimes: str):
    pair = ad_hoc_pair(AdHoc(candidate, REFERENCE, samples=8, runtimes=runtimes))
    pair = replace(pair, limits=Limits(wall_seconds=100))
    with staging_directory() as staging:
        return verify(pair, staging=staging)


def of(target, rule: str):
    return [finding for finding in target.findings if finding.rule == rule]


def values(target, name: str):
    return [m for m in target.measurements if m.name == name]


@pytest.fixture(scope="module")
def openvino() -> None:
    pytest.importorskip("openvino", reason="qgate[openvino] is not installed")


@pytest.fixture(scope="module")
def tensorrt() -> None:
    pytest.importorskip("tensorrt_rtx", reason="qgate[tensorrt] is not installed")


def test_a_correct_candidate_agrees_within_a_step(openvino) -> None:
    target = report(DIGITS / "digits_int8_pc.onnx", "onnxruntime", "openvino")
    (ran,) = values(target, "runtime.ran")
    assert ran.value is True
    assert ran.n == 8
    (lsb,) = values(target, "runtime.lsb")
    assert lsb.at.output == "logits"
    assert lsb.at.runtime == "onnxruntime and openvino"
    assert lsb.detail["step_of"] == "quantizer"
    assert 0 <= lsb.number <= 2
    (kept,) = values(target, "runtime.sqnr_db")
    assert abs(kept.number - kept.detail["onnxruntime_db"]) < 6
    assert not [f for f in target.findings if f.rule.startswith("DEP2")]
    assert target.verdict is Verdict.PASS


def test_sixteen_bits_are_garbage_in_openvino_and_the_first_layer_is_named(openvino) -> None:
    target = report(DIGITS / "digits_a16w8.onnx", "openvino")
    (differ,) = of(target, "DEP202")
    assert differ.severity is Severity.ERROR
    assert "they part first at /c" in differ.message
    (kept,) = of(target, "DEP203")
    assert kept.at.runtime == "openvino"
    assert of(target, "DEP211")
    (parting,) = values(target, "runtime.parting")
    assert parting.at.node in {node.name for node in onnx.load(DIGITS / "digits_a16w8.onnx").graph.node}
    assert parting.number > 1000
    assert target.verdict is Verdict.FAIL


def test_what_openvino_does_not_convert_is_a_failure_and_no_silence(openvino) -> None:
    target = report(DIGITS / "digits_int8_qop.onnx", "openvino")
    (ran,) = of(target, "DEP201")
    assert ran.effect is Verdict.FAIL
    assert "OpenVINO refuses the candidate" in ran.message
    assert "QGemm" in ran.message or "QLinearConv" in ran.message
    assert of(target, "DEP212")


def test_a_process_that_dies_is_an_error_of_every_runtime_that_it_kept_from_running(openvino) -> None:
    candidate = read_model(DIGITS / "digits_int8_pc.onnx")
    with staging_directory() as staging:
        paths = {}
        for name in (REFERENCE, candidate.path):
            paths[name] = staging / name.name
            paths[name].write_bytes(name.read_bytes())
            paths[name].chmod(0o644)
        asked = PairRequest(paths[candidate.path], paths[REFERENCE], limits=Limits(memory_mb=64))
        found = list(measure_runtimes(asked, candidate, ("onnxruntime", "openvino"), {}, staging))
    (ran,) = found
    assert ran.value is None
    judged = judge(found, resolve(None, None, "balanced", "int8"), scheme="int8", declared={})
    (finding,) = (f for f in judged if f.rule == "DEP201")
    assert finding.effect is Verdict.ERROR
    assert finding.at.runtime == "openvino"


def test_a_declared_runtime_that_is_not_installed_is_an_error_with_the_extra_named() -> None:
    """In an interpreter in which the package cannot be found."""
    code = (
        "import sys\nsys.modules['openvino'] = None\nsys.modules['tensorrt_rtx'] = None\n"
        "from qgate.cli import main\nmain()\n"
    )
    arguments = ["verify", "-r", REFERENCE, "-c", DIGITS / "digits_int8_pc.onnx", "--samples", "4"]
    arguments += ["--runtime", "openvino", "--runtime", "tensorrt", "-o"]
    with staging_directory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments), str(folder / "report")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        told = json.loads((folder / "report" / "report.json").read_text())
    assert done.returncode == 2, done.stderr
    (target,) = told["targets"]
    assert target["verdict"] == "ERROR"
    (ran,) = (f for f in target["findings"] if f["rule"] == "DEP201")
    assert "pip install 'qgate[openvino]'" in ran["message"] + ran["remedy"]
    (asked,) = (f for f in target["findings"] if f["rule"] == "DEP123")
    assert asked["severity"] == "note"
    assert "qgate[tensorrt]" in asked["message"]


def test_the_parser_names_the_node_that_it_refuses(tensorrt) -> None:
    target = report(DIGITS / "digits_int8_pc.onnx", "tensorrt")
    (refused,) = of(target, "DEP121")
    assert refused.at.node == "f1.bias_DequantizeLinear"
    assert "INVALID_NODE" in refused.message
    assert {"DEP101", "DEP102", "DEP104"} <= {f.rule for f in target.findings}
    assert target.verdict is Verdict.FAIL


def symmetric(folder: Path) -> tuple[Path, Path]:
    """A float model with a free batch and sizes, and its symmetric twin."""
    random = np.random.default_rng(1)
    weight = random.normal(0, 0.2, (4, 3, 3, 3)).astype(np.float32)
    step = (np.abs(weight).max(axis=(1, 2, 3)) / 127).astype(np.float32)
    codes = np.clip(np.rint(weight / step[:, None, None, None]), -127, 127).astype(np.int8)
    ends = (
        [helper.make_tensor_value_info("x", T.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("y", T.FLOAT, ["n", 4, "a", "b"])],
    )
    opset = {"opset_imports": [helper.make_opsetid("", 17)], "ir_version": 8}

    def save(name: str, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> Path:
        held = [numpy_helper.from_array(values, key) for key, values in constants.items()]
        path = folder / name
        onnx.save(helper.make_model(helper.make_graph(nodes, "g", *ends, held), **opset), path)
        return path

    plain = save("fp32.onnx", [helper.make_node("Conv", ["x", "w"], ["y"], name="conv")], {"w": weight})
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "z"], ["xq"], name="q"),
        helper.make_node("DequantizeLinear", ["xq", "xs", "z"], ["xd"], name="dq"),
        helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["wd"], name="dqw", axis=0),
        helper.make_node("Conv", ["xd", "wd"], ["y"], name="conv"),
    ]
    held = {"xs": np.float32(4 / 127), "z": np.int8(0), "wq": codes, "ws": step, "wz": np.zeros(4, np.int8)}
    return plain, save("int8.onnx", nodes, {k: np.asarray(v) for k, v in held.items()})


def test_an_engine_of_a_model_with_free_sizes_is_built_for_a_size_that_occurs(
    tensorrt, tmp_path: Path
) -> None:
    reference, candidate = symmetric(tmp_path)
    pair = ad_hoc_pair(AdHoc(candidate, reference, samples=4, runtimes=("tensorrt",)))
    with staging_directory() as staging:
        target = verify(pair, staging=staging)
    (parsed,) = values(target, "tensorrt.parsed")
    assert parsed.value is True
    (built,) = values(target, "tensorrt.built")
    assert built.value is True
    assert built.detail["engine_bytes"] > 1000
    assert {f.rule for f in target.findings if f.rule.startswith("DEP1")} <= {"DEP124"}


def test_lint_and_parser_differ_only_where_the_table_says_why(tensorrt) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "tensorrt.py"), "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    rows = json.loads(done.stdout.splitlines()[-1])["rows"]
    assert len(rows) >= 40
    for row in rows:
        assert bool(row["why"]) == row["disagree"], row["name"]
        # What NVIDIA refuses, the lint refuses: it may be stricter and never laxer.
        assert row["lint_refuses"] or not row["nvidia_refuses"], row["name"]
        assert f"| {row['name']} |" in (ROOT / "docs" / "runtimes.md").read_text()


def test_the_recipe_of_the_documents_is_one_that_tensorrt_takes(tensorrt, tmp_path: Path) -> None:
    """ONNX Runtime's quantizer, as docs/runtimes.md says."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    name = onnx.load(REFERENCE).graph.input[0].name
    arrays = np.load(DIGITS / "digits_calib.npz")
    images = next(arrays[key] for key in arrays.files if arrays[key].ndim == 4)[:32].astype(np.float32)

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter([{name: images}])

        def get_next(self):
            return next(self.left, None)

    candidate = tmp_path / "symmetric.onnx"
    quantize_static(
        REFERENCE, candidate, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
        extra_options={"ActivationSymmetric": True, "QuantizeBias": False},
    )  # fmt: skip
    target = report(candidate, "tensorrt")
    assert {f.rule for f in target.findings if f.rule.startswith("DEP1")} <= {"DEP124"}
    (built,) = values(target, "tensorrt.built")
    assert built.value is True


def test_inputs_that_are_given_and_outputs_of_whole_numbers_are_compared(openvino, tmp_path: Path) -> None:
    """Two inputs, one of them renamed, one output of classes, and a batch that the file fixes."""
    weight = np.random.default_rng(3).normal(0, 1, (6, 3)).astype(np.float32)

    def save(path: Path, first: str) -> Path:
        nodes = [
            helper.make_node("Mul", [first, "b"], ["m"], name="mul"),
            helper.make_node("MatMul", ["m", "w"], ["scores"], name="matmul"),
            helper.make_node("ArgMax", ["scores"], ["class"], name="argmax", axis=1, keepdims=0),
        ]
        graph = helper.make_graph(
            nodes, "g",
            [helper.make_tensor_value_info(name, T.FLOAT, [4, 6]) for name in (first, "b")],
            [helper.make_tensor_value_info("scores", T.FLOAT, [4, 3]), helper.make_tensor_value_info("class", T.INT64, [4])],
            [numpy_helper.from_array(weight, "w")],
        )  # fmt: skip
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return path

    data = tmp_path / "data.npz"
    random = np.random.default_rng(4)
    np.savez(
        data,
        a=random.normal(0, 1, (10, 6)).astype(np.float32),
        b=random.normal(0, 1, (10, 6)).astype(np.float32),
    )
    asked = AdHoc(
        save(tmp_path / "c.onnx", "renamed"), save(tmp_path / "r.onnx", "a"), inputs=data, scheme="none",
        interface=Interface({"a": "renamed"}, (), {}, {}), runtimes=("openvino",),
    )  # fmt: skip
    with staging_directory() as staging:
        target = verify(ad_hoc_pair(asked), staging=staging)
    (ran,) = values(target, "runtime.ran")
    assert ran.n == 10
    told = {m.at.output: m for m in values(target, "runtime.lsb")}
    assert set(told) == {"scores", "class"}
    assert told["class"].value == 0
    assert told["scores"].number < 0.01
    assert not [f for f in target.findings if f.rule.startswith("DEP")]
