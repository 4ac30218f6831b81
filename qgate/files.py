"""Replacing a file as a whole: whoever reads it sees the old one or the new one, never a part."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path, *, mode: int) -> Iterator[BinaryIO]:
    """Opens a new file beside ``path`` and renames it over ``path`` once the body has ended well.

    Where the body or the disk fails, the new file is removed and what was there is unchanged.

    Args:
        path: The file to replace or make; its folder must exist.
        mode: Permissions of the new file.

    Raises:
        OSError: It cannot be written or renamed; ``filename`` says which.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".qgate-")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a full disk does not say whose
        raise
