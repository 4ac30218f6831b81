"""Downloads kept by their digest. What comes out is hashed again: a cache can be poisoned."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from qgate.files import replacing
from qgate.sources.folder import read_stable
from qgate.sources.newfile import NewFile

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class DigestCache:
    """Files named by their sha256, in folders of their first two digits.

    Args:
        folder: Where they lie; made when the first is stored.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "sha256"

    def path(self, sha256: str) -> Path:
        """Where the file of that digest lies, if it is here."""
        return self._folder / sha256[:2] / sha256

    def load(self, sha256: str, file: NewFile) -> bool:
        """Writes the kept file, if there is one and it still has its digest.

        A file that lost its digest is thrown out and noted on ``file``.

        Returns:
            Whether ``file`` now holds the bytes of that digest.
        """
        found = copy_if_intact(self.path(sha256), sha256, file)
        if found is False:
            _throw_out(self.path(sha256))
            file.notes.append(f"the cache held other bytes under sha256 {sha256[:12]}; they were thrown out")
        return bool(found)

    def store(self, sha256: str, file: Path) -> None:
        """Keeps a verified file. A cache that cannot be written costs time, not correctness."""
        target = self.path(sha256)
        try:
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with replacing(target, mode=0o600) as kept, file.open("rb") as verified:
                shutil.copyfileobj(verified, kept, 2**20)
        except OSError:
            return


def _throw_out(path: Path) -> None:
    # What cannot be thrown out is never used either, for every use is verified.
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink()


def copy_if_intact(path: Path, sha256: str, file: NewFile) -> bool | None:
    """Copies a file that should have a digest.

    Returns:
        True where it was copied, None where nothing is there, False where it is another file; ``file``
        is empty again then.

    Raises:
        SourceError: The copy cannot be written, or the file changed while it was being read.
    """
    try:
        descriptor = os.open(path, _OPEN)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return False
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > file.room:
            return False
        file.write_all(read_stable(descriptor, where=file.where))
        if file.sha256 != sha256:
            file.restart()
            return False
        return True
    finally:
        os.close(descriptor)


def through_cache(folder: Path | None, sha256: str, file: NewFile, fetch: Callable[[NewFile], None]) -> None:
    """Writes the file of a digest from the cache, else fetches, verifies and keeps it.

    Args:
        folder: The cache; None for none.
        sha256: The digest that was promised.
        file: Where to write.
        fetch: Obtains the bytes from their source.

    Raises:
        SourceError: Whatever ``fetch`` raises, or the fetched bytes have another digest.
    """
    cache = None if folder is None else DigestCache(folder)
    if cache is not None and cache.load(sha256, file):
        return
    fetch(file)
    file.expect(sha256)
    if cache is not None:
        cache.store(sha256, file.target)
