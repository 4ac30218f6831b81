"""Which operators have a meaning: by domain and version, and nothing beside."""

import onnx
import onnxruntime.capi.onnxruntime_pybind11_state as runtime
import pytest

from qgate.formats.onnx.operators import CONTRIB, is_reserved, same_meaning, why_unknown

NEWEST = onnx.defs.onnx_opset_version()


def test_every_operator_of_the_newest_specification_is_known():
    newest = {"": NEWEST, "ai.onnx.ml": 5}
    for schema in onnx.defs.get_all_schemas():
        if schema.domain in newest and not schema.deprecated:
            assert why_unknown(schema.domain, schema.name, newest) == "", schema.name


def test_contributed_operators_are_those_that_the_runtime_has():
    held = {(s.domain, s.name) for s in runtime.get_all_operator_schema()}
    assert {name for name in CONTRIB if ("com.microsoft", name) not in held} == {
        "SimplifiedLayerNormalization"
    }
    assert ("", "SimplifiedLayerNormalization") in held
    for name in CONTRIB:
        assert why_unknown("com.microsoft", name, {"": 17}) == ""


@pytest.mark.parametrize(
    ("domain", "op", "opsets", "words"),
    [
        ("", "Relu", {"": 17}, ""),
        ("", "SimplifiedLayerNormalization", {"": 17}, ""),
        ("ai.onnx.ml", "Scaler", {"": 17, "ai.onnx.ml": 3}, ""),
        ("", "Reluu", {"": 17}, "no specification defines it"),
        ("", "relu", {"": 17}, "no specification defines it"),
        ("", "Gelu", {"": 17}, "version 17 of ai.onnx does not have it"),
        ("", "Gelu", {"": 20}, ""),
        ("", "Upsample", {"": 9}, ""),
        ("", "GroupNormalization", {"": 18}, ""),
        ("", "Upsample", {"": 17}, "version 17 of ai.onnx does not have it"),
        ("", "Relu", {"other": 1}, "imports no version of ai.onnx"),
        ("ai.onnx.ml", "Scaler", {"": 17}, "imports no version of ai.onnx.ml"),
        ("com.microsoft", "BeamSearch", {"": 17, "com.microsoft": 1}, "no specification defines it"),
        ("com.microsoft", "EPContext", {"": 17, "com.microsoft": 1}, "opaque compiled blob"),
        ("com.microsoft", "Snpe", {"": 17}, "opaque"),
        ("", "EPContext", {"": 17}, "opaque"),
        ("trt.plugins", "Anything", {"trt.plugins": 1}, "TensorRT plugin"),
        ("com.microsoft.nchwc", "Conv", {"com.microsoft.nchwc": 1}, "internal to ONNX Runtime"),
        ("com.ms.internal.nhwc", "Conv", {"com.ms.internal.nhwc": 1}, "internal to ONNX Runtime"),
        ("ai.onnx.preview.training", "Adam", {"ai.onnx.preview.training": 1}, "for training"),
        ("ai.onnx.preview", "FlexAttention", {"ai.onnx.preview": 1}, "a preview"),
        ("pyop", "PyOp", {"pyop": 1}, "calls code outside of the model"),
        ("org.pytorch.aten", "ATen", {"org.pytorch.aten": 1}, "calls code outside of the model"),
        ("ai.onnx.contrib", "StringRegexReplace", {"ai.onnx.contrib": 1}, "no specification defines it"),
        ("", "MemcpyFromHost", {"": 17}, "no specification defines it"),
        ("", "EfficientNMS_TRT", {"": 17}, "no specification defines it"),
        ("", "", {"": 17}, "no specification defines it"),
    ],
)
def test_an_operator_is_known_or_the_reason_is_told(domain, op, opsets, words):
    why = why_unknown(domain, op, opsets)
    assert bool(why) is bool(words)
    assert words in why


def test_no_operator_that_reads_files_or_the_clock_is_known():
    """Names of the runtime's schemas that tell of the world outside; a new one has to be looked at."""
    telling = ("file", "path", "time", "clock", "env", "url", "socket", "save", "load", "print")
    allowed = {
        n for n in (s.name for s in onnx.defs.get_all_schemas()) if any(t in n.lower() for t in telling)
    }
    allowed |= {n for n in CONTRIB if any(t in n.lower() for t in telling)}
    assert allowed == set()


@pytest.mark.parametrize(
    ("domain", "reserved"),
    [("", True), ("ai.onnx", True), ("ai.onnx.ml", True), ("com.microsoft", True), ("com.microsoft.nchwc", True),
     ("com.ms.internal.nhwc", True), ("pkg.onnxscript.torch_lib", False), ("this", False), ("com.example", False), ("ai", False)],
)  # fmt: skip
def test_domains_of_specifications_are_reserved(domain, reserved):
    assert is_reserved(domain) is reserved


def test_an_operator_means_the_same_until_its_next_version():
    assert same_meaning("", "Softmax", 13, NEWEST)
    assert not same_meaning("", "Softmax", 12, 13)
    assert not same_meaning("", "Gelu", 17, 20)
    assert same_meaning("mine", "Anything", 3, 3)
    assert not same_meaning("mine", "Anything", 3, 4)
