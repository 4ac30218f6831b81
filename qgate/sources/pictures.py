"""A folder of samples that the user named on the command line: a list of the files, and the files themselves."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

from qgate.errors import SourceError
from qgate.sources.context import SourceContext
from qgate.sources.newfile import NewFile
from qgate.sources.path import PathSource

LISTING = "images.csv"
"""The main file, which is made here and lies in the copy alone; its only column is ``COLUMN``."""

COLUMN = "image"


class PicturesSource:
    """The images (or ``.npy`` samples) below a folder in the order of their paths, as a table that names them.

    Args:
        folder: The folder; no symbolic link in it is followed.
        context: For Git LFS.
        suffixes: How their names end, in lower case.
        most: How many there may be.
    """

    name = LISTING

    def __init__(self, folder: Path, context: SourceContext, suffixes: tuple[str, ...], most: int) -> None:
        self._folder = folder
        self._suffixes = suffixes
        self._most = most
        self._files = PathSource(folder, LISTING, None, context, named_by_user=True)

    def place(self, side: str | None) -> str:
        """The folder, or one of its files."""
        return str(self._folder) if side is None else self._files.place(side)

    def expected(self, side: str | None) -> str | None:
        """None: nothing is promised."""
        return self._files.expected(side)

    def write(self, side: str | None, file: NewFile) -> None:
        """Writes the list, or copies an image."""
        if side is not None:
            self._files.write(side, file)
            return
        text = io.StringIO(newline="")
        csv.writer(text).writerows([[COLUMN], *([name] for name in self.names())])
        file.write(text.getvalue().encode())

    def names(self) -> list[str]:
        """Paths of the images relative to the folder, sorted; hidden files and folders are left out.

        Raises:
            SourceError: There is no such folder, or it holds no image, too many, or one with an odd name.
        """
        found: list[str] = []
        if not self._folder.is_dir():
            raise self._error("there is no such folder", "Check the path; --images takes a folder of images")
        for at, folders, files in os.walk(self._folder, onerror=self._refuse):
            folders[:] = sorted(each for each in folders if not each.startswith("."))
            place = Path(at).relative_to(self._folder)
            found += [
                (place / each).as_posix()
                for each in files
                if each.lower().endswith(self._suffixes) and not each.startswith(".")
            ]
            if len(found) > self._most:
                raise self._error(f"holds more than {self._most:,} samples", "Name a smaller folder")
        if not found:
            raise self._error("holds no image", f"Name a folder of {', '.join(self._suffixes)} files")
        odd = next((each for each in found if not each.isprintable() or "\\" in each), None)
        if odd is not None:
            raise self._error(
                f"holds {ascii(odd)[:120]}, whose name no table can hold",
                "Rename it: UTF-8, without control characters and backslashes",
            )
        return sorted(found)

    def _refuse(self, error: OSError) -> None:
        raise self._error(f"cannot be read ({error.strerror})", "Check its permissions") from error

    def _error(self, what: str, remedy: str) -> SourceError:
        return SourceError(what, where=str(self._folder), remedy=remedy)
