# ruff: noqa: E501 - one graph a line
"""Honest models that no nearest rounding explains: smoothed norms, factors in floats, learned rounding."""

import numpy as np
import pytest

from tests.quant.net import FLOAT, candidate, coded, derivations, floats, inspect, named, reference, unsound
from tests.quant.twin import model

RNG = np.random.default_rng(8)
NORMED = "g (float[2,16] x) => (float[2,5] y) {{n = LayerNormalization <axis = -1> (x, s, b) {weight} y = MatMul (n, v)}}"
HELD = {
    "s": RNG.uniform(0.5, 2, 16).astype(np.float32), "b": RNG.standard_normal(16).astype(np.float32),
    "v": RNG.standard_normal((16, 5)).astype(np.float32),
}  # fmt: skip
PLAIN = NORMED.format(weight="")
CODED = NORMED.format(weight="v = DequantizeLinear <axis = 1> (q, t)")


def smoothed(factor, weight_factor=None, bias=True):
    """SmoothQuant: the norm divided, the weight that reads it multiplied and quantized by column."""
    weight = HELD["v"] / (factor if weight_factor is None else weight_factor).reshape(-1, 1)
    step = (np.abs(weight).max(axis=0) / 127).astype(np.float32)
    shift = HELD["b"] * factor if bias else HELD["b"]
    return {"s": HELD["s"] * factor, "b": shift, "q": np.rint(weight / step).astype(np.int8), "t": step}


FACTOR = np.exp(RNG.uniform(-1, 1, 16)).astype(np.float32)


def test_a_smoothed_norm_is_equalisation(tmp_path):
    found = inspect(model(PLAIN, **HELD), model(CODED, **smoothed(FACTOR)), tmp_path)
    assert unsound(found) == {"s": "equalised", "b": "equalised", "q": "equalised"}


@pytest.mark.parametrize("how", ["weight", "shift", "half of it", "negative"])
def test_a_smoothing_that_does_not_cancel_is_none(how, tmp_path):
    ones = np.ones(16, np.float32)
    half = FACTOR.copy()
    half[3] *= 2
    signed = FACTOR * np.where(np.arange(16) == 3, -1, 1).astype(np.float32)
    theirs = {"weight": smoothed(FACTOR, ones), "shift": smoothed(FACTOR, bias=False),
              "half of it": smoothed(FACTOR, half), "negative": smoothed(signed)}[how]  # fmt: skip
    verdicts = unsound(inspect(model(PLAIN, **HELD), model(CODED, **theirs), tmp_path))
    assert (
        "equalised" not in {verdicts["s"], verdicts["b"]} if "b" in verdicts else verdicts["s"] != "equalised"
    )


WEIGHTS = floats()
SCALED = np.exp(RNG.uniform(-1, 1, 8)).astype(np.float32)


@pytest.mark.parametrize("cancelled", [True, False])
def test_factors_between_float_layers_are_equalisation_where_they_cancel(cancelled, tmp_path):
    made = dict(WEIGHTS)
    made["w1"], made["b1"] = made["w1"] * SCALED.reshape(8, 1, 1, 1), made["b1"] * SCALED
    if cancelled:
        made["w2"] = made["w2"] / SCALED.reshape(1, 8, 1, 1)
    verdicts = unsound(inspect(reference(WEIGHTS), reference(made), tmp_path))
    assert set(verdicts.values()) == ({"equalised"} if cancelled else {"not-derived"})
    assert {"w1", "b1"} <= set(verdicts)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("f = Relu (e)", "f = Sigmoid (e)", "Sigmoid"),
        ("=> (float[1,5] y)", "=> (float[1,5] y, float[1,8,4,4] f)", "an output of the model"),
        ("f = Relu (e)", "f = Relu (e) o = Exp (f)", "Exp"),
    ],
)
def test_a_factor_that_escapes_its_readers_is_none_and_says_where(old, new, words, tmp_path):
    """The linear layer takes it back, but what else is computed from the scaled tensor is not the reference's."""
    text = FLOAT.replace(old, new)
    text = (
        text.replace("=> (float[1,5] y)", "=> (float[1,5] y, float[1,8,4,4] o)") if words == "Exp" else text
    )
    made = dict(WEIGHTS)
    made["w3"], made["b3"] = made["w3"] * SCALED.reshape(8, 1, 1, 1), made["b3"] * SCALED
    made["w4"] = made["w4"] / np.repeat(SCALED, 4)
    entry = derivations(inspect(reference(WEIGHTS, text), reference(made, text), tmp_path))["w3"]
    assert entry.value == "not-derived"
    assert words in entry.detail["reason"]


def test_a_factor_that_reaches_an_operation_of_the_candidates_own_is_none(tmp_path):
    ours = "g (float[2,8] x) => (float[2,5] y, float[2,8] o) {a = MatMul (x, u) d = Relu (a) y = MatMul (d, w) o = Sin (x)}"
    theirs = ours.replace("o = Sin (x)", "o = Tanh (d)")
    held = {k: RNG.standard_normal((8, 8 if k == "u" else 5)).astype(np.float32) for k in "uw"}
    made = {"u": held["u"] * SCALED, "w": held["w"] / SCALED.reshape(-1, 1)}
    entry = derivations(inspect(model(ours, **held), model(theirs, **made), tmp_path))["u"]
    assert entry.value == "not-derived"
    assert "Tanh" in entry.detail["reason"]


def test_factors_through_a_sum_of_two_branches_must_agree(tmp_path):
    text = "g (float[2,8] x) => (float[2,5] y) {a = MatMul (x, u) b = MatMul (x, v) c = Add (a, b) d = Relu (c) y = MatMul (d, w)}"
    held = {k: RNG.standard_normal((8, 8 if k != "w" else 5)).astype(np.float32) for k in "uvw"}
    same = {"u": held["u"] * SCALED, "v": held["v"] * SCALED, "w": held["w"] / SCALED.reshape(-1, 1)}
    found = unsound(inspect(model(text, **held), model(text, **same), tmp_path))
    assert set(found.values()) == {"equalised"}
    other = same | {"v": held["v"] * SCALED[::-1]}
    found = unsound(inspect(model(text, **held), model(text, **other), tmp_path))
    assert "equalised" not in set(found.values())


def learned(weights, share):
    """Every weight rounded the other way in a share of its codes, as AdaRound leaves them."""
    held = coded(weights)
    rng = np.random.default_rng(2)
    for name in ("w1", "w2", "w3", "w4"):
        step = held[f"{name}s"].reshape(-1, *(1,) * (weights[name].ndim - 1))
        exact = weights[name] / step
        other = np.where(held[f"{name}q"] > exact, np.floor(exact), np.ceil(exact))
        held[f"{name}q"] = np.clip(
            np.where(rng.random(exact.shape) < share, other, held[f"{name}q"]), -127, 127
        )
    return held


def test_learned_rounding_of_the_whole_model_is_recognised_and_damage_in_it_found(tmp_path):
    held = learned(WEIGHTS, 0.06)
    found = inspect(reference(WEIGHTS), candidate(held), tmp_path)
    assert unsound(found) == {f"w{n}q": "other-rounding" for n in (1, 2, 3, 4)}
    assert {m.detail["family"] for m in derivations(found).values() if m.value == "other-rounding"} == {
        "adaptive"
    }
    assert [m.value for m in named(found, "weight.derived_share")] == [1]
    held["w2q"][4, 5, 1, 1] += 9 if held["w2q"][4, 5, 1, 1] < 0 else -9
    spoiled = derivations(inspect(reference(WEIGHTS), candidate(held), tmp_path))["w2q"]
    assert (spoiled.value, spoiled.detail["outsiders"][0]["index"]) == ("outsiders", [4, 5, 1, 1])


def test_constants_that_are_no_floats_are_compared_as_they_stand(tmp_path):
    text = "g (float[2,8] x) => (float[2,3] y) {y = Gather <axis = 1> (x, i)}"
    ours = model(text, i=np.array([1, 2, 3]))
    assert unsound(inspect(ours, model(text, i=np.array([1, 2, 3])), tmp_path)) == {}
    assert unsound(inspect(ours, model(text, i=np.array([1, 2, 4])), tmp_path)) == {"i": "not-derived"}
