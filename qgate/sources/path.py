"""A file of the work tree, or one that the user named on the command line."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from qgate.git.repository import Repository
from qgate.sources.context import SourceContext
from qgate.sources.folder import open_below, read_stable
from qgate.sources.newfile import NewFile
from qgate.sources.pointer import POINTER_MAX, read_pointer
from qgate.sources.source import beside


class PathSource:
    """A file below a folder; no symbolic link is followed and a Git LFS pointer is resolved.

    Args:
        root: The folder that the path is relative to.
        path: Clean relative path of the main file.
        sha256: The digest that was promised, if any.
        context: For Git LFS.
        named_by_user: The main file was named on the command line: it may be a symbolic link or have
            other hard links, as files of download caches are and have.
    """

    def __init__(
        self,
        root: Path,
        path: str,
        sha256: str | None,
        context: SourceContext,
        *,
        named_by_user: bool = False,
    ) -> None:
        self._root = root
        self._path = path
        self._sha256 = sha256
        self._context = context
        self._named_by_user = named_by_user

    @property
    def name(self) -> str:
        """The main file's name."""
        return self._path.rpartition("/")[2]

    def place(self, side: str | None) -> str:
        """The path relative to the root; the whole path where the user named it."""
        path = beside(self._path, side)
        return str(self._root / path) if self._named_by_user else path

    def expected(self, side: str | None) -> str | None:
        """The promised digest of the main file; none is promised for side files."""
        return self._sha256 if side is None else None

    def write(self, side: str | None, file: NewFile) -> None:
        """Copies the file, or what its Git LFS pointer stands for."""
        path = beside(self._path, side)
        follow = self._named_by_user and side is None
        descriptor = open_below(self._root, path, where=file.where, follow_last=follow)
        try:
            size = os.fstat(descriptor).st_size
            if size > file.room:
                raise file.too_large()
            head = os.pread(descriptor, POINTER_MAX, 0)
            pointer = read_pointer(head, size, where=file.where)
            if pointer is None:
                file.write_all(read_stable(descriptor, where=file.where))
                return
        finally:
            os.close(descriptor)
        from qgate.sources.lfs import fetch_pointer

        command = f'git lfs pull --include "{path}"'
        fetch_pointer(pointer, file, self._context, command=command, store=self._store())

    def _store(self) -> Path | None:
        # A model outside of any repository has no store; git is not needed for it either.
        if not (self._root / ".git").exists() or shutil.which("git") is None:
            return None
        return Repository(self._root.resolve()).lfs_store()
