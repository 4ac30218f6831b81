"""A range in front of an activation function is held to what comes out of it, where that is watched itself."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from qgate.formats.read import read_model
from qgate.measure.interface import Interface
from qgate.measure.static import inspect_pair
from qgate.verifier.adhoc import AdHoc, verify_ad_hoc

SIZE = 16


class Reader(CalibrationDataReader):
    def __init__(self, x):
        self.rows = iter([{"x": x}])

    def get_next(self):
        return next(self.rows, None)


def pair(folder, activation, *, shrink=None, output=False):
    """A product, an activation function and a product, quantized symmetrically, as TensorRT wants it."""
    random = np.random.default_rng(0)
    constants = [
        numpy_helper.from_array(random.standard_normal((SIZE, SIZE)).astype(np.float32), name)
        for name in ("w0", "w1")
    ]
    bounds = [numpy_helper.from_array(np.float32(value), name) for name, value in (("low", 0), ("high", 3))]
    names = ["t", "low", "high"] if activation == "Clip" else ["t"]
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["t"], "first"),
        helper.make_node(activation, names, ["r"], "bend"),
        helper.make_node("MatMul", ["r", "w1"], ["y"], "second"),
    ]
    shown = ["y", "t"] if output else ["y"]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", SIZE])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", SIZE]) for name in shown],
        [*constants, *(bounds if activation == "Clip" else [])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    reference, candidate = folder / "reference.onnx", folder / "candidate.onnx"
    onnx.save(model, reference)
    x = random.standard_normal((256, SIZE)).astype(np.float32)
    # What comes in is far more negative than positive.
    x -= 0.4 * np.linalg.pinv(numpy_helper.to_array(constants[0]).astype(np.float64)).sum(axis=0).astype(
        np.float32
    )
    np.savez(folder / "data.npz", x=x)
    quantize_static(
        reference, candidate, Reader(x), activation_type=QuantType.QInt8, per_channel=True,
        extra_options={"ActivationSymmetric": True, "QuantizeBias": False},
    )  # fmt: skip
    if shrink:
        made = onnx.load(candidate)
        scale = next(each for each in made.graph.initializer if each.name == f"{shrink}_scale")
        scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) / np.float32(2), scale.name))
        onnx.save(made, candidate)
    return reference, candidate


def watched(folder, activation, **changed):
    reference, candidate = pair(folder, activation, **changed)
    found = inspect_pair(read_model(reference), read_model(candidate), Interface())
    assert {tap.tensor for tap in found.taps} <= {layer.reference for layer in found.layers}
    return {tap.tensor for tap in found.taps}


@pytest.mark.parametrize("activation", ["Relu", "Clip"])
def test_what_an_activation_function_flattens_is_not_missed_before_it(tmp_path, activation):
    assert watched(tmp_path, activation) == {"x", "r", "y"}


def test_a_range_that_cuts_off_more_than_the_one_behind_is_watched(tmp_path):
    assert "t" in watched(tmp_path, "Relu", shrink="t")


def test_a_range_is_watched_where_its_tensor_is_an_output_too(tmp_path):
    assert "t" in watched(tmp_path, "Relu", output=True)


def test_a_function_that_bends_is_no_reason(tmp_path):
    assert "t" in watched(tmp_path, "Tanh")


def test_the_recipe_for_tensorrt_passes_with_clip_and_a_cut_range_behind_it_does_not(tmp_path):
    def rules(**changed):
        reference, candidate = pair(tmp_path, "Clip", **changed)
        report = verify_ad_hoc(AdHoc(candidate, reference, inputs=tmp_path / "data.npz"))
        return {f.rule for f in report.findings if f.severity.value == "error"}

    assert not rules()
    assert "RNG104" in rules(shrink="r")
