"""Archives: what PyTorch writes is read, whatever two readers could read differently is not."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qgate.errors import FormatError
from qgate.formats.torch.archive import MAX_MEMBERS, names_of, read_archive

from .parts import Zip

MEMBERS = {"m/data.pkl": b"pickle", "m/data/0": bytes(64), "m/data/1": b"", "m/version": b"3\n"}
GOOD = Zip(MEMBERS)


def read(data: bytes) -> dict[str, bytes]:
    archive = read_archive(memoryview(data), "m.pt")
    return {name: bytes(archive.read(name)) for name in archive.members}


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("deferred", [True, False])
@pytest.mark.parametrize("wide", [True, False])
def test_an_archive_is_read(padded: bool, deferred: bool, wide: bool) -> None:
    data = Zip(MEMBERS, padded=padded, deferred=deferred, wide=wide).build()
    assert read(data) == {name.removeprefix("m/"): content for name, content in MEMBERS.items()}
    assert names_of(memoryview(data)) == tuple(MEMBERS)
    assert list(read_archive(memoryview(data), "m").damaged()) == []


def test_members_of_several_folders_keep_their_names() -> None:
    assert set(read(Zip({"a/x": b"1", "b/y": b"2"}).build())) == {"a/x", "b/y"}


def changed(part: str, member: str = "m/data/0", **fields: Any) -> Callable[[str, str, dict[str, Any]], None]:
    def change(where: str, name: str, held: dict[str, Any]) -> None:
        if where == part and name == member:
            held.update(fields)

    return change


def extra(kind: int, content: bytes) -> bytes:
    return struct.pack("<HH", kind, len(content)) + content


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (Zip(MEMBERS, change=changed("central", method=8)).build(), "compressed"),
        (Zip(MEMBERS, change=changed("local", method=8)).build(), "differently"),
        (Zip(MEMBERS, change=changed("central", flags=0x809)).build(), "encrypted"),
        (Zip(MEMBERS, change=changed("local", flags=0x0800)).build(), "differently"),
        (Zip(MEMBERS, change=changed("central", flags=0x2808)).build(), "flags 0x2808"),
        (Zip(MEMBERS, change=changed("local", name=b"m/data/9")).build(), "another name"),
        (Zip(MEMBERS, change=changed("central", name=b"m/data.pkl")).build(), "two members"),
        (Zip(MEMBERS, change=changed("central", name=b"m/DATA.PKL")).build(), "two members"),
        (Zip(MEMBERS, change=changed("central", size=63, packed=63)).build(), "not followed by its sizes"),
        (Zip(MEMBERS, change=changed("central", packed=63)).build(), "stored in 63"),
        (Zip(MEMBERS, change=changed("central", size=2**31, packed=2**31)).build(), "cut"),
        (Zip(MEMBERS, change=changed("central", crc=1)).build(), "other sizes"),
        (Zip(MEMBERS, change=changed("local", crc=1)).build(), "size or checksum"),
        (Zip(MEMBERS, change=changed("local", size=1)).build(), "size or checksum"),
        (Zip(MEMBERS, deferred=False, change=changed("local", crc=0)).build(), "size or checksum"),
        (Zip(MEMBERS, change=changed("central", at=0)).build(), "begins at byte 0"),
        (Zip(MEMBERS, change=changed("central", magic=b"PK\x01\x03")).build(), "is none"),
        (Zip(MEMBERS, change=changed("local", magic=b"PK\x03\x05")).build(), "no local header"),
        (Zip(MEMBERS, change=changed("central", comment=b"hello")).build(), "comment"),
        (Zip(MEMBERS, change=changed("central", disk=1)).build(), "another disk"),
        (Zip(MEMBERS, change=changed("central", extra=extra(0x7075, b"\1abcdm/data.pkl"))).build(), "extra fields"),
        (Zip(MEMBERS, change=changed("local", extra=extra(0x7075, b"\1abcdm/data.pkl"))).build(), "no padding"),
        (Zip(MEMBERS, change=changed("local", extra=extra(0x4246, b"payload"))).build(), "no padding"),
        (Zip(MEMBERS, change=changed("local", extra=b"FB")).build(), "half an extra field"),
        (Zip(MEMBERS, change=changed("local", extra=b"FB\xff\xff")).build(), "cut"),
        (Zip(MEMBERS, change=changed("local", extra=extra(1, struct.pack("<QQ", 9, 9)))).build(), "no padding"),
        (Zip(MEMBERS, change=changed("central", size=0xFFFFFFFF, packed=0xFFFFFFFF,
                                     extra=extra(1, struct.pack("<QQ", 64, 64)))).build(), "small size as a large"),
        (Zip(MEMBERS, change=changed("central", size=0xFFFFFFFF, packed=0xFFFFFFFF)).build(), "no sizes"),
        (Zip(MEMBERS, between=b"hidden").build(), "where the one before it ends"),
        (Zip({"m/a": b"1"}, between=b"hidden").build(), "belong to no member"),
        (Zip({"../m": b"1"}).build(), "plain relative"),
        (Zip({"/m": b"1"}).build(), "plain relative"),
        (Zip({"m//a": b"1"}).build(), "plain relative"),
        (Zip({"m/./a": b"1"}).build(), "plain relative"),
        (Zip({"m\\a": b"1"}).build(), "plain relative"),
        (Zip({"C:/a": b"1"}).build(), "plain relative"),
        (Zip({"m/a\n": b"1"}).build(), "plain relative"),
        (Zip({"m/a\u202e": b"1"}).build(), "plain relative"),
        (Zip({"m/" + "a" * 2000: b"1"}).build(), "plain relative"),
        (Zip(MEMBERS, change=changed("central", name=b"m/\xff\xfe")).build(), "no UTF-8"),
        (Zip({}).build(), "begin with its first member"),
    ],
)  # fmt: skip
def test_what_could_be_read_two_ways(data: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words) as caught:
        read(data)
    assert caught.value.rule == "ART105"
    assert caught.value.remedy


@pytest.mark.parametrize(
    "data",
    [
        GOOD.build()[:-1],
        GOOD.build() + b"\0",
        Zip(MEMBERS, after=b"trailing").build(),
        Zip(MEMBERS, comment=b"comment").build(),
        Zip(MEMBERS, end={"count": 3}).build(),
        Zip(MEMBERS, end={"here": 3}).build(),
        Zip(MEMBERS, end={"start": 5}).build(),
        Zip(MEMBERS, end={"length": 5}).build(),
        Zip(MEMBERS, end={"disk": 1}).build(),
        Zip(MEMBERS, wide=False, end={"count": 0xFFFF, "here": 0xFFFF}).build(),
        GOOD.build()[:300],
    ],
)
def test_ends_that_are_none(data: bytes) -> None:
    assert names_of(memoryview(data)) is None
    with pytest.raises(FormatError, match="no whole directory") as caught:
        read(data)
    assert caught.value.rule == "ART104"


def test_ends_that_contradict_each_other() -> None:
    data = bytearray(GOOD.build())
    struct.pack_into("<Q", data, len(data) - 98 + 32, 3)
    with pytest.raises(FormatError, match="no whole directory"):
        read(bytes(data))


def test_a_count_that_the_directory_does_not_have() -> None:
    for count, words in ((5, "entry 4"), (3, "no entry"), (MAX_MEMBERS + 1, "at most")):
        with pytest.raises(FormatError, match=words):
            read(Zip(MEMBERS, end={"count": count, "here": count}).build())


def test_bytes_before_the_archive() -> None:
    with pytest.raises(FormatError, match="begin with its first member"):
        read(Zip(MEMBERS, before=b"#!/bin/sh\n").build())


def test_a_changed_member_is_named() -> None:
    data = bytearray(GOOD.build())
    data[data.index(b"pickle")] ^= 1
    assert list(read_archive(memoryview(bytes(data)), "m").damaged()) == ["data.pkl"]


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_a_spoiled_archive_is_refused_or_read_as_everyone_reads_it(data: st.DataObject) -> None:
    raw = bytearray(Zip(MEMBERS, wide=data.draw(st.booleans())).build())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        held = read(bytes(raw))
    except FormatError as error:
        assert error.rule in ("ART104", "ART105")
        return
    with zipfile.ZipFile(io.BytesIO(bytes(raw))) as other:
        prefix = "m/" if all(i.filename.startswith("m/") for i in other.infolist()) else ""
        for info in other.infolist():
            info.CRC = zlib.crc32(held[info.filename.removeprefix(prefix)])
            assert other.read(info) == held[info.filename.removeprefix(prefix)]
