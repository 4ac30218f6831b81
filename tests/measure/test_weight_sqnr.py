"""Signal to noise of weights, against onnxruntime's qdq_loss_debug where that is right, and by hand where it is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnxruntime.quantization import qdq_loss_debug

from qgate.formats.read import read_model
from qgate.measure.interface import Interface
from qgate.measure.static import inspect_pair
from tests.quant.net import named
from tests.quant.twin import model, save

SIGNATURE = "g (float[N,8] x) => (float[N,5] y)"
WEIGHT = np.random.default_rng(4).standard_normal((8, 5)).astype(np.float32)
CHAIN = "d = DequantizeLinear (w_quantized, w_scale, w_zero_point) y = MatMul (x, d)"


def pair(folder: Path, dtype: type, zero: int) -> tuple[Path, Path, np.ndarray]:
    """The float model, the quantized one, and what its weight stands for."""
    least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
    scale = np.float32(np.abs(WEIGHT).max() / 127)
    codes = np.clip(np.rint(WEIGHT / scale) + zero, least, most).astype(dtype)
    held = {"w_quantized": codes, "w_scale": scale, "w_zero_point": dtype(zero)}
    ours = save(model(f"{SIGNATURE} {{y = MatMul (x, w)}}", w=WEIGHT), folder, "reference")
    theirs = save(model(f"{SIGNATURE} {{{CHAIN}}}", **held), folder, "candidate")
    return ours, theirs, scale * (codes.astype(np.float64) - zero)


def told(ours: Path, theirs: Path) -> list[float]:
    found = inspect_pair(read_model(ours), read_model(theirs), Interface())
    return [m.value for m in named(found, "weight.sqnr_db")]


def debugged(ours: Path, theirs: Path) -> float:
    matching = qdq_loss_debug.create_weight_matching(str(ours), str(theirs))
    return float(qdq_loss_debug.compute_weight_error(matching)["w"])


def by_hand(back: np.ndarray) -> float:
    exact = WEIGHT.astype(np.float64)
    return float(20 * np.log10(np.linalg.norm(exact) / np.linalg.norm(exact - back)))


def test_int8_agrees_with_onnxruntimes_own_debugger(tmp_path: Path) -> None:
    ours, theirs, back = pair(tmp_path, np.int8, 0)
    assert told(ours, theirs) == [pytest.approx(debugged(ours, theirs), abs=0.01)]
    assert told(ours, theirs) == [pytest.approx(by_hand(back), abs=0.001)]


def test_uint8_is_what_the_formula_says_and_not_what_the_debugger_says(tmp_path: Path) -> None:
    """The debugger subtracts the zero point within eight bits, so that every code below it wraps around."""
    ours, theirs, back = pair(tmp_path, np.uint8, 128)
    assert told(ours, theirs) == [pytest.approx(by_hand(back), abs=0.001)]
    assert abs(debugged(ours, theirs) - by_hand(back)) > 20


@pytest.mark.parametrize(("shift", "derived"), [(0, True), (1, False)])
def test_a_scalar_is_judged_where_the_debugger_raises(shift: int, derived: bool, tmp_path: Path) -> None:
    """By hand: 0.713 / 0.0059 = 120.85, so that 121 is the code and no other."""
    held = {"w_quantized": np.int8(121 + shift), "w_scale": np.float32(0.0059), "w_zero_point": np.int8(0)}
    text = "g (float[N] x) => (float[N] y)"
    ours = save(model(f"{text} {{y = Mul (x, w)}}", w=np.float32(0.713)), tmp_path, "reference")
    body = "d = DequantizeLinear (w_quantized, w_scale, w_zero_point) y = Mul (x, d)"
    theirs = save(model(f"{text} {{{body}}}", **held), tmp_path, "candidate")
    found = inspect_pair(read_model(ours), read_model(theirs), Interface())
    assert [m.value == "derived" for m in named(found, "weight.derivation")] == [derived]
    matching = qdq_loss_debug.create_weight_matching(str(ours), str(theirs))
    with pytest.raises(TypeError, match="no len"):
        qdq_loss_debug.compute_weight_error(matching)
