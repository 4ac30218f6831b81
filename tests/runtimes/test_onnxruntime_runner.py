from pathlib import Path

import numpy as np
import onnx
import pytest

from qgate.runtimes.base import ModelRefusedError
from qgate.runtimes.onnx_taps import added_outputs
from qgate.runtimes.onnxruntime import OnnxRuntimeRunner

DIGITS = Path(__file__).parents[2] / "examples" / "digits" / "digits_fp32.onnx"


def test_inputs_and_outputs_are_as_declared():
    runner = OnnxRuntimeRunner(DIGITS)
    (image,), (logits,) = runner.inputs, runner.outputs
    assert (image.name, image.dtype, image.shape) == ("image", "float32", ("N", 1, 8, 8))
    assert (logits.name, logits.dtype, logits.shape) == ("logits", "float32", ("N", 10))
    assert not runner.reduced


def test_taps_come_after_the_outputs_and_change_nothing():
    image = {"image": np.random.default_rng(0).random((3, 1, 8, 8), dtype=np.float32)}
    (plain,) = OnnxRuntimeRunner(DIGITS).run(image)
    tapped = OnnxRuntimeRunner(DIGITS, taps=["/Relu_output_0"])
    assert [info.name for info in tapped.outputs] == ["logits"]
    logits, relu = tapped.run(image)
    assert relu.shape == (3, 16, 8, 8)
    assert np.allclose(logits, plain, atol=1e-5)


def test_the_added_outputs_are_what_a_parser_would_have_added():
    names = ["a", "x" * 300, "层"]
    raw = DIGITS.read_bytes()
    expected = onnx.load_from_string(raw)
    expected.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    assert onnx.load_from_string(raw + added_outputs(names)) == expected
    assert added_outputs([]) == b""


@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"hello"])
def test_what_is_no_model_is_refused_on_one_line(content, tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelRefusedError) as caught:
        OnnxRuntimeRunner(path)
    assert "\n" not in caught.value.what
    assert str(tmp_path) not in caught.value.what
    assert caught.value.cause == "refused"


def test_wrong_inputs_are_refused():
    runner = OnnxRuntimeRunner(DIGITS)
    with pytest.raises(ModelRefusedError, match="invalid dimensions"):
        runner.run({"image": np.zeros((1, 1, 7, 8), np.float32)})
    with pytest.raises(ModelRefusedError):
        runner.run({})


def test_integer_products_do_not_saturate(tmp_path):
    """u8 times s8 with the largest values: AVX2's 16-bit pair sums would saturate at 32767."""
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]>'
        "g (uint8[N,64] x) => (int32[N,8] y) {y = MatMulInteger(x, w)}"
    )
    weight = np.full((64, 8), 127, np.int8)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    x = np.full((2, 64), 255, np.uint8)
    (y,) = OnnxRuntimeRunner(path).run({"x": x})
    assert np.array_equal(y, x.astype(np.int32) @ weight.astype(np.int32))
