"""Codes, scales and zero points of every granularity, in the file's layout and in any other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qgate.quant.blocks import laid
from qgate.quant.constants import ConstantValue, View, computed, transposed
from tests.quant.codes import coded, floats, quantized

CODES = np.arange(24).reshape(4, 6)


@settings(max_examples=80, derandomize=True, deadline=None)
@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple),
    st.data(),
    st.sampled_from(["tensor", "channel", "block", "full"]),
)
def test_the_scale_of_every_element_is_the_one_of_its_channel_or_block(shape, data, layout):
    rng = np.random.default_rng(0)
    codes = rng.integers(-99, 99, shape)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    block = data.draw(st.integers(1, 4)) if layout == "block" else 0
    size = list(shape)
    size[axis] = -(-size[axis] // block) if block else size[axis]
    wanted_shape = {"tensor": (1,), "channel": (shape[axis],), "full": (1,) * len(shape)}.get(
        layout, tuple(size)
    )
    scale, zero = rng.random(wanted_shape).astype(np.float32), rng.integers(-9, 9, wanted_shape)
    value = coded(codes, scale, zero, axis=axis if layout in ("channel", "block") else None, block=block)
    scales, zeros = np.broadcast_to(value.scales(), shape), np.broadcast_to(value.zero_points(), shape)
    for index in np.ndindex(shape):
        at = list(index)
        at[axis] = at[axis] // block if block else at[axis]
        own = {"tensor": (0,), "channel": (index[axis],), "full": (0,) * len(shape)}.get(layout, tuple(at))
        if scale.size == 1:
            own = (0,) * scale.ndim
        assert scales[index] == scale[own]
        assert zeros[index] == zero[own]
    expected = (codes - zeros) * scales
    np.testing.assert_allclose(value.values(), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("scale", "axis", "block"),
    [(np.ones(5), 0, 0), (np.ones(5), 1, 0), (np.ones((3, 6)), 0, 2), (np.ones((1, 2)), 0, 4), (np.ones(24), 0, 0),
     (np.ones((2, 6)), 0, -2), (np.ones((2, 2, 2)), 0, 2)],
)  # fmt: skip
def test_scales_that_do_not_fit_are_told_and_stand_for_nothing(scale, axis, block):
    value = coded(CODES, scale, axis=axis, block=block)
    assert "do not fit" in value.misfit()
    assert value.scales().shape == value.values().shape == value.shape
    assert np.isnan(value.values()).all()
    with pytest.raises(ValueError, match="do not fit"):
        laid(value, scale, value.shape)


def test_text_stands_for_no_number():
    words = ConstantValue("words", "string", (2,), lambda: np.array(["1", "2"], object), 8)
    assert np.isnan(words.values()).all()
    assert coded(CODES, np.float32(1)).misfit() == ""
    assert words.misfit() == ""


def test_a_block_size_beyond_the_axis_asks_for_no_memory():
    value = coded(CODES, np.ones((1, 6), np.float32), axis=0, block=2**40)
    assert value.values().shape == (4, 6)


def test_an_element_is_named_in_the_files_own_layout():
    value = coded(CODES, np.float32(1)).viewed(View(perm=(1, 0)), (6, 4)).viewed(View(shape=(3, 8)), (3, 8))
    flat = value.codes().reshape(-1)
    for position in range(24):
        assert CODES[value.stored_index(position)] == flat[position]
    assert coded(np.array(3), np.float32(1)).stored_index(0) == ()


@settings(max_examples=40, derandomize=True, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(["tensor", "channel", "block"]), st.booleans())
def test_layout_and_factor_commute(seed, layout, late):
    weight = np.random.default_rng(seed).standard_normal((6, 8)).astype(np.float32)
    value, factor = quantized(weight, "int8", layout), np.linspace(0.5, 2, 6).reshape(6, 1)
    turned = transposed(value).times(factor.T) if late else transposed(value.times(factor))
    np.testing.assert_allclose(turned.values(), (value.values() * factor).T, rtol=1e-5)
    np.testing.assert_allclose(turned.times(2.0).values(), turned.values() * 2, rtol=1e-6)


def test_stacks_are_transposed_matrix_by_matrix():
    value = transposed(floats(np.arange(24).reshape(2, 3, 4)))
    assert value.shape == (2, 4, 3)
    assert np.array_equal(value.values(), np.arange(24).reshape(2, 3, 4).transpose(0, 2, 1))


def test_what_is_not_quantized_has_no_scale():
    with pytest.raises(ValueError, match="not quantized"):
        floats(np.ones(3)).scales()


@pytest.mark.parametrize(
    ("dtype", "name"), [("f4", "float"), ("f8", "double"), ("f2", "float16"), ("i8", "int64"), ("?", "bool")]
)
def test_a_folded_constant_keeps_its_type(dtype, name):
    value = computed("k", np.ones((2, 3), dtype))
    assert (value.dtype, value.size, value.bits) == (name, 6, np.dtype(dtype).itemsize * 8)


def test_halves_are_multiplied_in_single_precision():
    value = floats(np.full(3, 60000, np.float16), "float16").times(10.0)
    assert value.values().tolist() == [600000.0] * 3
