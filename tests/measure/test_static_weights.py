"""What is said of every weight of a pair: derived, or what happened to it, to which tensor and where."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.quant.net import (
    candidate,
    coded,
    derivations,
    floats,
    inspect,
    named,
    reference,
    unsound,
)

WEIGHTS = floats()
FLOAT = reference(WEIGHTS)


def spoiled(tmp_path, change, dtype="int8", **how):
    """The inspection after one change to the codes, scales and zero points of an honest candidate."""
    held = {name: np.array(values) for name, values in coded(WEIGHTS, dtype, **how).items()}
    change(held)
    return inspect(FLOAT, candidate(held, dtype), tmp_path)


def test_one_element_that_does_not_follow_leaves_all_others_derived(tmp_path):
    def flip(held):
        held["w2q"].flat[5] ^= 1 << 6

    found = spoiled(tmp_path, flip)
    (share,) = named(found, "weight.derived_share")
    assert share.value == pytest.approx(1 - 1 / share.n)
    assert [m.value for m in named(found, "weight.outsiders")] == [1]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int4", "uint4", "int16"])
@pytest.mark.parametrize("per_channel", [True, False])
def test_an_honest_candidate_is_derived_throughout(dtype, per_channel, tmp_path):
    found = spoiled(
        tmp_path, lambda held: None, dtype, per_channel=per_channel, symmetric=dtype.startswith("int")
    )
    assert unsound(found) == {}
    assert len(derivations(found)) == 8
    (share,) = named(found, "weight.derived_share")
    assert (share.value, share.n) == (1, sum(WEIGHTS[w].size for w in ("w1", "w2", "w3", "w4")))
    assert [m.value for m in named(found, "weight.outsiders")] == [0]
    assert named(found, "structure.difference") == named(found, "structure.defect") == []
    assert named(found, "scale.defect") == []
    assert [m.value for m in named(found, "alignment.coverage")] == [1]
    assert [m.value for m in named(found, "alignment.weights")] == [1]
    assert found.scheme.name == {"int16": "int8"}.get(dtype, dtype.replace("uint", "int"))
    assert {tap.tensor for tap in found.taps} == {"x", "b", "d", "f", "h"}
    assert found.runnable
    sqnr = {m.at.tensor: m.value for m in named(found, "weight.sqnr_db")}
    least = {"int16": 80, "int8": 35, "uint8": 35, "int4": 12, "uint4": 12}[dtype]
    assert set(sqnr) == {"w1q", "w2q", "w3q", "w4q"}
    assert min(sqnr.values()) > least


@settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.sampled_from(["w1q", "w2q", "w4q"]), st.integers(0, 10**6), st.integers(1, 7))
def test_a_flipped_bit_is_named_with_tensor_index_and_mask(tmp_path, tensor, position, bit):
    at = []

    def flip(held):
        codes = held[tensor] = held[tensor].astype(np.int8)
        index = np.unravel_index(position % codes.size, codes.shape)
        codes.view(np.uint8)[index] ^= np.uint8(1 << bit)
        at.append([int(i) for i in index])

    found = spoiled(tmp_path, flip)
    assert unsound(found) == {tensor: "outsiders"}
    detail = derivations(found)[tensor].detail
    assert detail["outsiders_count"] == 1
    assert (detail["outsiders"][0]["index"], detail["outsiders"][0]["xor"]) == (at[0], 1 << bit)
    assert [m.value for m in named(found, "weight.outsiders")] == [1]


def scaled(tensor, channel, factor):
    def change(held):
        held[tensor][channel if channel is not None else ...] *= np.float32(factor)

    return change


def shifted(tensor, channel, by):
    def change(held):
        held[tensor][channel if channel is not None else ...] += by

    return change


def swap(held):
    held["w2q"], held["w3q"] = held["w3q"], held["w2q"]
    held["w2s"], held["w3s"] = held["w3s"], held["w2s"]


def permute(held):
    order = [1, 0, 2, 4, 3, 5, 6, 7]
    held["w2q"], held["w2s"] = held["w2q"][order], held["w2s"][order]


def zero(held):
    held["w2q"][[2, 5]] = 0


def turn(channels):
    def change(held):
        held["w2q"][channels] = -held["w2q"][channels]

    return change


def replace(held):
    other = coded(floats(99))
    held["w2q"], held["w2s"] = other["w2q"], other["w2s"]


def replace_channel(held):
    held["w2q"][3] = coded(floats(99))["w2q"][3]


def drift(held):
    moved = dict(WEIGHTS)
    rng = np.random.default_rng(0)
    moved["w2"] = moved["w2"] + rng.normal(0, 0.1, moved["w2"].shape).astype(np.float32) * moved["w2"]
    held |= {k: v for k, v in coded(moved).items() if k.startswith("w2")}


@pytest.mark.parametrize(
    ("change", "how", "blamed", "kind", "tensor", "index"),
    [
        (scaled("w2s", 3, 1.5), {}, "w2q", "scale", "w2s", [3]),
        (scaled("w2s", None, 1.1), {}, "w2q", "scale", "w2s", None),
        (scaled("w2s", None, 2.0), {"per_channel": False}, "w2q", "scale", "w2s", None),
        (scaled("w4s", 1, 0.5), {}, "w4q", "scale", "w4s", [1]),
        (shifted("w2z", None, 3), {"per_channel": False, "symmetric": False}, "w2q", "zero-point", "w2z", None),
        (shifted("w2z", 5, 3), {}, "w2q", "zero-point", "w2z", [5]),
        (shifted("w4z", 1, -9), {}, "w4q", "zero-point", "w4z", [1]),
        (swap, {}, "w2q", "swapped", "w2q", None),
        (permute, {}, "w2q", "permuted", "w2q", None),
        (zero, {}, "w2q", "zeroed", "w2q", None),
        (turn([4]), {}, "w2q", "sign", "w2q", None),
        (turn(slice(None)), {}, "w2q", "sign", "w2q", None),
        (replace, {}, "w2q", "other-weights", "w2q", None),
        (replace_channel, {}, "w2q", "other-weights", "w2q", None),
        (drift, {}, "w2q", "drifted", "w2q", None),
    ],
    ids=["scale-channel", "scale-all", "scale-tensor", "scale-gemm", "zero-tensor", "zero-channel", "zero-gemm", "swap",
         "permute", "zero", "sign-channel", "sign-all", "other", "other-channel", "drift"],
)  # fmt: skip
def test_damage_is_told_by_its_kind_tensor_and_place(change, how, blamed, kind, tensor, index, tmp_path):
    found = spoiled(tmp_path, change, **how)
    entry = derivations(found)[blamed]
    assert entry.value in ("not-derived", "outsiders")
    diagnosis = entry.detail["diagnosis"]
    assert (diagnosis["kind"], diagnosis["tensor"], diagnosis["index"]) == (kind, tensor, index)
    assert diagnosis["message"]
    others = {"w3q"} if change is swap else set()
    assert {name for name in unsound(found) if name.startswith("w")} == {blamed, *others}


def test_a_diagnosis_gives_its_figures(tmp_path):
    diagnosis = derivations(spoiled(tmp_path, scaled("w2s", 3, 1.5)))["w2q"].detail["diagnosis"]
    assert diagnosis["channels"] == [3]
    assert diagnosis["factor"][0] == pytest.approx(1.5, rel=0.01)
    diagnosis = derivations(spoiled(tmp_path, zero))["w2q"].detail["diagnosis"]
    assert diagnosis["channels"] == [2, 5]
    diagnosis = derivations(spoiled(tmp_path, permute))["w2q"].detail["diagnosis"]
    assert (diagnosis["channels"], diagnosis["from"]) == ([0, 1, 3, 4], [1, 0, 4, 3])
    diagnosis = derivations(spoiled(tmp_path, swap))["w2q"].detail["diagnosis"]
    assert diagnosis["reference_tensor"] == "w3"


def equalised(rng, cancelled=True, bias=True):
    """Factors on the output channels of the first two layers, taken back by the layers that read them."""
    made = dict(WEIGHTS)
    for n in (1, 2):
        factor = np.exp(rng.uniform(-1, 1, 8)).astype(np.float32)
        made[f"w{n}"] = made[f"w{n}"] * factor.reshape(8, 1, 1, 1)
        if bias:
            made[f"b{n}"] = made[f"b{n}"] * factor
        if cancelled:
            made[f"w{n + 1}"] = made[f"w{n + 1}"] / factor.reshape(1, 8, 1, 1)
    return made


@settings(
    max_examples=15,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.integers(0, 10**6), st.booleans())
def test_factors_that_cancel_are_equalisation(tmp_path, seed, per_channel):
    made = equalised(np.random.default_rng(seed))
    found = inspect(FLOAT, candidate(coded(made, per_channel=per_channel)), tmp_path)
    verdicts = unsound(found)
    assert set(verdicts.values()) <= {"equalised"}
    assert {"w1q", "w2q", "w3q", "b1q", "b2q"} <= set(verdicts)
    assert [m.value for m in named(found, "weight.derived_share")] == [1]
    assert {tap.tensor for tap in found.taps} <= {"x", "f", "h"}  # what is scaled has other ranges on purpose


@settings(
    max_examples=15,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.integers(0, 10**6), st.booleans())
def test_factors_that_do_not_cancel_are_none(tmp_path, seed, bias):
    made = equalised(np.random.default_rng(seed), cancelled=False, bias=bias)
    verdicts = unsound(inspect(FLOAT, candidate(coded(made)), tmp_path))
    assert verdicts["w1q"] != "equalised"
    assert verdicts["w2q"] != "equalised"


def test_a_flipped_bit_in_an_equalised_weight_is_no_equalisation(tmp_path):
    held = coded(equalised(np.random.default_rng(4)))
    held["w2q"][3, 3, 1, 1] = np.int8(held["w2q"][3, 3, 1, 1]) ^ np.int8(64)
    assert unsound(inspect(FLOAT, candidate(held), tmp_path))["w2q"] != "equalised"


def test_a_corrected_bias_is_told_from_a_replaced_one(tmp_path):
    def correct(held):
        held["b2q"] = held["b2q"] + np.array([2, -3, 1, 4, -2, 3, -1, 2], np.int32)

    def replace_bias(held):
        held["b2q"] = held["b2q"][::-1].copy() * 2

    assert unsound(spoiled(tmp_path, correct)) == {"b2q": "bias-corrected"}
    assert unsound(spoiled(tmp_path, replace_bias))["b2q"] in ("not-derived", "outsiders")


def test_a_weight_of_another_shape_says_so(tmp_path):
    made = dict(WEIGHTS)
    ours = reference(made | {"w4": made["w4"][:4], "b4": made["b4"][:4]})
    held = coded(made)
    found = inspect(ours, candidate(held), tmp_path)
    assert all(m.value != "derived" for name, m in derivations(found).items() if name in ("w4q", "b4q"))
    assert "w4q" not in derivations(found) or "shape" in derivations(found)["w4q"].detail["reason"]


def test_a_single_odd_scale_is_named_where_its_codes_still_fit(tmp_path):
    """The codes are what rounding with the edited scale gives, so that no code shows it."""

    def edit(held):
        held["w2s"][3] *= np.float32(1.3)
        held["w2q"][3] = np.rint(WEIGHTS["w2"][3] / held["w2s"][3])

    found = spoiled(tmp_path, edit, "int4")
    assert "w2q" not in unsound(found)
    (odd,) = named(found, "weight.odd_scale")
    assert (odd.at.tensor, odd.at.index) == ("w2s", (3,))
    assert odd.value == pytest.approx(1.3, rel=1e-3)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (np.nan, "not-finite"),
        (np.inf, "not-finite"),
        (0.0, "zero"),
        (-0.01, "negative"),
        (1e-42, "subnormal"),
    ],
)
def test_scales_that_no_quantizer_writes_are_named(value, kind, tmp_path):
    def edit(held):
        held["w2s"][5] = value

    found = spoiled(tmp_path, edit)
    (defect,) = named(found, "scale.defect")
    assert (defect.value, defect.at.tensor, defect.at.index) == (kind, "w2s", (5,))
    assert "w2q" in unsound(found)


def test_scales_that_do_not_fit_are_named(tmp_path):
    def edit(held):
        held["w2s"], held["w2z"] = held["w2s"][:5], held["w2z"][:5]

    found = spoiled(tmp_path, edit)
    assert {(m.value, m.at.tensor) for m in named(found, "scale.defect")} == {("misfit", "w2s")}
    assert unsound(found)["w2q"] == "unknown"
