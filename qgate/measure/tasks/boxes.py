"""Boxes out of a detector's outputs: which outputs hold them, and every form of a box as its corners."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from qgate.measure.plugin import PluginError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]

FORMATS = ("xyxy", "yxyx", "xywh", "cxcywh")
"""How four numbers are a box: corners (x or y first), corner and size, or centre and size."""

MOST = 100
"""Boxes of one class in one image that count, the highest scores first; COCO's number."""

_FURTHEST = 1e100
"""Beyond it an area is infinite, and the overlap of two such boxes NaN, which would pass for a match."""


_CLASSES_CALLED = ("classes", "labels")
"""What exporters call the output of classes; torchvision's detectors say labels."""


class Shaped(Protocol):
    """An output as its first sample shows it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a sample."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type."""


@dataclass(frozen=True)
class BoxOutputs:
    """Where a detector says what it found.

    Args:
        boxes: Output of boxes, [boxes, 4]; of boxes, scores and classes in one, [boxes, 6], where it is alone.
        scores: Output of scores, [boxes]; empty where ``boxes`` holds all.
        classes: Output of classes, [boxes]; likewise.
    """

    boxes: str
    scores: str = ""
    classes: str = ""


def find_outputs(outputs: Sequence[Shaped], given: Mapping[str, str | None]) -> BoxOutputs | str:
    """The outputs that are named, or the only ones that can be meant; or why there are none.

    Args:
        outputs: The reference's.
        given: Names by role: ``output`` for one that holds all, or ``boxes``, ``scores`` and ``classes``.
    """
    names = {each.name for each in outputs}
    lacking = next((name for name in given.values() if name is not None and name not in names), None)
    if lacking is not None:
        return f"needs the output {lacking[:60]!r}, which the reference lacks"
    three = [given.get(role) for role in ("boxes", "scores", "classes")]
    if given.get("output") is not None:
        return (
            "needs either `output`, or `boxes`, `scores` and `classes`"
            if any(three)
            else BoxOutputs(str(given["output"]))
        )
    if any(three):
        return BoxOutputs(*map(str, three)) if all(three) else "needs all of `boxes`, `scores` and `classes`"
    whole = [each.name for each in outputs if _ends(each, 6)]
    boxes = [each.name for each in outputs if _ends(each, 4)]
    flat = [each for each in outputs if len(each.shape) <= 1]
    scores = [each.name for each in flat if each.dtype.kind == "f"]
    classes = [each.name for each in flat if each.dtype.kind in "iu"]
    if len(boxes) == len(scores) == len(classes) == 1:
        return BoxOutputs(boxes[0], scores[0], classes[0])
    if len(whole) == 1 and not boxes:
        return BoxOutputs(whole[0])
    # As many boxes as a box has numbers: only the names tell.
    called = [name for name in _CLASSES_CALLED if name in {each.name for each in flat}]
    if "boxes" in boxes and "scores" in scores and called:
        return BoxOutputs("boxes", "scores", called[0])
    return (
        "needs one output of [boxes, 6], or one of [boxes, 4] with scores and classes, [boxes], and it is not plain "
        "which outputs these are"
    )


def _ends(output: Shaped, size: int) -> bool:
    """Whether it is rows of so many numbers; one box alone may have lost its axis of boxes."""
    return 1 <= len(output.shape) <= 2 and output.shape[-1] == size and output.dtype.kind == "f"


class BoxReader:
    """Reads the boxes of samples, each [boxes, 6]: corners x1, y1, x2, y2, the score, the class.

    Args:
        outputs: Where they are; None with a function.
        form: One of ``FORMATS``.
        function: The trusted side's own, from outputs by name to rows of box, score and class for each sample, with
            what messages call it.
    """

    def __init__(
        self,
        outputs: BoxOutputs | None,
        form: str,
        function: tuple[Callable[..., Any], str] | None = None,
    ) -> None:
        self._outputs = outputs
        self._form = form
        self._function = function
        self._one_at_a_time = Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """The outputs that hold the boxes as they are."""
        own = self._outputs
        return () if own is None else tuple(name for name in (own.boxes, own.scores, own.classes) if name)

    def read(self, outputs: Mapping[str, Any], count: int) -> list[Doubles | None]:
        """The boxes of each sample, highest score first; None where they are no finite boxes.

        Rows with a score of zero or less, or a class below zero, are padding.

        Raises:
            PluginError: The function returned something else than rows.
        """
        if self._function is not None:
            return [_kept(rows, self._form) for rows in self._called(outputs, count)]
        if self._outputs is None:
            raise AssertionError("boxes come from outputs or from a function")
        names = self.names
        if any(name not in outputs for name in names):
            return [None] * count
        return [_kept(_rows([np.asarray(outputs[n][i]) for n in names]), self._form) for i in range(count)]

    def _called(self, outputs: Mapping[str, Any], count: int) -> list[Doubles | None]:
        function, label = self._function or (None, "")
        if function is None:
            raise AssertionError("there is a function")
        with self._one_at_a_time:
            told = function(dict(outputs))
        try:
            found = [np.asarray(each, dtype=np.float64) for each in told]
        except (TypeError, ValueError) as error:
            raise PluginError("it returned no rows of numbers for each sample", where=label) from error
        if len(found) != count:
            raise PluginError(f"it returned the boxes of {len(found)} samples for {count}", where=label)
        for each in found:
            if each.size and (each.ndim != 2 or each.shape[1] != 6):
                raise PluginError(
                    f"it returned shape {list(each.shape)[:6]} for a sample",
                    where=label,
                    remedy="Return [boxes, 6] for each sample: the box, its score, its class",
                )
        return [each.reshape(-1, 6) for each in found]


def _rows(parts: list[NDArray[Any]]) -> Doubles | None:
    """The outputs of one sample as [boxes, 6]; None where they do not fit together."""
    if any(part.dtype.kind not in "biuf" for part in parts):
        return None
    if len(parts) == 1:
        return parts[0].astype(np.float64).reshape(-1, 6) if parts[0].size % 6 == 0 else None
    boxes, scores, classes = (part.astype(np.float64) for part in parts)
    if boxes.size != 4 * scores.size or scores.size != classes.size:
        return None
    return np.column_stack([boxes.reshape(-1, 4), scores.reshape(-1), classes.reshape(-1)])


def _kept(rows: Doubles | None, form: str) -> Doubles | None:
    if rows is None or not np.isfinite(rows[:, 4]).all():
        return None
    rows = rows[rows[:, 4] > 0]
    if not np.isfinite(rows).all() or (rows[:, 5] != np.rint(rows[:, 5])).any():
        return None
    rows = rows[rows[:, 5] >= 0]
    rows = rows[np.argsort(-rows[:, 4], kind="stable")]
    placed = corners(rows[:, :4], form)
    if not (np.abs(placed) <= _FURTHEST).all():
        return None
    return np.column_stack([placed, rows[:, 4:]])[_first_of_each(rows[:, 5])]


def _first_of_each(classes: Doubles) -> NDArray[np.bool_]:
    """Whether a row is among the first ``MOST`` of its class."""
    order = np.argsort(classes, kind="stable")
    _, starts, inverse = np.unique(classes[order], return_index=True, return_inverse=True)
    rank = np.empty(len(classes), dtype=np.int64)
    rank[order] = np.arange(len(classes)) - starts[inverse.reshape(-1)] if len(classes) else 0
    return np.asarray(rank < MOST)


def corners(boxes: Doubles, form: str) -> Doubles:
    """Boxes of a format, [boxes, 4], as x1, y1, x2, y2."""
    a, b, c, d = boxes.T
    with np.errstate(over="ignore"):
        if form == "yxyx":
            found = (b, a, d, c)
        elif form == "xywh":
            found = (a, b, a + c, b + d)
        elif form == "cxcywh":
            found = (a - c / 2, b - d / 2, a + c / 2, b + d / 2)
        else:
            found = (a, b, c, d)
    return np.column_stack(found)


def four_numbers(placed: Doubles, form: str) -> Doubles:
    """The numbers of a format that ``corners`` makes these corners of, [boxes, 4]."""
    x1, y1, x2, y2 = placed.T
    with np.errstate(over="ignore"):
        if form == "yxyx":
            found = (y1, x1, y2, x2)
        elif form == "xywh":
            found = (x1, y1, x2 - x1, y2 - y1)
        elif form == "cxcywh":
            found = ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)
        else:
            found = (x1, y1, x2, y2)
    return np.column_stack(found)
