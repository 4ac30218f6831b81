"""What the two models do with the task, sample by sample: small records that merge, and figures made of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.measure.outcomes import pack_outcomes
from qgate.measure.tasks.base import MAX_CONFUSIONS, Columns, Sheet, Task, chosen

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class TaskPlan:
    """The task as it will be judged.

    Args:
        task: What makes records and figures; its ``metric`` is the one that is judged.
        output: Position of the reference's output; None where the task takes them all, by name.
        truth: Labels [samples], targets or whatever the task takes, the samples first; None where it needs none.
        slices: Slice of each sample, as text; None without slices.
    """

    task: Task
    output: int | None
    truth: NDArray[Any] | None = None
    slices: NDArray[Any] | None = None

    def start(self) -> TaskRecord:
        """An empty record of this task."""
        return TaskRecord(self)

    def sliced(self, slices: NDArray[Any] | None) -> TaskPlan:
        """The same with the slice of each sample."""
        return replace(self, slices=slices)

    def window(self, rows: slice) -> NDArray[Any] | None:
        """The labels of some samples: whole numbers as int64, however narrow they are stored; an own function's as stored.

        A task that ``wants_another`` gets those of the sample before beside each sample's own, [samples, 2, ...].
        """
        if self.truth is None or self.output is None or self.truth.dtype.kind not in "biu":
            return None if self.truth is None else self.truth[rows]
        own = self.truth[rows].astype(np.int64)
        if not getattr(self.task, "wants_another", False):
            return own
        before = (np.arange(len(self.truth))[rows] - 1) % max(len(self.truth), 1)
        return np.stack([own, self.truth[before].astype(np.int64)], axis=1)


@dataclass
class TaskRecord:
    """Records of both models' samples; merges in the order of the samples.

    Attributes:
        sheet: The records, with the number of each sample as ``row``.
        broken: Samples without one.
    """

    plan: TaskPlan
    sheet: Sheet = field(default_factory=Sheet)
    broken: int = 0

    def add(self, reference: Any, candidate: Any, first_sample: int) -> None:
        """Adds a chunk of the task's output, see ``side.PerSample``; shapes must be the planned ones."""
        count = _count(reference)
        if reference is None or candidate is None:
            self.broken += max(count, _count(candidate))
            return
        window = slice(first_sample, first_sample + count)
        truth = self.plan.window(window)
        columns, fine = self.plan.task.records(reference, candidate, truth)
        self.broken += int(np.count_nonzero(~fine))
        if fine.any():
            self.sheet.add({**columns, "row": np.flatnonzero(fine) + first_sample})

    def merge(self, other: TaskRecord) -> None:
        """Adds what another record of the same task saw, of the samples that follow."""
        self.sheet.merge(other.sheet)
        self.broken += other.broken

    def state(self) -> dict[str, Any]:
        """What the parent is told; no figures where a sample has no record, for they would be of the others."""
        task = self.plan.task
        columns = self.sheet.columns()
        rows = columns.pop("row", np.zeros(0, dtype=np.int64))
        found: dict[str, Any] = {"kind": task.metric, "n": len(rows), "broken": self.broken}
        empty: dict[str, Any] = {
            "figures": [],
            "classes": {},
            "slices": {},
            "confusion": [],
            "changes": 0,
            "chance": None,
            "reading": None,
        }
        if self.broken or not len(rows):
            return {**found, **empty, "outcomes": None}
        classes = getattr(task, "classes", None)
        grouped = getattr(task, "grouped", None)
        answers = getattr(task, "answers", None)
        answered = answers(columns) if answers is not None else None
        confusion, changes = _confusion(*answered) if answered is not None else ([], 0)
        right = getattr(task, "right", None)
        chance = getattr(task, "chance", None)
        blind = chance(columns) if chance is not None else None
        reading = getattr(task, "reading", None)
        other = reading(columns) if reading is not None else None
        return {
            **found,
            "chance": None if blind is None else blind.state(),
            "reading": None if other is None else other.state(),
            "figures": [each.state() for each in task.figures(columns)],
            "classes": {} if classes is None else {k: v.state() for k, v in classes(columns).items()},
            "slices": self._slices(grouped(columns) if grouped is not None else columns, rows),
            "confusion": confusion,
            "changes": changes,
            "outcomes": None if right is None else pack_outcomes(right(columns), answered),
        }

    def _slices(self, columns: Columns, rows: NDArray[Any]) -> dict[str, Any]:
        if self.plan.slices is None:
            return {}
        held = self.plan.slices[rows]
        order = np.argsort(held, kind="stable")
        keys, starts = np.unique(held[order], return_index=True)
        groups = np.split(order, starts[1:])
        return {
            str(key): self.plan.task.figure(chosen(columns, group)).state()
            for key, group in zip(keys, groups, strict=True)
        }


def _count(output: Any) -> int:
    """Samples of an output, or of all outputs by name."""
    if isinstance(output, dict):
        output = next(iter(output.values()), None)
    return 0 if output is None else len(output)


def _confusion(reference: NDArray[Any], candidate: NDArray[Any]) -> tuple[list[list[int]], int]:
    """The most frequent pairs of answers that differ, as [reference's, candidate's, samples], and all samples."""
    other = reference != candidate
    pairs, counts = np.unique(
        np.stack([reference[other], candidate[other]], axis=1), axis=0, return_counts=True
    )
    order = np.argsort(-counts, kind="stable")[:MAX_CONFUSIONS]
    listed = [[int(pairs[i, 0]), int(pairs[i, 1]), int(counts[i])] for i in order]
    return listed, int(np.count_nonzero(other))
