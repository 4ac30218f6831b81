"""A file of another revision of the same repository."""

from __future__ import annotations

from qgate.sources.context import SourceContext
from qgate.sources.gitobjects import Repository
from qgate.sources.lfs import POINTER_MAX, fetch_pointer, read_pointer
from qgate.sources.newfile import NewFile
from qgate.sources.source import beside


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
        entry = repository.file(commit, path, where=file.where)
        if entry.size > file.room:
            raise file.too_large()
        if entry.size <= POINTER_MAX:
            head = b"".join(repository.blob(entry, where=file.where))
            pointer = read_pointer(head, entry.size, where=file.where)
            if pointer is not None:
                command = f'git lfs fetch origin {commit} --include "{path}"'
                store = repository.lfs_objects()
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
            self._repository = Repository(self._context.repo)
            self._commit = self._repository.commit(self._revision, where=where)
        return self._repository, self._commit
