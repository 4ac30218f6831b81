"""The private copy: a file that is hashed while it is written, so the bytes verified are the bytes run."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from qgate.errors import SourceError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Copied:
    """What was written: digest and length of the private copy."""

    sha256: str
    bytes: int


class NewFile:
    """A file being written under a new name; it vanishes unless ``finish`` accepted it.

    Args:
        target: Where to write; nothing may be there yet.
        where: The source's place, for errors.
        room: Most bytes that it may have.

    Attributes:
        bytes: How many were written.
        tag: Strong ETag of the remote file that they belong to, None where there is none.
        notes: What a reader of the report should know of this file's way here.
    """

    def __init__(self, target: Path, *, where: str, room: int) -> None:
        self.target = target
        self.where = where
        self.room = room
        self.bytes = 0
        self.tag: str | None = None
        self.notes: list[str] = []
        self._hash = hashlib.sha256()
        self._fd = -1
        self._accepted = False

    def __enter__(self) -> Self:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._fd = os.open(self.target, flags, 0o600)
        except OSError as error:
            raise self._unwritable(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)
        if not self._accepted:
            self.target.unlink(missing_ok=True)

    @property
    def sha256(self) -> str:
        """Digest of what was written so far."""
        return self._hash.hexdigest()

    def write(self, chunk: bytes) -> None:
        """Appends.

        Raises:
            SourceError: It would be larger than allowed, or the disk is full.
        """
        if self.bytes + len(chunk) > self.room:
            raise self.too_large()
        view = memoryview(chunk)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            raise self._unwritable(error) from error
        self._hash.update(chunk)
        self.bytes += len(chunk)

    def write_all(self, chunks: Iterable[bytes]) -> None:
        """Appends every chunk; raises as ``write`` does."""
        for chunk in chunks:
            self.write(chunk)

    def restart(self) -> None:
        """Forgets what was written."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self.bytes = 0
        self.tag = None
        self._hash = hashlib.sha256()

    def expect(self, sha256: str | None) -> None:
        """Compares the digest with the one that was promised.

        Raises:
            SourceError: They differ.
        """
        if sha256 is not None and self.sha256 != sha256:
            raise SourceError(
                f"the file has another sha256 than declared: expected {sha256}, actual {self.sha256}",
                where=self.where,
                remedy="If the new file is meant, write its sha256 into the policy; "
                "otherwise find out who replaced it",
            )

    def finish(self, expected: str | None) -> Copied:
        """Accepts the file: not empty, of the expected digest, from now on read-only.

        Args:
            expected: sha256 that was promised; None where none was.

        Raises:
            SourceError: It is empty or another file than promised.
        """
        if self.bytes == 0:
            raise SourceError(
                "the file is empty", where=self.where, remedy="Export or download it again and commit it"
            )
        self.expect(expected)
        os.fchmod(self._fd, 0o444)
        self._accepted = True
        return Copied(self.sha256, self.bytes)

    def too_large(self) -> SourceError:
        """The refusal of a file that is larger than allowed."""
        return SourceError(
            f"the file is larger than the {self.room:,} bytes that are left for this model",
            where=self.where,
            remedy="Raise limits.download_mb in the policy if a file of this size is meant",
        )

    def _unwritable(self, error: OSError) -> SourceError:
        if error.errno in _FULL:
            return SourceError(
                f"the disk is full: no space is left for a copy ({error.strerror})",
                where=self.where,
                remedy="Free space on the runner's temporary disk, or use a larger runner",
            )
        return SourceError(
            f"a private copy cannot be written at {self.target} ({error.strerror})",
            where=self.where,
            remedy="Give the run an empty folder that it may write to",
        )
