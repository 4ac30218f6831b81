"""Bias correction as its authors give it is accepted; a shift that is meant for the outputs is not."""

import numpy as np
import pytest

from qgate.quant.correction import Layer, _reach, objection

SHAPES = [
    (10, 64, 1, 1),
    (200, 32, 1, 1),
    (16, 16, 9, 1),
    (8, 3, 9, 1),
    (24, 1, 9, 24),
    (4, 128, 1, 1),
    (40, 20, 1, 4),
]
SEEDS = range(4)


def layer(seed, shape, bits=8, rounding=1e-5, means=1.0):
    """A layer whose bias was corrected: the mean error of its outputs, and of its inputs' rounding, taken away."""
    outputs, inputs, taps, groups = shape
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((outputs, inputs, taps)) / np.sqrt(inputs * taps)
    step = np.abs(weight).max() / (2 ** (bits - 1) - 1)
    error = np.rint(weight / step) * step - weight
    mean = rng.gamma(1.0, 0.4, (groups, inputs)) * means
    # Padding: the outer taps see less of the input.
    seen = 1 - 0.2 * rng.random((groups, inputs, taps))
    drift = rng.normal(0, 0.1 * 4 / 255, (groups, inputs))
    rows = np.repeat(np.arange(groups), outputs // groups)
    shift = -np.sum(error * (mean[:, :, None] * seen)[rows], axis=(1, 2)) - np.sum(
        weight.sum(2) * drift[rows], axis=1
    )
    shift = np.rint(shift / rounding) * rounding if rounding else shift
    return Layer(shift, error, weight, groups, 0.0, 4.0, 4 / 255, rounding)


def moved(held, shift):
    return Layer(shift, held.error, held.weight, held.groups, held.low, held.high, held.step, held.rounding)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bits", [4, 8])
def test_a_correction_is_accepted(shape, bits):
    for seed in SEEDS:
        for rounding in (0.0, 1e-4):
            assert objection(layer(seed, shape, bits, rounding)) is None


@pytest.mark.parametrize("shape", SHAPES)
def test_a_correction_by_less_than_the_biass_own_step_is_accepted(shape):
    held = layer(0, shape, rounding=1e-4)
    tiny = np.random.default_rng(1).integers(-1, 2, held.shift.size) * held.rounding
    assert objection(moved(held, tiny)) is None


@pytest.mark.parametrize("shape", [s for s in SHAPES if s[0] > 4])
@pytest.mark.parametrize("size", [0.02, 0.3, 1.0, 10.0])
def test_all_outputs_pushed_the_same_way_are_no_correction(shape, size):
    for seed in SEEDS:
        held = layer(seed, shape)
        usual = float(np.sqrt(np.mean(np.square(held.shift))))
        assert objection(moved(held, np.full(held.shift.size, size * usual))) is not None


@pytest.mark.parametrize("shape", [s for s in SHAPES if s[0] >= 8 and s[1] >= 8])
def test_one_output_far_more_than_the_others_is_no_correction(shape):
    for seed in SEEDS:
        held = layer(seed, shape)
        shift = held.shift.copy()
        shift[3] += 40 * float(np.median(np.abs(shift))) * (1 if seed % 2 else -1)
        assert objection(moved(held, shift)) is not None


def test_what_no_means_of_the_inputs_give_is_no_correction():
    for seed in SEEDS:
        held = layer(seed, (200, 32, 1, 1))
        rng = np.random.default_rng(seed)
        shift = rng.permutation(held.shift)
        found = objection(moved(held, shift))
        assert found is not None
        assert "no means" in found


def test_a_shift_larger_than_rounding_can_make_is_no_correction():
    held = layer(0, (10, 64, 1, 1))
    assert "more than" in objection(moved(held, held.shift * 100))


@pytest.mark.parametrize("shape", [(10, 64, 9, 1), (32, 32, 9, 1), (10, 512, 1, 1)])
@pytest.mark.parametrize(("most", "others"), [(3.9, 3.9), (1.9, 1.9), (3.9, 0.28)])
def test_a_shift_that_many_inputs_could_just_give_is_no_correction(shape, most, others):
    """With as many unknown means as a wide convolution has, some within their range give any shift: its size tells."""
    held = layer(0, shape, rounding=0.0)
    reach = _reach(held)
    shift = reach * others * np.where(np.arange(reach.size) % 2, -1, 1)
    shift[3] = most * reach[3]
    assert "than the layer's rounding error" in objection(moved(held, shift))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_no_correction(bad):
    held = layer(0, (10, 64, 1, 1))
    shift = held.shift.copy()
    shift[2] = bad
    assert "not finite" in objection(moved(held, shift))
    unknown = Layer(held.shift, held.error, held.weight, 1, -np.inf, np.inf, held.step, 0.0)
    assert "not known" in objection(unknown)


def test_a_layer_that_is_too_large_to_be_solved_is_held_to_size_and_direction():
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((4, 600_000, 1)) * 1e-3
    error = rng.uniform(-1e-5, 1e-5, weight.shape)
    held = Layer(rng.normal(0, 1e-4, 4), error, weight, 1, 0.0, 1.0, 1 / 255, 0.0)
    assert objection(held) is None
    assert objection(moved(held, np.full(4, 1e6))) is not None


@pytest.mark.parametrize("shape", [s for s in SHAPES if s[2] > 1])
def test_a_correction_on_one_mean_for_all_places_is_accepted(shape):
    """NNCF's fast correction: what the means of single taps differ by from their channel's passes the weight."""
    for seed in SEEDS:
        held = layer(seed, shape)
        rng = np.random.default_rng([seed, 1])
        outputs, inputs, taps, groups = shape
        apart = rng.uniform(-1, 1, (groups, inputs, taps)) * held.step
        rows = np.repeat(np.arange(groups), outputs // groups)
        shift = held.shift + np.sum(held.weight * apart[rows], axis=(1, 2))
        assert objection(moved(held, shift)) is None
