"""Boxes of a data set of files: a ``.csv`` with a line for each box, or COCO's annotations. Hostile text, nothing decoded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import DataError
from qgate.sandbox.quoting import one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]

BOXES = "boxes"
"""Name of the labels: in pixels of the image as the model is given it, or of the image file where none is declared."""

RELATIVE, IDS = ".relative", ".ids"
"""Behind it: as shares of the image's width and height; with COCO's own ids as classes."""

COLUMNS = ("x1", "y1", "x2", "y2", "class")
MAX_BOXES = 1_000_000
MAX_JSON_BYTES = 32 << 20
MAX_JSON_PARTS, MAX_JSON_COMMAS = 1_000_000, 4_000_000
"""Objects with lists, and what commas part: each takes far more memory than the two bytes that it is written with."""

MAX_PIXELS = 2.0**31
"""No corner lies further out: what is finite by itself need not be so as an area."""


@dataclass(frozen=True)
class BoxRows:
    """Labelled boxes in pixels of their image files.

    Args:
        lengths: How many each sample has, [samples].
        rows: [boxes, 6]: corners, the class, 1 for a crowd.
        ids: COCO's id of each box's class, [boxes]; None where classes have no other number.
    """

    lengths: NDArray[np.int64]
    rows: Doubles
    ids: Doubles | None = None

    def names(self) -> tuple[str, ...]:
        """The arrays that they can be taken for."""
        kinds = (BOXES, BOXES + RELATIVE)
        return kinds if self.ids is None else (*kinds, *(name + IDS for name in kinds))


def folded(
    columns: Mapping[str, list[str]], label: str, classes: Sequence[str] = ()
) -> tuple[Mapping[str, list[str]], BoxRows | None]:
    """A table of a line for each box as one of a line for each sample, and the boxes; any other as it is.

    Lines of one sample follow each other and agree in all other columns; one without a box has empty cells.

    Args:
        columns: Cells by column.
        label: What messages call the table.
        classes: Names of classes in the model's order; without them, names are sorted.

    Raises:
        DataError: A cell is no number, or lines of a sample are apart.
    """

    def refuse(
        what: str, remedy: str = "Write a line for each box, those of one image together"
    ) -> DataError:
        return DataError(what, where=label, remedy=remedy)

    if not set(COLUMNS) <= set(columns):
        return columns, None
    names = [name for name in columns if name not in (*COLUMNS, "crowd")]
    count = len(columns["class"])
    if not names:
        raise refuse("has boxes and says of no line which sample it is of")
    keys = list(zip(*(columns[name] for name in names), strict=True))
    starts = [i for i in range(count) if i == 0 or keys[i] != keys[i - 1]]
    if len({keys[i] for i in starts}) != len(starts):
        raise refuse("has lines of one sample in several places")
    cells = [columns[name] for name in (*COLUMNS, "crowd") if name in columns]
    there = [i for i in range(count) if any(each[i] for each in cells[:5])]
    if len(there) > MAX_BOXES:
        raise refuse(f"has more than {MAX_BOXES:,} boxes", "Give fewer samples")
    numbers = _classes([columns["class"][i] for i in there], classes, refuse)
    rows = np.zeros((len(there), 6))
    for at, i in enumerate(there):
        try:
            rows[at, :4] = [float(each[i]) for each in cells[:4]]
            rows[at, 5] = float(cells[5][i] or 0) if len(cells) > 5 else 0
        except ValueError:
            raise refuse(f"has a box in line {i + 2} that is no four numbers") from None
        if not np.isfinite(rows[at, 5]) or not (np.abs(rows[at, :4]) <= MAX_PIXELS).all():
            raise refuse(f"has a box in line {i + 2} that is NaN, infinite or beyond 2^31 pixels")
    rows[:, 4] = numbers
    sample = np.searchsorted(np.array(starts), there, side="right") - 1
    lengths = np.bincount(sample, minlength=len(starts)).astype(np.int64)
    return {name: [columns[name][i] for i in starts] for name in names}, BoxRows(lengths, rows)


def _classes(cells: list[str], order: Sequence[str], refuse: Any) -> list[float]:
    """Classes as numbers: as they are, or by their names."""
    if all(cell.isascii() and cell.isdecimal() and len(cell) < 10 for cell in cells) and not order:
        return [float(cell) for cell in cells]
    position = {name: float(i) for i, name in enumerate(order or sorted(set(cells)))}
    unknown = next((cell for cell in cells if cell not in position), None)
    if unknown is not None:
        raise refuse(
            f"has the class {one_line(unknown, 80)!r}, which is none of those that are declared",
            "Name every class under `data.images.classes`, in the order of the model's",
        )
    return [position[cell] for cell in cells]


def is_coco(path: Path) -> bool:
    """Whether a data set is a file of annotations in COCO's form; see ``columnar`` for the other ``.json``."""
    return path.suffix.lower() == ".json" and path.name != "state.json"


def read_coco(path: Path, label: str, classes: Sequence[str] = ()) -> tuple[dict[str, list[str]], BoxRows]:
    """The images and boxes of annotations in COCO's form.

    Args:
        path: The ``.json``; its ``file_name`` are relative to it.
        label: What messages call it.
        classes: Names of categories in the model's order; without them, classes are counted in the order of their ids.

    Returns:
        A column ``image`` of files in the order of the ids, and their boxes.

    Raises:
        DataError: It is none, is too large, or contradicts itself.
    """

    def refuse(what: str, remedy: str = "Write it as COCO's instances_val2017.json is") -> DataError:
        return DataError(what, where=label, remedy=remedy)

    try:
        raw = json.loads(_bounded(path, refuse))
        images = sorted((_whole(each["id"]), _text(each["file_name"])) for each in raw["images"])
        kinds = sorted((_whole(each["id"]), _text(each.get("name", ""))) for each in raw["categories"])
        notes = [
            (
                _whole(n["image_id"]),
                _whole(n["category_id"]),
                *_box(n["bbox"], position),
                float(bool(n.get("iscrowd", 0))),
            )
            for position, n in enumerate(raw["annotations"])
        ]
        del raw
    except OSError as error:
        raise refuse(f"cannot be read ({error.strerror})", "Check the path") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise refuse(
            f"are no annotations in COCO's form ({type(error).__name__}: {one_line(str(error), 80)})"
        ) from error
    if not images or len({number for number, _ in images}) != len(images):
        raise refuse("names no images, or two with one id")
    if len({number for number, _ in kinds}) != len(kinds) or len(notes) > MAX_BOXES:
        raise refuse(f"has two categories with one id, or more than {MAX_BOXES:,} boxes")
    if classes and {name for _, name in kinds} != set(classes):
        raise refuse(
            "has other categories than are declared",
            "Name every category under `data.images.classes`, in the order of the model's",
        )
    place = {number: i for i, (number, _) in enumerate(images)}
    kind = {number: classes.index(name) if classes else i for i, (number, name) in enumerate(kinds)}
    if any(note[0] not in place or note[1] not in kind for note in notes):
        raise refuse("has a box of an image or a category that there is not")
    notes.sort(key=lambda note: place[note[0]])
    lengths = np.bincount([place[note[0]] for note in notes], minlength=len(images)).astype(np.int64)
    rows = np.array([[*note[2:6], kind[note[1]], note[6]] for note in notes], dtype=np.float64).reshape(-1, 6)
    ids = np.array([note[1] for note in notes], dtype=np.float64)
    return {"image": [name for _, name in images]}, BoxRows(lengths, rows, ids)


def _bounded(path: Path, refuse: Any) -> bytes:
    """The file's bytes, if what they describe can be held."""
    with path.open("rb") as stream:
        held = stream.read(MAX_JSON_BYTES + 1)
    if len(held) > MAX_JSON_BYTES:
        raise refuse(f"has more than {MAX_JSON_BYTES >> 20} MiB", "Leave out the segmentations")
    for count, most, what in (
        (held.count(b"{") + held.count(b"["), MAX_JSON_PARTS, "objects and lists"),
        (held.count(b","), MAX_JSON_COMMAS, "commas"),
    ):
        if count > most:
            raise refuse(
                f"has {count:,} {what}, more than {most:,}",
                "Leave out the segmentations, or give fewer images",
            )
    return held


def _whole(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**53:
        raise ValueError("an id is no whole number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("a name is no text")
    return value


def _box(value: Any, position: int) -> tuple[float, float, float, float]:
    """Corner and size, [x, y, width, height], as corners."""
    four = value if isinstance(value, list) and len(value) == 4 else ()
    # By comparison: a whole number of JSON may be too large to be a float, and NaN is not below anything.
    if not four or not all(type(each) in (int, float) and abs(each) <= MAX_PIXELS for each in four):
        raise ValueError(f"annotations[{position}].bbox is no four numbers within 2^31 pixels")
    x, y, width, height = map(float, four)
    return x, y, x + width, y + height
