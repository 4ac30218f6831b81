"""Opening files below a folder that somebody else filled: no symbolic link is ever followed."""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from qgate.errors import FolderError, MissingError, SourceError

CHUNK = 2**20
_NAMES_MAX = 10_000
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO must not wait for a writer that never comes.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_below(root: Path, path: str, *, where: str, follow_last: bool = False) -> int:
    """Opens a regular file below a folder, one component at a time, following no symbolic link.

    Args:
        root: The folder; it is trusted and may itself be reached through links.
        path: Clean relative path (see ``locator.relative_path``).
        where: The place for errors.
        follow_last: The user named this very file on the command line: it may be a link or have others.

    Returns:
        An open descriptor, the caller's to close.

    Raises:
        SourceError: It is missing, a link, a folder, a device, has other hard links, or is not readable.
    """
    *folders, name = path.split("/")
    current = _open_root(root, where)
    try:
        for depth, part in enumerate(folders):
            below = _open_part(current, part, _FOLDER, "/".join(folders[: depth + 1]), where)
            os.close(current)
            current = below
        flags = _FILE & ~os.O_NOFOLLOW if follow_last else _FILE
        descriptor = _open_part(current, name, flags, path, where)
    finally:
        os.close(current)
    try:
        _require_plain(os.fstat(descriptor), where, links_allowed=follow_last)
    except SourceError:
        os.close(descriptor)
        raise
    return descriptor


def read_stable(descriptor: int, *, where: str) -> Iterator[bytes]:
    """The bytes of an open file from its beginning.

    Raises:
        SourceError: The file changed while it was being read, or cannot be read.
    """
    before = os.fstat(descriptor)
    offset = 0
    try:
        while chunk := os.pread(descriptor, CHUNK, offset):
            offset += len(chunk)
            yield chunk
    except OSError as error:
        raise SourceError(f"the file cannot be read ({error.strerror})", where=where) from error
    if offset != before.st_size or _identity(os.fstat(descriptor)) != _identity(before):
        raise SourceError(
            "the file changed while it was being read",
            where=where,
            remedy="Let the step that writes it finish before the gate starts, and run again",
        )


def nearest(path: str, names: Iterable[str]) -> str:
    """A hint at what may have been meant, empty where nothing is near.

    Args:
        path: The name that does not exist.
        names: The names that do.
    """
    known = [name for name in islice(names, _NAMES_MAX) if name.isprintable()]
    same = [name for name in known if name.lower() == path.lower()]
    if same:
        return f"It is written {same[0]} there: upper and lower case differ"
    near = difflib.get_close_matches(path, known, n=3, cutoff=0.7)
    ratio = {name: difflib.SequenceMatcher(None, path, name).ratio() for name in near}
    # Beside one that is clearly meant, others of the same family only distract.
    near = [name for name in near if ratio[name] >= ratio[near[0]] - 0.04]
    shown = f"{', '.join(near[:-1])} or {near[-1]}" if len(near) > 1 else "".join(near)
    return f"Did you mean {shown}?" if near else ""


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _open_root(root: Path, where: str) -> int:
    try:
        return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise SourceError(f"the folder {root} cannot be opened ({error.strerror})", where=where) from error


def _open_part(folder: int, name: str, flags: int, path: str, where: str) -> int:
    try:
        return os.open(name, flags, dir_fd=folder)
    except FileNotFoundError as error:
        prefix = path.rpartition("/")[0]
        names = (f"{prefix}/{entry}" if prefix else entry for entry in _names(folder))
        what = "no such file" if path == where else f"no such file: {path} is missing"
        hint = nearest(path, names) or "Check the path; one in a policy is relative to the repository's root"
        raise MissingError(what, where=where, remedy=hint) from error
    except OSError as error:
        if _is_link(folder, name):
            raise SourceError(
                f"{path} is a symbolic link, which the gate does not follow",
                where=where,
                remedy="Commit the file itself, or name the link's target in the policy",
            ) from error
        if isinstance(error, NotADirectoryError):
            raise SourceError(f"{path} is a file, not a folder", where=where) from error
        remedy = "Give the run permission to read it" if isinstance(error, PermissionError) else ""
        raise SourceError(
            f"{path} cannot be opened ({error.strerror})", where=where, remedy=remedy
        ) from error


def _is_link(folder: int, name: str) -> bool:
    try:
        return stat.S_ISLNK(os.lstat(name, dir_fd=folder).st_mode)
    except OSError:
        return False


def _names(folder: int) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in islice(entries, _NAMES_MAX)]
    except OSError:
        return []


def _require_plain(status: os.stat_result, where: str, *, links_allowed: bool) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise FolderError("this is a folder, not a file", where=where, remedy="Name the file that lies in it")
    if not stat.S_ISREG(status.st_mode):
        raise SourceError(
            "this is a device, socket or pipe, not a regular file",
            where=where,
            remedy="Write it to a file first, and name that",
        )
    if status.st_nlink > 1 and not links_allowed:
        raise SourceError(
            f"the file has {status.st_nlink} hard links, so other names share its bytes",
            where=where,
            remedy="Replace it with a copy of its own: `cp FILE FILE.new && mv FILE.new FILE`",
        )
