"""A file of another revision of the same repository."""

from __future__ import annotations

from qgate.errors import FolderError, MissingError, SourceError
from qgate.git.repository import Entry, Repository
from qgate.sources.context import SourceContext
from qgate.sources.folder import nearest
from qgate.sources.newfile import NewFile
from qgate.sources.pointer import POINTER_MAX, read_pointer
from qgate.sources.source import beside

_FOLDER_MODE = "040000"


class GitSource:
    """A file as a commit holds it; a Git LFS pointer there is resolved.

    Args:
        revision: A commit, a tag or a branch.
        path: Clean relative path of the main file.
        sha256: The digest that was promised, if any.
        context: The repository, and for Git LFS.
    """

    def __init__(self, revision: str, path: str, sha256: str | None, context: SourceContext) -> None:
        self._revision = revision
        self._path = path
        self._sha256 = sha256
        self._context = context
        self._repository: Repository | None = None
        self._commit = ""

    @property
    def name(self) -> str:
        """The main file's name."""
        return self._path.rpartition("/")[2]

    def place(self, side: str | None) -> str:
        """``revision:path``."""
        return f"{self._revision}:{beside(self._path, side)}"

    def expected(self, side: str | None) -> str | None:
        """The promised digest of the main file; none is promised for side files."""
        return self._sha256 if side is None else None

    def write(self, side: str | None, file: NewFile) -> None:
        """Writes the object's bytes, or what its Git LFS pointer stands for."""
        path = beside(self._path, side)
        repository, commit = self._resolved(file.where)
        entry = find_file(repository, commit, path, where=file.where)
        if entry.size > file.room:
            raise file.too_large()
        if entry.size <= POINTER_MAX:
            head = b"".join(repository.blob(entry, where=file.where))
            pointer = read_pointer(head, entry.size, where=file.where)
            if pointer is not None:
                from qgate.sources.lfs import fetch_pointer

                command = f'git lfs fetch origin {commit} --include "{path}"'
                store = repository.lfs_store()
                fetch_pointer(pointer, file, self._context, command=command, store=store)
                return
        first = True
        for chunk in repository.blob(entry, where=file.where):
            if first:
                read_pointer(chunk[:POINTER_MAX], entry.size, where=file.where)
                first = False
            file.write(chunk)

    def _resolved(self, where: str) -> tuple[Repository, str]:
        # The revision is looked up once: main and side files come from one commit even if a branch moves.
        if self._repository is None:
            self._repository = Repository(self._context.repo.resolve())
            self._commit = _commit(self._repository, self._revision, where=where)
        return self._repository, self._commit


def _commit(repository: Repository, revision: str, *, where: str) -> str:
    found = repository.resolve(revision)
    if found is None and repository.lfs_store() is None:
        raise SourceError(
            f"{repository.root} is not a git repository", where=where, remedy="Run the gate inside a clone"
        )
    if found is None:
        raise SourceError(
            f"git revision {revision} is not in this clone",
            where=where,
            remedy=f"Fetch it (`git fetch origin {revision}`); in a workflow, give actions/checkout "
            "`fetch-depth: 0`",
        )
    return found


def find_file(repository: Repository, commit: str, path: str, *, where: str) -> Entry:
    """The regular file that a commit's tree holds at a clean relative path.

    Raises:
        SourceError: Nothing is there, or a folder, a symbolic link or a submodule is.
    """
    parts = path.split("/")
    for depth in range(1, len(parts)):
        folder = repository.entry(commit, "/".join(parts[:depth]))
        if folder is not None and folder.mode != _FOLDER_MODE:
            raise _not_a_file(folder, "/".join(parts[:depth]), where)
    entry = repository.entry(commit, path)
    if entry is None:
        raise MissingError(
            f"no such file at commit {commit[:12]}",
            where=where,
            remedy=nearest(path, _siblings(repository, commit, parts[:-1]))
            or "Check the path, or commit the file first",
        )
    if not entry.is_file:
        raise _not_a_file(entry, path, where)
    return entry


def _siblings(repository: Repository, commit: str, folder: list[str]) -> tuple[str, ...]:
    # The nearest folder that exists is where the name was probably meant to be.
    for depth in range(len(folder), -1, -1):
        if names := repository.names(commit, "/".join(folder[:depth])):
            return names
    return ()


def _not_a_file(entry: Entry, path: str, where: str) -> SourceError:
    what, remedy = {
        "120000": ("a symbolic link, which the gate does not follow", "Name the link's target instead"),
        "160000": ("a submodule", "Commit the file to this repository, or use an https:// locator"),
        _FOLDER_MODE: ("a folder, not a file", "Name the model file that lies in it"),
    }.get(entry.mode, ("a file where a folder is needed", "Check the path"))
    kind = FolderError if entry.mode == _FOLDER_MODE else SourceError
    return kind(f"{path} is {what}", where=where, remedy=remedy)
