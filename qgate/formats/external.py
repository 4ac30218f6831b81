"""External tensor data of ONNX files: where the bytes lie, and whether they may be read.

The names come from an untrusted file. A path that leaves the model's folder, a link, a range beyond the
file, or a key that nobody knows is refused (CVE-2022-25882, CVE-2024-27318, CVE-2024-5187,
CVE-2025-51480 and their kin).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from qgate.errors import FormatError

_KEYS = {"location", "offset", "length", "checksum"}


@dataclass(frozen=True)
class ExternalRange:
    """A range of bytes in a side file, relative to the model's folder."""

    location: str
    offset: int
    length: int | None


def parse_external(entries: Mapping[str, str], tensor: str, where: str) -> ExternalRange:
    """Reads the key-value pairs of one external tensor.

    Raises:
        FormatError: Unknown keys, an unsafe path, or numbers that are none.
    """
    unknown = sorted(set(entries) - _KEYS)
    if unknown:
        raise _refusal(f"external data of {tensor!r} has the unknown key {unknown[0]!r}", where, tensor)
    location = entries.get("location", "")
    if not is_safe_relative(location):
        raise _refusal(
            f"external data of {tensor!r} points outside the model's folder ({location!r})", where, tensor
        )
    written = {key: entries[key] for key in ("offset", "length") if entries.get(key)}
    # Plain digits alone: Python's int() also takes signs, blanks and "1_0", where runtimes read another number.
    if not all(len(text) < 32 and text.isascii() and text.isdigit() for text in written.values()):
        raise _refusal(
            f"external data of {tensor!r} has an offset or length that is no number", where, tensor
        )
    return ExternalRange(
        location, int(written.get("offset", 0)), int(written["length"]) if "length" in written else None
    )


def is_safe_relative(location: str) -> bool:
    """Whether a name from a file stays below the folder that it is relative to."""
    if not location or "\0" in location or "\\" in location or location.startswith(("/", "~")):
        return False
    parts = PurePosixPath(location).parts
    return bool(parts) and ".." not in parts and not (len(location) > 1 and location[1] == ":")


def checked_side_file(folder: Path, external: ExternalRange, needed: int, tensor: str, where: str) -> Path:
    """The path of a side file, once it is known to be a plain file that holds the range.

    Args:
        folder: The model's folder.
        external: The range.
        needed: Bytes that the tensor's declared shape and type need.
        tensor: The tensor's name, for messages.
        where: The model's name, for messages.

    Raises:
        FormatError: Missing, a link, not a plain file, or too short.
    """
    path = folder
    try:
        for part in PurePosixPath(external.location).parts:
            path = path / part
            state = os.lstat(path)
            if stat.S_ISLNK(state.st_mode):
                raise _refusal(f"external data of {tensor!r} goes through a symbolic link", where, tensor)
    except OSError as error:
        raise FormatError(
            f"external data file {external.location!r} of tensor {tensor!r} is missing",
            where=where,
            remedy="Commit the side file beside the model",
            rule="ART107",
            tensor=tensor,
        ) from error
    if not stat.S_ISREG(state.st_mode):
        raise _refusal(f"external data of {tensor!r} is no plain file", where, tensor)
    if state.st_nlink > 1:
        raise _refusal(f"external data of {tensor!r} is a hard link", where, tensor)
    if external.length is not None and external.length != needed:
        raise _refusal(
            f"external data of {tensor!r} declares {external.length} bytes where its shape needs {needed}",
            where,
            tensor,
        )
    if external.offset + needed > state.st_size:
        raise _refusal(
            f"external data of {tensor!r} ends at byte {external.offset + needed}, its file at {state.st_size}",
            where,
            tensor,
        )
    return path


def _refusal(what: str, where: str, tensor: str) -> FormatError:
    return FormatError(
        what,
        where=where,
        remedy="Save the model again with its data in one file beside it",
        rule="ART107",
        tensor=tensor,
    )
