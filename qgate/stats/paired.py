"""Mergeable paired records: two models' errors on the same samples, counts of right and wrong."""

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
class PairedMoments:
    """Sums of two errors a sample, from which means, their difference and its variance follow.

    Attributes:
        n: Samples.
        r: Sum of the reference's errors; ``c`` of the candidate's.
        rr: Sum of squares of the former; ``cc`` of the latter; ``rc`` of the products.
    """

    n: int = 0
    r: float = 0.0
    c: float = 0.0
    rr: float = 0.0
    cc: float = 0.0
    rc: float = 0.0

    def add(self, reference: NDArray[np.float64], candidate: NDArray[np.float64]) -> None:
        """Adds a batch of finite errors, both [samples]."""
        with np.errstate(over="ignore"):
            self._add(reference, candidate)

    def _add(self, reference: NDArray[np.float64], candidate: NDArray[np.float64]) -> None:
        self.n += len(reference)
        self.r += float(np.sum(reference))
        self.c += float(np.sum(candidate))
        self.rr += float(np.sum(reference * reference))
        self.cc += float(np.sum(candidate * candidate))
        self.rc += float(np.sum(reference * candidate))

    def merge(self, other: PairedMoments) -> None:
        """Adds what another accumulator saw."""
        self.n += other.n
        self.r += other.r
        self.c += other.c
        self.rr += other.rr
        self.cc += other.cc
        self.rc += other.rc


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
