"""External tensor data of ONNX files: where the bytes lie, and whether they may be read.

The names come from an untrusted file. A path that leaves the model's folder, a link, a range beyond the
file, or a key that nobody knows is refused (CVE-2022-25882, CVE-2024-27318, CVE-2024-5187,
CVE-2025-51480 and their kin); so are ranges of two tensors that overlap without being the same, names
that are one file on some file systems, and a checksum that is not the file's.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from qgate.errors import FormatError

_KEYS = {"location", "offset", "length", "checksum"}
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO must not wait for a writer that never comes.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CHUNK = 2**20


@dataclass(frozen=True)
class ExternalRange:
    """A range of bytes in a side file.

    Args:
        location: The file, relative to the model's folder, without parts that mean nothing (``./``).
        offset: Of the first byte.
        length: Bytes, None where the file does not say.
        checksum: SHA1 of the whole side file in lower-case hexadecimal digits; empty without one.
    """

    location: str
    offset: int
    length: int | None
    checksum: str = ""


@dataclass
class SideFiles:
    """The side files of one model.

    Args:
        path: The model; side files lie in its folder.
        check: False only to learn which files a model names, before they are there.
    """

    path: Path
    check: bool = True
    names: dict[str, str] = field(default_factory=dict)
    bytes: int = 0
    _ranges: dict[str, list[tuple[int, int, str, str]]] = field(default_factory=dict)
    _checksums: dict[str, str] = field(default_factory=dict)
    _folded: dict[str, str] = field(default_factory=dict)
    _identities: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._folded[_folded(self.path.name)] = self.path.name

    def add(self, external: ExternalRange, needed: int, dtype: str, tensor: str) -> None:
        """Notes one tensor's range, once it is known to lie in a plain file that holds it.

        Args:
            external: The range.
            needed: Bytes that the declared shape and type need.
            dtype: The element type.
            tensor: The tensor's name, for messages.

        Raises:
            FormatError: Missing, a link, not a plain file, too short, or the same as another file by a name
                that differs in case or composition alone.
        """
        where, location = self.path.name, external.location
        other = self._folded.setdefault(_folded(location), location)
        if other != location:
            raise _refusal(f"{location!r} and {other!r} are one file on some systems", where, tensor)
        if external.length is not None and external.length != needed:
            raise _refusal(
                f"external data of {tensor!r} declares {external.length} bytes where its shape needs {needed}",
                where,
                tensor,
            )
        if self._checksums.setdefault(location, external.checksum) != external.checksum:
            raise _refusal(f"external data of {tensor!r} has another checksum than its file", where, tensor)
        first = location not in self.names
        self.names.setdefault(location, tensor)
        self._ranges.setdefault(location, []).append(
            (external.offset, external.offset + needed, dtype, tensor)
        )
        if self.check:
            if first:
                self._open_first(external, tensor)
            size = self._identities[location][0]
            if external.offset + needed > size:
                raise _refusal(_beyond(tensor, external.offset + needed, size), where, tensor)

    def _open_first(self, external: ExternalRange, tensor: str) -> None:
        descriptor = open_side_file(self.path.parent, external.location, tensor, self.path.name)
        try:
            state = os.fstat(descriptor)
            if os.path.samestat(state, self.path.stat()):
                raise _refusal(
                    f"external data of {tensor!r} is the model file itself", self.path.name, tensor
                )
            if external.checksum:
                self._verify(descriptor, external, tensor)
            self._identities[external.location] = _identity(state)
            self.bytes += state.st_size
        finally:
            os.close(descriptor)

    def _verify(self, descriptor: int, external: ExternalRange, tensor: str) -> None:
        digest = hashlib.sha1(usedforsecurity=False)  # what the format defines; sha256 is in the report
        offset = 0
        while chunk := os.pread(descriptor, _CHUNK, offset):
            digest.update(chunk)
            offset += len(chunk)
        if digest.hexdigest() != external.checksum:
            raise _refusal(
                f"the SHA1 of {external.location!r} is {digest.hexdigest()}, its checksum says {external.checksum}",
                self.path.name,
                tensor,
            )

    def finish(self) -> None:
        """Compares all ranges with each other.

        Tensors that share all of their bytes are tied weights. A part of one in another is a way to let
        a change of one tensor be a change of two.

        Raises:
            FormatError: Two overlap in part, or are of different types.
        """
        for location, ranges in self._ranges.items():
            ordered = sorted(r for r in ranges if r[1] > r[0])
            furthest: tuple[int, int, str, str] | None = None
            for each in ordered:
                if furthest is not None and each[0] < furthest[1] and each[:3] != furthest[:3]:
                    raise _refusal(
                        f"external data of {each[3]!r} and of {furthest[3]!r} overlap in {location!r}",
                        self.path.name,
                        each[3],
                    )
                furthest = each
        if len({self._identities[n][1:3] for n in self._identities}) != len(self._identities):
            raise _refusal("two names of external data are one file", self.path.name, "")

    def open(self, location: str, end: int, tensor: str) -> mmap.mmap:
        """A side file in memory, as it was when it was looked at.

        Raises:
            FormatError: It is no longer the same file.
        """
        descriptor = open_side_file(self.path.parent, location, tensor, self.path.name)
        try:
            state = os.fstat(descriptor)
            if _identity(state) != self._identities.get(location, _identity(state)) or state.st_size < end:
                raise _refusal(_beyond(tensor, end, state.st_size), self.path.name, tensor)
            return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)


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
    checksum = entries.get("checksum", "").lower()
    if checksum and (len(checksum) != 40 or set(checksum) - set("0123456789abcdef")):
        raise _refusal(f"external data of {tensor!r} has a checksum that is no SHA1", where, tensor)
    return ExternalRange(
        str(PurePosixPath(location)),
        int(written.get("offset", 0)),
        int(written["length"]) if "length" in written else None,
        checksum,
    )


def is_safe_relative(location: str) -> bool:
    """Whether a name from a file stays below the folder that it is relative to."""
    if not location or "\0" in location or "\\" in location or location.startswith(("/", "~")):
        return False
    parts = PurePosixPath(location).parts
    return bool(parts) and ".." not in parts and not (len(location) > 1 and location[1] == ":")


def open_side_file(folder: Path, location: str, tensor: str, where: str) -> int:
    """Opens a plain file below the model's folder, one component at a time, following no link.

    Args:
        folder: The model's folder; it may itself be reached through links.
        location: The name, known to be safe.
        tensor: The tensor's name, for messages.
        where: The model's name, for messages.

    Returns:
        A descriptor, the caller's to close.

    Raises:
        FormatError: Missing, a link, or not a plain file.
    """
    *folders, name = PurePosixPath(location).parts
    try:
        current = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in folders:
            current = _step(current, part, _FOLDER, tensor, where)
        descriptor = _step(current, name, _FILE, tensor, where)
    except OSError as error:
        raise FormatError(
            f"external data file {location!r} of tensor {tensor!r} is missing",
            where=where,
            remedy="Commit the side file beside the model",
            rule="ART107",
            tensor=tensor,
        ) from error
    state = os.fstat(descriptor)
    fault = "is no plain file" if not stat.S_ISREG(state.st_mode) else ""
    if state.st_nlink > 1 and not fault:
        fault = "is a hard link"
    if fault:
        os.close(descriptor)
        raise _refusal(f"external data of {tensor!r} {fault}", where, tensor)
    return descriptor


def _step(folder: int, part: str, flags: int, tensor: str, where: str) -> int:
    """Opens one component and closes the folder that it lies in."""
    try:
        return os.open(part, flags, dir_fd=folder)
    except OSError:
        if _is_link(folder, part):
            raise _refusal(
                f"external data of {tensor!r} goes through a symbolic link", where, tensor
            ) from None
        raise
    finally:
        os.close(folder)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _is_link(folder: int, part: str) -> bool:
    try:
        return stat.S_ISLNK(os.stat(part, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _identity(state: os.stat_result) -> tuple[int, ...]:
    return state.st_size, state.st_dev, state.st_ino, state.st_mtime_ns


def _beyond(tensor: str, end: int, size: int) -> str:
    return f"external data of {tensor!r} ends at byte {end}, its file at {size}"


def _refusal(what: str, where: str, tensor: str) -> FormatError:
    return FormatError(
        what,
        where=where,
        remedy="Save the model again with its data in one file beside it",
        rule="ART107",
        tensor=tensor,
    )
