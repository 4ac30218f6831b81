"""What every task has: records of both models' samples, and figures with intervals made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from qgate.stats.differences import Difference, of_counts
from qgate.stats.paired import PairedCounts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]

Columns = Mapping[str, Any]
"""Records by name, the samples first: ``right_r`` is the reference's, ``right_c`` the candidate's."""

_Z = NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(0.8)

MAX_CONFUSIONS = 20
"""Pairs of answers that are listed, the most frequent first."""


@dataclass(frozen=True)
class Figure:
    """One metric of both models.

    Args:
        metric: Its name.
        n: Samples that it is of.
        reference: The reference's value; ``candidate`` likewise.
        drop: How much worse the candidate is; ``low`` and ``high`` its 95 % interval.
        mde: The smallest drop that so many samples show, at 5 % and with 80 % power.
        p: One-sided p-value that the candidate is no worse; ``p_min`` the smallest that it could have been.
        lost: Samples that are worse by themselves; ``gained`` better.
        counted: The metric is a share of right samples, and ``lost`` and ``gained`` are its flips.
    """

    metric: str
    n: int
    reference: float
    candidate: float
    drop: float
    low: float
    high: float
    mde: float
    p: float = 1.0
    p_min: float = 0.0
    lost: int = 0
    gained: int = 0
    counted: bool = False

    def state(self) -> dict[str, Any]:
        """What the parent is told."""
        return asdict(self)


def figure(
    metric: str,
    n: int,
    sides: tuple[float, float],
    found: Difference,
    changed: tuple[int, int] = (0, 0),
    *,
    counted: bool = False,
) -> Figure:
    """A figure of a difference."""
    return Figure(
        metric=metric,
        n=n,
        reference=float(sides[0]),
        candidate=float(sides[1]),
        drop=found.drop,
        low=found.low,
        high=found.high,
        mde=_Z * found.error,
        p=found.p,
        p_min=found.p_min,
        lost=changed[0],
        gained=changed[1],
        counted=counted,
    )


def share_figure(metric: str, reference: NDArray[np.bool_], candidate: NDArray[np.bool_]) -> Figure:
    """A share of right samples on both sides, both [samples]."""
    counts = PairedCounts()
    counts.add(reference, candidate)
    n = max(counts.n, 1)
    sides = counts.reference / n, counts.candidate / n
    flips = counts.lost, counts.gained
    return figure(metric, counts.n, sides, of_counts(*flips, counts.n), flips, counted=True)


def changed(worse: NDArray[Any]) -> tuple[int, int]:
    """How many samples are worse, and how many better."""
    return int(np.count_nonzero(worse > 0)), int(np.count_nonzero(worse < 0))


@dataclass(frozen=True)
class Options:
    """What a task may be told beside its metric.

    Args:
        k: How many of the nearest or highest count.
        ignore: Label of what is not judged.
        text: How outputs are text: ``ids``, ``argmax`` or ``ctc``.
        blank: The blank of ``ctc``.
        better: Whether ``higher`` or ``lower`` scores of an own function are better.
        boxes: Output of boxes, where it is another than that of ``scores`` and ``classes``.
        format: How four numbers of the outputs are a box; ``label_format`` of the labels.
        score: Boxes of at least this score are what a user of the model sees.
    """

    k: int = 5
    ignore: int | None = None
    text: str = "argmax"
    blank: int = 0
    better: str = "higher"
    boxes: str | None = None
    scores: str | None = None
    classes: str | None = None
    format: str = "xyxy"
    label_format: str = "xyxy"
    score: float = 0.25

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """Options by name, the others at their defaults."""
        return cls(**{key: value for key, value in given.items() if value is not None})


class Task(Protocol):
    """One kind of task."""

    metric: str

    def records(self, reference: Any, candidate: Any, truth: Any) -> tuple[Columns, NDArray[np.bool_]]:
        """Records of a chunk, and which of its samples have one.

        Args:
            reference: The reference's output of some samples, see ``side.PerSample``; ``candidate`` likewise.
            truth: Labels of these samples; None where the task needs none.
        """

    def figures(self, columns: Columns) -> Sequence[Figure]:
        """All figures of some samples, the one that is judged first."""

    def figure(self, columns: Columns) -> Figure:
        """The figure that is judged, of a group of samples."""


@dataclass
class Sheet:
    """Records of samples as they come; merges in the order of the samples."""

    parts: dict[str, list[NDArray[Any]]] = field(default_factory=dict)

    def add(self, columns: Columns) -> None:
        """Adds a chunk."""
        for name, values in columns.items():
            self.parts.setdefault(name, []).append(values)

    def merge(self, other: Sheet) -> None:
        """Adds what another saw, of the samples that follow."""
        for name, parts in other.parts.items():
            self.parts.setdefault(name, []).extend(parts)

    def columns(self) -> dict[str, NDArray[Any]]:
        """All records, in order."""
        return {name: np.concatenate(parts) for name, parts in self.parts.items()}


def chosen(columns: Columns, rows: NDArray[Any]) -> dict[str, Any]:
    """The records of some samples."""
    return {name: values[rows] for name, values in columns.items()}


def matched(reference: Any, candidate: Any) -> tuple[Doubles, Doubles] | None:
    """Both outputs of a chunk as [samples, elements]; None where shapes differ, or are not of numbers."""
    for side in (reference, candidate):
        if not isinstance(side, np.ndarray) or side.dtype.kind not in "biuf" or not side.size:
            return None
    a, b = (side.astype(np.float64).reshape(len(side), -1) for side in (reference, candidate))
    return (a, b) if a.shape == b.shape else None
