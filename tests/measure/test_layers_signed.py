"""Signed activations, the default of ONNX Runtime's ``quantize_static``: reading their codes must not take fusions apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from qgate.records import Verdict
from qgate.verifier.adhoc import AdHoc, verify_ad_hoc

RANDOM = np.random.default_rng(7)
SAMPLES = RANDOM.standard_normal((64, 3, 12, 12)).astype(np.float32)


class Reader(CalibrationDataReader):
    def __init__(self) -> None:
        self.left = iter(SAMPLES)

    def get_next(self) -> dict[str, np.ndarray] | None:
        sample = next(self.left, None)
        return None if sample is None else {"x": sample[None]}


def net(path: Path) -> Path:
    """Convolutions, and a pool that hands the scale of what it reads on."""

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        scale = np.sqrt(2 / np.prod(shape[1:]))
        return numpy_helper.from_array((RANDOM.standard_normal(shape) * scale).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], "c1", kernel_shape=[3, 3]),
        helper.make_node("Relu", ["a"], ["b"], "r1"),
        helper.make_node("Conv", ["b", "w2"], ["c"], "c2", kernel_shape=[3, 3]),
        helper.make_node("Relu", ["c"], ["d"], "r2"),
        helper.make_node("AveragePool", ["d"], ["e"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["e"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "w3"], ["y"], "fc", transB=1),
    ]
    graph = helper.make_graph(
        nodes, "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 12, 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 10])],
        [weight("w1", 16, 3, 3, 3), weight("w2", 16, 16, 3, 3), weight("w3", 10, 256)],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize("activations", [QuantType.QInt8, QuantType.QUInt8])
def test_every_layer_is_compared_whatever_sign_the_codes_have(tmp_path: Path, activations: QuantType) -> None:
    reference, candidate = net(tmp_path / "fp32.onnx"), tmp_path / "int8.onnx"
    quantize_static(
        str(reference), str(candidate), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=activations, weight_type=QuantType.QInt8,
    )  # fmt: skip
    np.savez(tmp_path / "x.npz", x=SAMPLES)
    report = verify_ad_hoc(AdHoc(candidate=candidate, reference=reference, inputs=tmp_path / "x.npz"))
    (count,) = (m for m in report.measurements if m.name == "layer.count")
    assert count.value == 5, count.not_measured
    assert "FEA304" not in {finding.rule for finding in report.findings}
    assert report.verdict is Verdict.PASS
