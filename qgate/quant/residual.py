"""Codes against the exact quotient as whole arrays, for the few tensors that need a closer look."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qgate.quant.constants import INTEGER_RANGES, Array, ConstantValue, code_range
from qgate.quant.side_by_side import FLOAT32, FOLDED, MARGIN, half_ulp


@dataclass(frozen=True)
class Residual:
    """Codes against the exact quotient, in float64 and the constant's layout.

    Args:
        quotient: w / s + z, unclipped.
        codes: Stored codes.
        slack: Uncertainty of the quotient, in steps.
        least: Least code of the type; ``greatest`` likewise.
    """

    quotient: Array
    codes: Array
    slack: Array
    least: float
    greatest: float

    def distance(self) -> Array:
        """Code minus clipped quotient, in steps."""
        return np.asarray(self.codes - np.clip(self.quotient, self.least, self.greatest))

    def outside(self, reach: float) -> Array:
        """Codes further than ``reach`` steps from the quotient, saturation allowed for."""
        low = np.clip(np.ceil(self.quotient - reach - self.slack), self.least, self.greatest)
        high = np.clip(np.floor(self.quotient + reach + self.slack), self.least, self.greatest)
        return (self.codes < low) | (self.codes > high)


def residual(reference: Array, candidate: ConstantValue, *, ratio: Array | None = None) -> Residual | None:
    """The residual of a quantized constant against a reference of the same shape.

    Args:
        reference: Float values, any shape that the candidate's equals.
        candidate: The quantized constant.
        ratio: Multiplies the reference first (equalisation), broadcasts against it.

    Returns:
        None where the scale is zero, not finite, or does not fit the codes.
    """
    quantized = candidate.quantized
    if quantized is None or candidate.dtype not in INTEGER_RANGES:
        return None
    try:
        scale, zero = candidate.scales(), candidate.zero_points()
    except ValueError:
        return None
    stored = candidate.codes()
    least, greatest = code_range(candidate.dtype, stored)
    codes = stored.astype(np.float64)
    target = reference.astype(np.float64)
    if ratio is not None:
        target = target * ratio
    with np.errstate(all="ignore"):
        # A scale of zero stands for zeros whatever the codes are; of anything else it is no rounding.
        quotient = np.where((scale == 0) & (target == 0), codes, target / scale + zero)
        if not np.isfinite(quotient).all():
            return None
        folded = FOLDED if candidate.factor is not None else 0.0
        relative = np.maximum(max(FLOAT32, folded), half_ulp(scale, quantized.scale_dtype))
        slack = np.maximum(MARGIN, relative * np.abs(quotient - zero))
    return Residual(quotient, codes, slack, _least_used(codes, zero, least, greatest), float(greatest))


def _least_used(codes: Array, zero: Array, least: int, greatest: int) -> float:
    """The lower end of the code range in use: symmetric quantizers leave the least code out."""
    symmetric = bool(np.all(zero == (least + greatest + 1) // 2))
    return float(least + 1) if symmetric and codes.size and np.min(codes) > least else float(least)
