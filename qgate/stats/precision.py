"""Average precision of detections, from matches that were made once: every draw of a bootstrap at once. Pure.

COCO's definition: at each threshold of IoU, detections of a class in falling order of their scores; precision made
falling from the right, read at 101 recalls, and averaged. A draw of the images weighs their detections and labels, so
nothing is matched again: which detection meets which label is a matter of one image alone.

Source: T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; ``COCOeval.accumulate`` of
pycocotools, which the tests hold this against.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]

THRESHOLDS = tuple(float(each) for each in np.linspace(0.5, 0.95, 10))
"""IoU from which on a detection meets a label; the first is that of AP50."""

_RECALLS = np.linspace(0.0, 1.0, 101)
_BLOCK = 1 << 20


@dataclass(frozen=True)
class ClassMatches:
    """Detections of one class over all images, the highest score first.

    Args:
        image: Number of each one's image, [detections].
        hits: Whether it meets a label, [thresholds, detections].
        counted: Whether it counts at all; what meets a crowd does not. Likewise.
        labelled: Labels of the class that count, [images].
    """

    image: NDArray[np.intp]
    hits: NDArray[np.bool_]
    counted: NDArray[np.bool_]
    labelled: Doubles


def average_precision(weights: Doubles, found: ClassMatches) -> Doubles:
    """Average precision, [draws, images] to [draws, thresholds]; NaN in draws without a label of the class.

    Args:
        weights: How often each image was drawn.
        found: The class's detections.
    """
    actual = weights @ found.labelled
    scores = np.full((len(weights), len(found.hits)), np.nan)
    there = np.flatnonzero(actual > 0)
    step = max(1, _BLOCK // max(len(found.image), 1))
    for start in range(0, len(there), step):
        rows = there[start : start + step]
        drawn = weights[np.ix_(rows, found.image)]
        for level, (hits, counted) in enumerate(zip(found.hits, found.counted, strict=True)):
            scores[rows, level] = _area(drawn, hits & counted, counted, actual[rows])
    return scores


def _area(
    drawn: Doubles, hits: NDArray[np.bool_], counted: NDArray[np.bool_], actual: Doubles
) -> NDArray[Any]:
    """The mean of the precision at the recalls, [draws].

    Only hits matter: recall rises at them alone, and between two of them precision only falls.
    """
    if not hits.any():
        return np.zeros(len(drawn))
    right = np.cumsum(drawn[:, hits], axis=1)
    told = np.cumsum(drawn * counted, axis=1)[:, hits]
    precision = right / (told + np.spacing(1))
    falling = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # How many of the recalls are reached by each hit, and were not by the one before it.
    reached = np.searchsorted(_RECALLS, right / actual[:, np.newaxis], side="right")
    new = np.diff(reached, axis=1, prepend=0)
    return np.asarray((falling * new).sum(axis=1) / len(_RECALLS))
