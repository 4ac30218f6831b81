"""Channel scales that activation-aware quantizers move between tensors, told from the codes and a vector alone.

AWQ (Lin et al. 2023, arXiv:2306.00978) and SmoothQuant (arXiv:2211.10438) multiply input channel j of a weight by
``s_j`` before they quantize it, and divide what comes before by the same: a normalisation's weight, or the rows of a
linear. A file without a graph says neither the scales nor who reads whom. What divided is known within the rounding
of its own type; every code ``q`` of the channel narrows it further, ``|w s / step + z - q| <= 1/2``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from qgate.quant.blocks import Piece, in_parallel
from qgate.quant.constants import INTEGER_RANGES, Array, ConstantValue, code_range, numbers
from qgate.quant.side_by_side import FLOAT32, MARGIN, half_ulp

CONTESTED = 0.05
"""Share of channels whose codes may disagree before it is no tampering but another tensor."""
OVERRULED = 0.01
"""Share of a channel's codes that must speak against a bound before the bound is what was changed."""
CHANGED = 1e-3
EXACT = 2.0**-22
"""Relative uncertainty of a reference that was scaled in single precision."""
_ROUNDS = 3
_TINY = 1e-30


class Member:
    """A quantized matrix and what it was rounded from, but for the scales looked for.

    Args:
        reference: Values in the constant's layout, inputs by outputs.
        candidate: The constant, two axes.
    """

    def __init__(self, reference: Array, candidate: ConstantValue) -> None:
        self.reference, self.candidate = reference, candidate
        self._known: dict[tuple[int, float], tuple[Array, Array]] = {}

    @cached_property
    def _stored(self) -> tuple[Array, Array, Array, float, float]:
        codes, zero = self.candidate.codes(), self.candidate.zero_points()
        least, greatest = code_range(self.candidate.dtype, codes)
        # Symmetric quantizers leave the least code out.
        symmetric = codes.size and not np.any(zero) and codes.min() > least
        return codes, zero, self.candidate.scales(), float(least + bool(symmetric)), float(greatest)

    def bounds(self, axis: int, slack: float) -> tuple[Array, Array] | None:
        """Least and greatest factor that all codes of each channel allow; None for what has no integer codes."""
        if self.candidate.quantized is None or self.candidate.dtype not in INTEGER_RANGES:
            return None
        if (axis, slack) not in self._known:
            parts = in_parallel(lambda piece: self._piece(piece, axis, slack), self.reference.shape)
            size = self.reference.shape[axis]
            least, most = np.full(size, -np.inf), np.full(size, np.inf)
            for where, low, high in parts:
                least[where], most[where] = np.maximum(least[where], low), np.minimum(most[where], high)
            self._known[axis, slack] = least, most
        return self._known[axis, slack]

    def _piece(self, piece: Piece, axis: int, slack: float) -> tuple[slice, Array, Array]:
        low, high = self.allowed(piece, slack)
        where = piece[axis] if axis < len(piece) else slice(None)
        return where, np.max(low, axis=1 - axis, initial=-np.inf), np.min(high, axis=1 - axis, initial=np.inf)

    def largest(self, axis: int) -> Array:
        """Largest distance of each channel's codes from the zero point, in steps."""
        codes, zero = self._stored[:2]
        distance = np.abs(codes.astype(np.float32) - zero.astype(np.float32))
        return np.asarray(np.max(distance, axis=1 - axis, initial=0.0), np.float64)

    def torn_by(self, slack: float) -> float:
        """About how many codes stay in conflict with all others where the reference was rounded by ``slack``.

        A relative error that is uniform up to ``slack`` moves ``|q - z| slack / 4`` of the codes or more. What it moved
        the channel's scale makes good, unless another of its codes lies as near to its other end.
        """
        codes, zero = self._stored[:2]
        distance = np.abs(codes.astype(np.float32) - zero.astype(np.float32))
        mean, rows = float(np.mean(distance, dtype=np.float64)), self.reference.shape[1]
        return float(distance.size * mean * slack / 4 * min(1.0, rows * mean * slack / 2))

    def allowed(self, piece: tuple[Any, ...], slack: float) -> tuple[Array, Array]:
        """Least and greatest factor that each code of a piece allows."""
        whole = self._stored
        codes, zero, steps = (values[piece].astype(np.float64) for values in whole[:3])
        reference = self.reference[piece].astype(np.float64)
        dtype = self.candidate.quantized.scale_dtype if self.candidate.quantized is not None else ""
        with np.errstate(all="ignore"):
            distance = codes - zero
            relative = np.maximum(FLOAT32, half_ulp(steps, dtype)) + slack
            reach = 0.5 + 0.99 * np.maximum(MARGIN, relative * np.maximum(np.abs(distance) - 0.5, 0.0))
            unit = steps / reference
            # A code at an end of the range says only that the value lies there or further out.
            one = np.where(codes <= whole[3], -np.inf, distance - reach) * unit
            two = np.where(codes >= whole[4], np.inf, distance + reach) * unit
        silent = ~np.isfinite(unit) | (steps <= 0) | (reference == 0)
        low = np.where(silent, -np.inf, np.minimum(one, two))
        return low, np.where(silent, np.inf, np.maximum(one, two))


@dataclass(frozen=True)
class Fit:
    """Scales by channel.

    Args:
        scale: One positive factor for each channel.
        low: The least that the codes allow, within the bounds unless most codes speak against those.
        high: The greatest.
    """

    scale: Array
    low: Array
    high: Array

    @property
    def error(self) -> Array:
        """Relative half width of each channel's interval; infinite where it is open."""
        with np.errstate(all="ignore"):
            wide = (self.high - self.low) / (2 * self.scale)
        return np.where((self.low > 0) & np.isfinite(wide), wide, np.inf)


def type_error(ours: str, theirs: str) -> float:
    """Relative rounding error of normal numbers of a type, one rounding more where another type was read."""
    return float(storage_error(ours, theirs, np.ones(1))[0])


def storage_error(ours: str, theirs: str, values: Array) -> Array:
    """Relative rounding error of each value: of subnormal ones it is larger, of what tells nothing infinite."""
    with np.errstate(all="ignore"):
        half = np.maximum(half_ulp(numbers(values), theirs), 2.0**-24)
        half = np.where(np.isfinite(values) & (values != 0), half, np.inf)
    return np.asarray((1 if ours == theirs else 2) * half + 2.0**-22)


def outline(reference: Array, values: Array) -> tuple[Array, Array]:
    """Factors of inputs and of outputs that bring a matrix closest to another, by alternating least squares.

    Returns:
        One for each input and one for each output, the latter around one; one where nothing tells.
    """
    ours = np.nan_to_num(reference.astype(np.float64))
    square, product = np.square(ours), ours * np.nan_to_num(values.astype(np.float64))
    outputs = np.ones(ours.shape[1])
    with np.errstate(all="ignore"):
        for _ in range(_ROUNDS):
            inputs = np.nan_to_num((product @ outputs) / (square @ np.square(outputs)), nan=1.0)
            outputs = np.nan_to_num((inputs @ product) / (np.square(inputs) @ square), nan=1.0)
            outputs = np.nan_to_num(outputs / np.median(outputs), nan=1.0)
    return inputs, outputs


def unlikeness(found: Array, wanted: Array) -> float:
    """Mean distance of two rows of factors, one common factor aside; infinite where they are not alike.

    Alike means that ``wanted`` explains, of the channels that it changes, more than half of what ``found`` differs
    by, as a median: a changed element, or a few, decide nothing.
    """
    with np.errstate(all="ignore"):
        one, two = np.log(found), np.log(wanted)
    known = np.isfinite(one) & np.isfinite(two)
    if not known.any():
        return float("inf")
    changed = known & (np.abs(two - np.median(two[known])) > CHANGED)
    if not changed.any():
        return float("inf")
    apart = np.abs(one - two - np.median((one - two)[known]))
    before = np.abs(one - np.median(one[known]))
    if not float(np.median(apart[changed])) < 0.5 * float(np.median(before[changed])):
        return float("inf")
    return float(np.mean(np.minimum(apart[known], 1.0)))


def fit(
    members: Sequence[Member],
    axis: int,
    low: Array,
    high: Array,
    slack: float,
    *,
    contested: float = CONTESTED,
) -> Fit | None:
    """The scales that make every code of all members a nearest rounding.

    The intervals that the codes of a channel allow are intersected with the bounds. Where they have nothing in
    common, most of them decide: either a few codes were changed, or what the bounds were read from.

    Args:
        members: Matrices that share the scales.
        axis: The channels' axis of each.
        low: Lower bound of each channel's scale; ``high`` the upper.
        slack: Relative uncertainty of the references.
        contested: Share of the channels whose codes may disagree, or two of them.

    Returns:
        None where codes cannot be compared, or where too many channels have no scale in common.
    """
    least, most = np.maximum(low, 0.0), high.copy()
    for member in members:
        bounds = member.bounds(axis, slack)
        if bounds is None:
            return None
        least, most = np.maximum(least, bounds[0]), np.minimum(most, bounds[1])
    torn = np.flatnonzero(~(least <= most))
    if torn.size > max(2, contested * least.size):
        return None
    if torn.size:
        votes = [member.allowed(_at(torn, axis), slack) for member in members]
        for place, channel in enumerate(torn):
            least[channel], most[channel] = _decided(
                [tuple(np.take(bound, place, axis=axis) for bound in vote) for vote in votes],
                max(float(low[channel]), 0.0),
                float(high[channel]),
            )
    return Fit(_middle(least, most), least, most)


def _decided(votes: Sequence[tuple[Array, ...]], low: float, high: float) -> tuple[float, float]:
    """What most codes of a channel allow: outside of the bounds only where most members speak against these."""
    against = 0
    for lows, highs in votes:
        lost = _most(lows, highs, 0.0, np.inf)[0] - _most(lows, highs, low, high)[0]
        against += lost > max(1.0, OVERRULED * lows.size)
    lows, highs = (np.concatenate(bound) for bound in zip(*votes, strict=True))
    return _most(lows, highs, *((0.0, np.inf) if 2 * against > len(votes) else (low, high)))[1:]


def _middle(least: Array, most: Array) -> Array:
    """Midpoints; of a channel that nothing bounds from above its lower end, and one where nothing tells."""
    with np.errstate(invalid="ignore"):
        middle = np.where(np.isfinite(most), (least + most) / 2, least)
    return np.where(middle > _TINY, middle, 1.0)


def _at(channels: Array, axis: int) -> tuple[Any, ...]:
    return (channels,) if axis == 0 else (slice(None), channels)


def _most(lows: Array, highs: Array, bottom: float, top: float) -> tuple[int, float, float]:
    """How many intervals share a point between bottom and top, and from where to where."""
    inside = lows[(lows > bottom) & (lows <= top)]
    points = np.unique(np.concatenate([[bottom], inside]))
    ordered, ends = np.sort(lows), np.sort(highs)
    depth = np.searchsorted(ordered, points, "right") - np.searchsorted(ends, points, "left")
    best = int(np.argmax(depth))
    point = float(points[best])
    following = ends[ends >= point]
    end = min(top, float(following[0]) if following.size else top)
    return int(depth[best]), point, end
