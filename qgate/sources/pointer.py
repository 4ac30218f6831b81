"""Git LFS pointer files: the few lines that stand in the repository for a file that is elsewhere."""

from __future__ import annotations

import re
from dataclasses import dataclass

from qgate.errors import SourceError

POINTER_MAX = 1024
_BEGINNINGS = (b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/")
_POINTER = re.compile(
    rb"version https://(?:git-lfs|hawser)\.github\.com/spec/v1\n"
    rb"oid sha256:(?P<oid>[0-9a-f]{64})\n"
    rb"size (?P<size>0|[1-9][0-9]{0,17})\n"
)


@dataclass(frozen=True)
class Pointer:
    """What a pointer file promises.

    Args:
        oid: sha256 of the file that it stands for.
        size: Length of that file in bytes.
    """

    oid: str
    size: int


def read_pointer(head: bytes, size: int, *, where: str) -> Pointer | None:
    """The pointer that a file is, None for any other file.

    Args:
        head: The file's first bytes, ``POINTER_MAX`` of them or all.
        size: The whole file's length.
        where: The place, for errors.

    Raises:
        SourceError: It begins as a pointer but is none by the letter of the specification.
    """
    if not head.startswith(_BEGINNINGS):
        return None
    match = _POINTER.fullmatch(head) if size == len(head) <= POINTER_MAX else None
    if match is None:
        raise SourceError(
            "the file begins as a Git LFS pointer but is not a valid one",
            where=where,
            remedy="Commit the model again with Git LFS installed (`git lfs install`)",
        )
    return Pointer(match["oid"].decode(), int(match["size"]))
