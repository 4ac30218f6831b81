"""Segmentation: intersection over union of each class, over all samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.measure.tasks.base import Columns, Figure, changed, figure
from qgate.stats.bootstrap import resample_rows
from qgate.stats.differences import of_draws, of_ratio
from qgate.stats.scores import mean_iou

if TYPE_CHECKING:
    from numpy.typing import NDArray

METRICS = ("miou", "pixel_accuracy")
MAX_CLASSES = 1024


class Segmentation:
    """Class scores, [samples, classes, ...], or classes, [samples, ...], against the class of each place.

    Args:
        metric: One of ``METRICS``.
        classes: How many classes there are.
        ignore: Label of places that are not judged; negative labels never are.
    """

    def __init__(self, metric: str, classes: int, ignore: int | None) -> None:
        self.metric = metric
        self._classes = classes
        self._ignore = ignore

    def records(self, reference: Any, candidate: Any, truth: Any) -> tuple[Columns, NDArray[np.bool_]]:
        """See ``base.Task``; counts of places by class for each sample."""
        count, c = len(truth), self._classes
        names = ("hit_r", "hit_c", "told_r", "told_c", "actual")
        columns: dict[str, Any] = {name: np.zeros((count, c), dtype=np.int64) for name in names}
        fine = np.zeros(count, dtype=bool)
        for row in range(count):
            judged = truth[row] >= 0
            if self._ignore is not None:
                judged &= truth[row] != self._ignore
            actual = truth[row][judged]
            columns["actual"][row] = np.bincount(actual, minlength=c)[:c]
            done = [
                self._side(columns, side, row, outputs[row], judged, actual)
                for side, outputs in (("r", reference), ("c", candidate))
            ]
            fine[row] = all(done)
        return {name: values[fine] for name, values in columns.items()}, fine

    def _side(self, columns: Columns, side: str, row: int, output: Any, judged: Any, actual: Any) -> bool:
        told = _classes_of(np.asarray(output), judged.shape)
        if told is None:
            return False
        told = told[judged]
        if len(told) and (told.min() < 0 or told.max() >= self._classes):
            return False
        columns[f"told_{side}"][row] = np.bincount(told, minlength=self._classes)
        columns[f"hit_{side}"][row] = np.bincount(told[told == actual], minlength=self._classes)
        return True

    def figures(self, columns: Columns) -> Sequence[Figure]:
        """The judged metric first."""
        return [self._one(each, columns) for each in dict.fromkeys((self.metric, *METRICS))]

    def figure(self, columns: Columns) -> Figure:
        """The judged metric of a group."""
        return self._one(self.metric, columns)

    def classes(self, columns: Columns) -> dict[str, Figure]:
        """Intersection over union of each class that is there, of the samples that it is in."""
        found = {}
        for label in np.flatnonzero(columns["actual"].sum(axis=0) > 0):
            held = columns["actual"][:, label] + columns["told_r"][:, label] + columns["told_c"][:, label] > 0
            own = {name: values[held][:, [label]] for name, values in columns.items()}
            found[str(int(label))] = _iou(own)
        return found

    def chance(self, columns: Columns) -> Figure:
        """The reference against naming the most frequent class everywhere."""
        actual = columns["actual"]
        most = int(actual.sum(axis=0).argmax())
        told, hit = np.zeros_like(actual), np.zeros_like(actual)
        told[:, most], hit[:, most] = actual.sum(axis=1), actual[:, most]
        return self._one(self.metric, {**columns, "told_c": told, "hit_c": hit})

    def _one(self, metric: str, columns: Columns) -> Figure:
        if metric == "miou":
            return _iou(columns)
        a, b = (columns[f"hit_{side}"].sum(axis=1).astype(np.float64) for side in "rc")
        places = columns["actual"].sum(axis=1).astype(np.float64)
        total = max(float(places.sum()), 1.0)
        sides = float(a.sum()) / total, float(b.sum()) / total
        return figure("pixel_accuracy", len(a), sides, of_ratio(a - b, places), changed(a - b))


def _iou(columns: Columns) -> Figure:
    n = len(columns["actual"])
    hits = {side: columns[f"hit_{side}"].astype(np.float64) for side in "rc"}
    unions = {side: (columns["actual"] + columns[f"told_{side}"]) - hits[side] for side in "rc"}

    def score(weights: Any, side: str) -> Any:
        return mean_iou(weights @ hits[side], weights @ unions[side])

    whole = np.ones((1, n))
    sides = float(score(whole, "r")[0]), float(score(whole, "c")[0])
    draws = resample_rows(n, lambda w: score(w, "r") - score(w, "c"))
    flips = changed((hits["r"] - hits["c"]).sum(axis=1))
    return figure("miou", n, sides, of_draws(sides[0] - sides[1], draws, flips, n), flips)


def _classes_of(output: Any, shape: tuple[int, ...]) -> Any:
    """The class of each place; None where the output cannot say."""
    if output.dtype.kind == "f":
        if output.shape[1:] != shape or not np.isfinite(output).all():
            return None
        return output.argmax(axis=0)
    return output.astype(np.int64).reshape(shape) if output.size == int(np.prod(shape)) else None
