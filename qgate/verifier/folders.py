"""A folder in the place of a file of data: what it holds decides how it is read, or what to name instead."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from qgate.errors import FolderError, SourceError
from qgate.measure.arrow import STATE
from qgate.measure.cells import FILES
from qgate.measure.preprocessing import SUFFIXES
from qgate.sources.acquire import Acquired, acquire_arrays, acquire_file, acquire_pictures
from qgate.sources.context import SideFiles, SourceContext
from qgate.verify.pair import Acquire

MOST_ARRAYS = 100
"""More files than that are a sample each."""

_SPLITS = "dataset_dict.json"
"""What ``datasets`` writes beside the folders of several splits."""

WHOLE_FOLDERS = (
    f"Name its {STATE} where `datasets` saved it, or a .csv that lists its .npy files or images, one a line (images "
    "with `data.images`); put arrays into an .npz"
)
"""What a policy names in place of a folder."""


def given_data(path: Path, context: SourceContext, side_files: SideFiles, most: int) -> Acquire:
    """What copies a data set that the user named: a file with those that it names, ``datasets``' folder, or ``.npy`` files.

    Args:
        path: The file or folder.
        context: Where and how much.
        side_files: Names the files that a file of data names.
        most: How many these may be.
    """

    def copied(into: Path) -> Acquired:
        main = _main_file(path)
        if main is not None:
            return acquire_file(main, into, context, side_files=side_files, most=most)
        names = _arrays(path)
        if not _are_samples(names):
            return acquire_arrays(path, into, context, names=names)
        return acquire_pictures(path, into, context, suffixes=(FILES,), side_files=side_files, most=most)

    return copied


def _main_file(path: Path) -> Path | None:
    """The file that is read of a path: itself where it is no folder; None for a folder that has none.

    Raises:
        SourceError: It must not be looked at, or is a folder of several splits.
    """
    try:
        return _file_of(path) if path.is_dir() else path
    except OSError as error:
        raise SourceError(
            f"what it holds cannot be looked at ({error.strerror})",
            where=str(path),
            remedy="Check its permissions and those of the folders above: a folder must be readable and searchable",
        ) from error


def _file_of(folder: Path) -> Path | None:
    """What is read of a folder that ``datasets``' ``save_to_disk`` wrote; None for any other."""
    if (folder / STATE).is_file():
        return folder / STATE
    if (folder / _SPLITS).is_file():
        splits = sorted(each.parent.name for each in folder.glob(f"*/{STATE}"))
        shown = ", ".join(ascii(str(folder / each))[1:-1] for each in splits[:5])
        raise SourceError(
            "this is a folder of several splits", where=str(folder), remedy=f"Name one of them: {shown}"
        )
    return None


def _arrays(folder: Path) -> list[str]:
    """Names of the ``.npy`` files of a folder that holds nothing else; hidden files are left out.

    Raises:
        SourceError: It cannot be read, or holds anything else.
    """
    try:
        with os.scandir(folder) as found:
            entries = sorted(
                (each.name, each.is_dir(follow_symlinks=False))
                for each in found
                if not each.name.startswith(".")
            )
    except OSError as error:
        raise SourceError(f"the folder cannot be read ({error.strerror})", where=str(folder)) from error
    names, folders = [name for name, _ in entries], any(below for _, below in entries)
    arrays = [name for name in names if name.endswith(FILES)]
    if not arrays or len(arrays) < len(names):
        pictures = any(name.lower().endswith(SUFFIXES) for name in names)
        raise FolderError(
            "this is a folder, not a file",
            where=str(folder),
            remedy="Name a folder of images with --images, and say with --prepare how they become arrays"
            if pictures or (folders and not arrays)
            else f"Name the file that lies in it: an .npz, .csv, .parquet or {STATE}; a folder itself is read where "
            "all it holds are .npy files: one for each input, named as it is, or a numbered one for each sample",
        )
    return arrays


def _are_samples(names: list[str]) -> bool:
    """Whether ``.npy`` files are a sample each, and not an array each: more than any model has inputs, or numbered."""
    numbered = len(names) > 1 and all(name.removesuffix(FILES).isdecimal() for name in names)
    return numbered or len(names) > MOST_ARRAYS


def told_as_data(acquire: Callable[[Path], Acquired]) -> Acquire:
    """The same, with what to name in place of a folder."""

    def copied(into: Path) -> Acquired:
        try:
            return acquire(into)
        except FolderError as error:
            raise SourceError(error.what, where=error.where, remedy=WHOLE_FOLDERS) from error

    return copied
