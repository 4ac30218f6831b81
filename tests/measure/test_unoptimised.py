"""The candidate as it is written: what the runtime's optimisations change, and what a quantizer hides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from qgate.align.walk import align
from qgate.formats.read import read_model
from qgate.measure import unoptimised
from qgate.measure.describe_unoptimised import unoptimised_measurements
from qgate.measure.layers.plan import plan_layers
from qgate.measure.observing import measure
from qgate.measure.request import PairRequest
from qgate.measure.result import PairState
from qgate.quant.build import float_view
from qgate.verify.measuring import _fronts
from tests.quant.twin import model

SIGNATURE = "g (float[N,4] x) => (float[N,3] y)"
REFERENCE = "h = Div (x, c) y = MatMul (h, w)"
CANDIDATE = (
    "xq = QuantizeLinear (x, s, z) xd = DequantizeLinear (xq, s, z) h = Div (xd, c) "
    "q = QuantizeLinear (h, t, z) d = DequantizeLinear (q, t, z) y = MatMul (d, w)"
)
HELD = {
    "w": np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32),
    "s": np.float32(0.02), "t": np.float32(0.01), "z": np.uint8(128),
}  # fmt: skip


def asked(folder: Path, divisor: list[float]) -> PairRequest:
    """A pair whose candidate divides by something else, in front of a quantizer."""
    paths = {}
    for role, text, by in (("reference", REFERENCE, [2.0] * 4), ("candidate", CANDIDATE, divisor)):
        paths[role] = folder / f"{role}.onnx"
        onnx.save(model(f"{SIGNATURE} {{{text}}}", c=np.array(by, np.float32), **HELD), paths[role])
    models = {role: read_model(path) for role, path in paths.items()}
    views = {role: float_view(each) for role, each in models.items()}
    layers = plan_layers(align(*views.values(), {}, {}), *views.values())
    inputs = folder / "x.npz"
    np.savez(inputs, x=np.random.default_rng(1).uniform(0.1, 1, (6, 4)).astype(np.float32))
    request = PairRequest(**paths, inputs=inputs, layers=layers, threads=1, edges=False)
    return PairRequest(**{**request.__dict__, "fronts": _fronts(request, models["candidate"])})


def measured(request: PairRequest) -> tuple[PairState, dict[str, list]]:
    state = PairState.model_validate(measure(request, lambda done, total: None))
    found: dict[str, list] = {}
    for each in unoptimised_measurements(request, state):
        found.setdefault(each.name, []).append(each)
    return state, found


def test_what_a_quantizer_hides_is_seen_in_front_of_it(tmp_path: Path) -> None:
    """Infinity becomes the highest code: neither the codes nor the output tell."""
    request = asked(tmp_path, [2.0, 0.0, 2.0, 2.0])
    assert request.fronts["q"] == "h"
    state, found = measured(request)
    assert not any(layer.b_broken for layer in state.layers)
    (broken,) = found["layer.nonfinite"]
    assert (broken.at.tensor, broken.detail["hidden_by"], broken.detail["operator"]) == ("h", "q", "Div")


def test_an_honest_candidate_hides_nothing_and_answers_as_it_is_written(tmp_path: Path) -> None:
    _, found = measured(asked(tmp_path, [2.0] * 4))
    assert set(found) == {"output.unoptimised_db"}
    (kept,) = found["output.unoptimised_db"]
    assert kept.at.output == "y"
    assert kept.number > 30


def test_an_optimisation_that_changes_the_answer_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runtime whose optimised session answers half of what is written."""
    request = asked(tmp_path, [2.0] * 4)
    real = unoptimised.Side.run

    def doubled(self, chunk, count, on_tap=None):
        answers, seconds = real(self, chunk, count, on_tap)
        return ([2 * each for each in answers] if self.runner._watched else answers), seconds

    monkeypatch.setattr(unoptimised.Side, "run", doubled)
    _, found = measured(request)
    assert found["output.unoptimised_db"][0].number == pytest.approx(20 * np.log10(2), abs=0.1)


def test_a_candidate_that_is_too_large_is_not_loaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unoptimised, "MOST_BYTES", 10)
    _, found = measured(asked(tmp_path, [2.0] * 4))
    assert found["output.unoptimised_db"][0].not_measured == unoptimised.TOO_LARGE
