"""The text of a table: its cells by column, and the files that they name. Nothing is decoded but text."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import DataError
from qgate.measure.box_rows import BoxRows, folded, is_coco, read_coco
from qgate.measure.preprocessing import SUFFIXES, Preprocessing
from qgate.sandbox.quoting import one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILES = ".npy"
MAX_TABLE_BYTES = 64 * 2**20
MAX_ROWS = 1_000_000
MAX_COLUMNS = 1000
MAX_FILES = 100_000
_WHOLE = (-(2**63), 2**63 - 1)


def read_samples(
    path: Path, label: str, images: Preprocessing | None
) -> tuple[Mapping[str, list[str]], BoxRows | None]:
    """The cells of a table or of annotations by column, a sample each, and the boxes of the samples.

    Raises:
        DataError: It is neither.
    """
    classes = images.classes if images is not None else ()
    if is_coco(path):
        return read_coco(path, label, classes)
    return folded(read_columns(path, label), label, classes)


def read_columns(path: Path, label: str) -> Mapping[str, list[str]]:
    """The cells of a table by column.

    Raises:
        DataError: It is no table of at most ``MAX_ROWS`` rows, each as long as the first.
    """

    def refuse(what: str, remedy: str = "Write it with Python's csv module, in UTF-8") -> DataError:
        return DataError(what, where=label, remedy=remedy)

    try:
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise refuse(f"has more than {MAX_TABLE_BYTES // 2**20} MiB", "Put large values into .npy files")
        text = path.read_bytes().decode("utf-8").removeprefix("\ufeff")
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except OSError as error:
        raise refuse(f"cannot be read ({error.strerror})", "Check the path") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise refuse(f"is no table ({one_line(str(error), 120)})") from error
    header, rows = (lines[0], lines[1:]) if lines else ([], [])
    if len(header) > 1 and not header[0] and all(header[1:]):
        raise refuse("has no name for its first column", "Write it without the index (pandas: index=False)")
    if not header or len(header) > MAX_COLUMNS or len(set(header)) != len(header) or not all(header):
        raise refuse("has no line of different column names", "Begin it with a line of names")
    if len(header) == 1 and ";" in header[0]:
        raise refuse("is separated by semicolons", "Separate its columns by commas")
    if not rows or len(rows) > MAX_ROWS:
        raise refuse(f"has {len(rows)} samples", f"Save 1 to {MAX_ROWS:,} samples, one a line")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise refuse(f"has {len(row)} cells in line {number}, and {len(header)} columns")
    return {name: [row[i] for row in rows] for i, name in enumerate(header)}


def holds_files(cells: list[str]) -> bool:
    """Whether a column names files."""
    return all(cell.endswith(FILES) for cell in cells)


def holds_images(cells: list[str]) -> bool:
    """Whether a column names images, where the table's images are declared."""
    return all(cell.lower().endswith(SUFFIXES) for cell in cells)


def named_files(path: Path, label: str, images: Preprocessing | None = None) -> list[str]:
    """The files that a table names, each once; to be copied beside it. Images only where they are declared.

    Raises:
        DataError: It is no table, names too many files, or one that is not below its folder.
    """
    columns = read_samples(path, label, images)[0]
    chosen = [c for c in columns.values() if holds_files(c) or (images is not None and holds_images(c))]
    found = list(dict.fromkeys(cell for cells in chosen for cell in cells))
    if len(found) > MAX_FILES:
        raise DataError(
            f"names {len(found)} files, more than {MAX_FILES:,}", where=label, remedy="Use an .npz"
        )
    for name in found:
        clean = name.isprintable() and "\\" not in name and not name.startswith("/")
        if not clean or ".." in PurePosixPath(name).parts or str(PurePosixPath(name)) != name:
            raise DataError(
                f"names {one_line(name, 120)!r}, which is no plain path below its folder",
                where=label,
                remedy="Name files relative to the table",
            )
    return found


def typed(cells: list[str]) -> NDArray[Any]:
    """Whole numbers, numbers, or text; what only Python takes for a number, as ``2024_01``, is text."""
    if any("_" in cell for cell in cells):
        return np.array(cells)
    try:
        whole = [int(cell) for cell in cells if len(cell) <= 20]
        if len(whole) == len(cells) and all(_WHOLE[0] <= value <= _WHOLE[1] for value in whole):
            return np.array(whole, dtype=np.int64)
    except ValueError:
        pass
    try:
        return np.array([float(cell) for cell in cells], dtype=np.float64)
    except ValueError:
        return np.array(cells)
