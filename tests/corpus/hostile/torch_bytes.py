"""PyTorch's containers byte by byte: the zip of today, the streams of before 1.6, the tar of before 0.1.10."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from typing import Any

from tests.corpus.hostile.opcodes import Call, Global, Persistent, call, stream

MAGIC = 0x1950A86A20F9469CFC6C
WEIGHTS = struct.pack("<6f", *range(6))


def tensor(key: str = "0", *, legacy: bool = False) -> Call:
    """The pickle of a float tensor of shape (2, 3)."""
    identity: tuple[Any, ...] = ("storage", Global("torch", "FloatStorage"), key, "cpu", 6)
    identity += (None,) if legacy else ()
    hooks = call("collections:OrderedDict")
    return call("torch._utils:_rebuild_tensor_v2", Persistent(identity), 0, (2, 3), (3, 1), False, hooks)


def state(payload: Any = None, *, legacy: bool = False) -> dict[str, Any]:
    """A state dict of one weight, and the payload beside it."""
    held: dict[str, Any] = {"fc.weight": tensor(legacy=legacy)}
    return held if payload is None else {**held, "fc.extra": payload}


def member(name: str, data: bytes, *, method: int = 0, flags: int = 0) -> dict[str, Any]:
    """One entry for ``archive``; any key of the headers can be overwritten, local_* in the local one alone."""
    return {"name": name.encode(), "data": data, "method": method, "flags": flags}


def archive(
    members: Iterable[dict[str, Any]], *, comment: bytes = b"", before: bytes = b"", **end: int
) -> bytes:
    """A zip archive written by hand, so that its two directories may contradict each other.

    Args:
        members: Entries; keys name, data, method, flags, crc, size, and the same with ``local_`` before them;
            ``local_only`` and ``central_only`` leave the other directory out.
        comment: The archive's comment.
        before: Bytes before the first entry; offsets count from the file's beginning.
        end: Overwrites count, size or offset of the end record.
    """
    out, central = bytearray(before), bytearray()
    count = 0
    for entry in members:
        raw = entry["data"]
        packed = _packed(raw, entry["method"])
        facts = {"crc": zlib.crc32(raw), "size": len(raw), "packed": len(packed), "extra": b"", **entry}
        at = entry.get("offset", len(out))
        if not entry.get("central_only"):
            near = {
                **facts,
                **{k.removeprefix("local_"): v for k, v in entry.items() if k.startswith("local_")},
            }
            out += b"PK\3\4" + _common(near) + struct.pack("<HH", len(near["name"]), len(near["extra"]))
            out += near["name"] + near["extra"] + packed
        if not entry.get("local_only"):
            central += b"PK\1\2\x14\0" + _common(facts)
            central += struct.pack("<HHHHHII", len(facts["name"]), len(facts["extra"]), 0, 0, 0, 0, at)
            central += facts["name"] + facts["extra"]
            count += 1
    facts = {"count": count, "size": len(central), "offset": len(out), **end}
    tail = struct.pack(
        "<HHHHIIH", 0, 0, facts["count"], facts["count"], facts["size"], facts["offset"], len(comment)
    )
    return bytes(out + central) + b"PK\5\6" + tail + comment


def _common(facts: dict[str, Any]) -> bytes:
    return struct.pack(
        "<HHHHHIII",
        20,
        facts["flags"],
        facts["method"],
        0,
        0x21,
        facts["crc"],
        facts["packed"],
        facts["size"],
    )


def _packed(raw: bytes, method: int) -> bytes:
    if method == zipfile.ZIP_DEFLATED:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        return packer.compress(raw) + packer.flush()
    if method == zipfile.ZIP_BZIP2:
        import bz2

        return bz2.compress(raw)
    return raw


def members(pickled: bytes, root: str = "archive", **more: Any) -> list[dict[str, Any]]:
    """The entries of a checkpoint; ``more`` is for the pickle's entry."""
    return [
        {**member(f"{root}/data.pkl", pickled), **more},
        member(f"{root}/byteorder", b"little"),
        member(f"{root}/data/0", WEIGHTS),
        member(f"{root}/version", b"3\n"),
    ]


def checkpoint(payload: Any = None, root: str = "archive", *, protocol: int = 2) -> bytes:
    """A checkpoint of today that holds a payload beside its weight."""
    return archive(members(stream(state(payload), protocol=protocol), root))


def legacy(
    payload: Any = None, *, head: Any = None, info: Any = None, keys: Any = None, magic: int = MAGIC
) -> bytes:
    """Five pickles in a row and the storages: the format before torch 1.6; a payload for each of them."""
    system = {
        "protocol_version": 1001,
        "little_endian": True,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    parts = [
        stream(*([head] if head is not None else []), magic, protocol=2),
        stream(1001, protocol=2),
        stream(*([info] if info is not None else []), system, protocol=2),
        stream(state(payload, legacy=True), protocol=2),
        stream(*([keys] if keys is not None else []), ["0"], protocol=2),
    ]
    return b"".join(parts) + struct.pack("<q", 6) + WEIGHTS


def tar(payload: Any) -> bytes:
    """The oldest format: a tar archive of pickles."""
    held = {
        "sys_info": stream({"protocol_version": 1000, "little_endian": True}, protocol=2),
        "pickle": stream(payload, protocol=2),
        "storages": stream(0, protocol=2) + stream([], protocol=2),
        "tensors": stream(0, protocol=2),
    }
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:") as made:
        for name, data in held.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return out.getvalue()
