"""Which box meets which label in one image, as pycocotools matches them: the only door to that library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.measure.tasks.boxes import MOST
from qgate.stats.precision import THRESHOLDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]

_EVERY = [0.0, float("inf")]


@dataclass(frozen=True)
class Matched:
    """The boxes of one class in one image, highest score first.

    Args:
        scores: [boxes].
        hits: Whether each meets a label, [thresholds, boxes].
        counted: Whether each counts; what meets a crowd does not. Likewise.
        partner: Row of the label that each meets at the first threshold, -1 for none, [boxes].
        iou: Its overlap with it, 0 for none, [boxes].
        labelled: Labels that count.
    """

    scores: Doubles
    hits: NDArray[np.bool_]
    counted: NDArray[np.bool_]
    partner: NDArray[np.intp]
    iou: Doubles
    labelled: int


def match(boxes: Doubles, labels: Doubles, levels: tuple[float, ...] = THRESHOLDS) -> Matched:
    """Matches boxes of one class with labels of that class.

    Args:
        boxes: [boxes, 5]: corners and score, highest score first.
        labels: [labels, 5]: corners, and 1 for a crowd, any number of whose boxes may be met.
        levels: Thresholds of IoU.
    """
    from pycocotools.cocoeval import COCOeval

    boxes = boxes[:MOST]
    crowds = labels[:, 4] > 0
    shape = len(levels), len(boxes)
    plain = Matched(
        scores=boxes[:, 4],
        hits=np.zeros(shape, dtype=bool),
        counted=np.ones(shape, dtype=bool),
        partner=np.full(len(boxes), -1),
        iou=np.zeros(len(boxes)),
        labelled=int(np.count_nonzero(~crowds)),
    )
    if not len(boxes) or not len(labels):
        return plain
    # Its classes print as they read annotations; with these filled in, nothing is read and nothing printed.
    judge = COCOeval(iouType="bbox")
    judge.params.iouThrs = np.array(levels)
    judge.params.maxDets = [MOST]
    # An area of one for all: every size counts. By their own areas the library leaves out boxes of negative size, and a
    # model could hide wrong ones like that. Numbers begin at 1, because 0 is no match.
    judge._gts[0, 0] = [
        {"id": i + 1, "bbox": box, "area": 1.0, "iscrowd": int(crowd), "ignore": int(crowd)}
        for i, (box, crowd) in enumerate(zip(_sized(labels), crowds, strict=True))
    ]
    judge._dts[0, 0] = [
        {"id": i + 1, "bbox": box, "area": 1.0, "score": score}
        for i, (box, score) in enumerate(zip(_sized(boxes), boxes[:, 4], strict=True))
    ]
    judge.ious[0, 0] = overlaps = np.asarray(judge.computeIoU(0, 0))
    found: dict[str, Any] = judge.evaluateImg(0, 0, _EVERY, MOST)
    partner = found["dtMatches"][0].astype(np.intp) - 1
    met = overlaps[np.arange(len(boxes)), np.maximum(partner, 0)]
    return Matched(
        scores=plain.scores,
        hits=found["dtMatches"] > 0,
        counted=~found["dtIgnore"].astype(bool),
        partner=partner,
        iou=np.where(partner >= 0, met, 0.0),
        labelled=plain.labelled,
    )


def _sized(boxes: Doubles) -> list[list[float]]:
    """Corner and size of each, as COCO has them."""
    with np.errstate(over="ignore"):
        sized = np.column_stack([boxes[:, :2], boxes[:, 2:4] - boxes[:, :2]])
    # Nothing overlaps with what has no finite size; the library would make NaN of it.
    sized[~np.isfinite(sized).all(axis=1)] = 0.0
    return [[float(each) for each in row] for row in sized]
