"""Zip archives as PyTorch writes them, read so strictly that every reader finds the same bytes in them.

Archives have two tables of contents and room between their members, and readers differ in which they
believe (miniz, which PyTorch reads with, believes the central directory and skips local headers by their
lengths; Python's zipfile allows bytes before the archive; scanners walk local headers). So nothing is
accepted that could be read two ways: members are stored, named once, one after the other from the first
byte of the file to the directory, with local headers that say what the directory says.

Source: PKWARE APPNOTE 6.3.10; the padding field ``FB`` is PyTorch's (caffe2/serialize/inline_container.cc).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn

from qgate.errors import FormatError

MAX_MEMBERS = 65_535
MAX_NAME = 1024
_LOCAL, _CENTRAL, _DESCRIPTOR = b"PK\x03\x04", b"PK\x01\x02", b"PK\x07\x08"
_END, _END64, _LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_U16, _U32 = 0xFFFF, 0xFFFFFFFF
# Bit 3: sizes follow the data; bit 11: names are UTF-8. All others change how bytes are read.
_FLAGS = {0, 0x0008, 0x0800, 0x0808}
_SIZES64, _PADDING = 1, 0x4246


@dataclass(frozen=True)
class Member:
    """One file of an archive: its stored bytes are ``view[offset : offset + size]``."""

    name: str
    offset: int
    size: int
    crc: int


@dataclass(frozen=True)
class Archive:
    """An archive of which every byte is accounted for.

    Args:
        view: The whole file.
        folder: The folder that all members lie in, as PyTorch writes them; empty if there is none.
        members: By name inside that folder, in the order of the file.
    """

    view: memoryview
    folder: str
    members: Mapping[str, Member]

    def read(self, name: str) -> memoryview:
        """The bytes of a member, without a copy."""
        member = self.members[name]
        return self.view[member.offset : member.offset + member.size]

    def damaged(self) -> Iterator[str]:
        """Members whose bytes do not match their checksum; PyTorch does not look, so they load all the same.

        Archives that were written without checksums have zero in every entry.
        """
        if not any(member.crc for member in self.members.values()):
            return
        for name, member in self.members.items():
            if zlib.crc32(self.view[member.offset : member.offset + member.size]) != member.crc:
                yield name


@dataclass(frozen=True)
class _Entry:
    """What the directory says of a member."""

    name: bytes
    flags: int
    crc: int
    size: int
    header: int


def names_of(view: memoryview) -> tuple[str, ...] | None:
    """The names in an archive's directory, without asking whether they can be trusted; None without one."""
    found = _directory(view)
    if found is None:
        return None
    position, end, _ = found
    names: list[str] = []
    while view[position : position + 4] == _CENTRAL and len(names) <= MAX_MEMBERS:
        if position + 46 > end:
            return None
        length, extra, comment = struct.unpack_from("<HHH", view, position + 28)
        names.append(bytes(view[position + 46 : position + 46 + length]).decode("utf-8", "backslashreplace"))
        position += 46 + length + extra + comment
    return tuple(names)


def read_archive(view: memoryview, where: str) -> Archive:
    """Reads an archive whose every byte must belong to it.

    Raises:
        FormatError: Damaged (ART104), or such that two readers could find different bytes (ART105).
    """
    if view[:4] != _LOCAL:
        _ambiguous("the archive does not begin with its first member", where)
    found = _directory(view)
    if found is None:
        raise FormatError(
            "the archive has no whole directory at its end", where=where,
            remedy="Commit the file again; it was cut or something was appended to it", rule="ART104",
        )  # fmt: skip
    entries = tuple(_entries(view, *found, where))
    names = [_name(entry.name, where) for entry in entries]
    # miniz looks names up without regard to case.
    if len({name.lower() for name in names}) != len(names):
        twice = next(n for i, n in enumerate(names) if n.lower() in {m.lower() for m in names[:i]})
        _ambiguous(f"the archive has two members of the name {twice!r}", where)
    members: list[Member] = []
    position = 0
    for entry, name in zip(entries, names, strict=True):
        member, position = _member(view, entry, name, position, where)
        members.append(member)
    if position != found[0]:
        _ambiguous(f"bytes {position} to {found[0]} belong to no member", where)
    folder = _folder(names)
    kept = {member.name[len(folder) :]: member for member in members}
    return Archive(view, folder.rstrip("/"), kept)


def _directory(view: memoryview) -> tuple[int, int, int] | None:
    """Begin and end of the central directory and its number of entries, None where the ends disagree."""
    size = len(view)
    if size < 22 or view[size - 22 : size - 18] != _END:
        return None
    disk, first, here, count, length, start, comment = struct.unpack_from("<HHHHIIH", view, size - 18)
    end = size - 22
    if (disk, first, comment) != (0, 0, 0) or here != count:
        return None
    if size >= 98 and view[size - 42 : size - 38] == _LOCATOR64:
        on_disk, record, disks = struct.unpack_from("<IQI", view, size - 38)
        if (on_disk, disks) != (0, 1) or record != size - 98 or view[record : record + 4] != _END64:
            return None
        held, _, _, one, two, here64, count64, length64, start64 = struct.unpack_from(
            "<QHHIIQQQQ", view, record + 4
        )
        if (held, one, two) != (44, 0, 0) or here64 != count64:
            return None
        for short, wide, mark in ((count, count64, _U16), (length, length64, _U32), (start, start64, _U32)):
            if short not in (wide, mark) or (short == mark and wide < mark):
                return None
        count, length, start, end = count64, length64, start64, record
    elif count == _U16 or _U32 in (length, start):
        return None
    return (start, end, count) if start + length == end else None


def _entries(view: memoryview, position: int, end: int, count: int, where: str) -> Iterator[_Entry]:
    if not 0 < count <= MAX_MEMBERS:
        raise FormatError(
            f"the archive declares {count} members ({MAX_MEMBERS} at most)", where=where,
            remedy="Save the model again; do not merge this file", rule="ART105",
        )  # fmt: skip
    for number in range(count):
        if position + 46 > end or view[position : position + 4] != _CENTRAL:
            _ambiguous(f"entry {number} of the archive's directory is none", where)
        (_, _, flags, method, _, _, crc, packed, size, length, extra, comment, disk, _, _, header) = (
            struct.unpack_from("<HHHHHHIIIHHHHHII", view, position + 4)
        )
        begin = position + 46
        position = begin + length + extra + comment
        if position > end:
            _ambiguous(f"entry {number} runs past the archive's directory", where)
        name = bytes(view[begin : begin + length])
        shown = name[:64].decode("utf-8", "backslashreplace")
        if flags not in _FLAGS:
            what = "encrypted" if flags & 1 else f"written with flags {flags:#x}"
            _ambiguous(f"member {shown!r} is {what}", where)
        if method != 0:
            _ambiguous(f"member {shown!r} is compressed, which PyTorch's archives never are", where)
        if comment or disk:
            _ambiguous(f"member {shown!r} has a comment or lies on another disk", where)
        size, packed, header = _wide(view, begin + length, extra, (size, packed, header), shown, where)
        if packed != size:
            _ambiguous(f"member {shown!r} is stored in {packed} bytes and said to be {size}", where)
        yield _Entry(name, flags, crc, size, header)
    if position != end:
        _ambiguous(f"{end - position} bytes of the archive's directory are no entry", where)


def _wide(
    view: memoryview, begin: int, length: int, held: tuple[int, ...], name: str, where: str
) -> tuple[int, ...]:
    """Size, stored size and header of an entry, from its zip64 field where the short ones say so."""
    wanted = [i for i, value in enumerate(held) if value == _U32]
    if not wanted:
        if length:
            _ambiguous(f"member {name!r} has {length} bytes of extra fields in the directory", where)
        return held
    if length != 4 + 8 * len(wanted) or struct.unpack_from("<HH", view, begin) != (_SIZES64, length - 4):
        _ambiguous(f"member {name!r} has no sizes in the directory", where)
    values = list(held)
    for order, position in enumerate(wanted):
        (values[position],) = struct.unpack_from("<Q", view, begin + 4 + 8 * order)
        if values[position] < _U32:
            _ambiguous(f"member {name!r} gives a small size as a large one", where)
    return tuple(values)


def _member(view: memoryview, entry: _Entry, name: str, expected: int, where: str) -> tuple[Member, int]:
    """A member behind a local header that says what the directory says, and where the next one begins."""
    at = entry.header
    if at != expected:
        _ambiguous(f"member {name!r} begins at byte {at} where the one before it ends at {expected}", where)
    if at + 30 > len(view) or view[at : at + 4] != _LOCAL:
        _ambiguous(f"member {name!r} has no local header", where)
    _, flags, method, _, _, crc, packed, size, length, extra = struct.unpack_from("<HHHHHIIIHH", view, at + 4)
    begin = at + 30 + length + extra
    end = begin + entry.size
    if end > len(view) or bytes(view[at + 30 : at + 30 + length]) != entry.name:
        _ambiguous(f"member {name!r} has another name in its local header, or is cut", where)
    if method != 0 or flags != entry.flags:
        _ambiguous(f"member {name!r} is read differently by its local header and by the directory", where)
    deferred = bool(flags & 8)
    shorts = {(entry.crc, entry.size, entry.size), (entry.crc, _U32, _U32)}
    if deferred:
        shorts |= {(0, 0, 0), (0, _U32, _U32)}
    if (crc, packed, size) not in shorts:
        _ambiguous(f"member {name!r} has another size or checksum in its local header", where)
    _checked_extra(view, at + 30 + length, extra, entry, name, where)
    return Member(name, begin, entry.size, entry.crc), _behind(view, end, entry, name, where)


def _behind(view: memoryview, end: int, entry: _Entry, name: str, where: str) -> int:
    """The end of the record that repeats sizes behind the data, where the flags announce one."""
    if not entry.flags & 8 or view[end : end + 4] != _DESCRIPTOR:
        # miniz leaves it out behind an empty member, whatever the flags say.
        if entry.flags & 8 and entry.size:
            _ambiguous(f"member {name!r} is not followed by its sizes", where)
        return end
    for form, length in (("<III", 16), ("<IQQ", 24)):
        whole = end + length <= len(view)
        if whole and struct.unpack_from(form, view, end + 4) == (entry.crc, entry.size, entry.size):
            return end + length
    raise _ambiguity(f"member {name!r} is followed by other sizes than the directory's", where)


def _checked_extra(view: memoryview, at: int, length: int, entry: _Entry, name: str, where: str) -> None:
    """Only padding and wide sizes may stand before the data."""
    end = at + length
    while at < end:
        if at + 4 > end:
            _ambiguous(f"member {name!r} has half an extra field", where)
        kind, held = struct.unpack_from("<HH", view, at)
        content = bytes(view[at + 4 : at + 4 + held])
        at += 4 + held
        if at > end:
            _ambiguous(f"member {name!r} has an extra field that is cut", where)
        if kind == _PADDING and content.strip(b"Z") in (b"", bytes(held)):
            continue
        sizes = (entry.size, 0)
        if kind == _SIZES64 and held in (8, 16, 24) and all(
            value in sizes or value == entry.header for value in struct.unpack(f"<{held // 8}Q", content)
        ):  # fmt: skip
            continue
        _ambiguous(f"member {name!r} has bytes in an extra field that are no padding", where)


def _name(raw: bytes, where: str) -> str:
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        _ambiguous(f"a member's name is no UTF-8 ({raw[:64]!r})", where)
    parts = name.split("/")
    plain = name.isprintable() and "\\" not in name and len(raw) <= MAX_NAME
    if not plain or any(part in ("", ".", "..") for part in parts) or (len(parts[0]) > 1 and name[1] == ":"):
        _ambiguous(f"a member has the name {name[:64]!r}, which is no plain relative one", where)
    return name


def _folder(names: list[str]) -> str:
    """The folder that all names share, with its slash; PyTorch takes it from the first member."""
    folder, slash, _ = names[0].partition("/")
    prefix = folder + slash
    return prefix if slash and all(name.startswith(prefix) for name in names) else ""


def _ambiguous(what: str, where: str) -> NoReturn:
    raise _ambiguity(what, where)


def _ambiguity(what: str, where: str) -> FormatError:
    return FormatError(
        what,
        where=where,
        remedy="Save the model again with torch.save; do not merge this file",
        rule="ART105",
    )
