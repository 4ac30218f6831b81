"""The short way through float32 says what float64 says, whatever the layout; pieces cover a tensor once."""

import dataclasses
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qgate.quant import blocks, comparison, side_by_side
from qgate.quant.blocks import in_parallel, pieces, start_of
from qgate.quant.comparison import compare
from qgate.quant.constants import INTEGER_RANGES
from qgate.quant.derivation import derive
from qgate.quant.residual import residual
from tests.quant.codes import coded, flipped, nearest, quantized, transposed_view, with_codes

EXACT = settings(max_examples=150, derandomize=True, deadline=None)
TYPES = ["int8", "uint8", "int4", "uint4", "int2", "uint2", "int16", "uint16"]


def weights(seed, shape=(12, 16), spread=0.02, tail=0.7):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) * spread * np.exp(tail * rng.standard_normal(shape))).astype(
        np.float32
    )


def told(found):
    """All that a verdict hangs on, and nothing that float32 may round."""
    return (found.off, found.near, found.beyond, found.far, found.worst, found.least, found.greatest)


@EXACT
@given(
    st.integers(0, 10**6), st.sampled_from(TYPES), st.sampled_from(["tensor", "channel", "block"]), st.booleans(),
    st.sampled_from(["nothing", "near ties", "steps", "anything", "scale", "saturated", "turned"]),
)  # fmt: skip
def test_float32_tells_what_float64_tells(seed, dtype, layout, symmetric, damage):
    weight = weights(seed)
    value = quantized(weight, dtype, layout, symmetric=symmetric)
    rng = np.random.default_rng(seed)
    least, greatest = INTEGER_RANGES[dtype]
    codes = value.stored().astype(np.int64)
    some = rng.random(codes.shape) < 0.2
    if damage == "near ties":
        # Weights moved to within a hair of a tie, on either side of what the slack allows.
        exact = value.scales() * (codes - value.zero_points() + 0.5 + rng.normal(0, 1e-4, codes.shape))
        weight = np.where(some, exact, weight).astype(np.float32)
    elif damage == "steps":
        codes = np.clip(codes + some * rng.integers(-6, 7, codes.shape), least, greatest)
    elif damage == "anything":
        codes = np.where(some, rng.integers(least, greatest + 1, codes.shape), codes)
    elif damage == "saturated":
        weight = np.where(some, weight * 30, weight).astype(np.float32)
    value = with_codes(value, codes)
    if damage == "scale":
        scale = value.quantized.scale * np.float32(1.01)
        value = dataclasses.replace(value, quantized=dataclasses.replace(value.quantized, scale=scale))
    if damage == "turned":
        value, weight = transposed_view(value), weight.T
    short, long = compare(weight, value), compare(weight, value, short=False)
    assert told(short) == told(long)
    held = residual(weight, value)
    assert short.off == np.count_nonzero(held.outside(0.5))
    assert short.far == np.count_nonzero(held.outside(4.0 - 1e-9))
    assert short.max_steps == pytest.approx(np.max(np.abs(held.distance())), abs=0.01)
    assert short.square == pytest.approx(np.mean(np.square(held.codes - held.quotient)), rel=2e-3)
    for element in short.worst:
        stored = np.unravel_index(element.position, short.shape)
        assert element.code == value.stored()[stored]


def test_a_weight_that_is_a_tie_in_float32_alone_is_looked_at_twice():
    scale = np.float32(0.1)
    ties = np.arange(-100, 100, dtype=np.float64) + 0.5
    weight = (ties * np.float64(scale)).astype(np.float32)[None]
    for codes in (np.floor(ties), np.ceil(ties)):
        value = coded(codes[None], scale)
        assert told(compare(weight, value)) == told(compare(weight, value, short=False))
        assert compare(weight, value).off == 0


@pytest.mark.parametrize("scale", [1e-35, 1e-30, 1e30, 3e36])
def test_scales_that_float32_cannot_work_with_take_the_long_way(scale):
    weight = (weights(3).astype(np.float64) * scale).astype(np.float32)
    step = np.float32(np.abs(weight).max() / np.float32(127))
    value = coded(np.rint(weight.astype(np.float64) / step), step)
    assert compare(weight, value).off == 0
    assert compare(weight, flipped(value, (2, 3), 6)).off == 1


def test_an_infinite_or_undefined_weight_leaves_it_open():
    for bad in (np.nan, np.inf, -np.inf):
        weight = weights(3)
        value = quantized(weight)
        weight[4, 4] = bad
        assert compare(weight, value) is None


def test_thirty_two_bits_are_compared_in_float64():
    bias = weights(1, (1, 64), spread=3)
    scale = np.float32(1e-8)
    value = coded(np.rint(bias.astype(np.float64) / scale), scale, dtype="int32")
    assert derive(bias, value).verdict == "derived"
    found = derive(bias, flipped(value, (0, 5), 12))
    assert (found.verdict, found.outsiders[0].index, found.outsiders[0].xor) == ("outsiders", (0, 5), 1 << 12)


@pytest.mark.parametrize(
    "shape", [(), (1,), (7,), (3, 5), (2, 3, 4), (1, 1, 9), (5, 1, 1), (4, 0, 3), (2, 2, 2, 2)]
)
@pytest.mark.parametrize("limit", [1, 2, 3, 4, 7, 100])
def test_pieces_cover_a_tensor_once_and_in_order(shape, limit):
    seen = np.zeros(shape, int)
    position = 0
    for piece in pieces(shape, limit):
        assert start_of(piece, shape) == position
        part = seen[piece]
        assert 0 < part.size <= limit
        seen[piece] += 1
        position += part.size
    assert position == seen.size
    assert (seen == 1).all()


@pytest.mark.parametrize("layout", ["tensor", "channel", "block", "last"])
def test_a_tensor_of_many_pieces_is_one_tensor(layout, monkeypatch):
    weight = weights(5, (24, 40))
    if layout == "last":
        scale = (np.abs(weight).max(0) / 127).astype(np.float32)
        value = coded(nearest(weight, scale, 0, "int8"), scale, axis=1)
    else:
        value = quantized(weight, "int8", layout)
    for index in ((0, 0), (13, 17), (23, 39)):
        value = flipped(value, index, 5)
    whole = compare(weight, value)
    for limit in (1, 7, 40, 64, 100):
        monkeypatch.setattr(blocks.pieces, "__defaults__", (limit,))
        parts = compare(weight, value)
        assert told(parts) == told(whole)
        assert parts.noise == pytest.approx(whole.noise, rel=1e-5)
        assert parts.bias == pytest.approx(whole.bias, abs=1e-5)
        assert np.array_equal(parts.sample, whole.sample, equal_nan=True)
        assert parts.telling == whole.telling
        assert parts.inward == pytest.approx(whole.inward, abs=1e-4)


def inward(weight, value, stride):
    """By the definition, in float64: the errors towards or from zero of codes that tell a direction."""
    least, greatest = INTEGER_RANGES[value.dtype]
    steps = (weight / value.scales()).reshape(-1)[::stride]
    codes = value.stored().reshape(-1)[::stride]
    error = codes - value.zero_points().reshape(-1)[::stride] - steps
    held = ((codes <= least) | (codes >= greatest)) & (np.abs(error) > 0.5)
    telling = (np.abs(steps) >= 1) & ~held
    sample = np.where(held, np.nan, steps)
    return sample, np.count_nonzero(telling), float(np.sum((error * np.sign(steps))[telling]))


def test_a_sample_of_a_large_tensor_is_spread_over_all_of_it(monkeypatch):
    monkeypatch.setattr(side_by_side, "SAMPLED", 100)
    monkeypatch.setattr(blocks.pieces, "__defaults__", (37,))
    weight = weights(6, (30, 50))
    value = quantized(weight)
    found = compare(weight, value)
    sample, count, total = inward(weight, value, 15)
    assert found.sample == pytest.approx(sample, rel=1e-6, nan_ok=True)
    assert 20 < found.telling == count
    assert found.inward == pytest.approx(total, abs=1e-3)
    assert found.off == 0


def test_codes_cut_off_at_an_end_tell_no_direction_and_truncated_ones_do():
    weight = weights(7, (40, 50))
    scale = np.float32(np.abs(weight).max() / 60)
    cut = coded(np.clip(np.rint(weight / scale), -8, 7), scale, dtype="int4")
    truncated = coded(np.trunc(weight / scale), scale)
    for value in (cut, truncated):
        found = compare(weight, value)
        sample, count, total = inward(weight, value, 1)
        assert found.sample == pytest.approx(sample, rel=1e-6, nan_ok=True)
        assert found.telling == count
        assert found.inward == pytest.approx(total, abs=1e-2)
    assert derive(weight, truncated).shrink_steps < -0.4


def test_threads_hand_their_parts_back_in_order(monkeypatch):
    monkeypatch.setattr(blocks, "_cores", lambda: 4)
    monkeypatch.setattr(blocks.pieces, "__defaults__", (5,))
    assert in_parallel(lambda piece: piece[0].start, (80,)) == list(range(0, 80, 5))


def test_what_fails_in_a_thread_fails_for_the_caller(monkeypatch):
    monkeypatch.setattr(blocks, "_cores", lambda: 4)
    monkeypatch.setattr(blocks.pieces, "__defaults__", (5,))
    failed, caller = threading.Event(), threading.get_ident()

    def work(piece):
        if threading.get_ident() != caller:
            failed.set()
            raise MemoryError("no more")
        assert failed.wait(30)
        return piece

    with pytest.raises(MemoryError, match="no more"):
        in_parallel(work, (40,))


def test_no_more_than_a_piece_is_held_at_a_time():
    import tracemalloc

    rng = np.random.default_rng(0)
    weight = (rng.standard_normal((4096, 1024)) * 0.02).astype(np.float32)
    scale = (np.abs(weight).max(axis=1) / 127).astype(np.float32)
    value = coded(np.rint(weight / scale[:, None]), scale, axis=0)
    compare(weight, value)
    tracemalloc.start()
    compare(weight, value)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # 4 M elements: 32 MB as float64. Held are a sample of 1 M and some pieces of 0.5 MB for each thread.
    assert peak < 16e6


def test_a_large_tensor_simulated_in_float32_has_no_outsiders():
    rng = np.random.default_rng(1)
    weight = (rng.standard_t(5, (1024, 1024)) * 0.02).astype(np.float32)
    for dtype, top in (("int16", 32767), ("int8", 127)):
        scale = np.float32(np.abs(weight).max() / np.float32(top))
        codes = np.clip(np.rint(weight * (np.float32(1) / scale)), -top, top)
        assert derive(weight, coded(codes, scale, dtype=dtype)).verdict == "derived"
    exact = (np.abs(weight).max(axis=1) / np.float32(127)).astype(np.float32)
    codes = np.rint(weight / exact[:, None])
    half = coded(codes, exact.astype(np.float16), axis=0, scale_dtype="float16")
    assert derive(weight, half).verdict == "derived"
    full = coded(codes, exact.astype(np.float16).astype(np.float32), axis=0)
    assert derive(weight, full).count > 100
    step = np.float32(np.abs(weight).max() / 2**23)
    bias = coded(np.rint(weight / step), step, dtype="int32")
    assert derive(weight, bias).verdict == "derived"


def test_constants_of_the_margin_hold_for_every_type_of_eight_bits():
    assert side_by_side.MARGIN > 256 * 2.0**-22 + 128 * 2.0**-22
    assert comparison.NEAR_TIE < 1
