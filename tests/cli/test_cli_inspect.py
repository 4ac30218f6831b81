"""``qgate inspect``: what any model file holds, told without running it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from qgate.cli import main

EXAMPLES = Path(__file__).parents[2] / "examples"
DIGITS = EXAMPLES / "digits"
STATES = EXAMPLES / "torch"


def inspect(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["inspect", *map(str, arguments)])


def data(path: Path, code: int = 0) -> dict[str, Any]:
    result = inspect(path, "--json")
    assert result.exit_code == code, result.output
    found: dict[str, Any] = json.loads(result.output)
    assert found["schema"] == "qgate-inspect/v1"
    assert len(found["sha256"]) == 64
    return found


def tensor(found: dict[str, Any], name: str) -> dict[str, Any]:
    (one,) = [each for each in found["tensors"] if each["name"] == name]
    return one


def test_an_onnx_model_shows_scheme_ranges_scales_and_quantizers() -> None:
    found = data(DIGITS / "digits_int8_pc.onnx")
    assert (found["format"], found["scheme"]["name"], found["scheme"]["bits"]) == ("onnx", "int8", 8.0)
    weight = tensor(found, "f2.weight_quantized")
    assert (weight["dtype"], weight["shape"], weight["role"]) == ("int8", [10, 64], "weight")
    assert weight["low"] == pytest.approx(-0.2035, abs=1e-4)
    assert (weight["affine"]["scales"], weight["affine"]["axis"], weight["affine"]["zero_low"]) == (
        10,
        0,
        0.0,
    )
    assert tensor(found, "f2.weight_scale")["role"] == "parameter"
    image = found["activations"][0]
    assert (image["name"], image["dtype"], image["low"], image["high"]) == (
        "image",
        "uint8",
        0.0,
        pytest.approx(1.0),
    )
    assert found["operators"]["QuantizeLinear"] == 9
    assert [each["name"] for each in found["inputs"]] == ["image"]


@pytest.mark.parametrize(
    ("path", "scheme", "bits"),
    [
        (DIGITS / "digits_fp32.onnx", "none", 32.0), (DIGITS / "digits_fp16.onnx", "fp16", 16.0),
        (DIGITS / "digits_w4a8.onnx", "int4", None), (DIGITS / "digits_int8_qop.onnx", "int8", 8.0),
        (STATES / "digits_fp32_state.pt", "none", 32.0), (STATES / "digits_fp16_state.pt", "fp16", 16.0),
        (STATES / "digits_int8_state.pt", "int8", 8.0),
    ],
)  # fmt: skip
def test_the_scheme_of_each_form_is_told(path: Path, scheme: str, bits: float | None) -> None:
    found = data(path)
    assert found["scheme"]["name"] == scheme
    assert bits is None or found["scheme"]["bits"] == bits
    assert all(risk["severity"] != "error" for risk in found["risks"]), (
        "a float model is no mistake by itself"
    )


def test_float_weights_that_pt2e_leaves_behind_are_told_apart() -> None:
    found = data(EXAMPLES / "article" / "pt2e_symmetric.pt2")
    assert (found["format"], found["scheme"]["name"], found["scheme"]["bits"]) == (
        "torch-export",
        "int8",
        8.0,
    )
    roles = {each["name"]: each["role"] for each in found["tensors"]}
    assert roles == {
        "conv.weight": "unused", "fc.weight": "unused", "conv.bias": "constant", "fc.bias": "constant",
        "_scale_0": "parameter", "_zero_point_0": "parameter", "_scale_1": "parameter", "_zero_point_1": "parameter",
        "_frozen_param0": "weight", "_frozen_param1": "weight",
    }  # fmt: skip
    assert found["unused_bytes"] == 4 * 2992
    assert found["inputs"][0]["shape"][1:] == [3, 32, 32]


def test_what_the_file_shows_to_be_wrong_is_an_error() -> None:
    found = data(STATES / "fault_nan_bias.pt", code=1)
    assert [(risk["rule"], risk["severity"]) for risk in found["risks"]] == [("ART111", "error")]
    assert tensor(found, "f1.bias")["nonfinite"] == 1
    printed = inspect(STATES / "fault_nan_bias.pt").output
    assert "error ART111 (tensor f1.bias" in printed and "1 not finite" in printed


@pytest.mark.parametrize(
    ("content", "rule", "says"),
    [
        (STATES / "digits_fx_int8.ts", "ART114", "compiled and run when it is loaded"),
        (b"ftrt" + bytes(64), "ART103", "never deserialised"),
        (b"\x80\x04cos\nsystem\n.", "ART114", "pickle"),
        (b"\x7fELF" + bytes(64), "ART114", "native code"),
        (DIGITS / "digits_test.npz", "ART103", "holds arrays and no model"),
    ],
    ids=["torchscript", "engine", "pickle", "native", "npz"],
)  # fmt: skip
def test_what_holds_code_is_named_hashed_and_refused(
    content: Path | bytes, rule: str, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content.read_bytes() if isinstance(content, Path) else content)
    found = data(path, code=2)
    assert (found["refused"]["rule"], "tensors" in found) == (rule, False)
    assert says in found["name"] + found["refused"]["what"]
    assert "Refused" in inspect(path).output


def test_a_renamed_file_is_known_by_its_content(tmp_path: Path) -> None:
    path = shutil.copy(STATES / "digits_int8_state.pt", tmp_path / "model.onnx")
    found = data(Path(path))
    assert found["format"] == "torch-checkpoint"
    assert [(risk["rule"], risk["severity"]) for risk in found["risks"]] == [("ART104", "warning")]


def test_names_from_the_file_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    header = json.dumps(
        {"a\n::error::x\u202e": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    ).encode()
    path = tmp_path / "m.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    printed = inspect(path).output
    assert "\u202e" not in printed
    assert not any(line.startswith("::") for line in printed.splitlines())


def test_a_missing_file_is_one_line() -> None:
    result = inspect("nothing.onnx")
    assert result.exit_code == 2
    assert "cannot be read" in result.output and "Traceback" not in result.output


def test_nothing_of_pytorch_is_imported_for_its_own_files() -> None:
    program = (
        "import sys\nfrom click.testing import CliRunner\nfrom qgate.cli import main\n"
        f"r = CliRunner().invoke(main, ['inspect', {str(STATES / 'digits_int8_state.pt')!r}])\n"
        "assert r.exit_code == 0, r.output\nprint(sorted({m.split('.')[0] for m in sys.modules} & "
        "{'torch', 'onnxruntime', 'torchao'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"
