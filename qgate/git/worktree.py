"""Reading files of a work tree: regular ones that lie in it, and nothing behind a link."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from qgate.errors import SourceError

PIECE = 2**20
"""Bytes that are read at a time."""


def exists(root: Path, path: str) -> bool:
    """Whether a path is a file or a link."""
    try:
        mode = (root / path).lstat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISLNK(mode)


def read_file(root: Path, path: str, limit: int) -> bytes | None:
    """A file's bytes; None where there is nothing.

    Args:
        root: Top of the work tree, resolved.
        path: The file, relative to it.
        limit: Most bytes.

    Raises:
        SourceError: It is no regular file of the repository, larger than that, or cannot be read.
    """
    if not _regular(root, path):
        return None
    try:
        with (root / path).open("rb") as stream:
            content = stream.read(limit + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(content) > limit:
        raise SourceError(f"larger than {limit} bytes", where=path, remedy="Make the file smaller")
    return content


def stream_file(root: Path, path: str) -> Iterator[bytes]:
    """A file's bytes in pieces of 1 MiB; nothing where there is nothing. Errors are as for ``read_file``."""
    if not _regular(root, path):
        return
    try:
        with (root / path).open("rb") as stream:
            while piece := stream.read(PIECE):
                yield piece
    except OSError as error:
        raise _unreadable(path, error) from error


def _regular(root: Path, path: str) -> bool:
    """Whether there is a regular file; False where there is nothing.

    Raises:
        SourceError: There is something else, or it lies behind a link that leaves the repository.
    """
    full = root / path
    try:
        mode = full.lstat().st_mode
        inside = full.resolve().is_relative_to(root)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(mode) or not inside:
        raise SourceError("not a regular file of the repository", where=path, remedy="Commit the file itself")
    return True


def _unreadable(path: str, error: OSError) -> SourceError:
    return SourceError(
        f"cannot be read ({error.strerror})", where=path, remedy="Check the file and its permissions"
    )
