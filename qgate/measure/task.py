"""Decides which task the labels speak of, and checks that labels, slices and outputs fit together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import DataError
from qgate.measure.behaviour import TaskPlan
from qgate.measure.box_labels import read_boxes
from qgate.measure.choose_task import MAX_GROUPS, Chooser, OutputShape
from qgate.measure.data import DataFile, windows
from qgate.measure.request import UNLABELLED
from qgate.measure.tasks import (
    classification,
    detection,
    embedding,
    plugin,
    regression,
    segmentation,
    text,
    tokens,
)
from qgate.measure.tasks.base import Options
from qgate.measure.tasks.boxes import BoxReader, find_outputs
from qgate.measure.tasks.readings import Declared, image_size
from qgate.sandbox.quoting import one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

TASKS = (
    *classification.METRICS,
    *regression.METRICS,
    *embedding.METRICS,
    *tokens.METRICS,
    *segmentation.METRICS,
    *text.METRICS,
    *detection.METRICS,
    *plugin.METRICS,
)
"""Every metric that can be asked for, ``none`` apart."""


def plan_task(
    file: DataFile,
    *,
    labels: str | None,
    slices: str | None,
    task: str | None,
    wanted_output: str | None,
    outputs: Sequence[OutputShape],
    count: int,
    options: Options | None = None,
    function: tuple[Callable[..., Any], str] | None = None,
) -> tuple[TaskPlan | None, list[str]]:
    """Decides what is compared with the labels, and reads them.

    ``function`` is the trusted side's own, with what messages call it, for tasks that have one.

    Returns:
        The plan, or None where there is no task, and remarks for the reader.

    Raises:
        DataError: Labels or slices do not fit the samples, the outputs or the task.
    """
    if task == "none" or (labels is None and task not in UNLABELLED):
        if labels is None and task not in (None, "none"):
            raise DataError(
                f"the task {task} needs labels",
                where=file.label,
                remedy="Name the array of labels (--labels KEY)",
            )
        return None, (["slices are given and there is no task to judge them by"] if slices else [])
    groups = None if slices is None else _read_slices(file, slices, count)
    if task in detection.METRICS:
        return _plan_detection(
            file, task, labels, outputs, wanted_output, count, options or Options(), function
        ).sliced(groups), []
    truth = None if labels is None else _read_labels(file, labels, count)
    if task in plugin.METRICS:
        if function is None:
            raise DataError(
                f"the task {task} needs a function",
                where=file.label,
                remedy="Name it (--task-code, or `task.python`)",
            )
        own = plugin.Decoded(*function) if task == "decoded" else None
        scored = own or plugin.Scored(*function, lower=options is not None and options.better == "lower")
        return TaskPlan(scored, None, truth, groups), []
    choose = Chooser(file.label, labels or "", outputs, wanted_output, options or Options())
    found, position, values = choose.choose(task, truth)
    if isinstance(found, embedding.Embedding) and position is not None:
        _require_room(file.label, count, outputs[position].size)
    return TaskPlan(found, position, values, groups), choose.remarks


def _require_room(where: str, samples: int, elements: int) -> None:
    """Refuses more vectors than are held at once."""
    held = embedding.vector_bytes(samples, elements)
    if held > embedding.MAX_VECTOR_BYTES:
        most = embedding.MAX_VECTOR_BYTES
        fits = samples * most // held
        raise DataError(
            f"the vectors of {samples:,} samples take {held / 2**30:.1f} GiB, and {most >> 30} GiB are held",
            where=where,
            remedy=f"Give {fits:,} samples or fewer",
        )


def _plan_detection(
    file: DataFile,
    metric: str,
    labels: str | None,
    outputs: Sequence[OutputShape],
    wanted: str | None,
    count: int,
    options: Options,
    function: tuple[Callable[..., Any], str] | None,
) -> TaskPlan:
    """A task of boxes, which come from one output, from three, or from the trusted side's function."""
    truth: NDArray[Any] | None = None
    classes: tuple[int, ...] = ()
    if metric in detection.LABELLED and labels is not None:
        own, classes = read_boxes(file, labels, count, options.label_format)
        truth = detection.truth_of(own)
    given = {"output": wanted, "boxes": options.boxes, "scores": options.scores, "classes": options.classes}
    found = None if function is not None else find_outputs(outputs, given)
    if isinstance(found, str):
        raise DataError(
            f"the task {metric} {found}",
            where=file.label,
            remedy="Name them (`output`, or `boxes`, `scores` and `classes`), or the function that decodes them; "
            "its outputs are " + ", ".join(one_line(each.name, 60) for each in outputs[:10]),
        )
    reader = BoxReader(found, options.format, function)
    fixed = bool(getattr(file, "corners", False))
    declared = Declared(options.format, options.label_format, fixed, image_size(file.arrays))
    return TaskPlan(detection.Detection(metric, reader, options.score, classes, declared), None, truth)


def _read_labels(file: DataFile, name: str, count: int) -> NDArray[Any]:
    truth = file.whole(name, "labels")
    shown = one_line(name, 80)
    if truth.dtype.kind not in "biuf":
        raise DataError(
            f"the labels {shown!r} have dtype {truth.dtype}", where=file.label, remedy="Save numbers"
        )
    if not truth.shape or len(truth) != count:
        found = len(truth) if truth.shape else "no axis of"
        raise DataError(
            f"the labels {shown!r} have {found} samples, the inputs {count}",
            where=file.label,
            remedy="Save one label for each sample, in the same order",
        )
    sample = 0
    for part in windows(truth) if truth.dtype.kind == "f" else ():
        wrong = np.flatnonzero(~np.isfinite(part).reshape(len(part), -1).all(axis=1))
        sample += int(wrong[0]) if len(wrong) else len(part)
        if not len(wrong):
            continue
        raise DataError(
            f"the labels {shown!r} hold NaN or infinity (sample {sample})",
            where=file.label,
            remedy="Remove samples without a label",
        )
    return truth


def _read_slices(file: DataFile, name: str, count: int) -> NDArray[Any]:
    values = file.whole(name, "slices")
    shown = one_line(name, 80)
    if values.dtype.kind not in "biuUS" or values.shape not in {(count,), (count, 1)}:
        raise DataError(
            f"the slices {shown!r} have dtype {values.dtype} and shape {list(values.shape)}",
            where=file.label,
            remedy=f"Save {count} words or whole numbers, one for each sample",
        )
    flat = values.reshape(-1)
    words = np.char.decode(flat, "utf-8", "replace") if flat.dtype.kind == "S" else flat.astype(str)
    if len(np.unique(words)) > MAX_GROUPS:
        raise DataError(
            f"there are more than {MAX_GROUPS} different slices in {shown!r}",
            where=file.label,
            remedy="Name groups of samples, not samples",
        )
    return words
