"""Mergeable records: counts of right and wrong of two models on the same samples, and one value a sample."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass
class PairedCounts:
    """How often each of two models is right, on the same samples.

    Attributes:
        n: Samples.
        reference: Samples that the reference gets right; ``candidate`` likewise.
        lost: Samples that only the reference gets right; ``gained`` only the candidate.
    """

    n: int = 0
    reference: int = 0
    candidate: int = 0
    lost: int = 0
    gained: int = 0

    def add(self, reference: NDArray[np.bool_], candidate: NDArray[np.bool_]) -> None:
        """Adds a batch of outcomes, both [samples]."""
        self.n += len(reference)
        self.reference += int(np.count_nonzero(reference))
        self.candidate += int(np.count_nonzero(candidate))
        self.lost += int(np.count_nonzero(reference & ~candidate))
        self.gained += int(np.count_nonzero(candidate & ~reference))

    def merge(self, other: PairedCounts) -> None:
        """Adds what another accumulator saw."""
        self.n += other.n
        self.reference += other.reference
        self.candidate += other.candidate
        self.lost += other.lost
        self.gained += other.gained


@dataclass
class Values:
    """One float64 a sample, kept whole, for exact quantiles; eight bytes a sample."""

    parts: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, values: NDArray[Any]) -> None:
        """Adds a batch, [samples], without NaN."""
        self.parts.append(np.asarray(values, dtype=np.float64))

    def merge(self, other: Values) -> None:
        """Adds what another accumulator saw."""
        self.parts.extend(other.parts)

    def quantiles(self, *levels: float) -> list[float]:
        """Quantiles with linear interpolation; the order of the parts does not matter.

        Raises:
            ValueError: Nothing was added.
        """
        if not self.parts:
            raise ValueError("no values")
        return [float(q) for q in np.quantile(np.concatenate(self.parts), levels)]
