"""Layers in whole runs: the sudden fall has the fault's place, and what cannot be joined is compared all the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
QGATE = Path(sys.executable).with_name("qgate")


def verified(reference: str, candidate: str, inputs: str, folder: Path) -> dict[str, Any]:
    """The one target of the report of a real run."""
    pair = ["-r", EXAMPLES / reference, "-c", EXAMPLES / candidate, "-i", EXAMPLES / inputs, "-o", folder]
    subprocess.run([QGATE, "verify", *map(str, pair)], capture_output=True, check=False, timeout=120)
    (target,) = json.loads((folder / "report.json").read_text())["targets"]
    return target


def layers(target: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Each layer's measurement by the node that makes it."""
    return {m["at"]["node"]: m for m in target["measurements"] if m["name"] == "layer.sqnr_db"}


@pytest.mark.parametrize(
    ("fault", "node"), [("w04_scale_x2_layer", "/c4/Conv"), ("w07_two_layers_swapped", "/c3/Conv")]
)
def test_the_sudden_fall_is_at_the_fault(fault: str, node: str, tmp_path: Path) -> None:
    target = verified("faults/reference.onnx", f"faults/{fault}/model.onnx", "faults/data.npz", tmp_path)
    falls = [f for f in target["findings"] if f["rule"] == "FEA302"]
    assert falls[0]["at"]["node"] == node
    assert "look at this layer first" in falls[0]["message"]


def test_an_honest_model_keeps_every_layer(tmp_path: Path) -> None:
    target = verified(
        "digits/digits_fp32.onnx", "digits/digits_int8_pc.onnx", "digits/digits_test.npz", tmp_path
    )
    found = layers(target)
    assert [f for f in target["findings"] if f["rule"].startswith("FEA3")] == []
    assert set(found) == {
        "image",
        "/c1/Conv",
        "/c2/Conv",
        "/MaxPool",
        "/c3/Conv",
        "/c4/Conv",
        "/f1/Gemm",
        "/f2/Gemm",
    }
    assert all(30 < m["value"] < 60 for m in found.values())
    first = found["/c1/Conv"]["detail"]
    assert first["before_db"] == found["image"]["value"]
    # what rounding this layer's own output costs is less than what has come together
    assert first["own_sqnr_db"] > found["/c1/Conv"]["value"]


def test_other_operator_sets_are_compared_in_two_sessions(tmp_path: Path) -> None:
    target = verified(
        "digits/digits_fp32.onnx", "digits/digits_a16w8.onnx", "digits/digits_test.npz", tmp_path
    )
    assert target["verdict"] == "PASS"
    assert len(layers(target)) == 8


def test_where_observing_would_change_the_answer_nothing_is_said_of_layers(tmp_path: Path) -> None:
    """Half precision on a CPU: the runtime leaves out pairs of casts, and a tensor that is read keeps them."""
    import numpy as np

    stored = np.load(EXAMPLES / "ppocr_cls/eval24_uint8.npz")
    np.savez(tmp_path / "x.npz", x=(stored["image_u8"][:4] / np.float32(127.5) - 1).astype(np.float32))
    target = verified("ppocr_cls/ref.onnx", "ppocr_cls/conv_fp16.onnx", str(tmp_path / "x.npz"), tmp_path)
    (finding,) = [f for f in target["findings"] if f["rule"] == "FEA304"]
    assert "observing its layers changes what the candidate answers" in finding["message"]
    assert layers(target) == {}
    assert target["verdict"] == "PASS"
