"""Folders that the sandboxed child can read, whoever it runs as."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from qgate.errors import MeasureError
from qgate.sandbox.confine import NOBODY

_SYSTEM = ("/tmp", "/var/tmp")  # noqa: S108 - mkdtemp makes a private folder in it


@contextlib.contextmanager
def staging_directory(parent: Path | None = None) -> Iterator[Path]:
    """A fresh directory of mode 0755 that the child can reach, removed afterwards.

    Args:
        parent: Where to make it; by default the first usable of the system's temporary directories.

    Raises:
        MeasureError: No temporary directory can be reached by the unprivileged user.
    """
    place = _reachable(parent)
    folder = Path(tempfile.mkdtemp(prefix="qgate-", dir=place))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _reachable(parent: Path | None) -> Path:
    choices = [parent] if parent is not None else [Path(tempfile.gettempdir()), *map(Path, _SYSTEM)]
    for choice in choices:
        if choice.is_dir() and os.access(choice, os.W_OK) and unreadable_part(choice) is None:
            return choice
    raise MeasureError(
        "no temporary directory can be read by the unprivileged user that models run as",
        where=str(choices[0]),
        remedy="Set TMPDIR to a directory whose parents have mode 0755",
    )


def unreadable_part(path: Path) -> Path | None:
    """The first part of a path that the child could not enter or read; None where it can read all.

    Where this process is not root, the child is the same user and what can be opened here can be there.
    """
    resolved = path.resolve()
    if os.geteuid() != 0:
        return None if os.access(resolved, os.R_OK) else resolved
    for folder in reversed(resolved.parents):
        if not _permits(folder, 0o111):
            return folder
    return None if _permits(resolved, 0o555 if resolved.is_dir() else 0o444) else resolved


def _permits(path: Path, wanted: int) -> bool:
    """Whether the unprivileged user has the wanted bits: as owner, by group or as anyone."""
    found = path.stat()
    if found.st_uid == NOBODY:
        mask = stat.S_IRWXU
    elif found.st_gid == NOBODY:
        mask = stat.S_IRWXG
    else:
        mask = stat.S_IRWXO
    return found.st_mode & mask & wanted == mask & wanted
