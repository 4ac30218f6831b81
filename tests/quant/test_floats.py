"""Float constants: rounded to a shorter type is derived; every flipped bit that matters is located."""

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qgate.quant.floats import derive_float
from tests.quant.codes import coded, floats, with_codes

SHORT = {
    "float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float8e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8e5m2": ml_dtypes.float8_e5m2,
}  # fmt: skip
SEEDS = st.integers(0, 10**6)


def weights(seed, spread=1.0, tail=1.0, shape=(8, 16)):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) * spread * np.exp(tail * rng.standard_normal(shape))).astype(
        np.float32
    )


def short(weight, dtype):
    """As the reader hands them out: halves as such, shorter ones widened."""
    cut = weight.astype(SHORT[dtype])
    return floats(cut if dtype == "float16" else cut.astype(np.float32), dtype)


@settings(max_examples=80, derandomize=True, deadline=None)
@given(SEEDS, st.sampled_from(["float16", "bfloat16"]), st.sampled_from([1e-7, 1e-3, 1, 50]))
def test_rounding_to_a_shorter_type_is_derived(seed, dtype, spread):
    weight = weights(seed, spread)
    found = derive_float(weight, short(weight, dtype))
    assert (found.verdict, found.family) == ("derived", "float")


@settings(max_examples=40, derandomize=True, deadline=None)
@given(SEEDS, st.sampled_from(["float8e4m3fn", "float8e5m2"]))
def test_rounding_to_eight_bits_is_derived(seed, dtype):
    weight = np.clip(weights(seed), -400, 400)
    assert derive_float(weight, short(weight, dtype)).verdict == "derived"


def test_float8_codes_with_a_scale_are_derived_and_a_changed_one_is_found():
    weight = weights(1, tail=0)
    scale = np.float32(np.abs(weight).max() / 400)
    codes = (weight / scale).astype(ml_dtypes.float8_e4m3fn).astype(np.float32)
    value = replace(coded(codes, scale, dtype="float32"), dtype="float8e4m3fn")
    assert derive_float(weight, value).verdict == "derived"
    codes[3, 4] *= 2
    found = derive_float(weight, with_codes(value, codes))
    assert (found.verdict, found.outsiders[0].index) == ("outsiders", (3, 4))
    assert found.outsiders[0].xor in (0b1000, 0b11000, 0b111000, 0b1111000)  # the exponent's lowest bits


@settings(max_examples=150, derandomize=True, deadline=None)
@given(SEEDS, st.integers(0, 127), st.integers(0, 15))
def test_every_flipped_bit_of_a_half_is_located(seed, position, bit):
    weight = weights(seed, 0.1)
    half = weight.astype(np.float16)
    raw = half.view(np.uint16).copy()
    raw.flat[position] ^= np.uint16(1 << bit)
    spoiled = raw.view(np.float16)
    wanted, got = float(weight.flat[position]), float(spoiled.flat[position])
    step = 2.0 ** (np.floor(np.log2(max(abs(wanted), 2.0**-14))) - 10)
    if abs(got - wanted) <= 0.502 * step + 1e-12 or abs(wanted) < 1.5e-7:
        return
    found = derive_float(weight, floats(spoiled, "float16"))
    assert (found.verdict, found.count) == ("outsiders", 1)
    (outsider,) = found.outsiders
    assert outsider.index == tuple(int(i) for i in np.unravel_index(position, weight.shape))
    assert outsider.xor == 1 << bit
    assert outsider.stored == got or np.isnan(got)
    assert outsider.expected == wanted


def test_a_flipped_bit_of_a_single_is_located():
    weight = weights(1)
    for bit in (3, 10, 22, 23, 30, 31):
        raw = weight.view(np.uint32).copy()
        raw[2, 5] ^= np.uint32(1 << bit)
        found = derive_float(weight, floats(raw.view(np.float32)))
        if bit >= 10:
            assert (found.verdict, found.outsiders[0].index, found.outsiders[0].xor) == (
                "outsiders",
                (2, 5),
                1 << bit,
            )
        else:
            assert found.verdict == "derived"  # less than the order of a sum may change


@pytest.mark.parametrize(
    ("reference", "stored", "verdict"),
    [
        (3e-9, 1e-7, "derived"),  # lifted by a converter
        (-3e-9, -1e-7, "derived"),
        (3e-9, 1e-3, "outsiders"),
        (30000.0, 10000.0, "derived"),  # cut by a converter
        (30000.0, -10000.0, "outsiders"),
        (30000.0, 20000.0, "outsiders"),
        (1e6, 65504.0, "derived"),  # saturated
        (1e6, -65504.0, "outsiders"),
        (1e6, np.inf, "outsiders"),
        (np.inf, np.inf, "derived"),
        (np.nan, np.nan, "derived"),
        (1.0, np.nan, "outsiders"),
        (-0.0, 0.0, "derived"),
    ],
)
def test_known_clamps_of_converters_are_no_damage(reference, stored, verdict):
    weight, half = np.ones(100, np.float32), np.ones(100, np.float16)
    weight[7], half[7] = reference, stored
    found = derive_float(weight, floats(half, "float16"))
    assert found.verdict == verdict
    assert [o.index for o in found.outsiders] == ([(7,)] if verdict == "outsiders" else [])


def test_a_clamp_is_none_in_single_precision():
    weight = np.ones(100, np.float32) * 3e-9
    assert derive_float(weight, floats(np.full(100, 1e-7, np.float32))).verdict == "not-derived"


def test_shifted_weights_say_how_they_moved():
    weight = weights(2)
    found = derive_float(weight, floats(weight * np.float32(1.5)))
    assert found.verdict == "not-derived"
    assert found.evidence["factor"] == pytest.approx(1.5, rel=1e-5)
    assert found.evidence["relative_shift"] == pytest.approx(0.5, rel=1e-4)
    assert np.isnan(derive_float(np.zeros(64), floats(np.ones(64, np.float32))).evidence["factor"])


def test_everything_not_finite_is_counted():
    weight = weights(3)
    found = derive_float(weight, floats(np.full(weight.shape, np.nan, np.float16), "float16"))
    assert (found.verdict, found.count, len(found.outsiders)) == ("outsiders", weight.size, 16)
    assert "not finite" in found.reason


def test_an_empty_constant_is_derived():
    assert (
        derive_float(np.zeros((0, 3)), floats(np.zeros((0, 3), np.float16), "float16")).verdict == "derived"
    )


SCALED = {
    "float8e4m3fn": (ml_dtypes.float8_e4m3fn, 448), "float8e4m3fnuz": (ml_dtypes.float8_e4m3fnuz, 240),
    "float8e5m2": (ml_dtypes.float8_e5m2, 57344), "float8e5m2fnuz": (ml_dtypes.float8_e5m2fnuz, 57344),
    "float4e2m1": (ml_dtypes.float4_e2m1fn, 6),
}  # fmt: skip


def scaled(weight, dtype, layout, scale_dtype="float"):
    """Codes of a short float type with one scale for the tensor, each row, or each block of four columns."""
    kind, top = SCALED[dtype]
    parts = weight.reshape(weight.shape[0], -1, 4) if layout == "block" else weight[:, None]
    over = {"tensor": (0, 1, 2), "channel": (1, 2), "block": (2,)}[layout]
    scale = (np.abs(parts).max(axis=over, keepdims=True) / np.float32(top)).astype(np.float32)
    codes = (parts / scale).astype(kind).astype(np.float32).reshape(weight.shape)
    if scale_dtype == "float16":
        scale = scale.astype(np.float16)
    held = {"tensor": scale.reshape(-1), "channel": scale.reshape(-1), "block": scale[:, :, 0]}[layout]
    axis, block = {"tensor": (None, 0), "channel": (0, 0), "block": (1, 4)}[layout]
    value = coded(codes, held, dtype="float32", axis=axis, block=block, scale_dtype=scale_dtype)
    return replace(value, dtype=dtype, quantized=replace(value.quantized, dtype=dtype))


@pytest.mark.parametrize("dtype", SCALED)
@pytest.mark.parametrize("layout", ["tensor", "channel", "block"])
@pytest.mark.parametrize("scale_dtype", ["float", "float16"])
def test_short_floats_with_scales_are_derived_and_every_other_code_is_located(dtype, layout, scale_dtype):
    rng = np.random.default_rng(0)
    kind, _ = SCALED[dtype]
    for seed in range(12):
        weight = weights(seed, tail=0.5)
        value = scaled(weight, dtype, layout, scale_dtype)
        assert derive_float(weight, value).verdict == "derived"
        index = (int(rng.integers(8)), int(rng.integers(16)))
        codes = value.stored().copy()
        # Two codes on in the order of the type: no rounding leads there.
        raw = codes[index].astype(kind)
        away = np.float32(raw) * (2 if abs(np.float32(raw)) < 3 else 0.25) or np.float32(2)
        codes[index] = away
        found = derive_float(weight, with_codes(value, codes))
        assert (found.verdict, found.count) == ("outsiders", 1)
        assert found.outsiders[0].index == index
        assert found.outsiders[0].xor == int(
            np.asarray(away).astype(kind).reshape(1).view(np.uint8)[0]
        ) ^ int(np.asarray(raw).reshape(1).view(np.uint8)[0])


@pytest.mark.parametrize("dtype", SCALED)
def test_short_floats_that_saturate_are_derived(dtype):
    weight = weights(1)
    kind, top = SCALED[dtype]
    scale = np.float32(np.abs(weight).max() / top / 2)
    codes = np.clip(weight / scale, -top, top).astype(kind).astype(np.float32)
    value = replace(coded(codes, scale, dtype="float32"), dtype=dtype)
    assert derive_float(weight, value).verdict == "derived"
    codes[np.unravel_index(np.argmax(weight), weight.shape)] *= -1
    assert derive_float(weight, with_codes(value, codes)).count == 1


def test_an_overflow_is_not_what_rounding_leaves():
    weight = np.full((8, 16), 1e6, np.float32)
    weight[0] = 1
    with np.errstate(over="ignore"):
        found = derive_float(weight, floats(weight.astype(np.float16), "float16"))
    assert (found.verdict, found.count) == ("outsiders", 112)
    assert "not finite" in found.reason


def test_a_folded_factor_moves_the_binade_with_it():
    weight = weights(4)
    half = weight.astype(np.float16)
    factor = np.linspace(0.3, 3, 8).astype(np.float32).reshape(8, 1)
    value = replace(floats(half, "float16"), factor=factor)
    assert derive_float(weight * factor, value).verdict == "derived"


def test_a_large_tensor_is_compared_in_pieces(monkeypatch):
    from qgate.quant import blocks

    weight = weights(5, shape=(40, 30))
    half = weight.astype(np.float16)
    half[17, 3] *= 2
    monkeypatch.setattr(blocks.pieces, "__defaults__", (64,))
    found = derive_float(weight, floats(half, "float16"))
    assert (found.verdict, found.count, found.outsiders[0].index) == ("outsiders", 1, (17, 3))


@pytest.mark.parametrize(("stored", "verdict"), [(0.5, "derived"), (0.6, "outsiders")])
def test_a_scalar_is_compared_like_any_tensor(stored, verdict):
    found = derive_float(np.asarray(np.float32(0.5)), floats(np.float32(stored)))
    assert found.verdict == verdict


@pytest.mark.parametrize("bits", [0x7C01, 0x7E00, 0xFC00, 0x7C00])
def test_a_half_that_is_no_number_is_located_whatever_its_bits(bits):
    weight = weights(6)
    raw = weight.astype(np.float16).view(np.uint16).copy()
    raw[3, 9] = bits
    value = floats(raw.view(np.float16), "float16")
    found = derive_float(weight, value)
    assert (found.verdict, found.count, found.outsiders[0].index) == ("outsiders", 1, (3, 9))
    assert not np.isfinite(value.values()[3, 9])


@settings(max_examples=60, derandomize=True, deadline=None)
@given(SEEDS, st.integers(0, 127), st.integers(0, 31))
def test_every_flipped_bit_of_a_copied_tensor_is_located(seed, position, bit):
    weight = weights(seed)
    raw = weight.view(np.uint32).copy()
    raw.flat[position] ^= np.uint32(1 << bit)
    found = derive_float(weight, floats(raw.view(np.float32)), copied=True)
    assert (found.verdict, found.count) == ("outsiders", 1)
    assert np.ravel_multi_index(found.outsiders[0].index, weight.shape) == position
    assert found.outsiders[0].xor == 1 << bit


def test_the_bit_that_makes_a_signalling_nan_is_named():
    weight = weights(3)
    weight[2, 5] = 1.25
    raw = weight.view(np.uint32).copy()
    raw[2, 5] ^= np.uint32(1 << 30)
    assert np.isnan(raw.view(np.float32)[2, 5])
    for copied in (True, False):
        (found,) = derive_float(weight, floats(raw.view(np.float32)), copied=copied).outsiders
        assert (found.index, found.xor) == ((2, 5), 1 << 30)


def test_last_bits_of_a_computed_tensor_are_nobodys_edit():
    weight = weights(3)
    raw = weight.view(np.uint32).copy()
    raw[2, 5] ^= np.uint32(1)
    assert derive_float(weight, floats(raw.view(np.float32))).verdict == "derived"
    raw[:, ::3] ^= np.uint32(1)
    assert derive_float(weight, floats(raw.view(np.float32)), copied=True).verdict == "derived", (
        "computed again"
    )
    few = weight.reshape(-1)[:7].copy()
    few.view(np.uint32)[0] ^= np.uint32(1)
    assert derive_float(weight.reshape(-1)[:7], floats(few), copied=True).verdict == "derived"
