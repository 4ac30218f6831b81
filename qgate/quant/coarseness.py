"""Scales that are far coarser than what they scale.

Codes may follow from the reference to the last element and still stand for nothing: with a step as wide as the
largest value every code is 0 or 1, and nearest rounding is what made it so.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np

from qgate.quant.constants import INTEGER_RANGES, Array, ConstantValue, Quantized, numbers

RECORDED = 0.5
"""Shares of the codes above which a scale is of no interest."""
NEGLIGIBLE = 1e-3
"""Of a tensor's largest value: channels below may have any step, as those that ONNX Runtime widens for their biases."""
NATURAL = 16.0
"""Multiple of input step times weight step up to which a bias's own rounding is far below its layer's."""
_REPLICATED = 0.25
_WIDE_AS = 127.0
_FLOAT8_NORMAL = 2.0**-6


@dataclass(frozen=True)
class CoarseScale:
    """The coarsest scale of a tensor.

    Args:
        index: Where it is in the scale's own tensor.
        share: Largest value of the reference that it scales over half the range of the codes, in steps.
        scale: The scale.
        largest: That largest value.
        count: Scales of the tensor with a share below ``RECORDED``.
    """

    index: tuple[int, ...]
    share: float
    scale: float
    largest: float
    count: int


def coarsest(reference: Array, value: ConstantValue, natural: Array | None = None) -> CoarseScale | None:
    """The coarsest scale of a constant, or None where each uses enough of the codes.

    Args:
        reference: Float values in the constant's layout.
        value: The quantized constant.
        natural: Input step times weight step of a bias, of a shape that broadcasts against its scales.
    """
    quantized = value.quantized
    if quantized is None or value.size != reference.size or value.size == 0:
        return None
    half = _half(quantized.dtype)
    steps = np.abs(numbers(quantized.scale))
    # An infinite or zero scale is a defect of its own; where scales do not fit, so is that.
    if (
        half is None
        or not steps.size
        or not np.isfinite(steps).all()
        or not (steps > 0).all()
        or value.misfit()
    ):
        return None
    peaks = _merged(_peaks(value.stored(), quantized), steps)
    suspects = peaks < RECORDED * half
    if natural is not None:
        with contextlib.suppress(ValueError):
            suspects &= steps > NATURAL * np.broadcast_to(natural, steps.shape)
    if not suspects.any():
        return None
    wanted = reference.astype(np.float64)
    if value.factor is not None:
        with np.errstate(all="ignore"):
            wanted = np.where(value.factor == 0, 0.0, wanted / value.factor)
    stored = value.as_stored(wanted.reshape(value.shape), value.stored().shape)
    largest = _merged(_reduced(np.maximum, np.abs(stored), quantized), steps)
    suspects &= largest > NEGLIGIBLE * float(np.max(largest))
    share = np.where(suspects, largest / (steps * half), np.inf)
    if not np.isfinite(share).any() or not float(np.min(share)) < RECORDED:
        return None
    at = int(np.argmin(share))
    return CoarseScale(
        tuple(int(i) for i in np.unravel_index(at, steps.shape)) if steps.ndim else (),
        float(share.flat[at]),
        float(steps.flat[at]),
        float(largest.flat[at]),
        int(np.count_nonzero(share < RECORDED)),
    )


def _half(dtype: str) -> float | None:
    """Codes from the middle of a type to its end; 32 bits, which no value fills, count as eight."""
    if dtype.startswith("float8"):
        return _FLOAT8_NORMAL
    if dtype not in INTEGER_RANGES:
        return None
    least, greatest = INTEGER_RANGES[dtype]
    return min((greatest - least) / 2, _WIDE_AS) if dtype == "int32" else (greatest - least) / 2


def _peaks(stored: Array, quantized: Quantized) -> Array:
    """Farthest code from the zero point under each scale, of the scale's shape."""
    codes = stored if stored.dtype.kind in "iu" else numbers(stored)
    zero = np.zeros(1) if quantized.zero_point is None else numbers(quantized.zero_point)
    zero = zero.reshape(quantized.scale.shape) if zero.size == quantized.scale.size else zero.reshape(-1)[:1]
    high = numbers(_reduced(np.maximum, codes, quantized)) - zero
    low = numbers(_reduced(np.minimum, codes, quantized)) - zero
    return np.maximum(np.abs(high), np.abs(low)).reshape(quantized.scale.shape)


def _reduced(by: np.ufunc, values: Array, quantized: Quantized) -> Array:
    """Values under each scale reduced to one, of the scale's shape."""
    scale, shape = quantized.scale, values.shape
    if scale.size == 1:
        return np.asarray(by.reduce(values, axis=None)).reshape(scale.shape)
    if quantized.block:
        axis = (quantized.axis or 0) % len(shape)
        starts = np.arange(0, shape[axis], min(quantized.block, shape[axis]))
        return np.asarray(by.reduceat(values, starts, axis=axis)).reshape(scale.shape)
    if scale.ndim == len(shape):
        axes = tuple(i for i, n in enumerate(scale.shape) if n == 1)
        return np.asarray(by.reduce(values, axis=axes, keepdims=True)) if axes else values
    kept = quantized.channel_axis(scale.size, shape)
    return np.asarray(by.reduce(values, axis=tuple(i for i in range(len(shape)) if i != kept))).reshape(
        scale.shape
    )


def _merged(values: Array, steps: Array) -> Array:
    """Where one step was written down for many channels, the greatest of the values that share it."""
    different, which = np.unique(steps.reshape(-1), return_inverse=True)
    if different.size > _REPLICATED * steps.size:
        return values
    most = np.zeros(different.size)
    np.maximum.at(most, which.reshape(-1), values.reshape(-1))
    return most[which.reshape(-1)].reshape(steps.shape)
