"""Opens a data set, whichever form it has."""

from __future__ import annotations

from pathlib import Path

from qgate.measure.data import NpzFile
from qgate.measure.table import SUFFIX, TableFile


def open_data(path: Path, label: str = "") -> NpzFile | TableFile:
    """An ``.npz``, or a table of values and files by its suffix; a context manager.

    Raises:
        DataError: It cannot be read.
    """
    return TableFile(path, label) if is_table(path) else NpzFile(path, label)


def is_table(path: Path) -> bool:
    """Whether a data set is a table that names further files."""
    return path.suffix.lower() == SUFFIX
