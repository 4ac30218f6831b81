"""PyTorch's files put together by hand: archives with any fault in them, pickles opcode by opcode."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROTO = b"\x80\x02"
BEGIN = PROTO + b"}("
END = b"u."


@dataclass
class Zip:
    """An archive as PyTorch writes it; ``change`` may spoil what is written for a member.

    Args:
        members: Content by name.
        change: Given "local" or "central", the member's name and the header's fields, changes them.
        between: Bytes behind each member.
        before: Bytes before the archive; ``after`` likewise.
        padded: Members begin on 64 bytes, as PyTorch's do.
        deferred: Sizes follow the data.
        wide: A zip64 end stands before the end.
    """

    members: Mapping[str, bytes]
    change: Callable[[str, str, dict[str, Any]], None] = lambda *_: None
    between: bytes = b""
    before: bytes = b""
    after: bytes = b""
    padded: bool = True
    deferred: bool = True
    wide: bool = True
    comment: bytes = b""
    end: dict[str, int] = field(default_factory=dict)

    def build(self) -> bytes:
        """The file's bytes."""
        out = bytearray(self.before)
        directory = bytearray()
        for name, data in self.members.items():
            at = len(out)
            crc = zlib.crc32(data)
            local: dict[str, Any] = {
                "magic": b"PK\x03\x04", "version": 0, "flags": 0x0808 if self.deferred and data else 0x0800, "method": 0,
                "crc": 0 if self.deferred else crc, "packed": 0 if self.deferred else len(data),
                "size": 0 if self.deferred else len(data), "name": name.encode(), "extra": b"",
            }  # fmt: skip
            if self.padded:
                room = -(at + 30 + len(local["name"]) + 4) % 64
                local["extra"] = struct.pack("<HH", 0x4246, room) + b"Z" * room
            central: dict[str, Any] = {
                **local, "magic": b"PK\x01\x02", "crc": crc, "packed": len(data), "size": len(data), "extra": b"",
                "comment": b"", "disk": 0, "at": at,
            }  # fmt: skip
            self.change("local", name, local)
            self.change("central", name, central)
            out += struct.pack(
                "<4sHHHHHIIIHH", local["magic"], local["version"], local["flags"], local["method"], 0, 0, local["crc"],
                local["packed"], local["size"], len(local["name"]), len(local["extra"]),
            )  # fmt: skip
            out += local["name"] + local["extra"] + data
            if self.deferred and data:
                out += struct.pack("<4sIII", b"PK\x07\x08", crc, len(data), len(data))
            out += self.between
            directory += struct.pack(
                "<4sHHHHHHIIIHHHHHII", central["magic"], 0, central["version"], central["flags"], central["method"], 0, 0,
                central["crc"], central["packed"], central["size"], len(central["name"]), len(central["extra"]),
                len(central["comment"]), central["disk"], 0, 0, central["at"],
            )  # fmt: skip
            directory += central["name"] + central["extra"] + central["comment"]
        start, count = len(out), len(self.members)
        end = {"count": count, "here": count, "length": len(directory), "start": start, "disk": 0, **self.end}
        out += directory
        if self.wide:
            here = len(out)
            out += struct.pack(
                "<4sQHHIIQQQQ",
                b"PK\x06\x06",
                44,
                0,
                0,
                0,
                0,
                end["here"],
                end["count"],
                end["length"],
                end["start"],
            )
            out += struct.pack("<4sIQI", b"PK\x06\x07", 0, here, 1)
        out += struct.pack(
            "<4sHHHHIIH", b"PK\x05\x06", end["disk"], 0, min(end["here"], 0xFFFF), min(end["count"], 0xFFFF), end["length"],
            end["start"], len(self.comment),
        )  # fmt: skip
        return bytes(out) + self.comment + self.after


def checkpoint(pickle: bytes, storages: Mapping[str, bytes] | None = None, **more: bytes) -> bytes:
    """A checkpoint around a pickle."""
    members = {"m/data.pkl": pickle, "m/byteorder": b"little"}
    members |= {f"m/data/{key}": data for key, data in (storages or {}).items()}
    return Zip({**members, "m/version": b"3\n", **more}).build()


def text(value: str) -> bytes:
    """A string."""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def whole(value: int) -> bytes:
    """A number."""
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def name(module: str, attribute: str) -> bytes:
    """A global."""
    return f"c{module}\n{attribute}\n".encode()


def call(function: bytes, *arguments: bytes) -> bytes:
    """A call of a function on the stack."""
    return function + b"(" + b"".join(arguments) + b"tR"


def sizes(*values: int) -> bytes:
    """A tuple of numbers."""
    return b"(" + b"".join(whole(v) for v in values) + b"t"


NO_HOOKS = name("collections", "OrderedDict") + b")R"


def storage(
    key: str = "0", elements: int = 4, kind: str = "FloatStorage", where: str = "cpu", module: str = "torch"
) -> bytes:
    """A persistent id of a storage."""
    return (
        b"(" + text("storage") + name(module, kind) + text(key) + text(where) + whole(elements) + b"t" + b"Q"
    )


def tensor(
    held: bytes | None = None,
    start: int = 0,
    shape: tuple[int, ...] = (2, 2),
    strides: tuple[int, ...] = (2, 1),
    flag: bytes = b"\x89",
    hooks: bytes = NO_HOOKS,
) -> bytes:
    """A tensor of ``_rebuild_tensor_v2``."""
    return call(
        name("torch._utils", "_rebuild_tensor_v2"),
        held if held is not None else storage(),
        whole(start),
        sizes(*shape),
        sizes(*strides),
        flag,
        hooks,
    )


def entries(**values: bytes) -> bytes:
    """A dictionary with entries."""
    return b"}(" + b"".join(text(key) + value for key, value in values.items()) + b"u"


def pickled(**values: bytes) -> bytes:
    """A pickle of a dictionary."""
    return PROTO + entries(**values) + b"."


FOUR = struct.pack("<4f", 1.0, 2.0, 3.0, 4.0)


def written(folder: Path, data: bytes, file: str = "m.pt") -> Path:
    """A file with these bytes."""
    path = folder / file
    path.write_bytes(data)
    return path
