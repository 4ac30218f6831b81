"""``qgate bisect`` on real models: it names the layer, says what is wrong with it, and its repair holds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from qgate.align.walk import align
from qgate.bisect.ranking import clipping, first_to_drift, rank
from qgate.bisect.repair import Repair, What
from qgate.formats.read import read_model
from qgate.quant.build import float_view
from qgate.records import Measurement, Place
from qgate.runtimes.onnxruntime import OnnxRuntimeRunner

EXAMPLES = Path(__file__).parents[2] / "examples"
DIGITS = EXAMPLES / "digits"
QGATE = Path(sys.executable).with_name("qgate")


def said(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [QGATE, "bisect", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=240
    )


def figures(text: str, node: str) -> list[float]:
    """The decibels of a layer's line: what it keeps, and what each part in float gives."""
    line = next(line for line in text.splitlines() if line.startswith(node))
    return [float(each) for each in re.findall(r"([+-]?\d+\.\d) dB", line)]


def test_an_edited_scale_is_found_confirmed_and_repaired(tmp_path: Path) -> None:
    fault, data = EXAMPLES / "faults/w04_scale_x2_layer/model.onnx", EXAMPLES / "faults/data.npz"
    repaired = tmp_path / "repaired.onnx"
    found = said(
        "-r", EXAMPLES / "faults/reference.onnx", "-c", fault, "-i", data, "--most", 1, "--write", repaired
    )
    assert found.returncode == 0, found.stderr
    assert "First to drift: /c4/Conv (Conv), the signal falls from 36.6 dB to 0.7 dB." in found.stdout
    keeps, whole, weights, inputs = figures(found.stdout, "/c4/Conv")[:4]
    assert keeps == 0.7
    assert whole > 30
    assert weights > 30
    assert abs(inputs) < 1
    assert 'nodes_to_exclude=["/c4/Conv"]' in found.stdout
    session, exact = OnnxRuntimeRunner(repaired), OnnxRuntimeRunner(EXAMPLES / "faults/reference.onnx")
    images = np.load(data)["image"][:64]
    ours, theirs = (each.run({each.inputs[0].name: images})[0] for each in (session, exact))
    assert 20 * np.log10(np.linalg.norm(theirs) / np.linalg.norm(ours - theirs)) > 35
    again = said("-r", EXAMPLES / "faults/reference.onnx", "-c", fault, "-i", data, "--write", repaired)
    assert again.returncode == 2
    assert "there already" in again.stderr


def test_a_range_that_clips_is_the_cause_and_no_layer_in_float_is_called_the_remedy(tmp_path: Path) -> None:
    """What the drift begins with, the table and the conclusion say one thing: calibrate again."""
    model = onnx.load(DIGITS / "digits_int8_pc.onnx")
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    (quantizer,) = [n for n in model.graph.node if n.name == "/Relu_1_output_0_QuantizeLinear"]
    scale = held[quantizer.input[1]]
    scale.CopyFrom(
        onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(scale) / np.float32(8), scale.name)
    )
    onnx.save(model, tmp_path / "clipped.onnx")
    found = said(
        "-r", DIGITS / "digits_fp32.onnx", "-c", tmp_path / "clipped.onnx", "-i", DIGITS / "digits_test.npz", "--most", 1
    )  # fmt: skip
    assert "First to drift: /c2/Conv (Conv)" in found.stdout
    assert "2 of 9 activation ranges cut off more than 2% of the reference's energy" in found.stdout
    assert "/Relu_1_output_0_QuantizeLinear" in found.stdout
    assert "Leaving single layers in float does not help: calibrate again." in found.stdout
    assert "nodes_to_exclude" not in found.stdout


def test_ranges_that_clip_are_the_worst_first_and_no_number_is_the_worst() -> None:
    def watched(name: str, energy: float | None) -> Measurement:
        detail = {} if energy is None else {"clipped_energy": energy}
        return Measurement(name="activation.clipped_share", at=Place(node=name), value=0.1, detail=detail)

    lost = Measurement(name="activation.clipped_share", at=Place(node="gone"), not_measured="no such tensor")
    found = clipping(
        [watched("a", 0.02), watched("b", 0.3), watched("c", float("nan")), watched("d", 0.4), lost]
    )
    assert (found.ranges, found.clipped) == (4, (("c", 1.0), ("d", 0.4), ("b", 0.3)))
    assert clipping([watched("e", None)]).clipped == (("e", 1.0),)
    assert clipping([]).clipped == ()


def test_a_narrow_input_range_is_told_from_weights(tmp_path: Path) -> None:
    found = said(
        "-r", DIGITS / "digits_fp32.onnx", "-c", DIGITS / "digits_badcalib_mild.onnx", "-i", DIGITS / "digits_test.npz",
        "--most", 1,
    )  # fmt: skip
    _, whole, weights, inputs, _ = figures(found.stdout, "/c1/Conv")
    assert inputs > 6
    assert abs(weights) < 0.5
    assert "1 of 9 activation ranges cut off" in found.stdout
    assert "Calibrate again first. Until then, leave this layer unquantized" in found.stdout
    assert "The model's own input does not come through its quantizer: calibrate again" in found.stdout
    assert whole >= inputs - 0.5


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ((), "Give --reference and --candidate"),
        (("-t", "x", "-c", "y"), "Give one of them"),
        (
            ("-r", DIGITS / "digits_fp32.onnx", "-c", EXAMPLES / "faults/f01_truncated/model.onnx"),
            "not a whole ONNX file",
        ),
        (("-r", DIGITS / "digits_fp32.onnx", "-c", "missing.onnx"), "no such file"),
        (("-r", DIGITS / "digits_fp32.onnx", "-c", EXAMPLES / "torch/digits_int8_state.pt"), ""),
    ],
)
def test_what_cannot_be_looked_into_is_an_error(arguments: tuple[object, ...], hint: str) -> None:
    found = said(*arguments)
    assert found.returncode == 2
    assert hint in found.stderr
    assert "Traceback" not in found.stderr
    assert found.stdout == ""


def layer(node: str, value: float, before: float | None = None) -> Measurement:
    detail = {"operator": "Conv"} | ({} if before is None else {"before_db": before})
    return Measurement(
        name="layer.sqnr_db", at=Place(tensor=f"{node}_out", node=node), value=value, detail=detail
    )


def test_layers_rank_by_what_they_add_and_not_by_what_they_inherit() -> None:
    ranked = rank([layer("a", 40.0), layer("b", 10.0, 40.0), layer("c", 9.9, 10.0), layer("d", 30.0, 9.9)])
    assert [suspect.node for suspect in ranked[:2]] == ["b", "c"]
    assert ranked[-1].added == 0.0
    first = first_to_drift(ranked)
    assert first is not None
    assert first.node == "b"
    assert first_to_drift(rank([layer("a", 40.0, 30.0)])) is None
    assert first_to_drift(()) is None


FORMS = {
    "qdq": ("digits_int8_pc.onnx", (What.ALL, What.WEIGHTS, What.INPUTS, What.OUTPUT)),
    "qoperator": ("digits_int8_qop.onnx", (What.ALL, What.WEIGHTS)),
    "dynamic": ("digits_dyn.onnx", (What.ALL, What.INPUTS)),
    "int4": ("digits_w4a8.onnx", (What.ALL, What.WEIGHTS, What.INPUTS, What.OUTPUT)),
}


@pytest.mark.parametrize("form", FORMS)
def test_putting_every_layer_back_gives_the_reference(form: str, tmp_path: Path) -> None:
    """All at once: what is left is the rounding of what no operation with weights makes."""
    name, parts = FORMS[form]
    reference, candidate = DIGITS / "digits_fp32.onnx", DIGITS / name
    views = float_view(read_model(reference)), float_view(read_model(candidate))
    repair = Repair(candidate, align(*views, {}, {}), *views)
    nodes = [
        node.label
        for node in views[1].nodes
        if repair.can_restore(node.label) and repair.has_weights(node.label)
    ]
    assert len(nodes) == 6
    images = np.load(DIGITS / "digits_test.npz")["image"][:64]
    sessions = [
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for path in (reference, candidate)
    ]
    exact, rounded = (each.run(None, {each.get_inputs()[0].name: images})[0] for each in sessions)
    distance = {}
    for what in parts:
        target = tmp_path / f"{what}.onnx"
        repair.write(nodes, what, target)
        onnx.checker.check_model(str(target))
        session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
        distance[what] = np.linalg.norm(session.run(None, {session.get_inputs()[0].name: images})[0] - exact)
    before = np.linalg.norm(rounded - exact)
    assert distance[What.ALL] <= min(distance.values()) + 1e-6
    if form == "qoperator":
        assert distance[What.ALL] < 1.2 * before  # activations stay codes
    else:
        assert distance[What.ALL] < 0.1 * before


def test_declared_differences_of_the_interface_are_taken(tmp_path: Path) -> None:
    """A candidate whose input has another name is looked into only where that is said."""
    model = onnx.load(EXAMPLES / "faults/w04_scale_x2_layer/model.onnx")
    (old,) = [each.name for each in model.graph.input]
    model.graph.input[0].name = "renamed"
    for node in model.graph.node:
        node.input[:] = ["renamed" if name == old else name for name in node.input]
    onnx.save(model, tmp_path / "m.onnx")
    pair = (
        "-r",
        EXAMPLES / "faults/reference.onnx",
        "-c",
        tmp_path / "m.onnx",
        "-i",
        EXAMPLES / "faults/data.npz",
    )
    found = said(*pair, "--most", 1, "--io-map", f"{old}=renamed")
    assert found.returncode == 0, found.stderr
    assert "First to drift: /c4/Conv" in found.stdout
    assert said(*pair, "--most", 1).returncode == 2
    assert "two things" in said("--target", "x", "--io-map", "a=b").stderr
