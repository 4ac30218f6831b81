"""Copies code of the trusted side for the sandboxed child: a module, with its package where it is in one.

What is copied is the module's file; where that file's folder has an ``__init__.py``, every ``.py`` file of the
topmost package above it, and nothing else. Each file is hashed, so that the report says which code judged.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from qgate.errors import MissingError, SourceError, UsageError
from qgate.git.repository import Repository
from qgate.sources.context import SourceContext
from qgate.sources.folder import nearest
from qgate.sources.python_code import CodeName, python_spec

MAX_FILES = 256
MAX_FILE_BYTES = 2**20
MAX_BYTES = 4 * 2**20
_INIT = "__init__.py"


@dataclass(frozen=True)
class CopiedCode:
    """A private copy of a module that the sandboxed child may read.

    Args:
        root: The folder that the module is imported from.
        module: Its dotted name below ``root``.
        function: What is called in it.
        packaged: It belongs to a package, so its siblings are there too.
        label: The name as policy or command line write it.
        files: sha256 of each file, by its path in the repository (or below the named folder).
    """

    root: Path
    module: str
    function: str
    packaged: bool
    label: str
    files: dict[str, str]


class _Place(Protocol):
    """Where code is read: a repository's commit or work tree, or the user's own file system."""

    remedy: str

    def read(self, path: str) -> bytes | None: ...

    def below(self, folder: str) -> Iterator[str]: ...

    def near(self, path: str) -> str: ...


def acquire_code(spec: str, destination: Path, context: SourceContext) -> CopiedCode:
    """Copies code that the policy names, from the context's revision (None: its work tree).

    Args:
        spec: ``path/to/file.py:function`` or ``package.module:function``, as ``PythonSpec``.
        destination: A folder for all code of one run; what two names share is copied once.
        context: The repository and the revision.

    Raises:
        SourceError: There is no such module, it is no regular file, or it is too large.
    """
    return _copied(spec, destination, _InRepository(Repository(context.repo.resolve()), context.revision))


def acquire_code_of_user(spec: str, destination: Path) -> CopiedCode:
    """Copies code that the user named on the command line, relative to the current folder.

    Raises:
        UsageError: It is no ``module:function``.
        SourceError: As for ``acquire_code``.
    """
    try:
        python_spec(spec, absolute=True)
    except ValueError as error:
        raise UsageError(
            str(error), where=spec, remedy="For example --factory models/net.py:build"
        ) from error
    return _copied(spec, destination, _OfUser())


def code_files(spec: str, repository: Repository, revision: str | None) -> frozenset[str]:
    """Paths in the repository that a name stands for at a revision; where there is none, those it may have."""
    place = _InRepository(repository, revision)
    name = CodeName.parse(spec)
    main = next((path for path in name.candidates if repository.exists(revision, path)), None)
    if main is None:
        return frozenset(name.candidates)
    top = _top(place, main)
    return frozenset((main,) if top is None else (main, *place.below(top)))


def _copied(spec: str, destination: Path, place: _Place) -> CopiedCode:
    name = CodeName.parse(spec)
    main = next((path for path in name.candidates if place.read(path) is not None), None)
    if main is None:
        raise MissingError(
            f"there is no module {' nor '.join(name.candidates)}",
            where=spec,
            remedy=place.near(name.candidates[0]) or place.remedy,
        )
    top = _top(place, main)
    prefix = os.path.dirname(top if top is not None else main)  # noqa: PTH120 - a path of git, no local one
    paths = [main] if top is None else sorted({main, *place.below(top)})
    if len(paths) > MAX_FILES:
        raise SourceError(
            f"its package has {len(paths)} .py files, more than {MAX_FILES}",
            where=spec,
            remedy="Put the function into a smaller package, or into a file outside of any package",
        )
    kind = "file" if top is None else "package"
    root = destination / f"{kind}-{hashlib.sha256(prefix.encode()).hexdigest()[:12]}"
    files: dict[str, str] = {}
    left = MAX_BYTES
    for path in paths:
        content = place.read(path) or b""
        left -= len(content)
        if left < 0:
            raise SourceError(
                f"its package has more than {MAX_BYTES} bytes of Python",
                where=spec,
                remedy="Put the function into a smaller package, or into a file outside of any package",
            )
        _write(destination, root / path[len(prefix) :].lstrip("/"), content, path)
        files[path] = hashlib.sha256(content).hexdigest()
    inner = main[len(prefix) :].lstrip("/").removesuffix(".py").removesuffix("/__init__")
    return CopiedCode(root, inner.replace("/", "."), name.function, top is not None, spec, files)


def _top(place: _Place, main: str) -> str | None:
    """The topmost package that holds a module; None where it is in none."""
    top, folder = None, main.rpartition("/")[0]
    while folder and place.read(f"{folder}/{_INIT}") is not None:
        top, folder = folder, folder.rpartition("/")[0]
    return top


def _write(destination: Path, target: Path, content: bytes, path: str) -> None:
    folders = [level for level in (target.parent, *target.parent.parents) if destination in level.parents]
    try:
        for level in (destination, *reversed(folders)):
            level.mkdir(parents=True, exist_ok=True)
            level.chmod(0o755)
        if target.exists():
            if target.read_bytes() != content:
                raise SourceError("the file changed while it was being read", where=path)
            return
        target.write_bytes(content)
        target.chmod(0o444)
    except OSError as error:
        raise SourceError(
            f"a private copy cannot be written ({error.strerror})",
            where=path,
            remedy="Free space in the temporary folder",
        ) from error


class _InRepository:
    remedy = (
        "The path is relative to the repository's root; code that judges must be on the base branch first"
    )

    def __init__(self, repository: Repository, revision: str | None) -> None:
        self._repository = repository
        self._revision = revision
        self._known: dict[str, bytes | None] = {}

    def read(self, path: str) -> bytes | None:
        if path not in self._known:
            self._known[path] = self._repository.read(self._revision, path, MAX_FILE_BYTES)
        return self._known[path]

    def below(self, folder: str) -> Iterator[str]:
        if self._revision is None:
            yield from _walk(self._repository.root, folder)
            return
        yield from (
            path
            for path in self._repository.paths(self._revision)
            if path.startswith(f"{folder}/") and path.endswith(".py")
        )

    def near(self, path: str) -> str:
        folder = path.rpartition("/")[0]
        if self._revision is not None:
            return nearest(path, self._repository.names(self._revision, folder))
        return nearest(path, _siblings(self._repository.root, folder))


class _OfUser:
    remedy = "The path is relative to the current folder"

    def read(self, path: str) -> bytes | None:
        file = Path(path)
        if not file.is_file():
            return None
        try:
            with file.open("rb") as stream:
                content = stream.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise SourceError(f"the file cannot be read ({error.strerror})", where=path) from error
        if len(content) > MAX_FILE_BYTES:
            raise SourceError(
                f"larger than {MAX_FILE_BYTES} bytes", where=path, remedy="Make the file smaller"
            )
        return content

    def below(self, folder: str) -> Iterator[str]:
        yield from _walk(Path(), folder)

    def near(self, path: str) -> str:
        return nearest(path, _siblings(Path(), path.rpartition("/")[0]))


def _walk(root: Path, folder: str) -> Iterator[str]:
    """``.py`` files below a folder that are no links; folders behind links and caches are left out."""
    for current, folders, names in os.walk(root / folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in names:
            file = Path(current) / name
            if name.endswith(".py") and not file.is_symlink():
                yield str(file.relative_to(root)) if root != Path() else str(file)


def _siblings(root: Path, folder: str) -> list[str]:
    try:
        return [
            str(each.relative_to(root)) if root != Path() else str(each) for each in (root / folder).iterdir()
        ]
    except OSError:
        return []
