"""Changed paths as git lists them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Change:
    """One changed path: ``added``, ``deleted``, ``modified`` or ``retyped`` (file, link, submodule).

    ``moved`` is the other end of a rename that kept the bytes: where a deleted file went, where an added
    one came from.
    """

    path: str
    status: str
    old_blob: str | None = None
    new_blob: str | None = None
    moved: str | None = None


def decode(name: bytes) -> str:
    """A path as text; bytes that are no UTF-8 survive as surrogates."""
    return name.decode("utf-8", "surrogateescape")


def shown(path: str) -> str:
    """A path of the repository as text that any encoding takes; undecodable bytes as ``\\xNN``."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")[:300]


def parse_raw(raw: bytes) -> Iterator[Change]:
    """Parses ``--raw -z``: ``:mode mode sha sha status NUL path NUL`` again and again."""
    words = {"A": "added", "D": "deleted", "M": "modified", "T": "retyped", "U": "modified"}
    fields = raw.split(b"\x00")
    for head, path in zip(fields[0::2], fields[1::2], strict=False):
        _, _, old, new, status = head.decode("ascii").split()
        yield Change(
            decode(path),
            words.get(status[0], "modified"),
            old_blob=old if old.strip("0") else None,
            new_blob=new if new.strip("0") else None,
        )


def parse_hidden(raw: bytes, root: Path, seen: Collection[str]) -> Iterator[Change]:
    """Files of the work tree that git was told not to compare, from ``ls-files -v -z``: FLAG path NUL.

    Args:
        raw: What git says: lower case for ``--assume-unchanged``, S for ``--skip-worktree``.
        root: Top of the work tree.
        seen: Paths that are known to have changed.
    """
    for item in raw.split(b"\x00"):
        flag, path = item[:1], decode(item[2:])
        if path in seen or not (flag.islower() or flag == b"S"):
            continue
        there = os.path.lexists(root / path)
        # A sparse checkout leaves files out; they are what they were.
        if there or flag.upper() != b"S":
            yield Change(path, "modified" if there else "deleted")


def note_moves(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    """Notes at both ends of a rename that kept the bytes where the other end is."""
    gone = {c.old_blob: c.path for c in changes if c.status == "deleted" and c.old_blob}
    come = {c.new_blob: c.path for c in changes if c.status == "added" and c.new_blob}
    noted = []
    for change in changes:
        if change.status == "deleted" and change.old_blob in come:
            noted.append(replace(change, moved=come[change.old_blob]))
        elif change.status == "added" and change.new_blob in gone:
            noted.append(replace(change, moved=gone[change.new_blob]))
        else:
            noted.append(change)
    return tuple(noted)
