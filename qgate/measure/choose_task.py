"""Finds the output that labels speak of, and the task that both make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import DataError
from qgate.measure.data import windows
from qgate.measure.tasks import classification, embedding, regression, segmentation, text, tokens
from qgate.measure.tasks.base import Options, Task
from qgate.measure.tasks.classification import Classification
from qgate.measure.tasks.embedding import Embedding
from qgate.measure.tasks.regression import Regression
from qgate.measure.tasks.segmentation import MAX_CLASSES, Segmentation
from qgate.measure.tasks.text import Written
from qgate.measure.tasks.tokens import Tokens
from qgate.sandbox.quoting import one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Found = tuple[Task, int | None, NDArray[Any] | None]

MAX_GROUPS = 10_000
"""Most classes, and most slices, that are told apart."""


@dataclass(frozen=True)
class OutputShape:
    """An output of the reference as its first sample showed it.

    Args:
        name: Its name.
        shape: Shape of a sample.
        dtype: Element type.
        form: What its last axis holds, see ``classes.score_form``.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    form: str | None = None

    @property
    def is_scores(self) -> bool:
        """Whether it can be class scores: one row of at least two floats."""
        return len(self.shape) == 1 and self.shape[0] >= 2 and self.dtype.kind == "f"

    @property
    def size(self) -> int:
        """Elements of a sample."""
        return int(np.prod(self.shape, dtype=object))


@dataclass
class Chooser:
    """Finds the task and the output that labels speak of.

    Args:
        where: What messages name as the place.
        labels: Name of the array of labels.
        outputs: The reference's outputs.
        wanted: The output that is scored; None finds it.
        options: What the task is told beside its metric.
    """

    where: str
    labels: str
    outputs: Sequence[OutputShape]
    wanted: str | None
    options: Options = field(default_factory=Options)
    remarks: list[str] = field(default_factory=list)

    def choose(self, metric: str | None, truth: NDArray[Any] | None) -> Found:
        """The task, the position of its output, and the labels as the task takes them.

        Raises:
            DataError: They do not fit.
        """
        if truth is None:
            return self._embedding(metric or "", None)
        whole = truth.dtype.kind in "biu" or bool(np.all(truth == np.rint(truth)))
        flat = truth.size == len(truth)
        if metric is None:
            scores = flat and (truth.dtype.kind in "biu" or (whole and self._sized(truth) is None))
            metric = "top1" if scores and any(each.is_scores for each in self._allowed().values()) else "mae"
        if metric in regression.METRICS:
            return self._regression(metric, truth)
        if metric in (*classification.METRICS, *embedding.METRICS):
            if not (whole and flat):
                raise self._error("are not one whole number for each sample", "Save integer labels")
            labels = truth.reshape(-1).astype(np.int64)
            known = metric in classification.METRICS
            return self._classification(metric, labels) if known else self._embedding(metric, labels)
        if not whole:
            raise self._error("are not whole numbers", "Save integer labels")
        # Masks of a byte to a place stay that small, and may be a map of the file; see ``TaskPlan.window``.
        whole_truth = truth if truth.dtype.kind in "biu" else truth.astype(np.int64)
        if metric in tokens.METRICS:
            return self._tokens(metric, whole_truth)
        if metric in segmentation.METRICS:
            return self._segmentation(metric, whole_truth)
        if metric in text.METRICS:
            return self._text(metric, whole_truth)
        raise self._error(
            f"are for the task {one_line(metric, 40)!r}, which there is not", "Name another task"
        )

    def _classification(self, metric: str, labels: NDArray[np.int64]) -> Found:
        position = self._scores(labels)
        output = self.outputs[position]
        form = output.form or "scores"
        return Classification(metric, form, self.options.k, output.shape[0]), position, labels

    def _regression(self, metric: str, truth: NDArray[Any]) -> Found:
        position = self._sized(truth)
        if position is None:
            raise self._error(
                f"of shape {list(truth.shape[1:])} fit no output of the reference",
                "Save targets of the output's shape, or name the task",
            )
        values = truth.reshape(len(truth), -1).astype(np.float64)
        return Regression(metric, values.mean(axis=0)), position, values

    def _embedding(self, metric: str, labels: NDArray[np.int64] | None) -> Found:
        vectors = {i: o for i, o in self._allowed().items() if len(o.shape) == 1 and o.dtype.kind == "f"}
        return Embedding(metric, self.options.k), self._first(vectors, "vectors, one for each sample"), labels

    def _tokens(self, metric: str, truth: NDArray[Any]) -> Found:
        rows = truth.shape[1:]
        fitting = {
            i: o
            for i, o in self._allowed().items()
            if len(o.shape) == 2 and o.dtype.kind == "f" and o.shape[:1] == rows
        }
        position = self._first(fitting, f"logits of {list(rows)} positions")
        highest = int(truth.max())
        if highest >= self.outputs[position].shape[1] and highest != self.options.ignore:
            found = self.outputs[position].shape[1]
            raise self._error(
                f"reach {highest}, the model has {found} tokens", "Save the ids of its own tokens"
            )
        if not (truth >= 0).any():
            raise self._error("name no token at all", "Save the token that follows at each position")
        return Tokens(metric, self.outputs[position].form or "scores", self.options.ignore), position, truth

    def _segmentation(self, metric: str, truth: NDArray[Any]) -> Found:
        places = truth.shape[1:]
        fitting = {
            i: o
            for i, o in self._allowed().items()
            if (o.dtype.kind == "f" and o.shape[1:] == places and len(o.shape) > 1)
            or (o.dtype.kind in "iu" and o.size == int(np.prod(places, dtype=object)))
        }
        position = self._first(fitting, f"classes of {list(places)} places")
        output = self.outputs[position]
        highest = max((_highest(part, self.options.ignore) for part in windows(truth)), default=-1)
        if highest < 0:
            raise self._error("name no class at all", "Save the class of each place")
        classes = output.shape[0] if output.dtype.kind == "f" else highest + 1
        if highest >= classes:
            raise self._error(
                f"reach {highest}, the model has {classes} classes",
                "Count classes from 0, and name the label of places that are not judged (ignore)",
            )
        if classes > MAX_CLASSES:
            raise self._error(f"name more than {MAX_CLASSES} classes", "Name another task (none)")
        return Segmentation(metric, max(classes, 2), self.options.ignore), position, truth

    def _text(self, metric: str, truth: NDArray[Any]) -> Found:
        if truth.ndim != 2:
            raise self._error("are not a row of symbols for each sample", "Save ids, -1 after the last")
        ids = self.options.text == "ids"
        fitting = {
            i: o
            for i, o in self._allowed().items()
            if (ids and len(o.shape) == 1 and o.dtype.kind in "iu")
            or (not ids and len(o.shape) == 2 and o.dtype.kind == "f")
        }
        told = "ids of symbols" if ids else "scores of symbols, [positions, symbols]"
        return Written(metric, self.options), self._first(fitting, told), truth

    def _allowed(self) -> Mapping[int, OutputShape]:
        found = {i: o for i, o in enumerate(self.outputs) if self.wanted in (None, o.name)}
        if not found:
            raise self._error(
                f"are for the output {one_line(self.wanted or '', 80)!r}, which the reference lacks",
                "Name one of its outputs: " + ", ".join(one_line(o.name, 60) for o in self.outputs[:10]),
            )
        return found

    def _first(self, fitting: Mapping[int, OutputShape], what: str) -> int:
        """The first output that fits, and a remark where it is not the only one."""
        if not fitting:
            raise self._error(f"need {what}, and no output has them", "Name another task, or its output")
        position = next(iter(fitting))
        if len(fitting) > 1:
            name = one_line(self.outputs[position].name, 80)
            self.remarks.append(f"several outputs could be {what}; {name!r} was taken")
        return position

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
        subject = f"the labels {one_line(self.labels, 80)!r}" if self.labels else "the task's labels"
        return DataError(f"{subject} {what}", where=self.where, remedy=remedy)


def _highest(labels: NDArray[Any], ignore: int | None) -> int:
    """The highest label that is judged, -1 where none is."""
    judged = labels[(labels >= 0) & (labels != (-1 if ignore is None else ignore))]
    return int(judged.max()) if judged.size else -1
