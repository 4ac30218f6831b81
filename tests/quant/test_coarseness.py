"""Steps that leave nothing of what they scale, and honest ones that look like it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qgate.quant.coarseness import CoarseScale, coarsest
from qgate.quant.constants import INTEGER_RANGES, Array, ConstantValue, Quantized, View

RNG = np.random.default_rng(5)
WEIGHT = RNG.standard_normal((12, 24)).astype(np.float32)


def coded(
    values: Array,
    scale: Array,
    dtype: str = "int8",
    *,
    axis: int | None = 0,
    block: int = 0,
    zero: Array | None = None,
) -> ConstantValue:
    """The constant that nearest rounding gives with these scales."""
    quantized = Quantized(
        dtype, np.asarray(scale), zero, axis, block, "s", "z" if zero is not None else "", "float"
    )
    spread = quantized.spread(np.asarray(scale, np.float64), values.shape)
    shift = 0 if zero is None else quantized.spread(zero.astype(np.float64), values.shape)
    codes = np.clip(np.rint(values / spread + shift), *INTEGER_RANGES[dtype])
    stored = codes.astype({"int4": "int8", "uint4": "uint8"}.get(dtype, dtype))
    return ConstantValue("w", dtype, values.shape, lambda: stored, 8, quantized)


def rows(values: Array, levels: float = 127) -> Array:
    return (np.abs(values).max(axis=1) / levels).astype(np.float32)


def edited(scale: Array, index: object, factor: float) -> Array:
    scale = scale.copy()
    scale[index] *= factor
    return scale


@pytest.mark.parametrize(
    ("made", "index"),
    [
        (lambda: coded(WEIGHT, edited(rows(WEIGHT), 3, 100)), (3,)),
        (lambda: coded(WEIGHT, np.float32(np.abs(WEIGHT).max() / 5), axis=None), ()),
        (lambda: coded(WEIGHT, edited(rows(WEIGHT)[:, None], (7, 0), 50)), (7, 0)),
        (lambda: coded(WEIGHT.T, edited(rows(WEIGHT), 11, 30), axis=1), (11,)),
        (lambda: coded(WEIGHT, edited(rows(WEIGHT, 32767), 2, 100), "int16"), (2,)),
        (
            lambda: coded(
                WEIGHT, edited(np.abs(WEIGHT.reshape(12, 3, 8)).max(axis=2) / 7, (4, 1), 20), "int4", axis=1, block=8
            ),
            (4, 1),
        ),
        (
            lambda: coded(WEIGHT, edited(rows(WEIGHT), 3, 100), "uint8", zero=np.full(12, 128, np.uint8)),
            (3,),
        ),
    ],
    ids=["per channel", "per tensor", "of the same rank", "along the last axis", "int16", "blocks", "zero points"],
)  # fmt: skip
def test_the_coarsest_scale_is_named(made, index) -> None:
    value = made()
    reference = WEIGHT if value.shape == WEIGHT.shape else WEIGHT.T
    found = coarsest(reference, value)
    assert isinstance(found, CoarseScale)
    assert found.index == index
    least, greatest = INTEGER_RANGES[value.dtype]
    assert found.share == pytest.approx(found.largest / (found.scale * (greatest - least) / 2))
    assert found.share < 0.06
    assert found.count == 1


@pytest.mark.parametrize(
    "scale",
    [
        rows(WEIGHT),
        np.float32(np.abs(WEIGHT).max() / 127),
        np.full(12, np.abs(WEIGHT).max() / 127, np.float32),
        2.0 ** np.ceil(np.log2(rows(WEIGHT))),
        rows(WEIGHT, 500),
    ],
    ids=["per channel", "per tensor", "one step written twelve times", "powers of two", "clipped"],
)
def test_honest_steps_are_let_through(scale: Array) -> None:
    assert coarsest(WEIGHT, coded(WEIGHT, scale, axis=0 if np.ndim(scale) else None)) is None


def test_a_view_a_folded_factor_and_a_quiet_channel_are_allowed_for() -> None:
    value = coded(WEIGHT, edited(rows(WEIGHT), 3, 100))
    turned = value.viewed(View(perm=(1, 0)), (24, 12))
    assert coarsest(WEIGHT.T, turned) == coarsest(WEIGHT, value)
    folded = replace(value, factor=4.0)
    assert coarsest(WEIGHT * 4, folded).share == pytest.approx(coarsest(WEIGHT, value).share)
    quiet = WEIGHT.copy()
    quiet[3] *= 1e-4  # ONNX Runtime widens such a channel's step, so that its bias fits 32 bits
    dead = WEIGHT.copy()
    dead[3] = 0
    for values in (quiet, dead):
        steps = rows(WEIGHT)
        assert coarsest(values, coded(values, steps)) is None


def test_a_step_repeated_does_not_hide_a_channel_that_borrows_anothers() -> None:
    """One channel with the step of a louder one is no tensor with one step."""
    values = WEIGHT.copy()
    values[3] *= 0.01
    steps = rows(values)
    steps[3] = steps[0]
    found = coarsest(values, coded(values, steps))
    assert found is not None
    assert found.index == (3,)


def test_the_natural_step_of_a_bias_is_no_coarse_one() -> None:
    bias = np.array([0.5, -0.02, 0.3], np.float32)
    steps = np.array([0.01, 0.02, 0.01], np.float32)
    value = coded(bias, steps, "int32")
    assert coarsest(bias, value) is not None
    assert coarsest(bias, value, steps) is None
    assert coarsest(bias, value, steps / 15) is None
    assert coarsest(bias, value, steps / 17) is not None
    assert coarsest(bias, value, np.ones(2)) is not None, "steps that do not fit explain nothing"
    fine = coded(bias, steps / 1e4, "int32")
    assert coarsest(bias, fine) is None


def test_float8_whose_values_all_underflow() -> None:
    import ml_dtypes

    stored = np.zeros(4, ml_dtypes.float8_e4m3fn)
    quantized = Quantized("float8e4m3fn", np.float32(1e6), None, None, 0, "s", "", "float")
    value = ConstantValue("w", "float8e4m3fn", (4,), lambda: stored, 8, quantized)
    found = coarsest(np.ones(4, np.float32), value)
    assert found is not None
    assert found.share < 0.001


@pytest.mark.parametrize("scale", [np.nan, np.inf, 0.0])
def test_scales_that_are_defects_of_their_own_are_left_to_their_rule(scale: float) -> None:
    value = replace(
        coded(WEIGHT, rows(WEIGHT)),
        quantized=Quantized("int8", np.full(12, scale, np.float32), None, 0, 0, "s", "", "float"),
    )
    assert coarsest(WEIGHT, value) is None


def test_scales_that_do_not_fit_and_other_sizes_raise_nothing() -> None:
    value = coded(WEIGHT, rows(WEIGHT))
    odd = replace(value, quantized=replace(value.quantized, scale=np.ones(7, np.float32)))
    assert coarsest(WEIGHT, odd) is None
    assert coarsest(WEIGHT[:3], value) is None
