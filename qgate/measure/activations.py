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
        low, high = float(block.min()), float(block.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            fine = np.isfinite(block)
            self.nonfinite += int(block.size - np.count_nonzero(fine))
            block = block[fine]
            if not block.size:
                return
            low, high = float(block.min()), float(block.max())
        self.elements += block.size
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
        with np.errstate(over="ignore"):
            # Squares of large float32 overflow, so those few blocks are widened first.
            wide = block.astype(np.float64) if max(-low, high) > 1e15 else block
            self.energy += float(np.dot(wide, wide))
        if low < self.low - slack or high > self.high + slack:
            exact = block.astype(np.float64)
            self.outside += int(np.count_nonzero((exact < self.low - slack) | (exact > self.high + slack)))
            lost = exact - np.clip(exact, self.low, self.high)
            self.clipped_energy += float(np.dot(lost, lost))

    def merge(self, other: RangeUse) -> None:
        """Adds what another accumulator of the same tensor saw."""
        for name in ("elements", "nonfinite", "outside", "energy", "clipped_energy"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.minimum, self.maximum = min(self.minimum, other.minimum), max(self.maximum, other.maximum)

    def state(self) -> dict[str, Any]:
        """What the parent is told; the range it knows itself."""
        return {name: value for name, value in asdict(self).items() if name not in {"low", "high"}}
