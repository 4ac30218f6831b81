"""TensorRT on a real GPU. These tests have run nowhere yet where there was none: they are skipped and say so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qgate.runtimes.base import ModelRefusedError
from qgate.runtimes.onnxruntime import OnnxRuntimeRunner
from qgate.runtimes.tensorrt_device import CONTROL, TensorRtRunner, unavailable

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
REASON = unavailable()
on_a_device = pytest.mark.skipif(bool(REASON), reason=f"TensorRT on a device: {REASON}")


def test_why_there_is_no_device_is_said() -> None:
    assert bool(REASON) == (not CONTROL.exists() or "is not installed" in REASON)


@on_a_device
def test_the_float_model_computes_what_onnxruntime_computes() -> None:
    path = DIGITS / "digits_fp32.onnx"
    name = OnnxRuntimeRunner(path).inputs[0].name
    feeds = {name: np.random.default_rng(0).standard_normal((8, 1, 8, 8)).astype(np.float32)}
    ours, theirs = TensorRtRunner(path), OnnxRuntimeRunner(path)
    assert [info.name for info in ours.outputs] == [info.name for info in theirs.outputs]
    assert np.abs(ours.run(feeds)[0] - theirs.run(feeds)[0]).max() < 0.05
    assert 0 < ours.seconds(feeds) < 1


@on_a_device
def test_inner_tensors_come_back() -> None:
    path = DIGITS / "digits_fp32.onnx"
    runner = TensorRtRunner(path, taps=("/Relu_output_0", "no such tensor"))
    feeds = {runner.inputs[0].name: np.zeros((1, 1, 8, 8), np.float32)}
    assert runner.taps == ("/Relu_output_0",)
    assert len(runner.run(feeds)) == 2


@on_a_device
def test_what_the_parser_refuses_is_no_runner() -> None:
    with pytest.raises(ModelRefusedError):
        TensorRtRunner(DIGITS / "digits_int8_pc.onnx")
