"""Detection: average precision against labelled boxes, and whether both models find the same boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.measure.tasks.base import Columns, Figure, changed, figure, share_figure
from qgate.measure.tasks.boxes import BoxReader
from qgate.measure.tasks.matching import Matched, match
from qgate.measure.tasks.readings import MOST_IMAGES, BestReading, Declared, best_reading
from qgate.stats.bootstrap import resample_rows
from qgate.stats.differences import of_counts, of_draws, of_ratio
from qgate.stats.precision import THRESHOLDS, ClassMatches, average_precision

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]
    Bools = NDArray[np.bool_]
    Found = Mapping[int, Matched]
    Pairs = Sequence[tuple[Doubles, Doubles]]

METRICS = ("map", "map50", "same_boxes")
LABELLED = ("map", "map50")


class Detection:
    """Boxes with scores and classes, any number of them a sample.

    Args:
        metric: One of ``METRICS``; ``same_boxes`` needs no labels.
        reader: Finds the boxes in the outputs.
        score: Boxes of at least this score are what a user of the model sees: they make an image right or wrong, and
            are compared between the models.
        classes: Classes of which there are labels; boxes of others are not judged, as in COCO.
        declared: How numbers are read as boxes, and what else they may be; None where that is not asked.
    """

    def __init__(
        self,
        metric: str,
        reader: BoxReader,
        score: float,
        classes: Sequence[int] = (),
        declared: Declared | None = None,
    ) -> None:
        self.metric = metric
        self._reader = reader
        self._score = score
        self._classes = tuple(classes)
        self._declared = declared
        self._drawn: tuple[Any, Doubles, Doubles] | None = None

    @property
    def outputs(self) -> tuple[str, ...]:
        """Outputs whose rows are boxes; none where a function makes them of something else."""
        return self._reader.names

    def records(self, reference: Any, candidate: Any, truth: Any) -> tuple[Columns, NDArray[np.bool_]]:
        """See ``base.Task``; outputs come by name, ``truth`` is [samples, 3], see ``truth_of``."""
        count = len(next(iter(reference.values()), ()))
        ours, theirs = (self._reader.read(side, count) for side in (reference, candidate))
        fine = np.array(
            [a is not None and b is not None for a, b in zip(ours, theirs, strict=True)], dtype=bool
        )
        rows = [i for i in range(count) if fine[i]]
        columns: dict[str, Any] = {"same": np.zeros((len(rows), 5))}
        for name in ("found_r", "found_c", "found_x", "again") if truth is not None else ():
            columns[name] = np.empty(len(rows), dtype=object)
        for at, i in enumerate(rows):
            a, b = ours[i], theirs[i]
            if a is None or b is None:
                raise AssertionError("only whole samples are looked at")
            columns["same"][at] = self._agreement(a, b)
            if truth is not None:
                own, other, again = truth[i]
                columns["found_r"][at] = self._matched(a, own)
                columns["found_c"][at] = self._matched(b, own)
                columns["found_x"][at] = self._matched(a, other)
                columns["again"][at] = (a, own) if again else None
        return columns, fine

    def _matched(self, boxes: Doubles, labels: Doubles) -> dict[int, Matched]:
        """What was found of each class that is labelled or told in this image."""
        here = {int(each) for each in (*boxes[:, 5], *labels[:, 4])}
        return {
            label: match(boxes[boxes[:, 5] == label, :5], labels[labels[:, 4] == label][:, [0, 1, 2, 3, 5]])
            for label in sorted(here.intersection(self._classes))
        }

    def _agreement(self, reference: Doubles, candidate: Doubles) -> tuple[float, ...]:
        """Boxes of both, how many are the same, and their overlaps and differences of score, summed."""
        a, b = (side[side[:, 4] >= self._score] for side in (reference, candidate))
        same, overlap, score = 0, 0.0, 0.0
        for label in np.intersect1d(a[:, 5], b[:, 5]):
            ours, theirs = (side[side[:, 5] == label] for side in (a, b))
            plain = np.column_stack([ours[:, :4], np.zeros(len(ours))])
            found = match(theirs[:, :5], plain, THRESHOLDS[:1])
            met = found.partner >= 0
            same += int(np.count_nonzero(met))
            overlap += float(found.iou[met].sum())
            score += float(np.abs(theirs[met, 4] - ours[found.partner[met], 4]).sum())
        return float(len(a)), float(len(b)), float(same), overlap, score

    def figures(self, columns: Columns) -> Sequence[Figure]:
        """The judged metric first, then what else the boxes tell."""
        agreement = _agreement_figures(columns["same"])
        if not self._classes:
            return agreement
        names = dict.fromkeys((self.metric, *LABELLED))
        whole = [self._precision(each, columns) for each in names]
        return [*whole, share_figure("images_right", *self.right(columns)), *agreement]

    def figure(self, columns: Columns) -> Figure:
        """The judged metric of a group."""
        if not self._classes:
            return _agreement_figures(columns["same"])[0]
        return self._precision(self.metric, columns)

    def classes(self, columns: Columns) -> dict[str, Figure]:
        """Average precision of each class, over the images that hold labels of it."""
        if not self._classes:
            return {}
        whole, draws = self._draws(columns)
        found = {}
        for k, label in enumerate(self._classes):
            right = [self._all_right(columns[f"found_{side}"], (label,)) for side in "rc"]
            held = np.array([_labels_of(each, label) > 0 for each in columns["found_r"]], dtype=bool)
            if held.any():
                flips = changed(right[0][held].astype(np.int8) - right[1][held].astype(np.int8))
                told = self._of_draws(whole[:, [k]], draws[:, :, [k]], flips, int(held.sum()))
                found[str(label)] = told
        return found

    def chance(self, columns: Columns) -> Figure | None:
        """The reference against what its boxes find of another image's labels; None without labels, or other images."""
        if not self._classes or len(columns["found_r"]) < 2:
            return None
        return self._precision(self.metric, {**columns, "found_c": columns["found_x"]})

    def reading(self, columns: Columns) -> BestReading | None:
        """The other reading of the reference's boxes, or of the labels, that is best; None where none is better."""
        kept = [] if self._declared is None or not self._classes else [e for e in columns["again"] if e]
        better = (
            None if self._declared is None or not kept else best_reading(self._declared, kept, self._half)
        )
        if better is None:
            return None
        pairs = {"found_r": self._all_matched(better.pairs), "found_c": self._all_matched(kept)}
        return replace(better.told, low=self._precision("map50", pairs).low)

    def _all_matched(self, pairs: Pairs) -> NDArray[Any]:
        """What was found in each image, of its boxes and labels."""
        held = np.empty(len(pairs), dtype=object)
        held[:] = [self._matched(*pair) for pair in pairs]
        return held

    def _half(self, pairs: Pairs) -> float:
        """AP50 of some images; 0 where they have no label that counts."""
        found, once = self._all_matched(pairs), np.ones((1, len(pairs)))
        each = [average_precision(once, _gathered(found, label))[0, 0] for label in self._classes]
        there = [value for value in each if np.isfinite(value)]
        return float(np.mean(there)) if there else 0.0

    def right(self, columns: Columns) -> tuple[Bools, Bools]:
        """Whether each model finds every labelled box at an IoU of 0.5 and nothing else; unlabelled, both the same."""
        if self._classes:
            return self._all_right(columns["found_r"], self._classes), self._all_right(
                columns["found_c"], self._classes
            )
        same = columns["same"]
        return np.ones(len(same), dtype=bool), (same[:, 0] == same[:, 2]) & (same[:, 1] == same[:, 2])

    def _all_right(self, found: Any, classes: Sequence[int]) -> Bools:
        return np.array([self._is_right(each, classes) for each in found], dtype=bool)

    def _is_right(self, found: Found, classes: Sequence[int]) -> bool:
        for label in classes:
            each = found.get(label)
            if each is None:
                continue
            seen = each.scores >= self._score
            hits, told = each.hits[0] & each.counted[0] & seen, each.counted[0] & seen
            if hits.sum() != each.labelled or told.sum() != each.labelled:
                return False
        return True

    def _precision(self, metric: str, columns: Columns) -> Figure:
        whole, draws = self._draws(columns)
        right = self.right(columns)
        flips = changed(right[0].astype(np.int8) - right[1].astype(np.int8))
        return self._of_draws(whole, draws, flips, len(right[0]), metric)

    def _of_draws(
        self, whole: Doubles, draws: Doubles, flips: tuple[int, int], n: int, metric: str = ""
    ) -> Figure:
        """A mean over some classes, ``whole`` [2, classes, thresholds] and ``draws`` [draws, 2, classes, thresholds]."""
        name = metric or self.metric
        levels = slice(0, 1) if name == "map50" else slice(None)
        # A group of images without a single label has no precision, and nothing to lose of it.
        sides = np.nan_to_num(_mean(whole[np.newaxis, :, :, levels])[0])
        drawn = _mean(draws[:, :, :, levels])
        drops = drawn[:, 0] - drawn[:, 1]
        found = of_draws(float(sides[0] - sides[1]), drops[np.isfinite(drops)], flips, n)
        return figure(name, n, (float(sides[0]), float(sides[1])), found, flips)

    def _draws(self, columns: Columns) -> tuple[Doubles, Doubles]:
        """Average precision of the whole and of draws of the images, by side, class and threshold."""
        held = columns["found_r"], columns["found_c"]
        if self._drawn is not None and all(a is b for a, b in zip(self._drawn[0], held, strict=True)):
            return self._drawn[1], self._drawn[2]
        n = len(columns["found_r"])
        parts = [[_gathered(columns[f"found_{side}"], label) for label in self._classes] for side in "rc"]

        def score(weights: Doubles) -> Doubles:
            told = [[average_precision(weights, each) for each in side] for side in parts]
            return np.asarray(told).transpose(2, 0, 1, 3)

        work = len(THRESHOLDS) * sum(len(each.image) for side in parts for each in side)
        whole = score(np.ones((1, n)))[0]
        self._drawn = held, whole, resample_rows(n, score, work=work)
        return self._drawn[1], self._drawn[2]


def truth_of(labels: NDArray[Any]) -> NDArray[Any]:
    """What ``records`` takes of each sample, [samples, 3]: its labels, those of another, and whether they are read again.

    The reference finds those of another sample by chance alone. The first images with labels are read in other ways.

    Args:
        labels: [samples] of arrays [labels, 6]: corners, class, crowd.
    """
    truth = np.empty((len(labels), 3), dtype=object)
    truth[:, 0], truth[:, 1], truth[:, 2] = labels, np.roll(labels, 1), False
    truth[[i for i, own in enumerate(labels) if len(own)][:MOST_IMAGES], 2] = True
    return truth


def _gathered(found: Any, label: int) -> ClassMatches:
    """One class over all images, the highest score first; of equal scores the earlier image's, as in COCO."""
    held = [(i, each[label]) for i, each in enumerate(found) if label in each]
    labelled = np.zeros(len(found))
    for i, each in held:
        labelled[i] = each.labelled
    levels = len(THRESHOLDS)
    nothing = np.zeros((levels, 0), dtype=bool)
    scores = np.concatenate([np.zeros(0), *(each.scores for _, each in held)])
    order = np.argsort(-scores, kind="stable")
    image = np.concatenate([np.zeros(0, dtype=np.intp), *(np.full(len(e.scores), i) for i, e in held)])
    hits = np.concatenate([nothing, *(each.hits for _, each in held)], axis=1)
    counted = np.concatenate([nothing, *(each.counted for _, each in held)], axis=1)
    return ClassMatches(image[order].astype(np.intp), hits[:, order], counted[:, order], labelled)


def _labels_of(found: Found, label: int) -> int:
    return found[label].labelled if label in found else 0


def _mean(values: Doubles) -> Doubles:
    """The mean over the classes that there are labels of, [draws, sides]; NaN where there are none."""
    there = np.isfinite(values)
    count = there.sum(axis=(2, 3))
    total = np.where(there, values, 0.0).sum(axis=(2, 3))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _agreement_figures(same: Doubles) -> list[Figure]:
    """What both models say alike, from sums of each sample; the reference agrees with itself."""
    n, met = len(same), same[:, 2]
    boxes = same[:, 0] + same[:, 1]
    other = boxes - 2 * met
    moved = int(np.count_nonzero(other)), 0
    found = [_share("same_boxes", other, boxes, moved)]
    if met.sum() > 0:
        found.append(_share("box_iou", met - same[:, 3], met, changed(met - same[:, 3])))
        score = of_ratio(same[:, 4], met)
        found.append(figure("box_score", n, (0.0, score.drop), score, changed(same[:, 4])))
    return found


def _share(metric: str, worse: Doubles, size: Doubles, moved: tuple[int, int]) -> Figure:
    """One minus a ratio of sums; none seen does not mean that none exist."""
    n = len(worse)
    found = of_ratio(worse, size) if moved != (0, 0) else of_counts(0, 0, n)
    return figure(metric, n, (1.0, 1.0 - found.drop), found, moved)
