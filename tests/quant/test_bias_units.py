"""The unit of a bias's codes against the product of two scales."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qgate.quant.bias_units import departures, off_unit

STEP, WEIGHT = np.float32([0.03]), np.float32([0.002, 0.004, 0.001])
PRODUCT = STEP * WEIGHT


def test_the_product_in_either_precision_is_the_unit() -> None:
    assert off_unit(PRODUCT, STEP, WEIGHT) is None
    assert off_unit((STEP.astype(np.float64) * WEIGHT).astype(np.float32), STEP, WEIGHT) is None
    assert off_unit(PRODUCT[:1], STEP, WEIGHT[:1]) is None
    assert off_unit(np.repeat(PRODUCT[:1], 4), STEP, WEIGHT[:1]) is None


@pytest.mark.parametrize("times", [1 / 200, 0.99, 1.00001, 40, -1, 0])
def test_another_scale_is_named_with_how_much_it_is_off(times: float) -> None:
    bias = PRODUCT.copy()
    bias[1] *= np.float32(times)
    found = off_unit(bias, STEP, WEIGHT)
    assert found is not None
    assert found[0] == 1
    assert found[1] == pytest.approx(times, rel=1e-6)


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_what_is_no_number_is_off(odd: float) -> None:
    bias = PRODUCT.copy()
    bias[2] = odd
    found = off_unit(bias, STEP, WEIGHT)
    assert found is not None
    assert found[0] == 2
    assert off_unit(PRODUCT, np.float32([odd]), WEIGHT) is not None


@pytest.mark.parametrize(
    ("bias", "step", "weight"),
    [(PRODUCT[:2], STEP, WEIGHT), (PRODUCT, STEP[:0], WEIGHT), (PRODUCT, STEP, WEIGHT[:0])],
)
def test_other_numbers_of_channels_are_off(bias: np.ndarray, step: np.ndarray, weight: np.ndarray) -> None:
    found = off_unit(bias, step, weight)
    assert found is not None
    assert math.isnan(found[1])


def test_one_scale_for_channels_of_several_units_is_off() -> None:
    found = off_unit(PRODUCT[:1], STEP, WEIGHT)
    assert found is not None
    assert found[0] != 0


def test_a_departure_is_the_part_of_the_added_bias_that_the_file_does_not_state() -> None:
    stated = np.array([1.0, 0.5, 2.0, -1.0, 0.0, np.nan, np.inf])
    assert departures(stated, np.ones(1)) == pytest.approx([0, 1, 0.5, 2, np.inf, np.inf, 1])
    assert departures(np.ones(1), np.array([np.nan, np.inf])).tolist() == [np.inf, np.inf]
    assert departures(np.array([np.inf]), np.array([np.inf])).tolist() == [np.inf]
    assert departures(np.array([1.0]), np.array([1.01]), 0.02)[0] < 0, "within what its storage type rounds"


def test_what_float32_has_no_normal_number_for_departs_by_nothing() -> None:
    stated = np.array([0.0, 1e-40, 1e-37])
    assert departures(stated, np.array([1e-39, 3e-39, 3e-37])) == pytest.approx([0, 0, 2])
