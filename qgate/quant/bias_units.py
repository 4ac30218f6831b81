"""The unit of a bias's codes: kernels add them to the sums of products, whatever scale the file gives them."""

from __future__ import annotations

import numpy as np

from qgate.quant.constants import Array

TOLERANCE = 1e-6
"""Departures up to which a scale is its unit: what float32 rounds of three scales and their product (2e-7), and what LiteRT's
older kernels demanded themselves."""


def departures(stated: Array, unit: Array, left_open: Array | float = 0.0) -> Array:
    """How far scales are from the units that codes are read in: ``|unit / stated - 1|``, the part of a bias that is added and
    that the file does not state.

    Nothing is large in steps that are no normal numbers of float32, whose own rounding is coarse there: two that differ by
    no more than the least of these do not depart.

    Args:
        stated: Scales of a bias, one or one for each output channel.
        unit: The product of input's and weight's scale, likewise.
        left_open: What the storage type of ``stated`` rounds away, relative to it.

    Returns:
        Of the shape that both broadcast to, float64; infinite of what is no number.
    """
    one, two = stated.astype(np.float64), unit.astype(np.float64)
    with np.errstate(all="ignore"):
        off = np.abs(two / one - 1) - left_open
        off = np.where(np.abs(two - one) <= np.finfo(np.float32).tiny, 0.0, off)
    return np.where(np.isnan(off), np.inf, off)


def off_unit(bias: Array, step: Array, weight: Array) -> tuple[int, float] | None:
    """Where a bias's scale is not the product of the input's and the weight's, which is the unit that integer kernels read
    its codes in (LiteRT's 8-bit quantization specification: ``scale = input0_scale * input1_scale[...]``).

    Args:
        bias: Scales of the bias, one or one for each output channel.
        step: The scale of the layer's input, one element.
        weight: Scales of the weight, one or one for each output channel.

    Returns:
        The channel that is farthest off, and how many times too large its scale is (NaN of what is no number); None where
        all of them agree. Where the numbers of channels differ it is the first, off by NaN.
    """
    if step.size != 1:
        return 0, float("nan")
    one = bias.astype(np.float64).reshape(-1)
    two = weight.astype(np.float64).reshape(-1) * float(step.reshape(-1)[0])
    if not one.size or not two.size or (one.size != two.size and 1 not in (one.size, two.size)):
        return 0, float("nan")
    off = departures(one, two)
    worst = int(np.argmax(off))
    if off[worst] <= TOLERANCE:
        return None
    with np.errstate(all="ignore"):
        return worst, float(one[min(worst, one.size - 1)] / two[min(worst, two.size - 1)])
