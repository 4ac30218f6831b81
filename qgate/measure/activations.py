"""Compares the reference's activations with the ranges that the candidate's quantizers can represent."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.stats.errors import blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 1 << 15
"""Elements read at a time: they stay in the second-level cache between the passes."""

SLACK = 1e-6
"""Share of the range by which a value may lie outside before it counts: the scale's own rounding."""

_LARGE = 1e15
"""Squares of larger float32 overflow in a sum, so blocks that hold such are widened first."""


@dataclass
class RangeUse:
    """How one tensor uses a range. Counts and extremes merge bit for bit, sums to rounding.

    Attributes:
        low: Smallest representable value; ``high`` the largest.
        elements: Finite elements seen.
        nonfinite: The others.
        outside: Finite elements outside the range.
        energy: Sum of squares; ``clipped_energy`` of what clipping takes away.
        minimum: Smallest finite value; ``maximum`` the largest.
    """

    low: float
    high: float
    elements: int = 0
    nonfinite: int = 0
    outside: int = 0
    energy: float = 0.0
    clipped_energy: float = 0.0
    minimum: float = math.inf
    maximum: float = -math.inf

    def add(self, values: NDArray[Any]) -> None:
        """Adds a tensor of any shape and real dtype."""
        flat = np.ascontiguousarray(values).reshape(-1)
        if flat.dtype != np.float32:
            flat = flat.astype(np.float64 if flat.dtype.itemsize > 4 else np.float32)
        slack = SLACK * (self.high - self.low)
        for block in blocks(flat, BLOCK):
            self._add_block(block, slack)

    def _add_block(self, block: NDArray[Any], slack: float) -> None:
        low, high = _extremes(block)
        if not (math.isfinite(low) and math.isfinite(high)):
            fine = np.isfinite(block)
            self.nonfinite += int(block.size - np.count_nonzero(fine))
            block = block[fine]
            if not block.size:
                return
            low, high = _extremes(block)
        self.elements += block.size
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
        if max(-low, high) > _LARGE:
            with np.errstate(over="ignore"):
                wide = block.astype(np.float64)
                self.energy += float(wide.dot(wide))
        else:
            self.energy += float(block.dot(block))
        if low < self.low - slack or high > self.high + slack:
            self._add_clipped(block, slack)

    def _add_clipped(self, block: NDArray[Any], slack: float) -> None:
        """Counts what lies outside and sums what clipping takes away: only those few are widened."""
        floor, ceiling = _inward(self.low, self.high, block.dtype)
        places = np.flatnonzero((block < floor) | (block > ceiling))
        exact = block[places].astype(np.float64)
        self.outside += int(np.count_nonzero((exact < self.low - slack) | (exact > self.high + slack)))
        with np.errstate(over="ignore"):
            lost = exact - np.clip(exact, self.low, self.high)
            self.clipped_energy += float(lost.dot(lost))

    def merge(self, other: RangeUse) -> None:
        """Adds what another accumulator of the same tensor saw."""
        self.elements += other.elements
        self.nonfinite += other.nonfinite
        self.outside += other.outside
        self.energy += other.energy
        self.clipped_energy += other.clipped_energy
        self.minimum, self.maximum = min(self.minimum, other.minimum), max(self.maximum, other.maximum)

    def state(self) -> dict[str, Any]:
        """What the parent is told; the range it knows itself."""
        return {name: value for name, value in asdict(self).items() if name not in {"low", "high"}}


def _extremes(block: NDArray[Any]) -> tuple[float, float]:
    return float(np.minimum.reduce(block)), float(np.maximum.reduce(block))


def _inward(low: float, high: float, dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """The range in the values' own type, rounded inward: no value outside the range passes for inside."""
    limit = float(np.finfo(dtype).max)
    floor, ceiling = (dtype.type(min(max(bound, -limit), limit)) for bound in (low, high))
    upper, lower = dtype.type(np.inf), dtype.type(-np.inf)
    return (
        np.nextafter(floor, upper) if float(floor) < low else floor,
        np.nextafter(ceiling, lower) if float(ceiling) > high else ceiling,
    )
