"""TensorRT on a real GPU, and what of it needs none: parsing and building, by NVIDIA's own library on the CPU.

The tests on a device have run nowhere yet where there was none: they are skipped and say so.
"""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from qgate.formats.read import read_model
from qgate.measure.deployed import device
from qgate.measure.deployed.inputs import Materialised
from qgate.measure.deployed.runs import Runs
from qgate.measure.request import PairRequest
from qgate.quant.deploy.tensorrt import lint
from qgate.records import Measurement, Verdict
from qgate.runtimes import tensorrt_device
from qgate.runtimes.base import ModelRefusedError
from qgate.runtimes.onnxruntime import OnnxRuntimeRunner
from qgate.runtimes.tensorrt_device import CONTROL, TensorRtRunner, unavailable
from qgate.runtimes.tensorrt_network import Network, create_network
from qgate.sandbox.limits import Limits
from qgate.sandbox.staging import staging_directory
from qgate.verifier.adhoc import AdHoc, ad_hoc_pair
from qgate.verify.target import verify

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
REFERENCE, UINT8 = DIGITS / "digits_fp32.onnx", DIGITS / "digits_int8_pc.onnx"
IMAGES = np.load(DIGITS / "digits_test.npz")["image"][:8]
REASON = unavailable()
on_a_device = pytest.mark.skipif(bool(REASON), reason=f"TensorRT on a device: {REASON}")


class Images(CalibrationDataReader):  # type: ignore[misc]
    """The example's images for calibration, once."""

    def __init__(self) -> None:
        self._left = iter([{"image": np.load(DIGITS / "digits_calib.npz")["image"]}])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._left, None)


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example in symmetric int8, as docs/runtimes.md says that TensorRT takes it."""
    path = tmp_path_factory.mktemp("tensorrt") / "int8.onnx"
    quantize_static(
        REFERENCE, path, Images(), per_channel=True, activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
        extra_options={"ActivationSymmetric": True, "QuantizeBias": False},
    )  # fmt: skip
    assert lint(read_model(path)) == []
    return path


@pytest.fixture(scope="module")
def rtx() -> Any:
    return pytest.importorskip("tensorrt_rtx", reason="qgate[tensorrt] is not installed")


def test_why_there_is_no_device_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert bool(REASON) == (not CONTROL.exists() or "is not installed" in REASON)
    monkeypatch.setattr(tensorrt_device, "CONTROL", tmp_path)
    lacking = {"nowhere_at_all.bindings": "one", "json": "none", "json.nothing": "two"}
    monkeypatch.setattr(tensorrt_device, "_PACKAGES", lacking)
    assert unavailable() == "the package one and two is not installed"


def test_an_int8_model_is_parsed_and_built_for_each_shape(rtx: Any, int8: Path) -> None:
    network = Network(rtx, int8, taps=("/Relu_output_0", "no such tensor", "logits"))
    theirs = OnnxRuntimeRunner(int8)
    assert [(i.name, i.dtype, i.shape) for i in network.inputs] == [("image", "float32", (None, 1, 8, 8))]
    assert [info.name for info in network.outputs] == [info.name for info in theirs.outputs]
    assert network.taps == ("/Relu_output_0",)
    gc.collect()
    for batch in (8, 1):
        assert network.build({"image": (batch, 1, 8, 8)}).nbytes > 10_000
    with pytest.raises(ModelRefusedError, match="its inputs image do not take"):
        network.build({"image": (8, 64)})


def test_what_the_parser_refuses_is_no_network(rtx: Any) -> None:
    with pytest.raises(ModelRefusedError, match="must have type"):
        Network(rtx, UINT8)


def test_what_the_builder_refuses_is_said_in_its_words(rtx: Any, tmp_path: Path) -> None:
    held = ", ".join(str(number) for number in range(-16, 16))
    onnx.save(
        onnx.parser.parse_model(
            f"""<ir_version: 8, opset_import: ["" : 17]>
            cast (float[1, 8] x) => (float[1, 4] y) <int8[8, 4] codes = {{{held}}}, float scale = {{0.1}}>
            {{ whole = Cast<to = 1>(codes)  weight = Mul(whole, scale)  y = MatMul(x, weight) }}"""
        ),
        tmp_path / "cast.onnx",
    )
    network = Network(rtx, tmp_path / "cast.onnx")
    with pytest.raises(ModelRefusedError, match=r"the engine builder refuses the model: .{20}"):
        network.build({})


@pytest.mark.parametrize(
    ("flags", "builder", "expected"),
    [
        ({"STRONGLY_TYPED": 1, "EXPLICIT_BATCH": 0}, {"INT8": 1}, 2),  # TensorRT 10
        ({"STRONGLY_TYPED": 0}, {}, 1),  # TensorRT 11, TensorRT-RTX
        ({}, {}, 0),  # one that has dropped the flag, as it ignores it
    ],
)
def test_networks_compute_in_the_types_of_the_file(flags: Any, builder: Any, expected: int) -> None:
    library = SimpleNamespace(
        NetworkDefinitionCreationFlag=SimpleNamespace(**flags), BuilderFlag=SimpleNamespace(**builder)
    )
    assert create_network(library, SimpleNamespace(create_network=lambda given: given)) == expected


def test_a_library_of_weak_types_alone_is_too_old() -> None:
    library = SimpleNamespace(
        NetworkDefinitionCreationFlag=SimpleNamespace(EXPLICIT_BATCH=0),
        BuilderFlag=SimpleNamespace(INT8=1),
        __version__="8.6.1",
    )
    with pytest.raises(RuntimeError, match=r"TensorRT 8\.6\.1 .* version 10"):
        create_network(library, None)


def test_this_librarys_networks_are_strongly_typed(rtx: Any) -> None:
    network = create_network(rtx, rtx.Builder(rtx.Logger(rtx.Logger.ERROR)))
    assert network.get_flag(rtx.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def test_a_fault_of_the_driver_is_none_of_the_model() -> None:
    check = TensorRtRunner._check
    assert check(None, (0, 4096)) == 4096 and check(None, (0,)) is None
    with pytest.raises(ModelRefusedError) as full:
        check(None, (2, None))
    assert full.value.cause == "memory"
    with pytest.raises(RuntimeError, match="CUDA: 35"):
        check(None, (35, None))


def test_an_engine_is_timed_against_onnx_references_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ran is told by ``run``; no engine of the checkpoint is asked for, and no latency is made up."""
    monkeypatch.setattr(device, "unavailable", lambda: "")
    request = PairRequest(
        UINT8, Path("fp32.pt"), limits=Limits(reduced=True), forms={"reference": "torch-checkpoint"}
    )
    runs = Runs(
        request, read_model(UINT8), {}, Materialised(Path("none.npz"), {}, {}, {}, {}, {}, {}, 0, ""), {}
    )
    ran = Measurement(name="runtime.ran", value=True)
    *_, latency = device.device_measurements(runs, lambda *_: iter([ran]))
    assert latency.name == "tensorrt.latency_ratio"
    assert latency.not_measured == "TensorRT reads no torch-checkpoint file, which the reference is"


@on_a_device
def test_the_float_model_computes_what_onnxruntime_computes() -> None:
    ours, theirs = TensorRtRunner(REFERENCE), OnnxRuntimeRunner(REFERENCE)
    assert [info.name for info in ours.outputs] == [info.name for info in theirs.outputs]
    feeds = {"image": IMAGES}
    assert np.abs(ours.run(feeds)[0] - theirs.run(feeds)[0]).max() < 0.05
    assert 0 < ours.seconds(feeds) < 1


@on_a_device
def test_the_int8_model_computes_what_onnxruntime_computes(int8: Path) -> None:
    """An engine that left the quantizers out would be as near to the reference as the float model's."""
    feeds = {"image": IMAGES}
    ours, theirs = TensorRtRunner(int8).run(feeds)[0], OnnxRuntimeRunner(int8).run(feeds)[0]
    exact = OnnxRuntimeRunner(REFERENCE).run(feeds)[0]
    cost = np.sqrt(np.mean((theirs - exact) ** 2))
    assert np.sqrt(np.mean((ours - theirs) ** 2)) < cost
    assert np.sqrt(np.mean((ours - exact) ** 2)) > cost / 2


@on_a_device
@pytest.mark.parametrize("quantized", [False, True], ids=["float", "int8"])
def test_inner_tensors_come_back(quantized: bool, int8: Path) -> None:
    path = int8 if quantized else REFERENCE
    taps = ("/Relu_output_0", "/Relu_3_output_0")
    ours = TensorRtRunner(path, taps=(*taps, "no such tensor"))
    assert ours.taps == taps
    theirs = OnnxRuntimeRunner(path, taps=taps).run({"image": IMAGES})
    found = ours.run({"image": IMAGES})
    assert len(found) == len(theirs) == 3
    for mine, other in zip(found, theirs, strict=True):
        assert np.sqrt(np.mean((mine - other) ** 2)) < 0.05 * np.abs(other).max()


@on_a_device
def test_an_input_of_another_shape_is_refused() -> None:
    with pytest.raises(ModelRefusedError):
        TensorRtRunner(REFERENCE).run({"image": np.zeros((2, 1, 9, 8), np.float32)})


@on_a_device
def test_what_the_parser_refuses_is_no_runner() -> None:
    with pytest.raises(ModelRefusedError):
        TensorRtRunner(UINT8)


@on_a_device
def test_a_pair_is_verified_there_with_its_latency(int8: Path) -> None:
    asked = AdHoc(int8, REFERENCE, DIGITS / "digits_test.npz", runtimes=("onnxruntime", "tensorrt"))
    pair = replace(ad_hoc_pair(asked), limits=Limits(reduced=True, wall_seconds=300))
    with staging_directory() as staging:
        target = verify(pair, staging=staging)
    found = {
        m.name: m
        for m in target.measurements
        if "tensorrt-device" in str(m.at.runtime) and m.value is not None
    }
    assert found["tensorrt.device"].value is True and found["runtime.ran"].value is True
    assert found["runtime.sqnr_db"].number > 20 and np.isfinite(found["runtime.lsb"].number)
    ratio = found["tensorrt.latency_ratio"]
    assert ratio.number > 0
    assert ratio.number == pytest.approx(
        ratio.detail["candidate_seconds"] / ratio.detail["reference_seconds"]
    )
    told = {finding.rule for finding in target.findings}
    assert ("DEP125" in told) is (ratio.number > 1.1)
    assert not told & {"DEP121", "DEP124", "DEP201", "DEP202", "DEP203"}
    assert target.verdict is Verdict.PASS
