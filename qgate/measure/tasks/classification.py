"""Classification: top-1 and top-k, balanced accuracy, macro-F1, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.measure.tasks.base import Columns, Figure, changed, chosen, figure, matched, share_figure
from qgate.stats.bootstrap import resample_cells, resample_rows
from qgate.stats.differences import of_draws
from qgate.stats.scores import Cells, calibration_error, calibration_gaps

if TYPE_CHECKING:
    from numpy.typing import NDArray

METRICS = ("top1", "topk", "balanced_accuracy", "macro_f1", "ece")


class Classification:
    """Class scores, [samples, classes], against whole labels, [samples].

    Args:
        metric: One of ``METRICS``.
        form: What the scores are, see ``classes.score_form``; ``scores`` where softmax is to be applied.
        k: How many of the highest classes count for ``topk``.
        classes: How many classes there are.
    """

    def __init__(self, metric: str, form: str, k: int, classes: int) -> None:
        self.metric = metric
        self._form = form
        self._k = k
        self._classes = classes

    def records(self, reference: Any, candidate: Any, truth: Any) -> tuple[Columns, NDArray[np.bool_]]:
        """See ``base.Task``; a candidate's row that is not finite is wrong, and sure of it."""
        count = len(truth)
        sides = matched(reference, candidate)
        if sides is None:
            return {}, np.zeros(count, dtype=bool)
        columns: dict[str, Any] = {"truth": truth}
        for short, scores in zip("rc", sides, strict=True):
            fine = np.isfinite(scores).all(axis=1)
            # Highest class, the lowest index winning a tie; -1 is no class and never right.
            columns[f"class_{short}"] = np.where(fine, scores.argmax(axis=1), -1)
            own = scores[np.arange(count), np.clip(truth, 0, scores.shape[1] - 1)][:, np.newaxis]
            rank = (scores > own).sum(axis=1)
            columns[f"rank_{short}"] = np.where(fine, rank, scores.shape[1]).astype(np.int64)
            with np.errstate(over="ignore", invalid="ignore"):
                columns[f"sure_{short}"] = np.where(fine, _confidence(scores, self._form), 1.0)
        return columns, np.ones(count, dtype=bool)

    def figures(self, columns: Columns) -> Sequence[Figure]:
        """The judged metric first, then the others; top-k only where there are more than k classes."""
        names = [each for each in METRICS if each != "topk" or self._classes > self._k]
        return [self._one(each, columns) for each in dict.fromkeys((self.metric, *names))]

    def figure(self, columns: Columns) -> Figure:
        """The judged metric of a group."""
        return self._one(self.metric, columns)

    def classes(self, columns: Columns) -> dict[str, Figure]:
        """Recall of each class."""
        order = np.argsort(columns["truth"], kind="stable")
        labels, starts = np.unique(columns["truth"][order], return_index=True)
        groups = np.split(order, starts[1:])
        return {
            str(int(label)): self._one("top1", chosen(columns, rows))
            for label, rows in zip(labels, groups, strict=True)
        }

    def answers(self, columns: Columns) -> tuple[NDArray[Any], NDArray[Any]]:
        """The class that each model predicts."""
        return columns["class_r"], columns["class_c"]

    def right(self, columns: Columns) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Whether each model is right."""
        truth = columns["truth"]
        return columns["class_r"] == truth, columns["class_c"] == truth

    def chance(self, columns: Columns) -> Figure:
        """The reference against always naming the most frequent class; of calibration, which rewards that, top-1."""
        truth = columns["truth"]
        labels, place, counts = np.unique(truth, return_inverse=True, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        rank = np.empty(len(labels), dtype=np.int64)
        rank[order] = np.arange(len(labels))
        blind = {
            **columns,
            "class_c": np.full(len(truth), labels[order[0]]),
            "rank_c": rank[place.reshape(-1)],
        }
        return self._one("top1" if self.metric == "ece" else self.metric, blind)

    def _one(self, metric: str, columns: Columns) -> Figure:
        right = self.right(columns)
        if metric == "top1":
            return share_figure("top1", *right)
        if metric == "topk":
            ranks = columns["rank_r"], columns["rank_c"]
            return share_figure(f"top{self._k}", *(each < self._k for each in ranks))
        n = len(right[0])
        flips = changed(right[0].astype(np.int8) - right[1].astype(np.int8))
        if metric == "ece":
            return _calibration(columns, right, flips)
        cells = Cells(columns["truth"], columns["class_r"], columns["class_c"])
        score = cells.balanced_accuracy if metric == "balanced_accuracy" else cells.macro_f1
        whole = cells.counts[np.newaxis].astype(np.float64)
        sides = float(score(whole, "reference")[0]), float(score(whole, "candidate")[0])
        draws = resample_cells(cells.counts, lambda w: score(w, "reference") - score(w, "candidate"))
        return figure(metric, n, sides, of_draws(sides[0] - sides[1], draws, flips, n), flips)


def _calibration(columns: Columns, right: tuple[Any, Any], flips: tuple[int, int]) -> Figure:
    n = len(right[0])
    gaps = [calibration_gaps(columns[f"sure_{side}"], told) for side, told in zip("rc", right, strict=True)]
    whole = np.ones((1, n))
    sides = tuple(float(calibration_error(whole, each)[0]) for each in gaps)
    draws = resample_rows(n, lambda w: calibration_error(w, gaps[1]) - calibration_error(w, gaps[0]))
    found = of_draws(sides[1] - sides[0], draws, flips, n)
    return figure("ece", n, (sides[0], sides[1]), found, flips)


def _confidence(scores: NDArray[np.float64], form: str) -> NDArray[np.float64]:
    highest = scores.max(axis=1)
    if form == "probabilities":
        return np.asarray(np.clip(highest, 0.0, 1.0))
    if form == "log":
        return np.asarray(np.clip(np.exp(highest), 0.0, 1.0))
    return np.asarray(1.0 / np.exp(scores - highest[:, np.newaxis]).sum(axis=1))
