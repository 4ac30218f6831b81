"""Labelled boxes of each sample, whichever form a data set keeps them in; see docs/policy.md, `task`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import DataError
from qgate.measure.data import DataFile
from qgate.measure.tasks.boxes import corners
from qgate.sandbox.quoting import one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]

MAX_BOXES = 10_000_000
MAX_CLASSES = 2000
_HOW = (
    "Save [boxes, 6] (number of the sample, the box, its class), or [samples, most, 5] (the box and its class, "
    "-1 where there is none)"
)


def read_boxes(file: DataFile, name: str, count: int, form: str) -> tuple[NDArray[Any], tuple[int, ...]]:
    """The labels of each sample and the classes that there are.

    Args:
        file: The data set.
        name: Array of the labels: [boxes, 6] with the number of the sample first, or [samples, most, 5], a class below
            0 where there is no box; or a column of lists of [boxes, 5]. One number more says whether it is a crowd.
        count: Samples.
        form: How four numbers are a box, see ``tasks.boxes.FORMATS``.

    Returns:
        [samples] of arrays [labels, 6]: corners, class, crowd; and the classes, in order.

    Raises:
        DataError: They are no boxes, or of no sample, or there are none.
    """

    def refuse(what: str, remedy: str = _HOW) -> DataError:
        return DataError(f"the labels {one_line(name, 80)!r} {what}", where=file.label, remedy=remedy)

    numbers, rows = _rows(file, name, count, form, refuse)
    if len(rows) > MAX_BOXES:
        raise refuse(f"hold {len(rows):,} boxes, more than {MAX_BOXES:,}", "Give fewer samples")
    if not np.isfinite(rows).all():
        at = int(numbers[~np.isfinite(rows).all(axis=1)][0])
        raise refuse(f"hold NaN or infinity (sample {at})", "Remove such boxes")
    if (rows[:, 4] != np.rint(rows[:, 4])).any():
        raise refuse("have classes that are not whole numbers")
    kept = rows[:, 4] >= 0
    numbers, rows = numbers[kept], rows[kept]
    rows[:, :4] = corners(rows[:, :4], form)
    wrong = (rows[:, 2] < rows[:, 0]) | (rows[:, 3] < rows[:, 1]) | ~np.isfinite(rows).all(axis=1)
    if wrong.any():
        raise refuse(
            f"hold a box of negative size as `{form}` (sample {int(numbers[wrong][0])})",
            "Say how four numbers are a box (label_format)",
        )
    if not len(rows):
        raise refuse("name no box at all", "Give labels, or `metric: same_boxes`, which needs none")
    if not (rows[:, 5] == 0).any():
        raise refuse("name crowds alone, which are not counted")
    classes = np.unique(rows[rows[:, 5] == 0][:, 4])
    if len(classes) > MAX_CLASSES:
        raise refuse(f"name more than {MAX_CLASSES} classes", "Name another task (none)")
    order = np.argsort(numbers, kind="stable")
    cuts = np.searchsorted(numbers[order], np.arange(1, count))
    found = np.empty(count, dtype=object)
    found[:] = np.split(rows[order], cuts)
    return found, tuple(int(each) for each in classes)


def _rows(file: DataFile, name: str, count: int, form: str, refuse: Any) -> tuple[NDArray[np.int64], Doubles]:
    """Number of the sample and row (box, class, crowd) of each label."""
    ragged = getattr(file, "ragged", None)
    lists = None if ragged is None else ragged(name)
    if lists is not None:
        lengths, rows = lists
        if form != "xyxy" and getattr(file, "corners", False):
            raise refuse("are corners by their columns", "Remove `label_format`")
        if len(lengths) != count:
            raise refuse(f"are of {len(lengths)} samples, the inputs of {count}")
        return np.repeat(np.arange(count), lengths), _whole(rows, refuse)
    values = file.whole(name, "labels")
    if values.dtype.kind not in "biuf" or values.ndim not in (2, 3):
        raise refuse(f"have dtype {values.dtype} and shape {list(values.shape)[:6]}")
    if values.ndim == 3:
        if len(values) != count:
            raise refuse(f"are of {len(values)} samples, the inputs of {count}")
        flat = values.reshape(-1, values.shape[2]).astype(np.float64)
        rows = _whole(flat, refuse)
        there = ~(rows[:, 4] < 0)  # padding may be anything, NaN as well
        return np.repeat(np.arange(count), values.shape[1])[there], rows[there]
    numbers = values[:, 0].astype(np.float64)
    if not ((numbers >= 0) & (numbers < count) & (numbers == np.rint(numbers))).all():
        raise refuse(f"begin with other numbers than those of the {count} samples, counted from 0")
    return numbers.astype(np.int64), _whole(values[:, 1:].astype(np.float64), refuse)


def _whole(rows: Doubles, refuse: Any) -> Doubles:
    """Rows of box, class and crowd; the last is 0 where it is not given."""
    if rows.shape[1] not in (5, 6):
        raise refuse(f"have {rows.shape[1]} numbers for a box and its class")
    return np.column_stack([rows, np.zeros(len(rows))]) if rows.shape[1] == 5 else rows.copy()
