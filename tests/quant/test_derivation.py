"""Derivation: honest rounding is always derived, every flipped bit is found at its place, families are told apart."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qgate.quant.constants import INTEGER_RANGES
from qgate.quant.derivation import Derivation, derive, sqnr_db
from qgate.quant.families import family_of
from qgate.quant.residual import residual
from tests.quant.codes import BITS, coded, flipped, quantized, transposed_view, with_codes

TYPES = ["int8", "uint8", "int4", "uint4", "int2", "uint2", "int16", "uint16"]
LAYOUTS = ["tensor", "channel", "block"]
EXACT = settings(max_examples=120, derandomize=True, deadline=None)


def weights(seed, shape=(6, 8), spread=1.0, tail=0.0):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape) * spread * np.exp(tail * rng.standard_normal(shape))
    return values.astype(np.float32)


SEEDS = st.integers(0, 10**6)
SPREADS = st.sampled_from([1e-4, 0.02, 1.0, 300.0])


@EXACT
@given(
    SEEDS, SPREADS, st.sampled_from([0, 1.5]), st.sampled_from(TYPES), st.sampled_from(LAYOUTS), st.booleans()
)
def test_nearest_rounding_in_float32_is_always_derived(seed, spread, tail, dtype, layout, symmetric):
    weight = weights(seed, spread=spread, tail=tail)
    value = quantized(weight, dtype, layout, symmetric=symmetric)
    found = derive(weight, value)
    assert (found.verdict, found.family, found.outsiders) == ("derived", "nearest", ())
    assert found.nonnearest == found.beyond_one == 0
    assert found.elements == weight.size
    assert found.max_steps <= 0.51 or found.max_steps < 2e-3 * INTEGER_RANGES[dtype][1]


@EXACT
@given(
    SEEDS,
    st.sampled_from(["int8", "uint8", "int4", "uint4"]),
    st.sampled_from(LAYOUTS),
    st.booleans(),
    st.data(),
)
def test_every_flipped_bit_is_an_outsider_at_its_place_unless_it_is_admissible(
    seed, dtype, layout, turned, data
):
    weight = weights(seed, tail=0.7)
    value = quantized(weight, dtype, layout)
    index = data.draw(st.tuples(st.integers(0, 5), st.integers(0, 7)))
    bit = data.draw(st.integers(0, BITS.get(dtype, 8) - 1))
    spoiled = flipped(value, index, bit)
    reference = weight
    if turned:
        spoiled, reference = transposed_view(spoiled), weight.T
    held, bad = value.stored()[index], spoiled.stored()[index]
    exact = np.float64(weight[index]) / value.scales()[index] + value.zero_points()[index]
    # Where a code saturates, or the quotient is a tie, both of two codes are what rounding may give.
    least, greatest = INTEGER_RANGES[dtype]
    if abs(np.clip(exact, least, greatest) - int(bad)) <= 0.5 + 2e-3:
        return
    found = derive(reference, spoiled)
    assert (found.verdict, found.family, found.count) == ("outsiders", "nearest", 1)
    (outsider,) = found.outsiders
    assert outsider.index == index
    assert outsider.stored == bad
    assert outsider.xor == 1 << bit or abs(abs(exact - int(held)) - 0.5) < 2e-3
    assert outsider.expected == held or abs(abs(exact - int(held)) - 0.5) < 2e-3
    assert outsider.steps == pytest.approx(int(bad) - np.clip(exact, least, greatest), abs=1e-6)


def test_the_least_code_of_a_symmetric_weight_is_an_outsider():
    weight = weights(1)
    value = quantized(weight, symmetric=True)
    index = tuple(int(i) for i in np.argwhere(value.stored() == value.stored().min())[0])
    codes = value.stored().copy()
    codes[index] = -128
    found = derive(weight, with_codes(value, codes))
    assert found.verdict == "outsiders" or abs(float(weight[index])) / value.quantized.scale[0] > 127.49


@pytest.mark.parametrize("tie", ["down", "up"])
def test_both_rules_for_ties_are_allowed(tie):
    weight = np.array([[0.5, 1.5, -2.5, 3.5]], np.float32)
    codes = np.floor(weight) if tie == "down" else np.ceil(weight)
    assert derive(weight, coded(codes, np.float32(1))).verdict == "derived"


@pytest.mark.parametrize("was", [2, 3])
@pytest.mark.parametrize("bit", [2, 4, 7])
def test_a_flipped_code_of_a_tie_is_held_against_the_one_that_it_was(was, bit):
    weight = np.array([[2.5, 7, -3, 127]], np.float32)
    value = flipped(coded([[was, 7, -3, 127]], np.float32(1)), (0, 0), bit)
    (outsider,) = derive(weight, value).outsiders
    assert (outsider.expected, outsider.xor) == (was, 1 << bit)


def test_saturated_codes_are_allowed_however_far_the_weight_lies_out():
    weight = np.array([[500.0, -500, 3, 127.4]], np.float32)
    assert derive(weight, coded([[127, -128, 3, 127]], np.float32(1))).verdict == "derived"
    assert derive(weight, coded([[127, -127, 3, 127]], np.float32(1))).verdict == "derived"
    assert derive(weight, coded([[126, -128, 3, 127]], np.float32(1))).verdict == "outsiders"


def test_a_scale_stored_in_half_precision_widens_what_is_allowed():
    weight = weights(3, (64, 64))
    exact = np.float32(np.abs(weight).max() / 127 * 1.0003)
    value = coded(np.rint(weight / exact), np.float32(np.float16(exact)))
    assert derive(weight, value).verdict == "outsiders"
    half = dataclasses.replace(value, quantized=dataclasses.replace(value.quantized, scale_dtype="float16"))
    assert derive(weight, half).verdict == "derived"


@pytest.mark.parametrize("scale", [np.float32("nan"), np.float32("inf"), np.ones(3, np.float32)])
def test_a_scale_that_says_nothing_leaves_it_unknown(scale):
    value = coded(np.ones((6, 8)), scale, axis=0)
    found = derive(weights(1), value)
    finite_zero = np.isinf(scale).any()
    assert found.verdict == ("not-derived" if finite_zero else "unknown")
    if not finite_zero:
        assert found.reason


def test_a_reference_that_is_not_finite_leaves_it_unknown():
    weight = weights(1)
    value = quantized(weight)
    weight[2, 3] = np.nan
    assert derive(weight, value).verdict == "unknown"
    assert residual(weight, value) is None


def test_a_zero_scale_is_not_divided_by():
    assert derive(weights(1), coded(np.zeros((6, 8)), np.float32(0))).verdict == "unknown"
    assert derive(np.zeros((6, 8)), coded(np.ones((6, 8)), np.float32(0))).verdict == "derived"


def test_an_empty_weight_is_derived():
    found = derive(np.zeros((0, 8), np.float32), coded(np.zeros((0, 8)), np.float32(0.1)))
    assert (found.verdict, found.elements) == ("derived", 0)


def test_other_weights_are_not_derived():
    found = derive(weights(1), quantized(weights(2)))
    assert found.verdict == "not-derived"
    assert found.reason
    assert found.outsiders == ()


def test_many_flips_are_counted_and_the_worst_listed_first():
    weight = weights(5, (64, 64))
    value = quantized(weight)
    codes = value.stored().copy()
    rng = np.random.default_rng(0)
    for at in rng.permutation(64 * 64)[:40]:
        codes.flat[at] = np.clip(int(codes.flat[at]) + (60 if codes.flat[at] < 0 else -60), -128, 127)
    found = derive(weight, with_codes(value, codes))
    assert (found.verdict, found.count, len(found.outsiders)) == ("outsiders", 40, 16)
    steps = [abs(o.steps) for o in found.outsiders]
    assert steps == sorted(steps, reverse=True)


def adaptive(weight, value, share, seed=0):
    """Floor or ceiling instead of the nearest for a share of the codes."""
    exact = weight / value.scales() + value.zero_points()
    other = np.where(value.codes() > exact, np.floor(exact), np.ceil(exact))
    moved = np.random.default_rng(seed).random(weight.shape) < share
    return with_codes(value, np.clip(np.where(moved, other, value.codes()), -128, 127))


def test_learned_rounding_is_told_by_the_whole_model_and_accepted():
    weight = weights(7, (64, 64))
    value = adaptive(weight, quantized(weight, "int8", "channel"), 0.05)
    alone = derive(weight, value)
    assert alone.verdict == "outsiders"
    assert family_of([alone]) == "adaptive"
    found = derive(weight, value, rounding="adaptive")
    assert (found.verdict, found.family) == ("other-rounding", "adaptive")
    assert 0.03 < found.nonnearest < 0.07
    spoiled = flipped(value, (3, 4), 5)
    found = derive(weight, spoiled, rounding="adaptive")
    assert (found.verdict, found.count, found.outsiders[0].index) == ("outsiders", 1, (3, 4))


def test_compensated_rounding_is_told_by_the_whole_model_and_accepted():
    weight = weights(8, (64, 64))
    value = quantized(weight, "int8", "channel")
    rng = np.random.default_rng(1)
    drift = rng.normal(0, 0.35, weight.shape)
    codes = np.clip(np.rint(weight / value.scales() + value.zero_points() + drift), -128, 127)
    value = with_codes(value, codes)
    alone = derive(weight, value)
    assert family_of([alone]) == "compensated"
    assert derive(weight, value, rounding="compensated").verdict == "other-rounding"
    found = derive(weight, flipped(value, (9, 9), 6), rounding="compensated")
    assert (found.verdict, found.outsiders[0].index) == ("outsiders", (9, 9))


def judged(verdict="outsiders", off=0.0, beyond=0.0, steps=0.5, elements=1000):
    return Derivation(verdict, "", elements, nonnearest=off, beyond_one=beyond, max_steps=steps)


@pytest.mark.parametrize(
    ("judgements", "family"),
    [
        ([], "nearest"),
        ([judged("unknown", 0.5)], "nearest"),
        ([judged(elements=8, off=0.5)], "nearest"),
        ([judged(off=0.0)], "nearest"),
        ([judged(off=0.001, steps=2)], "nearest"),  # a few flipped bits are no family
        ([judged(off=0.05, steps=1)], "adaptive"),
        ([judged(off=0.05), *[judged(off=0.0)] * 3], "nearest"),  # one tensor alone moved
        ([judged(off=0.2, beyond=0.02, steps=1.5)], "compensated"),
        ([judged(off=0.9, beyond=0.5, steps=9)], "nearest"),
        ([judged(off=0.05, steps=400)], "nearest"),
    ],
)
def test_the_family_is_that_of_all_weights_together(judgements, family):
    assert family_of(judgements) == family


def test_truncation_shows_in_bias_and_shrinkage():
    weight = weights(9, (64, 64))
    scale = np.float32(np.abs(weight).max() / 127)
    found = derive(weight, coded(np.trunc(weight / scale), scale), rounding="adaptive")
    assert found.shrink_steps < -0.4
    floor = derive(weight, coded(np.floor(weight / scale), scale), rounding="adaptive")
    assert floor.bias_steps < -0.4
    healthy = derive(weight, coded(np.rint(weight / scale), scale))
    assert abs(healthy.bias_steps) < 0.05
    assert abs(healthy.shrink_steps) < 0.05
    assert healthy.rmse_steps == pytest.approx(12**-0.5, rel=0.05)


def test_signal_to_noise_follows_its_definition():
    x, y = np.array([3.0, 4.0]), np.array([3.0, 4.5])
    assert sqnr_db(x, y) == pytest.approx(20)
    assert sqnr_db(x, x) == float("inf")
    assert np.isnan(sqnr_db(x, np.array([np.nan, 1])))
    assert np.isnan(sqnr_db(np.array([np.inf, 1]), y))
    assert sqnr_db(np.zeros(2), y) < -1000


@pytest.mark.parametrize(("kind", "far"), [("int4", 90), ("uint4", 140), ("int2", -60)])
def test_a_code_beyond_its_type_was_not_cut_off_at_an_end_of_it(kind, far):
    """A program may say of bytes that they are fewer bits: then each would count as cut off, whatever it became."""
    exact = np.full((8, 16), far, np.float32) + np.arange(128, dtype=np.float32).reshape(8, 16) / 8
    scale = np.float32(0.01)
    codes = np.rint(exact)
    held = np.asarray(codes, np.uint8 if kind == "uint4" else np.int8)
    honest = dataclasses.replace(coded(held, scale, dtype="int8"), dtype=kind, stored=lambda: held)
    assert derive(exact * scale, honest).verdict == "derived"
    moved = held.copy()
    moved[3, 5] = far // 2
    found = derive(exact * scale, dataclasses.replace(honest, stored=lambda: moved))
    assert (found.verdict, found.outsiders[0].index) == ("outsiders", (3, 5))
