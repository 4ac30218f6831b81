"""Codes, scales and reference of one tensor side by side in the file's own layout.

Codes lie in order there and scales keep their structure, so that any piece is cut without the rest.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from qgate.quant.blocks import Piece, Spread, laid
from qgate.quant.constants import Array, ConstantValue, code_range

_HALF_ULP = {"float16": (2.0**-11, 2.0**-25), "bfloat16": (2.0**-8, 2.0**-134)}
MARGIN = 1e-4
FLOAT32 = 4 * 2.0**-23
FOLDED = 16 * 2.0**-23
SAMPLED = 1 << 20
"""Elements of which single values are kept."""
_SHORT_ERROR = 2.0**-22
_LARGEST_SHORT = 2.0**17
_ORDINARY = (2.0**-100, 2.0**100)


def half_ulp(scale: Array, dtype: str) -> Array:
    """Half an ulp of a scale's storage type, relative to the scale: quantizers round with it as it was before.

    Args:
        scale: Scales, not zero.
        dtype: Their storage type; single precision and wider are exact.
    """
    normal, subnormal = _HALF_ULP.get(dtype, (0.0, 0.0))
    return np.asarray(np.maximum(normal, subnormal / np.abs(scale)))


class Layout:
    """One quantized tensor beside its reference.

    Args:
        reference: Float values in the candidate's layout, of the candidate's size.
        candidate: The quantized constant.
        short: Let float32 tell the codes that are the nearest beyond doubt.
        slack: Relative uncertainty of the reference.

    Raises:
        ValueError: It is not quantized, or its scale does not fit its codes.
    """

    def __init__(
        self, reference: Array, candidate: ConstantValue, *, short: bool, slack: float = 0.0
    ) -> None:
        quantized = candidate.quantized
        if quantized is None:
            raise ValueError(f"{candidate.name} is not quantized")
        # As plain arrays: every step on a memory map runs Python of its own, piece by piece.
        self.codes = np.asarray(candidate.stored())
        shape = self.codes.shape
        self.reference = np.asarray(candidate.as_stored(reference, shape))
        scale = quantized.scale.astype(np.float64)
        self.factor: Spread | None = None
        if isinstance(candidate.factor, np.ndarray) and candidate.factor.size > 1:
            wide = np.broadcast_to(candidate.factor.astype(np.float64), candidate.shape)
            self.factor = Spread(candidate.as_stored(wide, shape))
        elif candidate.factor is not None:
            scale = scale * float(np.asarray(candidate.factor).reshape(-1)[0])
        self.scale = laid(candidate, scale, shape)
        self._short_scale = replace(self.scale, values=self.scale.values.astype(np.float32))
        with np.errstate(all="ignore"):
            self._inverse = replace(self.scale, values=(1.0 / self.scale.values).astype(np.float32))
        zero = quantized.zero_point
        # Zero points of up to sixteen bits are exact in float32.
        exact = np.float64 if candidate.bits > 16 else np.float32
        self.zero = None if zero is None else laid(candidate, zero.astype(exact), shape)
        if self.zero is not None and not self.zero.values.any():
            self.zero = None
        bounds = code_range(candidate.dtype, self.codes)
        self.greatest = float(bounds[1])
        self.least = self._least_used(*bounds)
        folded = FOLDED if candidate.factor is not None else 0.0
        self.scale_dtype = quantized.scale_dtype
        self.relative, self.slack = max(FLOAT32, folded), slack
        self.stride = max(1, self.codes.size // SAMPLED) | 1
        self.limit = self._limit(bounds) if short else -1.0

    def _least_used(self, least: int, greatest: int) -> float:
        """The lower end of the code range in use: symmetric quantizers leave the least code out."""
        middle = (least + greatest + 1) // 2
        symmetric = bool(np.all(self.zero.values == middle)) if self.zero is not None else middle == 0
        return (
            float(least + 1) if symmetric and self.codes.size and self.codes.min() > least else float(least)
        )

    def _limit(self, bounds: tuple[int, int]) -> float:
        """Up to this float32 distance a code is the nearest; below zero where float32 cannot tell."""
        zero = 0.0 if self.zero is None else float(np.max(np.abs(self.zero.values)))
        largest = max(abs(bounds[0]), abs(bounds[1])) + zero + 1
        scale = np.abs(self.scale.values)
        ordinary = bool(np.all((scale > _ORDINARY[0]) & (scale < _ORDINARY[1])))
        if self.factor is not None or not ordinary or not largest <= _LARGEST_SHORT:
            return -1.0
        return 0.5 + MARGIN - largest * _SHORT_ERROR

    def steps(self, piece: Piece) -> Array:
        """Scales of a piece in float64."""
        scale = self.scale.cut(piece)
        return scale if self.factor is None else scale * self.factor.cut(piece)

    def short_steps(self, piece: Piece) -> Array:
        """Scales of a piece in float32."""
        return self._short_scale.cut(piece) if self.factor is None else self.steps(piece).astype(np.float32)

    def inverses(self, piece: Piece) -> Array:
        """One over each scale of a piece, rounded to float32 but once."""
        return (
            self._inverse.cut(piece) if self.factor is None else (1.0 / self.steps(piece)).astype(np.float32)
        )

    def offsets(self, piece: Piece) -> Array | None:
        """Zero points of a piece; None where all are zero."""
        return None if self.zero is None else self.zero.cut(piece)

    def quotients(self, piece: Piece, weights: Array) -> Array:
        """w/s + z in float64."""
        offset = self.offsets(piece)
        return np.asarray(
            weights / self.steps(piece) + (0.0 if offset is None else offset.astype(np.float64))
        )
