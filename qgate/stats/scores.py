"""Metrics that are no mean of the samples, from weighted counts: every draw of a bootstrap at once. Pure.

The tests hold each against scikit-learn, which is no dependency: it would be most of an image, and its functions
take one draw at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]

BINS = 15
"""Most bins of confidence, all equal, as in the source of ``calibration_error``."""

BIN_SAMPLES = 100
"""A bin for so many samples: the noise of emptier bins would be taken for a lack of calibration."""


class Cells:
    """Samples by kind: label and what both models answered.

    Args:
        truth: Labels, [samples].
        reference: Classes that the reference predicts, [samples]; the candidate's likewise.
    """

    def __init__(self, truth: NDArray[Any], reference: NDArray[Any], candidate: NDArray[Any]) -> None:
        kinds, self.counts = np.unique(
            np.stack([truth, reference, candidate], axis=1), axis=0, return_counts=True
        )
        self.truth = kinds[:, 0]
        self.predicted = {"reference": kinds[:, 1], "candidate": kinds[:, 2]}

    def balanced_accuracy(self, weights: Doubles, side: str) -> Doubles:
        """Mean recall of the classes that there are labels of, [draws]."""
        right = self.predicted[side] == self.truth
        actual = _by_class(weights, self.truth)
        found = _by_class(weights * right, self.truth)
        there = actual > 0
        recall = np.where(there, found / np.where(there, actual, 1.0), 0.0)
        return np.asarray(recall.sum(axis=1) / np.maximum(there.sum(axis=1), 1))

    def macro_f1(self, weights: Doubles, side: str) -> Doubles:
        """Mean F1 of the classes that are labels or are predicted, [draws]."""
        predicted = self.predicted[side]
        classes = np.union1d(self.truth, predicted)
        right = predicted == self.truth
        actual = _by_class(weights, self.truth, classes)
        told = _by_class(weights, predicted, classes)
        found = _by_class(weights * right, self.truth, classes)
        there = actual + told > 0
        score = np.where(there, 2 * found / np.where(there, actual + told, 1.0), 0.0)
        return np.asarray(score.sum(axis=1) / np.maximum(there.sum(axis=1), 1))


def _by_class(weights: Doubles, of: NDArray[Any], classes: NDArray[Any] | None = None) -> Doubles:
    """Sums of weights by class, [draws, kinds] to [draws, classes]."""
    order = np.argsort(of, kind="stable")
    there, starts = np.unique(of[order], return_index=True)
    sums = np.add.reduceat(weights[:, order], starts, axis=1)
    if classes is None:
        return np.asarray(sums)
    found = np.zeros((len(weights), len(classes)))
    found[:, np.searchsorted(classes, there)] = sums
    return found


def calibration_gaps(confidence: NDArray[Any], right: NDArray[Any]) -> Doubles:
    """What each sample adds to its bin's gap of confidence and accuracy, [samples, bins]."""
    count = min(BINS, max(1, len(confidence) // BIN_SAMPLES))
    bins = np.clip(np.ceil(confidence * count).astype(np.intp) - 1, 0, count - 1)
    gaps = np.zeros((len(confidence), count))
    gaps[np.arange(len(confidence)), bins] = confidence - right
    return gaps


def calibration_error(weights: Doubles, gaps: Doubles) -> Doubles:
    """Expected calibration error, [draws].

    Source: C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    return np.asarray(np.abs(weights @ gaps).sum(axis=1) / np.maximum(weights.sum(axis=1), 1.0))


def mean_iou(inter: Doubles, union: Doubles) -> Doubles:
    """Mean over the classes that are there of intersection over union, [draws, classes] to [draws]."""
    there = union > 0
    iou = np.where(there, inter / np.where(there, union, 1.0), 0.0)
    return np.asarray(iou.sum(axis=1) / np.maximum(there.sum(axis=1), 1))
