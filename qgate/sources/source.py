"""What every kind of place can do: name a model's files and write one of them into a private copy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

from qgate.errors import SourceError
from qgate.sources.newfile import NewFile


class Source(Protocol):
    """One model (or data set) at one kind of place."""

    @property
    def name(self) -> str:
        """The main file's name, without folders."""

    def place(self, side: str | None) -> str:
        """Where a file is, for errors; None is the main file."""

    def expected(self, side: str | None) -> str | None:
        """The sha256 that was promised, None where none was.

        Raises:
            SourceError: This kind of place needs one and there is none.
        """

    def write(self, side: str | None, file: NewFile) -> None:
        """Writes one file.

        Args:
            side: The side file's clean relative name beside the main file; None for the main file.
            file: Where to write.

        Raises:
            SourceError: It cannot be obtained.
        """


def beside(path: str, side: str | None) -> str:
    """The path of a side file: relative to the folder that the main file lies in."""
    if side is None:
        return path
    folder = path.rpartition("/")[0]
    return f"{folder}/{side}" if folder else side


def plain_name(path: str) -> str:
    """A file name that is safe anywhere, made from the last part of a path or address."""
    last = path.rstrip("/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]", "_", last).lstrip("-.")[:120] or "model"


def pinned(sha256: str, files: Mapping[str, str], side: str | None, where: str) -> str:
    """The digest that a remote locator declares for one of its files.

    Raises:
        SourceError: The model has a side file that the locator declares no digest for.
    """
    if side is None:
        return sha256
    if side not in files:
        raise SourceError(
            f"the model needs the side file {side}, for which no sha256 is declared",
            where=where,
            remedy=f"Add `files: {{{side}: SHA256}}` to the locator, or save the model as one file",
        )
    return files[side]
