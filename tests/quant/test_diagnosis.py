"""What happened to a weight that no rounding explains, said in a reviewer's words."""

from types import SimpleNamespace

import numpy as np
import pytest

from qgate.quant.alignment import ConstantPair
from qgate.quant.derivation import derive
from qgate.quant.diagnosis import diagnose
from qgate.quant.floats import derive_float
from tests.quant import rounders
from tests.quant.codes import coded, flipped, floats, quantized, with_codes

SHAPE = (24, 40)


def weights(seed=0, shape=SHAPE):
    return (np.random.default_rng(seed).standard_normal(shape) * 0.05).astype(np.float32)


def said(reference, candidate, others=(), op="Conv"):
    node = SimpleNamespace(op=op)
    pair = ConstantPair(floats(reference), candidate, node, node, 1, "walk")
    made = derive if candidate.is_quantized else derive_float
    found = made(reference, candidate)
    assert found.verdict in ("not-derived", "outsiders")
    return diagnose(pair, found, list(others))


def forms():
    """The same weight as int8 and int4 codes by channel, in blocks, and as halves."""
    yield "int8", rounders.to_nearest
    yield "int4", lambda w: rounders.to_nearest(w, 7, "int4")
    yield "blocks", lambda w: quantized(w, "int4", "block", block=8)
    yield "uint8", lambda w: quantized(w, "uint8", "tensor")
    yield "float16", lambda w: floats(w.astype(np.float16), "float16")


FORMS = pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in forms()])


@FORMS
def test_another_checkpoint(make):
    found = said(weights(0), make(weights(1)))
    assert (found.kind, found.tensor) == ("other-weights", "w")
    assert "other weights altogether" in found.message


@FORMS
def test_the_weights_of_another_layer(make):
    mine, theirs = weights(0), weights(1)
    found = said(mine, make(theirs), [("conv3.weight", weights(2)), ("conv2.weight", theirs)])
    assert found.kind == "swapped"
    assert "the reference's 'conv2.weight'" in found.message


@FORMS
def test_zeroed_channels(make):
    weight = weights()
    changed = weight.copy()
    changed[[3, 7]] = 0
    found = said(weight, make(changed))
    assert found.kind == "zeroed"
    assert "2 of 24 channels are zero (3, 7)" in found.message


@FORMS
def test_channels_in_other_places(make):
    weight = weights()
    changed = weight.copy()
    changed[[2, 5, 11]] = weight[[5, 11, 2]]
    found = said(weight, make(changed))
    assert found.kind == "permuted"
    assert "3 channels stand in other places (reference channel 5 at 2, 11 at 5, 2 at 11)" in found.message


@FORMS
def test_single_channels_of_other_weights(make):
    weight = weights()
    changed = weight.copy()
    changed[4] = weights(9)[4]
    found = said(weight, make(changed))
    assert found.kind == "other-weights"
    assert "1 of 24 channels are other weights (4)" in found.message


@FORMS
def test_the_opposite_sign(make):
    found = said(weights(), make(-weights()))
    assert found.kind == "sign"


@FORMS
def test_a_square_weight_that_was_turned(make):
    weight = weights(0, (32, 32))
    found = said(weight, make(np.ascontiguousarray(weight.T)))
    assert found.kind == "transposed"


@pytest.mark.parametrize("share", [0.02, 0.1])
def test_a_lightly_fine_tuned_origin(share):
    weight = weights()
    tuned = weight + (share * weight.std() * np.random.default_rng(3).standard_normal(SHAPE)).astype(
        np.float32
    )
    found = said(weight, rounders.to_nearest(tuned))
    assert found.kind == "drifted"
    assert "one that was trained on" in found.message
    assert "steps on average" in found.message
    assert found.evidence["relative_distance"] == pytest.approx(share, rel=0.2)


def test_a_lightly_fine_tuned_origin_of_halves():
    weight = weights()
    tuned = weight + (0.01 * weight.std() * np.random.default_rng(3).standard_normal(SHAPE)).astype(
        np.float32
    )
    found = said(weight, floats(tuned.astype(np.float16), "float16"))
    assert found.kind == "drifted"


def test_low_bit_content_inside_eight_bits():
    weight = weights(0, (64, 64))
    coarse = rounders.to_nearest(weight, 7, "int4").values()
    found = said(
        weight, coded(np.rint(coarse / np.abs(coarse).max() * 7) * 16, np.float32(np.abs(weight).max() / 112))
    )
    assert found.kind == "low-bit"
    assert "content of 4 bits stored in 8" in found.message


@pytest.mark.parametrize(("rule", "way"), [(np.floor, "down"), (np.ceil, "up"), (np.trunc, "towards zero")])
def test_a_rounding_that_goes_one_way(rule, way):
    weight = weights(0, (64, 64))
    scale = np.float32(np.abs(weight).max() / 126)
    found = said(weight, coded(rule(weight / scale), scale))
    assert found.kind == "rounding"
    assert f"rounded {way}, not to nearest" in found.message


@pytest.mark.parametrize("factor", [0.5, 1.1, 2.0])
def test_an_edited_scale_of_one_channel(factor):
    weight = weights()
    value = rounders.to_nearest(weight)
    scale = value.quantized.scale.copy()
    scale[6] *= np.float32(factor)
    found = said(weight, coded(value.codes(), scale, axis=0))
    assert (found.kind, found.tensor, found.index) == ("scale", "w_scale", (6,))
    assert "the scale of channel 6 is" in found.message
    assert found.evidence["factor"][0] == pytest.approx(factor, rel=0.01)


def test_scales_that_were_moved_along_one_channel():
    weight = weights() * np.geomspace(0.1, 10, 24).astype(np.float32)[:, None]
    value = rounders.to_nearest(weight)
    found = said(weight, coded(value.codes(), np.roll(value.quantized.scale, 1), axis=0))
    assert (found.kind, found.index) == ("scale", None)
    assert "24 of 24 channels" in found.message


def test_a_multiplied_channel_of_halves():
    weight = weights()
    changed = weight.copy()
    changed[5] *= 1.25
    found = said(weight, floats(changed.astype(np.float16), "float16"))
    assert (found.kind, found.tensor, found.index) == ("scale", "w", (5,))
    assert "those of channel 5 are 1.25" in found.message


def test_an_edited_zero_point():
    weight = weights()
    value = quantized(weight, "uint8", "tensor")
    zero = value.quantized.zero_point + np.uint8(3)
    found = said(weight, coded(value.codes(), value.quantized.scale, zero, dtype="uint8"))
    assert (found.kind, found.tensor) == ("zero-point", "w_zero")
    assert "is +3 from what they were rounded with" in found.message


def test_single_codes_are_no_checkpoint_and_no_channel():
    weight = weights(0, (64, 64))
    value = rounders.to_nearest(weight)
    for number in range(12):
        value = flipped(value, (number, 3 * number), 6)
    assert said(weight, value) is None


def test_codes_that_are_not_finite_do_not_stop_it():
    weight = weights()
    value = rounders.to_nearest(weight)
    found = said(weight, with_codes(value, np.full(SHAPE, 127)))
    assert found.message
    held = floats(np.full(SHAPE, np.nan, np.float32))
    node = SimpleNamespace(op="Conv")
    pair = ConstantPair(floats(weight), held, node, node, 1, "walk")
    assert diagnose(pair, derive_float(weight, held), []).kind
