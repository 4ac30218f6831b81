"""Questions about files of either side that need their bytes but no model reader.

Whether a stored baseline still describes a candidate, and which changed files belong to a model without
being it.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from qgate.errors import QgateError
from qgate.sources.pointer import POINTER_MAX, read_pointer

if TYPE_CHECKING:
    from qgate.git.repository import Repository
    from qgate.report.schema import Artifact
    from qgate.sources.locator import Locator

_TEXT = (".md", ".txt", ".rst", ".yml", ".yaml", ".py", ".sh", ".html", ".gitignore", ".gitattributes")


def describes(artifact: Artifact, repo: Repository, revision: str | None, locator: Locator) -> bool:
    """Whether a recorded artifact is, byte for byte, what a locator leads to at a revision.

    False where that cannot be told: the answer only ever saves a measurement.
    """
    try:
        if artifact.sha256 is None:
            return False
        place = _place(repo, revision, locator)
        if place is None:
            pinned: dict[str, str] = getattr(locator, "files", {})
            others = {digest for digest in artifact.files.values() if digest != artifact.sha256}
            return artifact.sha256 == getattr(locator, "sha256", None) and others <= set(pinned.values())
        at, path = place
        if file_digest(repo, at, path) != artifact.sha256:
            return False
        folder = posixpath.dirname(path)
        return all(
            file_digest(repo, at, posixpath.normpath(posixpath.join(folder, name))) == digest
            for name, digest in artifact.files.items()
            if digest != artifact.sha256
        )
    except QgateError:
        return False


def file_digest(repo: Repository, revision: str | None, path: str) -> str | None:
    """sha256 of a file at a revision, or of what a Git LFS pointer stands for; None without content.

    Raises:
        SourceError: The file cannot be read, or is a broken pointer.
    """
    digest, head, size = hashlib.sha256(), b"", 0
    for piece in repo.stream(revision, path):
        digest.update(piece)
        head = (head + piece)[:POINTER_MAX] if len(head) < POINTER_MAX else head
        size += len(piece)
    if size == 0:
        return None
    pointer = read_pointer(head, size, where=path)
    return pointer.oid if pointer else digest.hexdigest()


def related_paths(
    repo: Repository,
    revisions: Collection[str | None],
    locators: Iterable[Locator | None],
    changed: Collection[str],
) -> frozenset[str]:
    """Changed paths that belong to a model without being it: external data, the file behind a link.

    A model's external data lies beside or below it and the model names it, so a changed path that its
    bytes name is its. Where the bytes are not here (a Git LFS pointer), every changed file beside or
    below it that is not a text counts: one run too many rather than one too few.
    """
    found: set[str] = set()
    for locator in locators:
        path = locator.repository_path if locator is not None else None
        if path is None:
            continue
        for revision in revisions:
            if revision is not None and (target := repo.link_target(revision, path)) in changed:
                found.add(str(target))
            found |= _named_by(repo, revision, path, changed)
    return frozenset(found)


def _named_by(repo: Repository, revision: str | None, path: str, changed: Collection[str]) -> set[str]:
    folder = posixpath.dirname(path)
    prefix = f"{folder}/" if folder else ""
    below = {
        other: other.removeprefix(prefix).encode("utf-8", "surrogateescape")
        for other in changed
        if other != path and other.startswith(prefix) and not other.lower().endswith(_TEXT)
    }
    if not below:
        return set()
    try:
        return set(_search(repo.stream(revision, path), below))
    except QgateError:
        return set(below)


def _search(pieces: Iterator[bytes], needles: dict[str, bytes]) -> Iterator[str]:
    """Names of the needles that occur in a stream; all of them where the stream is a Git LFS pointer."""
    left, overlap = dict(needles), max(map(len, needles.values()))
    tail, size = b"", 0
    for piece in pieces:
        window = tail + piece
        size += len(piece)
        if size == len(piece) and read_pointer(piece[:POINTER_MAX], size, where="") is not None:
            yield from left
            return
        for name in [name for name, needle in left.items() if needle in window]:
            del left[name]
            yield name
        if not left:
            return
        tail = window[-overlap:]


def _place(repo: Repository, revision: str | None, locator: Locator) -> tuple[str | None, str] | None:
    """Revision and path of a locator that lies in this repository; None for one that does not."""
    path = locator.repository_path
    if path is not None:
        return revision, path
    git: str | None = getattr(locator, "git", None)
    if git is None:
        return None
    return repo.commit(git), str(getattr(locator, "path", ""))
