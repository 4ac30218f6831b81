"""Reading a git repository and nothing more: revisions, parents, changed paths, files at a revision.

The content is the pull request's: see ``qgate.git.command`` for how git is run on it.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qgate.errors import SourceError, UsageError
from qgate.git import worktree
from qgate.git.changes import Change, decode, note_moves, parse_hidden, parse_raw
from qgate.git.command import run_git, streaming

FETCH_DEPTH_2 = (
    "Fetch the parents as well: `fetch-depth: 2` on actions/checkout, `git fetch --deepen 1` elsewhere"
)
FETCH_DEPTH_0 = (
    "Fetch the whole history: `fetch-depth: 0` on actions/checkout, `git fetch --unshallow` elsewhere"
)

_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_LINK_MODE = "120000"
_FILE_MODES = ("100644", "100755", "100664")


@dataclass(frozen=True)
class Entry:
    """One tree entry: git's mode, object id and, for a file or a link, its size in bytes."""

    mode: str
    sha: str
    size: int

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file, executable or not."""
        return self.mode in _FILE_MODES

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return self.mode == _LINK_MODE


@dataclass(frozen=True)
class Repository:
    """A git work tree that is only read.

    Args:
        root: Top of the work tree, resolved.
    """

    root: Path

    def resolve(self, revision: str) -> str | None:
        """Full id of the commit that a revision names; None if this clone has no such commit."""
        if not revision or revision.startswith("-") or "\x00" in revision:
            return None
        done = self._run("rev-parse", "--verify", "--quiet", "--end-of-options", revision + "^{commit}")
        found = done.stdout.decode("ascii", "replace").strip()
        return found if done.returncode == 0 and _SHA.fullmatch(found) else None

    def commit(self, revision: str, *, remedy: str = "") -> str:
        """Full id of a commit that must be there.

        Raises:
            SourceError: This clone does not have it; for a shallow clone the depth to fetch is named.
        """
        found = self.resolve(revision)
        if found is None:
            shallow = self.is_shallow()
            what = "the clone is shallow and does not hold" if shallow else "there is no"
            advice = remedy or (FETCH_DEPTH_0 if shallow else "Fetch it, or name another revision")
            raise SourceError(f"{what} commit {revision[:120]}", where=str(self.root), remedy=advice)
        return found

    def is_shallow(self) -> bool:
        """Whether history is cut off."""
        return self._text("rev-parse", "--is-shallow-repository").strip() == "true"

    def parents(self, sha: str) -> tuple[str, ...]:
        """The commit's own parents as it was made, whether this clone has them or not."""
        header = self._bytes("cat-file", "commit", sha).partition(b"\n\n")[0].decode("ascii", "replace")
        return tuple(
            line[7:] for line in header.splitlines() if re.fullmatch(r"parent [0-9a-f]{40,64}", line)
        )

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        """Whether one commit is in the other's history, as far as this clone reaches."""
        return self._run("merge-base", "--is-ancestor", ancestor, descendant).returncode == 0

    def merge_base(self, one: str, other: str) -> str | None:
        """The best common ancestor; None where there is none or the clone is too shallow to know."""
        done = self._run("merge-base", one, other)
        found = done.stdout.decode("ascii", "replace").strip()
        return found if done.returncode == 0 and _SHA.fullmatch(found) else None

    def changes(self, old: str, new: str | None) -> tuple[Change, ...]:
        """Paths that differ between two commits, or a commit and the work tree (None).

        Untracked files that git does not ignore count as added; files that git was told not to look at
        (``update-index --assume-unchanged`` or ``--skip-worktree``) count as modified, for nobody has
        looked. Renames are two changes, with ``moved``
        naming the other end where the bytes are the same.
        """
        options = ("-r", "-z", "--raw", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-abbrev")
        if new is not None:
            raw = self._bytes("diff-tree", *options, "--end-of-options", old, new, "--")
            return note_moves(tuple(parse_raw(raw)))
        raw = self._bytes("diff-index", *options, "--ignore-submodules=none", old, "--")
        listed = self._bytes("ls-files", "-z", "--others", "--exclude-standard").split(b"\x00")
        untracked = (Change(decode(path), "added") for path in listed if path)
        seen = tuple(parse_raw(raw))
        flags = self._bytes("ls-files", "-v", "-z")
        return note_moves((*seen, *parse_hidden(flags, self.root, {c.path for c in seen}), *untracked))

    def entry(self, revision: str, path: str) -> Entry | None:
        """The tree entry of exactly that path at a revision; None where there is none."""
        raw = self._bytes("ls-tree", "-z", "-l", "--full-tree", revision, "--", path)
        for item in raw.split(b"\x00"):
            head, _, name = item.partition(b"\t")
            if name and decode(name) == path:
                mode, _, sha, size = head.decode("ascii").split()
                return Entry(mode, sha, int(size) if size.isdigit() else 0)
        return None

    def paths(self, revision: str) -> tuple[str, ...]:
        """Every file of a revision."""
        raw = self._bytes("ls-tree", "-r", "-z", "--full-tree", "--name-only", revision)
        return tuple(decode(name) for name in raw.split(b"\x00") if name)

    def exists(self, revision: str | None, path: str) -> bool:
        """Whether a path is a file (or a link) at a revision, or in the work tree (None)."""
        if revision is not None:
            found = self.entry(revision, path)
            return found is not None and (found.is_file or found.is_link)
        return worktree.exists(self.root, path)

    def read(self, revision: str | None, path: str, limit: int) -> bytes | None:
        """A file's bytes at a revision, or in the work tree (None); None where there is no such file.

        Raises:
            SourceError: It is a link, a folder or a submodule, or larger than ``limit`` bytes.
        """
        where = f"{path} at {revision[:12]}" if revision else path
        if revision is None:
            return worktree.read_file(self.root, path, limit)
        found = self.entry(revision, path)
        if found is None:
            return None
        if not found.is_file:
            raise SourceError("not a regular file", where=where, remedy="Commit the file itself")
        if found.size > limit:
            raise SourceError(f"larger than {limit} bytes", where=where, remedy="Make the file smaller")
        return b"".join(self.blob(found, where=where))

    def stream(self, revision: str | None, path: str) -> Iterator[bytes]:
        """A file's bytes in pieces of 1 MiB; see ``read``. Nothing where there is no such file.

        Raises:
            SourceError: It is a link, a folder or a submodule, or git fails.
        """
        if revision is None:
            yield from worktree.stream_file(self.root, path)
            return
        found = self.entry(revision, path)
        if found is None:
            return
        if not found.is_file:
            raise SourceError("not a regular file", where=path, remedy="Commit the file itself")
        yield from self.blob(found, where=path)

    def blob(self, entry: Entry, *, where: str) -> Iterator[bytes]:
        """The bytes of an entry's object in pieces of 1 MiB.

        Raises:
            SourceError: The object is missing or damaged, or reading it took longer than ten minutes.
        """
        sent = 0
        with streaming(self.root, "cat-file", "blob", entry.sha) as process:
            while process.stdout is not None and (piece := process.stdout.read(worktree.PIECE)):
                sent += len(piece)
                yield piece
            code = process.wait()
        if code != 0 or sent != entry.size:
            raise SourceError(
                f"git cannot give the whole object {entry.sha[:12]} ({sent:,} of {entry.size:,} bytes)",
                where=where,
                remedy="The clone is partial or damaged: fetch again without --filter, then `git fsck`",
            )

    def link_target(self, revision: str, path: str) -> str | None:
        """Where a symbolic link at a revision points, relative to the repository; None if it is none."""
        found = self.entry(revision, path)
        if found is None or not found.is_link or found.size > 4096:
            return None
        target = decode(b"".join(self.blob(found, where=path)))
        return _join(path, target)

    def names(self, revision: str, folder: str) -> tuple[str, ...]:
        """Paths of what a folder (empty for the top) directly holds at a revision; none where it is none."""
        below = ("--", f"{folder}/") if folder else ()
        done = self._run("ls-tree", "-z", "--name-only", "--full-tree", revision, *below)
        return tuple(decode(name) for name in done.stdout.split(b"\x00") if name)

    def lfs_store(self) -> Path | None:
        """Git LFS's own store of this clone; None where this is no repository."""
        done = self._run("rev-parse", "--git-common-dir")
        folder = decode(done.stdout).rstrip("\n")
        if done.returncode != 0 or not folder or "\x00" in folder:
            return None
        return self.root / folder / "lfs" / "objects"

    def _bytes(self, *arguments: str) -> bytes:
        done = self._run(*arguments)
        if done.returncode != 0:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            first = said[0][:300] if said else f"exit status {done.returncode}"
            remedy = FETCH_DEPTH_0 if self.is_shallow_file() else "Check that the clone is complete"
            raise SourceError(f"git {arguments[0]} failed: {first}", where=str(self.root), remedy=remedy)
        return done.stdout

    def is_shallow_file(self) -> bool:
        """As ``is_shallow``, without git: for the words of an error."""
        return (self.root / ".git" / "shallow").is_file()

    def _text(self, *arguments: str) -> str:
        return self._bytes(*arguments).decode("utf-8", "surrogateescape")

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return run_git(self.root, *arguments)


def open_repository(path: Path) -> Repository:
    """The repository whose work tree holds ``path``.

    Raises:
        UsageError: There is none.
        SourceError: git itself is missing.
    """
    if not path.is_dir():
        raise UsageError("there is no such folder", where=str(path), remedy="Name the checked-out repository")
    done = run_git(path.resolve(), "rev-parse", "--show-toplevel", climb=True)
    top = done.stdout.decode("utf-8", "surrogateescape").rstrip("\n")
    if done.returncode != 0 or not top:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise UsageError(
            f"not a git work tree ({said[0][:200] if said else 'git says nothing'})",
            where=str(path),
            remedy="Run actions/checkout before this step, or run inside a clone",
        )
    return Repository(Path(top).resolve())


def _join(path: str, target: str) -> str | None:
    """A link's target relative to the repository's top; None where it leaves the repository."""
    if target.startswith("/"):
        return None
    parts = path.split("/")[:-1]
    for part in target.split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
