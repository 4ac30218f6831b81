"""Decides which task the labels speak of, and checks that labels, slices and outputs fit together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import DataError
from qgate.measure.behaviour import TaskPlan
from qgate.measure.data import NpzFile
from qgate.sandbox.quoting import one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_GROUPS = 10_000
"""Most classes, and most slices, that are told apart."""


@dataclass(frozen=True)
class OutputShape:
    """An output of the reference as its first sample showed it."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def is_scores(self) -> bool:
        """Whether it can be class scores: one row of at least two floats."""
        return len(self.shape) == 1 and self.shape[0] >= 2 and self.dtype.kind == "f"

    @property
    def size(self) -> int:
        """Elements of a sample."""
        return int(np.prod(self.shape, dtype=object))


def plan_task(
    file: NpzFile,
    *,
    labels: str | None,
    slices: str | None,
    task: str | None,
    wanted_output: str | None,
    outputs: Sequence[OutputShape],
    count: int,
) -> tuple[TaskPlan | None, list[str]]:
    """Decides what is compared with the labels, and reads them.

    Returns:
        The plan, or None where there is no task, and remarks for the reader.

    Raises:
        DataError: Labels or slices do not fit the samples, the outputs or the task.
    """
    if labels is None or task == "none":
        if task in {"top1", "mae", "rmse"}:
            raise DataError(
                f"the task {task} needs labels",
                where=file.label,
                remedy="Name the array of labels (--labels KEY)",
            )
        return None, (["slices are given and there is no task to judge them by"] if slices else [])
    truth = _read_labels(file, labels, count)
    groups = None if slices is None else _read_slices(file, slices, count)
    choose = _Chooser(file.label, labels, outputs, wanted_output)
    kind, position, values = choose.choose(task, truth)
    return TaskPlan(kind, position, values, groups), choose.remarks


def _read_labels(file: NpzFile, name: str, count: int) -> NDArray[Any]:
    truth = file.whole(name, "labels")
    shown = one_line(name, 80)
    if truth.dtype.kind not in "biuf":
        raise DataError(
            f"the labels {shown!r} have dtype {truth.dtype}", where=file.label, remedy="Save numbers"
        )
    if not truth.shape or len(truth) != count:
        found = len(truth) if truth.shape else "no axis of"
        raise DataError(
            f"the labels {shown!r} have {found} samples, the inputs {count}",
            where=file.label,
            remedy="Save one label for each sample, in the same order",
        )
    if truth.dtype.kind == "f" and not np.isfinite(truth).all():
        sample = int(np.argwhere(~np.isfinite(truth))[0][0])
        raise DataError(
            f"the labels {shown!r} hold NaN or infinity (sample {sample})",
            where=file.label,
            remedy="Remove samples without a label",
        )
    return truth


def _read_slices(file: NpzFile, name: str, count: int) -> NDArray[Any]:
    values = file.whole(name, "slices")
    shown = one_line(name, 80)
    if values.dtype.kind not in "biuUS" or values.shape not in {(count,), (count, 1)}:
        raise DataError(
            f"the slices {shown!r} have dtype {values.dtype} and shape {list(values.shape)}",
            where=file.label,
            remedy=f"Save {count} words or whole numbers, one for each sample",
        )
    flat = values.reshape(-1)
    text = np.char.decode(flat, "utf-8", "replace") if flat.dtype.kind == "S" else flat.astype(str)
    if len(np.unique(text)) > MAX_GROUPS:
        raise DataError(
            f"there are more than {MAX_GROUPS} different slices in {shown!r}",
            where=file.label,
            remedy="Name groups of samples, not samples",
        )
    return text


@dataclass
class _Chooser:
    """Finds the task and the output that labels speak of."""

    where: str
    labels: str
    outputs: Sequence[OutputShape]
    wanted: str | None
    remarks: list[str] = field(default_factory=list)

    def choose(self, task: str | None, truth: NDArray[Any]) -> tuple[str, int, NDArray[Any]]:
        whole = truth.dtype.kind in "biu" or bool(np.all(truth == np.rint(truth)))
        flat = truth.size == len(truth)
        if task is None:
            scores = flat and (truth.dtype.kind in "biu" or (whole and self._sized(truth) is None))
            task = "top1" if scores and any(each.is_scores for each in self._allowed().values()) else "mae"
        if task == "top1":
            if not (whole and flat):
                raise self._error("are not one whole number for each sample", "Save integer labels")
            labels = truth.reshape(-1).astype(np.int64)
            return task, self._scores(labels), labels
        position = self._sized(truth)
        if position is None:
            raise self._error(
                f"of shape {list(truth.shape[1:])} fit no output of the reference",
                "Save targets of the output's shape, or name the task",
            )
        return task, position, truth.reshape(len(truth), -1).astype(np.float64)

    def _allowed(self) -> Mapping[int, OutputShape]:
        found = {i: o for i, o in enumerate(self.outputs) if self.wanted in (None, o.name)}
        if not found:
            raise self._error(
                f"are for the output {one_line(self.wanted or '', 80)!r}, which the reference lacks",
                "Name one of its outputs: " + ", ".join(one_line(o.name, 60) for o in self.outputs[:10]),
            )
        return found

    def _scores(self, labels: NDArray[np.int64]) -> int:
        scores = {i: o for i, o in self._allowed().items() if o.is_scores}
        if not scores:
            raise self._error("need class scores, and no output has them", "Name another task (mae, none)")
        low, high = int(labels.min()), int(labels.max())
        fitting = [i for i, o in scores.items() if low >= 0 and high < o.shape[0]]
        if not fitting:
            classes = max(o.shape[0] for o in scores.values())
            raise self._error(
                f"range from {low} to {high}, the model has {classes} classes", "Count classes from 0"
            )
        if len(fitting) > 1:
            self.remarks.append(
                f"several outputs could be class scores; the labels were compared with "
                f"{one_line(self.outputs[fitting[0]].name, 80)!r}"
            )
        if len(np.unique(labels)) > MAX_GROUPS:
            raise self._error(f"name more than {MAX_GROUPS} classes", "Name another task (none)")
        return fitting[0]

    def _sized(self, truth: NDArray[Any]) -> int | None:
        size = truth.size // max(len(truth), 1)
        found = (i for i, o in self._allowed().items() if o.size == size and o.dtype.kind in "biuf")
        return next(found, None)

    def _error(self, what: str, remedy: str) -> DataError:
        return DataError(f"the labels {one_line(self.labels, 80)!r} {what}", where=self.where, remedy=remedy)
