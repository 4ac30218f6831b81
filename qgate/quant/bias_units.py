"""The unit of a bias's codes: kernels add them to the sums of products, whatever scale the file gives them."""

from __future__ import annotations

import numpy as np

from qgate.quant.constants import Array

TOLERANCE = 1e-6
"""Relative difference: float32's rounding of the product (6e-8), and what LiteRT's older kernels demanded themselves."""


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
    one, two = np.broadcast_arrays(one, two)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # A product below float32's numbers is no unit that a bias could be large in.
        agrees = np.abs(one - two) <= TOLERANCE * np.abs(two) + np.finfo(np.float32).tiny
        agrees &= np.isfinite(one) & np.isfinite(two)
        ratio = one / two
        # Another sign, and what is no number, are as far off as can be.
        away = np.where(ratio > 0, np.abs(np.log(ratio)), np.inf)
    if np.all(agrees):
        return None
    worst = int(np.argmax(np.where(agrees, -1.0, away)))
    return worst, float(ratio[worst])
