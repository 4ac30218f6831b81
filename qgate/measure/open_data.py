"""Opens a data set, whichever form it has."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from qgate.measure.arrow import STATE, import_arrow, is_columnar, shard_names
from qgate.measure.box_rows import is_coco
from qgate.measure.cells import named_files
from qgate.measure.columnar import ColumnarFile
from qgate.measure.data import NpzFile
from qgate.measure.preprocessing import Preprocessing
from qgate.measure.table import SUFFIX, TableFile


def open_data(
    path: Path, label: str = "", images: Preprocessing | None = None
) -> NpzFile | TableFile | ColumnarFile:
    """An ``.npz``, a table of values and files, or columns of Arrow's, by its name; a context manager.

    Raises:
        DataError: It cannot be read.
    """
    if is_columnar(path):
        return ColumnarFile(path, label, images)
    return TableFile(path, label, images) if is_table(path) else NpzFile(path, label)


def is_table(path: Path) -> bool:
    """Whether a data set is a table that names further files."""
    return path.suffix.lower() == SUFFIX or is_coco(path)


def import_readers(path: Path, images: Preprocessing | None) -> None:
    """Imports what reading a data set needs, before nothing can be read any more.

    Raises:
        ImportError: It is not installed; ``required_library`` says so beforehand.
    """
    if is_columnar(path):
        import_arrow()
    if images is not None:
        from qgate.measure.images import import_decoders

        import_decoders()


def required_library(path: Path, images: Preprocessing | None) -> tuple[str, str] | None:
    """A library that reading needs and that is not installed, with the extra that brings it."""
    if is_columnar(path) and find_spec("pyarrow") is None:
        return "pyarrow", "data"
    if images is not None and find_spec("PIL") is None:
        return "pillow", "data"
    return None


def files_beside(path: Path, label: str, images: Preprocessing | None) -> list[str]:
    """The files that a data set consists of beside its main one; nothing is decoded but text.

    Raises:
        DataError: The main file is damaged, or names a file that is not below its folder.
    """
    if path.name == STATE:
        return shard_names(path, label)
    return named_files(path, label, images) if is_table(path) else []
