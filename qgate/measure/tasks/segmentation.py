"""Segmentation: intersection over union of each class that labels name, over all samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.measure.tasks.base import Columns, Figure, changed, figure
from qgate.stats.bootstrap import resample_rows
from qgate.stats.differences import extent_of_changes, of_draws, of_ratio
from qgate.stats.scores import mean_iou

if TYPE_CHECKING:
    from numpy.typing import NDArray

METRICS = ("miou", "pixel_accuracy")
MAX_CLASSES = 1024


class Segmentation:
    """Class scores, [samples, classes, ...], or classes, [samples, ...], against the class of each place.

    Args:
        metric: One of ``METRICS``.
        classes: How many classes are judged by name; what an output names beyond them is one class more, which no label has.
        ignore: Label of places that are not judged; negative labels never are.
    """

    wants_another = True
    """What the reference finds by chance is what it finds of another sample's labels."""

    def __init__(self, metric: str, classes: int, ignore: int | None) -> None:
        self.metric = metric
        self._classes = classes + 1
        self._ignore = ignore

    def records(self, reference: Any, candidate: Any, truth: Any) -> tuple[Columns, NDArray[np.bool_]]:
        """See ``base.Task``; counts of places by class for each sample.

        ``truth`` holds another sample's labels beside each sample's own, [samples, 2, ...].
        """
        count, c = len(truth), self._classes
        names = ("actual", *(f"{what}_{side}" for what in ("hit", "union") for side in "rcx"))
        columns: dict[str, Any] = {name: np.zeros((count, c), dtype=np.int64) for name in names}
        fine = np.zeros(count, dtype=bool)
        for row in range(count):
            own, other = truth[row]
            told = {
                side: _classes_of(np.asarray(outputs[row]), own.shape)
                for side, outputs in (("r", reference), ("c", candidate))
            }
            if any(each is None or each[self._judged(own)].min(initial=0) < 0 for each in told.values()):
                continue
            fine[row] = True
            columns["actual"][row] = np.bincount(own[self._judged(own)], minlength=c)
            for side, each, labels in (("r", told["r"], own), ("c", told["c"], own), ("x", told["r"], other)):
                columns[f"hit_{side}"][row], columns[f"union_{side}"][row] = self._overlap(each, labels)
        return {name: values[fine] for name, values in columns.items()}, fine

    def _judged(self, labels: Any) -> Any:
        return labels >= 0 if self._ignore is None else (labels >= 0) & (labels != self._ignore)

    def _overlap(self, told: Any, labels: Any) -> tuple[Any, Any]:
        """Places of each class that are told as labelled, and those that either says; by class."""
        judged, c = self._judged(labels), self._classes
        actual, said = labels[judged], np.clip(told[judged], 0, c - 1)
        hits = np.bincount(said[said == actual], minlength=c)
        return hits, np.bincount(actual, minlength=c) + np.bincount(said, minlength=c) - hits

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
            held = columns["union_r"][:, label] + columns["union_c"][:, label] > 0
            own = {name: values[held][:, [label]] for name, values in columns.items()}
            found[str(int(label))] = _iou(own)
        return found

    def chance(self, columns: Columns) -> Figure | None:
        """The reference against its own classes held to another sample's labels; pixel accuracy, which one class everywhere
        serves better, against the most frequent one. None where there is no other sample.
        """
        actual = columns["actual"]
        if self.metric == "miou":
            blind = {**columns, "hit_c": columns["hit_x"], "union_c": columns["union_x"]}
            return self._one(self.metric, blind) if len(actual) > 1 else None
        most = int(actual.sum(axis=0).argmax())
        hit = np.zeros_like(actual)
        hit[:, most] = actual[:, most]
        return self._one(self.metric, {**columns, "hit_c": hit})

    def _one(self, metric: str, columns: Columns) -> Figure:
        if metric == "miou":
            return _iou(columns)
        a, b = (columns[f"hit_{side}"].sum(axis=1).astype(np.float64) for side in "rc")
        places = columns["actual"].sum(axis=1).astype(np.float64)
        total = max(float(places.sum()), 1.0)
        sides = float(a.sum()) / total, float(b.sum()) / total
        return figure("pixel_accuracy", len(a), sides, of_ratio(a - b, places), changed(a - b))


def _iou(columns: Columns) -> Figure:
    """Over the classes that labels name: a few stray places of any other would weigh as much as a whole class.

    They still count against the classes that they were taken from.
    """
    n, named = len(columns["actual"]), columns["actual"].sum(axis=0) > 0
    hits, unions = (
        {side: columns[f"{what}_{side}"][:, named].astype(np.float64) for side in "rc"}
        for what in ("hit", "union")
    )

    def score(weights: Any, side: str) -> Any:
        return mean_iou(weights @ hits[side], weights @ unions[side])

    whole = np.ones((1, n))
    sides = float(score(whole, "r")[0]), float(score(whole, "c")[0])
    draws = resample_rows(n, lambda w: score(w, "r") - score(w, "c"))
    # What each sample has by itself: nearly all of them change, and most by a few places.
    own = mean_iou(hits["r"], unions["r"]) - mean_iou(hits["c"], unions["c"])
    flips = changed(own)
    found = of_draws(sides[0] - sides[1], draws, flips, n, extent_of_changes(own))
    return figure("miou", n, sides, found, flips)


def _classes_of(output: Any, shape: tuple[int, ...]) -> Any:
    """The class of each place; None where the output cannot say."""
    if output.dtype.kind == "f":
        if output.shape[1:] != shape or not np.isfinite(output).all():
            return None
        return output.argmax(axis=0)
    return output.astype(np.int64).reshape(shape) if output.size == int(np.prod(shape)) else None
