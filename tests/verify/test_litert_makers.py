"""LiteRT models of TensorFlow's converter and of AI Edge Quantizer: honest ones, and with faults planted in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import flatbuffers
import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="qgate[litert] is not installed")

from ai_edge_litert import schema_py_generated as schema

from qgate.records import Verdict
from qgate.sandbox.staging import staging_directory
from qgate.verifier.adhoc import AdHoc, ad_hoc_pair
from qgate.verify.target import verify

MADE = Path(__file__).parent.parent / "formats" / "tflite"


def report(name: str, candidate: Path | None = None):
    network = name.partition("_")[0]
    labels = "labels" if network == "cnn" else None
    pair = ad_hoc_pair(
        AdHoc(
            candidate or MADE / f"{name}.tflite",
            MADE / f"{network}_fp32.tflite",
            inputs=MADE / f"{network}_data.npz",
            labels=labels,
        )
    )
    with staging_directory() as staging:
        return verify(pair, staging=staging)


@pytest.mark.parametrize(
    ("name", "scheme", "layers", "least"),
    [
        ("cnn_int8", "int8", 12, 40),
        ("cnn_aeq_int8", "int8", 12, 20),
        ("cnn_aeq_int16", "int8", 12, 40),
        ("cnn_aeq_int4", "int4", 11, 20),
        ("attention_int8", "int8", 32, 17),
    ],
)
def test_honest_models_pass_with_their_layers(name: str, scheme: str, layers: int, least: float) -> None:
    target = report(name)
    assert target.verdict is Verdict.PASS, target.reason
    assert target.scheme == scheme
    values = {m.name: m.value for m in target.measurements if m.value is not None}
    assert values["output.sqnr_db"] > least
    assert values["layer.count"] == layers
    told = [m for m in target.measurements if m.name == "layer.sqnr_db"]
    assert len(told) == layers
    # Honest layers keep their signal, which tensors that do not correspond would not.
    assert min(m.value for m in told) > 15
    assert not any(f.rule in ("FEA304", "RNG107") for f in target.findings)
    coded = [f for f in target.findings if "takes or gives codes" in f.message]
    assert len(coded) == (name in ("cnn_int8", "cnn_aeq_int8", "cnn_aeq_int16"))


def edited(folder: Path, name: str, change: Callable[[schema.ModelT], None]) -> Path:
    model = schema.ModelT.InitFromPackedBuf((MADE / f"{name}.tflite").read_bytes(), 0)
    change(model)
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    path = folder / f"{name}.tflite"
    path.write_bytes(bytes(builder.Output()))
    return path


def made_by(model: schema.ModelT, code: int, which: int = 0) -> schema.OperatorT:
    numbers = [i for i, each in enumerate(model.operatorCodes) if each.builtinCode == code]
    return [each for each in model.subgraphs[0].operators if each.opcodeIndex in numbers][which]


def tensor(model: schema.ModelT, number: int) -> schema.TensorT:
    return model.subgraphs[0].tensors[number]


def stored(model: schema.ModelT, number: int, dtype: type) -> np.ndarray:
    buffer = model.buffers[tensor(model, number).buffer]
    buffer.data = np.array(buffer.data, np.uint8)
    return buffer.data.view(dtype)


OPS = schema.BuiltinOperator


def narrow_sum(model: schema.ModelT) -> None:
    held = tensor(model, made_by(model, OPS.ADD).outputs[0]).quantization
    held.scale = held.scale * np.float32(0.15)


def flipped_code(model: schema.ModelT) -> None:
    stored(model, made_by(model, OPS.CONV_2D, 1).inputs[1], np.uint8)[11] ^= 0x40


def deaf_channel(model: schema.ModelT) -> None:
    stored(model, made_by(model, OPS.CONV_2D, 2).inputs[2], np.int32)[3] = -(2**28)


def wide_input(model: schema.ModelT) -> None:
    held = tensor(model, model.subgraphs[0].inputs[0]).quantization
    held.scale = held.scale * np.float32(8)


@pytest.mark.parametrize(
    ("change", "rules"),
    [
        (narrow_sum, {"RNG104"}),
        (flipped_code, {"QNT201"}),
        (deaf_channel, {"QNT201", "FEA305"}),
        (wide_input, {"RNG109", "FEA201"}),
    ],
)
def test_planted_faults_are_named(change, rules: set[str], tmp_path: Path) -> None:
    path = edited(tmp_path, "cnn_int8", change)
    target = report("cnn_int8", path)
    assert target.verdict is Verdict.FAIL, target.reason
    assert rules <= {f.rule for f in target.findings if f.severity != "note"}, target.reason
    if change is narrow_sum:
        clipped = next(f for f in target.findings if f.rule == "RNG104")
        assert "add" in (clipped.at.node or "")
        layer = next(
            m for m in target.measurements if m.name == "layer.sqnr_db" and "tfl.add" in (m.at.node or "")
        )
        assert layer.detail["outside"] > 0.02


def test_a_scale_that_reshape_passes_over_is_found(tmp_path: Path) -> None:
    """It makes the softmax behind it a third hotter: no weight, option or range tells, and the outputs hardly do."""

    def hotter(model: schema.ModelT) -> None:
        (before,) = made_by(model, OPS.SOFTMAX).inputs
        held = tensor(model, before).quantization
        held.scale = held.scale * np.float32(1.3)

    target = report("attention_int8", edited(tmp_path, "attention_int8", hotter))
    assert target.verdict is Verdict.FAIL, target.reason
    (found,) = (f for f in target.findings if f.severity == "error")
    assert found.rule == "QNT302" and "tfl.reshape copies its codes" in found.message


def test_ends_that_a_converter_named_anew_are_met_by_position(tmp_path: Path) -> None:
    def renamed(model: schema.ModelT) -> None:
        for number, name in (
            (model.subgraphs[0].inputs[0], "args_0"),
            (model.subgraphs[0].outputs[0], "Identity"),
        ):
            tensor(model, number).name = name

    target = report("cnn_int8", edited(tmp_path, "cnn_int8", renamed))
    assert target.verdict is Verdict.PASS, target.reason
    assert any(m.name == "layer.count" and m.value == 12 for m in target.measurements)


def test_what_is_brought_to_a_concatenations_scale_is_no_added_quantizer(tmp_path: Path) -> None:
    """AI Edge Quantizer narrows an operand to the scale of the concatenation; to another scale it would be a fault."""

    def narrower(model: schema.ModelT) -> None:
        held = tensor(model, made_by(model, OPS.QUANTIZE).outputs[0]).quantization
        held.scale = held.scale * np.float32(0.5)

    path = edited(tmp_path, "cnn_aeq_int8", narrower)
    told = [f.message for f in report("cnn_aeq_int8", path).findings if f.rule == "QNT301"]
    assert any("narrows the range" in message for message in told), told
