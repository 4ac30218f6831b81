"""Factors of single channels, from what their codes, their bias and their readers allow."""

from __future__ import annotations

import numpy as np

from qgate.quant.alignment import ConstantPair
from qgate.quant.constants import INTEGER_RANGES, Array, ConstantValue
from qgate.quant.floatgraph import FloatNode
from qgate.quant.residual import residual


def fit_channels(
    reference: Array, candidate: ConstantValue, axis: int, slack: float = 0.0
) -> tuple[Array, Array] | None:
    """The factor of each output channel that makes every code a nearest rounding.

    For a code q of weight w with step s, the factor g must satisfy |g w / s + z - q| <= 1/2; saturated
    codes bound it on one side. The intervals of a channel's codes are intersected.

    Returns:
        Midpoints and relative half-widths by channel, or None where some channel has no common factor.
    """
    held = residual(reference, candidate)
    if held is None:
        return None if candidate.is_quantized else _fit_floats(reference, candidate, axis)
    lead = np.moveaxis(reference, axis, 0).reshape(reference.shape[axis], -1)
    codes = np.moveaxis(held.codes, axis, 0).reshape(lead.shape)
    scale = np.moveaxis(candidate.scales(), axis, 0).reshape(lead.shape)
    zero = np.moveaxis(candidate.zero_points(), axis, 0).reshape(lead.shape)
    reach = 0.5 + 1e-4 + (slack + 2.0**-20) * np.abs(codes - zero)
    with np.errstate(all="ignore"):
        low, high = (codes - zero - reach) * scale / lead, (codes - zero + reach) * scale / lead
        low, high = np.minimum(low, high), np.maximum(low, high)
        # A saturated code says only that the factor is at least so large.
        high = np.where((codes <= held.least) | (codes >= held.greatest), np.inf, high)
        low = np.where(lead == 0, -np.inf, low)
        high = np.where(lead == 0, np.inf, high)
    least, most = np.max(low, axis=1), np.min(high, axis=1)
    silent = ~np.any(lead != 0, axis=1)
    if (~silent & ~np.any(codes != zero, axis=1)).any():
        # A channel whose codes are all zero was not scaled but erased.
        return None
    least[silent] = most[silent] = 1.0
    open_ended = ~np.isfinite(most)
    most[open_ended] = least[open_ended]
    if not (np.isfinite(least) & (least <= most * (1 + 1e-6)) & (most > 0)).all():
        return None
    middle = (np.maximum(least, 0) + most) / 2
    return middle, (most - np.maximum(least, 0)) / (2 * np.maximum(middle, 1e-300)) + 1e-6


def _fit_floats(reference: Array, candidate: ConstantValue, axis: int) -> tuple[Array, Array] | None:
    """The factor of each output channel of float weights: the least-squares one, if it explains all of them."""
    lead = np.moveaxis(reference, axis, 0).reshape(reference.shape[axis], -1)
    with np.errstate(all="ignore"):
        values = np.moveaxis(candidate.values().astype(np.float64), axis, 0).reshape(lead.shape)
        if not np.isfinite(values).all():
            return None
        factor = np.nan_to_num(np.sum(values * lead, axis=1) / np.sum(lead * lead, axis=1), nan=1.0)
    precision = 2e-3 if candidate.bits < 32 else 1e-5
    off = (
        np.abs(values - factor[:, None] * lead)
        > precision * np.max(np.abs(values), axis=1, keepdims=True) + 1e-30
    )
    if off.any() or not (factor > 0).all():
        return None
    return factor, np.full(factor.shape, precision)


def input_factor(factor: Array, weight: ConstantValue, node: FloatNode) -> Array | None:
    """The factor spread over a weight's input axis."""
    channels = factor.size
    if node.op == "MatMul":
        wide = weight.shape[0]
        if len(weight.shape) != 2 or wide % channels:
            return None
        return np.repeat(factor, wide // channels).reshape(-1, 1)
    group = int(node.attributes.get("group", 1))
    out, per_group = weight.shape[0], weight.shape[1]
    if per_group * group != channels or out % group:
        return None
    by_group = factor.reshape(group, per_group)
    spread = np.repeat(by_group, out // group, axis=0)
    return spread.reshape(out, per_group, *(1,) * (len(weight.shape) - 2))


def agree_with_bias(factor: Array, uncertain: Array, pair: ConstantPair) -> tuple[Array, Array] | None:
    """Sharpens the factors by the bias, which must have been multiplied by the same."""
    reference = pair.reference.values().astype(np.float64).reshape(-1)
    candidate = pair.candidate.values().astype(np.float64).reshape(-1)
    if reference.size != factor.size or candidate.size != factor.size:
        return None
    step = np.zeros(factor.size)
    if pair.candidate.is_quantized and pair.candidate.dtype in INTEGER_RANGES:
        step = np.broadcast_to(np.abs(pair.candidate.scales().reshape(-1)), factor.shape)
    wrong = (
        np.abs(candidate - factor * reference) > (uncertain + 1e-3) * np.abs(factor * reference) + 0.51 * step
    )
    if wrong.any():
        return None
    telling = np.abs(reference * factor) > 200 * step + 1e-9
    with np.errstate(all="ignore"):
        sharp = np.where(telling, candidate / reference, factor)
        width = np.where(telling, 2 * step / np.abs(reference * factor) + 5e-4, uncertain)
    return sharp, np.minimum(width, uncertain)
