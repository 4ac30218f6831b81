"""Reading git's objects without running anything that the repository brings along.

Only plumbing with fixed arguments: no filter, hook, text conversion, pager, replacement, credential
helper or transport can start, whatever the repository's configuration says.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from qgate.errors import SourceError
from qgate.sources.folder import CHUNK, nearest

_SECONDS = 600.0
_OUTPUT_MAX = 16 * 2**20
_SHA = re.compile(rb"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_FIXED = (
    "--no-pager",
    "--literal-pathspecs",
    "--no-replace-objects",
    "-c", "core.hooksPath=/dev/null",
    "-c", "core.fsmonitor=false",
    "-c", "core.attributesFile=/dev/null",
    "-c", "protocol.allow=never",
    "-c", "credential.helper=",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One entry of a tree: its kind, its object and, for a file, its length."""

    mode: str
    oid: str
    size: int

    @property
    def is_file(self) -> bool:
        """A regular file, executable or not."""
        return self.mode in ("100644", "100755", "100664")


class Repository:
    """A git repository that is only ever read.

    Args:
        root: Its work tree's root (or the folder of a bare repository).
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        git = shutil.which("git")
        if git is None:
            raise SourceError(
                "git is not installed, so another revision cannot be read",
                where=str(root),
                remedy="Install git, or name files of the work tree",
            )
        self._git = git

    def commit(self, revision: str, *, where: str) -> str:
        """The full id of the commit that a revision names.

        Raises:
            SourceError: There is no such commit here.
        """
        answer = self._run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        if answer is None and self._run("rev-parse", "--git-dir") is None:
            raise SourceError(
                f"{self.root} is not a git repository", where=where, remedy="Run the gate inside a clone"
            )
        if answer is None or not _SHA.fullmatch(answer.strip()):
            raise SourceError(
                f"git revision {revision} is not in this clone",
                where=where,
                remedy=f"Fetch it (`git fetch origin {revision}`); in a workflow, give actions/checkout "
                "`fetch-depth: 0`",
            )
        return answer.strip().decode()

    def entry(self, commit: str, path: str) -> Entry | None:
        """What a commit's tree holds at a clean relative path, None for nothing."""
        listing = self._run("ls-tree", "-z", "-l", "--full-tree", commit, "--", path) or b""
        for line in listing.split(b"\0"):
            head, tab, name = line.partition(b"\t")
            fields = head.split()
            if tab and name == path.encode() and len(fields) == 4 and _SHA.fullmatch(fields[2]):
                size = int(fields[3]) if fields[3].isdigit() else 0
                return Entry(fields[0].decode(), fields[2].decode(), size)
        return None

    def file(self, commit: str, path: str, *, where: str) -> Entry:
        """The regular file that a commit's tree holds at a path.

        Raises:
            SourceError: Nothing is there, or a folder, a symbolic link or a submodule is.
        """
        parts = path.split("/")
        for depth in range(1, len(parts)):
            folder = self.entry(commit, "/".join(parts[:depth]))
            if folder is not None and folder.mode != "040000":
                raise self._not_a_file(folder, "/".join(parts[:depth]), where)
        entry = self.entry(commit, path)
        if entry is None:
            hint = nearest(path, self._names(commit, parts[:-1]))
            raise SourceError(
                f"no such file at commit {commit[:12]}",
                where=where,
                remedy=hint or "Check the path, or commit the file first",
            )
        if not entry.is_file:
            raise self._not_a_file(entry, path, where)
        return entry

    def blob(self, entry: Entry, *, where: str) -> Iterator[bytes]:
        """The bytes of a file's object, a chunk at a time.

        Raises:
            SourceError: The object is missing or damaged, or reading took too long.
        """
        sent = 0
        with self._reading("cat-file", "blob", entry.oid) as process:
            assert process.stdout is not None  # noqa: S101 - opened with a pipe
            while chunk := process.stdout.read(CHUNK):
                sent += len(chunk)
                yield chunk
            code = process.wait()
        if code != 0 or sent != entry.size:
            raise SourceError(
                f"git cannot give the whole object {entry.oid[:12]} ({sent:,} of {entry.size:,} bytes)",
                where=where,
                remedy="The clone is partial or damaged: fetch again without --filter, then `git fsck`",
            )

    def lfs_objects(self) -> Path | None:
        """Git LFS's own store of this clone; None where this is no repository."""
        answer = self._run("rev-parse", "--git-common-dir")
        if not answer or b"\0" in answer:
            return None
        return self.root / answer.decode(errors="surrogateescape").rstrip("\n") / "lfs" / "objects"

    def _names(self, commit: str, folder: list[str]) -> list[str]:
        # The nearest folder that exists is where the name was probably meant to be.
        for depth in range(len(folder), -1, -1):
            prefix = "/".join(folder[:depth])
            arguments = ("--", f"{prefix}/") if prefix else ()
            listing = self._run("ls-tree", "-z", "--name-only", "--full-tree", commit, *arguments)
            if listing:
                return [name.decode(errors="replace") for name in listing.split(b"\0") if name]
        return []

    def _not_a_file(self, entry: Entry, path: str, where: str) -> SourceError:
        what, remedy = {
            "120000": ("a symbolic link, which the gate does not follow", "Name the link's target instead"),
            "160000": ("a submodule", "Commit the file to this repository, or use an https:// locator"),
            "040000": ("a folder, not a file", "Name the file that lies in it"),
        }.get(entry.mode, ("a file where a folder is needed", "Check the path"))
        return SourceError(f"{path} is {what}", where=where, remedy=remedy)

    def _run(self, *arguments: str) -> bytes | None:
        """Standard output of a git command, None where it failed."""
        with self._reading(*arguments) as process:
            assert process.stdout is not None  # noqa: S101 - opened with a pipe
            output = process.stdout.read(_OUTPUT_MAX)
            if process.stdout.read(1):
                _kill_group(process)
            code = process.wait()
        return output if code == 0 else None

    @contextmanager
    def _reading(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        safe = ("-c", f"safe.directory={self.root}")
        process = subprocess.Popen(
            [self._git, *_FIXED, *safe, "-C", str(self.root), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self._environment(),
            start_new_session=True,
        )
        timer = threading.Timer(_SECONDS, _kill_group, (process,))
        timer.daemon = True
        timer.start()
        try:
            yield process
        finally:
            timer.cancel()
            _kill_group(process)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": f"{Path(self._git).parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": "/nonexistent",
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_SYSTEM": "/dev/null",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "/bin/false",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_ALLOW_PROTOCOL": "none",
            # Without a ceiling git would climb to whatever repository the folder happens to lie in.
            "GIT_CEILING_DIRECTORIES": str(self.root.parent),
        }


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    # A child of git's that held the pipe open would keep us reading after git itself is gone.
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
