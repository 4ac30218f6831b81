"""A folder of ``.npy`` arrays that the user named on the command line, as the ``.npz`` that ``numpy.savez`` makes of them."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

from qgate.errors import SourceError
from qgate.sources.folder import open_below, read_stable
from qgate.sources.newfile import NewFile
from qgate.sources.pointer import POINTER_MAX, read_pointer

ARCHIVE = "arrays.npz"
"""The main file, which is made here and lies in the copy alone."""


class ArraysSource:
    """The arrays of a folder by the names of their files, uncompressed.

    Args:
        folder: The folder; no symbolic link in it is followed.
        names: Its files.
    """

    name = ARCHIVE

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self._folder = folder
        self._names = sorted(names)

    def place(self, side: str | None) -> str:
        """The folder."""
        return str(self._folder)

    def expected(self, side: str | None) -> str | None:
        """None: nothing is promised."""
        return None

    def write(self, side: str | None, file: NewFile) -> None:
        """Writes the archive; its members have a fixed date, so that the same arrays are the same bytes.

        Raises:
            SourceError: A file is unsafe to read, too large, a pointer, or has a name that is no UTF-8.
        """
        for name in self._names:
            if any("\ud800" <= character <= "\udfff" for character in name):
                raise SourceError(
                    f"holds {ascii(name)[:120]}, whose name is no UTF-8, so that no input can be called that",
                    where=str(self._folder),
                    remedy="Rename it as the input is named, or move it elsewhere",
                )
        with zipfile.ZipFile(_Stream(file), "w", zipfile.ZIP_STORED) as archive:
            for name in self._names:
                with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
                    where = str(self._folder / name)
                    descriptor = open_below(self._folder, name, where=where)
                    try:
                        size = os.fstat(descriptor).st_size
                        if size > file.room:
                            raise file.too_large()
                        if read_pointer(os.pread(descriptor, POINTER_MAX, 0), size, where=where) is not None:
                            raise SourceError(
                                "is a Git LFS pointer, not the data", where=where, remedy="Run `git lfs pull`"
                            )
                        for chunk in read_stable(descriptor, where=where):
                            member.write(chunk)
                    finally:
                        os.close(descriptor)


class _Stream:
    """A new file as ``zipfile`` writes to one that it cannot seek in."""

    def __init__(self, file: NewFile) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        """Appends."""
        self._file.write(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """The file is closed by who opened it."""
