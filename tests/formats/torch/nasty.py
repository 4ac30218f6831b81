"""PyTorch and safetensors files that are cheap to write and ask for much: functions from a size to a file.

Every file is about as large as it is told, and one kind of thing from end to end.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable

from .parts import PROTO, Zip

Maker = Callable[[int], bytes]
NASTY: dict[str, Maker] = {}


def nasty(make: Maker) -> Maker:
    """Registers the decorated function under its own name."""
    NASTY[make.__name__] = make
    return make


def _pickle(piece: bytes, *, front: bytes = b"", back: bytes = b".") -> Maker:
    """A checkpoint whose pickle repeats a piece."""

    def make(size: int) -> bytes:
        body = front + piece * max(1, (size - 600) // len(piece)) + back
        return Zip({"m/data.pkl": PROTO + body, "m/version": b"3\n"}).build()

    return make


for _name, _made in {
    "nothings": _pickle(b"N"), "dictionaries": _pickle(b"}"), "lists": _pickle(b"]"), "marks": _pickle(b"("),
    "tuples_in_tuples": _pickle(b"\x85", front=b")"), "tiny_texts": _pickle(b"X\1\0\0\0a"), "short_texts": _pickle(b"\x8c\1a"),
    "numbers": _pickle(b"J\xff\xff\xff\x7f"), "long_numbers": _pickle(b"\x8a\xff" + b"\x7f" * 255),
    "reals": _pickle(b"G12345678"), "remembered": _pickle(b"N\x94"), "recalled": _pickle(b"h\0", front=b")q\0"),
    "calls": _pickle(b"h\0)R", front=b"ccollections\nOrderedDict\nq\0"), "one_text": _pickle(b"a", front=b"X\0\0\0\x03"),
    "wide_texts": _pickle(b"X" + struct.pack("<I", 2**16) + b"a" * (2**16 - 4) + "\U0001f600".encode()),
    "list_of_lists": _pickle(b"]", front=b"](", back=b"e."), "global_names": _pickle(b"ctorch\nfloat32\n"),
}.items():  # fmt: skip
    NASTY[_name] = _made


@nasty
def keys(size: int) -> bytes:
    """A dictionary of whole numbers."""
    body = b"".join(b"J" + struct.pack("<i", i) + b"Ns" for i in range(size // 7))
    return Zip({"m/data.pkl": PROTO + b"}" + body + b".", "m/version": b"3\n"}).build()


@nasty
def legacy_nothings(size: int) -> bytes:
    """The older form, its object of nothing but NONE."""
    start = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}X\r\0\0\0little_endian\x88s."
    return start + PROTO + b"N" * size


@nasty
def members(size: int) -> bytes:
    """An archive of as many members as fit."""
    return Zip(
        {f"m/data/{i}": b"" for i in range(min(size // 130, 65_000))} | {"m/data.pkl": PROTO + b"N."},
        padded=False,
    ).build()


@nasty
def long_names(size: int) -> bytes:
    """An archive of names of 30,000 characters."""
    return Zip(
        {"m/" + str(i) + "a" * 30_000: b"" for i in range(max(1, size // 60_200))}, padded=False
    ).build()


def _safe(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def _filled(front: bytes, piece: bytes, back: bytes, size: int) -> bytes:
    """A safetensors file whose header repeats a piece up to the largest header that is read."""
    return _safe(front + piece * max(1, (min(size, 2**24) - len(front) - len(back)) // len(piece)) + back)


@nasty
def brackets(size: int) -> bytes:
    """A header of brackets."""
    return _filled(b'{"a":', b"[", b"}", size)


@nasty
def objects(size: int) -> bytes:
    """A header of objects."""
    return _filled(b'{"a":[', b"{},", b"{}]}", min(size, 1_400_000))


@nasty
def wide_header(size: int) -> bytes:
    """A header of one text with one character beyond the basic plane."""
    return _filled(b'{"__metadata__":{"a":"', b"a", '\U0001f600"}}'.encode(), size)


def _tensors(entries: Iterable[tuple[str, str, int]]) -> bytes:
    header: dict[str, object] = {}
    at = 0
    for name, dtype, elements in entries:
        header[name] = {"dtype": dtype, "shape": [elements], "data_offsets": [at, at + elements]}
        at += elements
    return _safe(json.dumps(header).encode(), bytes(at))


@nasty
def tiny_tensors(size: int) -> bytes:
    """Tensors of one byte."""
    return _tensors((f"t{i}", "U8", 1) for i in range(min(size // 70, 60_000)))


@nasty
def float8(size: int) -> bytes:
    """One tensor of float8, four bytes of numbers for each of the file's."""
    return _tensors([("w", "F8_E4M3", size)])


@nasty
def float4(size: int) -> bytes:
    """One tensor of four-bit floats."""
    header = {"w": {"dtype": "F4", "shape": [2 * size], "data_offsets": [0, size]}}
    return _safe(json.dumps(header).encode(), bytes(size))


def _program(text: bytes) -> bytes:
    return Zip({"m/models/model.json": text, "m/archive_format": b"pt2"}).build()


@nasty
def program_objects(size: int) -> bytes:
    """A program of empty objects, as many as are parsed."""
    return _program(b'{"a":[' + b'{"a":{}},' * min(size // 9, 240_000) + b"0]}")


@nasty
def program_text(size: int) -> bytes:
    """A program of one text."""
    return _program(b'{"a":"' + b"a" * min(size, 48 * 2**20 - 100) + b'"}')


@nasty
def program_brackets(size: int) -> bytes:
    """A program of brackets."""
    return _program(b"[" * min(size, 48 * 2**20))
