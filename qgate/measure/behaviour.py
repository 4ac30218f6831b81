"""What the two models do with the task: right and wrong predictions, or errors, sample by sample."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.stats.paired import PairedCounts, PairedMoments

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class TaskPlan:
    """The task as it will be judged.

    Args:
        kind: ``top1``, ``mae`` or ``rmse``.
        output: Position of the reference's output.
        truth: Labels [samples] or targets [samples, elements].
        slices: Slice of each sample, as text; None without slices.
    """

    kind: str
    output: int
    truth: NDArray[Any]
    slices: NDArray[Any] | None = None

    def start(self) -> TaskRecord:
        """An empty record of this task."""
        return TaskRecord(self)


@dataclass
class TaskRecord:
    """Outcomes of both models; merges.

    Attributes:
        total: All samples.
        classes: By label, for ``top1``.
        slices: By slice.
    """

    plan: TaskPlan
    total: PairedCounts | PairedMoments | None = None
    classes: dict[str, PairedCounts] = field(default_factory=dict)
    slices: dict[str, PairedCounts | PairedMoments] = field(default_factory=dict)
    broken: int = 0

    def add(self, reference: Any, candidate: Any, first_sample: int) -> None:
        """Adds a chunk of the task's output, see ``side.PerSample``; shapes must be the planned ones."""
        count = len(reference)
        window = slice(first_sample, first_sample + count)
        if not all(isinstance(side, np.ndarray) for side in (reference, candidate)):
            self.broken += count
            return
        left, right = (
            np.asarray(side, dtype=np.float64).reshape(count, -1) for side in (reference, candidate)
        )
        if left.shape != right.shape:
            self.broken += count
            return
        truth = self.plan.truth[window]
        if self.plan.kind == "top1":
            self._add_labels(_predicted(left) == truth, _predicted(right) == truth, window)
        else:
            power = 1 if self.plan.kind == "mae" else 2
            self._add_errors(_error(left, truth, power), _error(right, truth, power), window)

    def _add_labels(self, a: NDArray[np.bool_], b: NDArray[np.bool_], window: slice) -> None:
        self.total = _counts(self.total, a, b)
        labels = self.plan.truth[window]
        for label in np.unique(labels):
            rows = labels == label
            key = str(int(label))
            self.classes[key] = _counts(self.classes.get(key), a[rows], b[rows])
        for key, rows in self._groups(window):
            self.slices[key] = _counts(self.slices.get(key), a[rows], b[rows])

    def _add_errors(self, a: NDArray[np.float64], b: NDArray[np.float64], window: slice) -> None:
        fine = np.isfinite(a) & np.isfinite(b)
        self.broken += int(np.count_nonzero(~fine))
        self.total = _moments(self.total, a[fine], b[fine])
        for key, rows in self._groups(window):
            kept = rows & fine
            self.slices[key] = _moments(self.slices.get(key), a[kept], b[kept])

    def _groups(self, window: slice) -> list[tuple[str, NDArray[np.bool_]]]:
        if self.plan.slices is None:
            return []
        here = self.plan.slices[window]
        return [(str(key), here == key) for key in np.unique(here)]

    def merge(self, other: TaskRecord) -> None:
        """Adds what another record of the same task saw."""
        if other.total is not None:
            self.total = _merged(self.total, other.total)
        for key, counts in other.classes.items():
            merged = _merged(self.classes.get(key), counts)
            assert isinstance(merged, PairedCounts)  # noqa: S101
            self.classes[key] = merged
        for key, record in other.slices.items():
            self.slices[key] = _merged(self.slices.get(key), record)
        self.broken += other.broken

    def state(self) -> dict[str, Any]:
        """What the parent is told."""
        empty = PairedCounts() if self.plan.kind == "top1" else PairedMoments()
        return {
            "kind": self.plan.kind,
            "total": asdict(self.total if self.total is not None else empty),
            "classes": {k: asdict(v) for k, v in sorted(self.classes.items(), key=lambda item: int(item[0]))},
            "slices": {k: asdict(v) for k, v in sorted(self.slices.items())},
            "broken": self.broken,
        }


def _predicted(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Highest class of each row, the lowest index winning a tie; -1 where a score is not finite."""
    fine = np.isfinite(scores).all(axis=1)
    return np.where(fine, scores.argmax(axis=1), -1)


def _error(values: NDArray[np.float64], truth: NDArray[np.float64], power: int) -> NDArray[np.float64]:
    with np.errstate(over="ignore", invalid="ignore"):
        error: NDArray[np.float64] = (np.abs(values - truth) ** power).mean(axis=1)
    return error


def _counts(into: Any, a: NDArray[np.bool_], b: NDArray[np.bool_]) -> PairedCounts:
    record: PairedCounts = PairedCounts() if into is None else into
    record.add(a, b)
    return record


def _moments(into: Any, a: NDArray[np.float64], b: NDArray[np.float64]) -> PairedMoments:
    record: PairedMoments = PairedMoments() if into is None else into
    record.add(a, b)
    return record


def _merged(into: Any, other: Any) -> Any:
    if into is None:
        return other
    into.merge(other)
    return into
