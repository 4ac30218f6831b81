"""safetensors files and data sets: headers that lie, and pickles where arrays should be."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from functools import partial
from typing import Any

import numpy as np

from tests.corpus.hostile.case import Target, case, hostile
from tests.corpus.hostile.gadgets import nested
from tests.corpus.hostile.opcodes import call, stream

safe = partial(hostile, "safetensors", "model.safetensors")
data = partial(hostile, "data", "inputs.npz", role="data")


def raw(header: bytes, body: bytes = b"", length: int | None = None) -> bytes:
    """A file with this header and body."""
    return struct.pack("<Q", len(header) if length is None else length) + header + body


def entry(begin: int = 0, end: int = 24, shape: Any = (2, 3), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def held(body: int = 24, **entries: Any) -> bytes:
    """A file with these entries over so many zero bytes."""
    return raw(json.dumps(entries).encode(), bytes(body))


def text(header: str, body: int = 24) -> bytes:
    return raw(header.encode("utf-8", "surrogatepass"), bytes(body))


PLAIN = '"dtype":"F32","shape":[2,3],"data_offsets":[0,24]'
SAFETENSORS: dict[str, tuple[bytes, str]] = {
    "overlap": (held(36, a=entry(), b=entry(12, 36)), "two tensors share bytes"),
    "same-bytes": (held(24, a=entry(), b=entry()), "two tensors over the same bytes"),
    "hole": (held(56, a=entry(), b=entry(32, 56)), "bytes between two tensors that belong to none"),
    "hole-before": (held(32, a=entry(8, 32)), "bytes before the first tensor"),
    "trailing": (held(40, a=entry()), "bytes behind the last tensor"),
    "beyond": (held(24, a=entry(0, 48, (4, 3))), "a tensor that ends behind the file"),
    "reversed": (held(24, a=entry(24, 0)), "an end before its beginning"),
    "negative": (held(24, a=entry(-24, 0)), "negative offsets"),
    "negative-shape": (held(24, a=entry(shape=(-2, -3))), "negative sizes whose product is right"),
    "overflow-shape": (held(24, a=entry(shape=(2**33, 2**31 + 6))), "a product that overflows 64 bits"),
    "huge-shape": (held(0, a=entry(0, 0, (0, 2**62))), "no elements, and a size of 2^62"),
    "many-dimensions": (held(4, a=entry(0, 4, [1] * 10_000)), "ten thousand dimensions"),
    "wrong-bytes": (held(24, a=entry(shape=(2, 4))), "a shape that needs other bytes"),
    "unknown-dtype": (held(24, a=entry(dtype="F31")), "an element type that does not exist"),
    "dtype-object": (held(24, a=entry(dtype=["F32"])), "an element type that is a list"),
    "float-offset": (text('{"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0.0,24.0]}}'), "offsets with a point"),
    "bool-shape": (text('{"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}', 4), "a size that is true"),
    "string-shape": (text('{"a":{"dtype":"F32","shape":["6"],"data_offsets":[0,24]}}'), "a size that is text"),
    "nan-shape": (text('{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,24]}}'), "a size that is NaN"),
    "huge-number": (text('{"a":{"dtype":"F32","shape":[' + "9" * 100_000 + '],"data_offsets":[0,24]}}'), "a number of 100,000 digits"),  # noqa: E501
    "duplicate-name": (text("{" + f'"a":{{{PLAIN}}},"a":{{{PLAIN}}}' + "}"), "one name twice: readers differ in which counts"),
    "duplicate-key": (text('{"a":{"dtype":"F32","dtype":"I32","shape":[2,3],"data_offsets":[0,24]}}'), "one key twice"),
    "unknown-key": (text("{" + f'"a":{{{PLAIN},"loader":"x"}}' + "}"), "a key that the format does not have"),
    "missing-key": (text('{"a":{"dtype":"F32","data_offsets":[0,24]}}'), "no shape"),
    "metadata-object": (text("{" + f'"__metadata__":{{"a":{{"b":1}}}},"a":{{{PLAIN}}}' + "}"), "metadata that is no text"),
    "not-object": (text("[1,2,3]", 0), "a list for a header"),
    "not-json": (raw(b"{" + bytes(50), bytes(24)), "a header that is no JSON"),
    "not-utf8": (raw(b'{"\xff\xfe":1}', bytes(24)), "a header that is no UTF-8"),
    "surrogate": (text('{"\\ud800":{' + PLAIN + "}}"), "a name that is half a character"),
    "nul-padding": (raw(b"{}" + b"\0" * 8), "NUL for padding"),
    "deep-json": (text('{"a":' * 50_000 + "1" + "}" * 50_000), "fifty thousand levels"),
    "length-zero": (raw(b"", b"{}" + bytes(30)), "a header of no bytes"),
    "length-beyond": (raw(b'{"a":1}', length=2**40), "a header longer than the file"),
    "length-negative": (raw(b'{"a":1}', length=2**64 - 1), "a header of 2^64 - 1 bytes"),
    "length-huge": (raw(b"{" + b" " * 2**20, length=99 * 2**20), "a header of 99 MB, one of them there"),
    "leading-space": (raw(b'  {"a":{' + PLAIN.encode() + b"}}", bytes(24)), "blanks before the header"),
    "pickle-inside": (raw(b'{"a":{' + PLAIN.encode() + b"}}", b"\x80\x04cos\nsystem\n." + bytes(24)), "a pickle behind the header"),  # noqa: E501
}  # fmt: skip
for _key, (_bytes, _what) in SAFETENSORS.items():
    case(f"safetensors-{_key}", "safetensors", _what, "model.safetensors", lambda t, made=_bytes: made)


@safe(loader="pickle")
def pickle_renamed(t):
    """a pickle named .safetensors"""
    return nested(t)


def npy(shape: str = "(3,)", descr: str = "'<f4'", body: bytes = bytes(12), version: int = 1) -> bytes:
    """An array with this header."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    size = struct.pack("<H", len(header)) if version == 1 else struct.pack("<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + size + header + body


def npz(*entries: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """Arrays in a zip."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, content in entries:
            made.writestr(zipfile.ZipInfo(name), content, method)
    return out.getvalue()


def objects(t: Target) -> bytes:
    """An array of Python objects: a pickle behind an honest header."""
    return npy("()", "'|O'", stream(call("os:system", t.shell), protocol=2))


@data(loader="numpy")
def object_array(t):
    """an array of objects"""
    return npz(("image.npy", objects(t)))


@data(loader="numpy")
def object_array_second(t):
    """an array of objects behind an honest one"""
    return npz(("image.npy", npy()), ("label.npy", objects(t)))


@data()
def record_array(t):
    """records with a field of objects"""
    return npz(("image.npy", npy("()", "[('a', '|O')]", nested(t))))


@data(loader="pickle")
def pickle_as_data(t):
    """a pickle named .npz"""
    return nested(t)


@hostile("data", "inputs.npz", role="data", loader="numpy")
def object_npy(t):
    """a single array of objects named .npz"""
    return objects(t)


@data()
def duplicate_array(t):
    """one name twice"""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return npz(("image.npy", npy()), ("image.npy", npy()))


@data()
def traversal_name(t):
    """an array named ../../x, and one that is none"""
    return npz(("../../x.py", b"x"))


@data()
def huge_shape(t):
    """a header that declares 2^50 elements"""
    return npz(("image.npy", npy("(1125899906842624,)")))


@data()
def negative_shape(t):
    """a negative size"""
    return npz(("image.npy", npy("(-3,)")))


@data()
def bool_shape(t):
    """a size that is True"""
    return npz(("image.npy", npy("(True,)", body=bytes(8))))


@data()
def header_code(t):
    """a header that is an expression"""
    return npz(("image.npy", npy(f"({t.code} or 3,)")))


@data()
def header_deep(t):
    """a header of nested parentheses"""
    return npz(("image.npy", npy("(" * 4000 + ")" * 4000, version=2)))


@data()
def bomb(t):
    """sixteen megabytes of zeros, deflated, where the header declares three elements"""
    return npz(("image.npy", npy(body=bytes(1 << 24))), method=zipfile.ZIP_DEFLATED)


@data()
def encrypted(t):
    """the encryption bit"""
    made = bytearray(npz(("image.npy", npy())))
    at = made.index(b"PK\1\2")
    made[at + 8] |= 1
    made[6] |= 1
    return bytes(made)


@data()
def damaged(t):
    """a checksum that is wrong"""
    out = io.BytesIO()
    np.savez(out, image=np.zeros((200, 8, 8, 1), np.float32))
    made = bytearray(out.getvalue())
    made[300] ^= 1
    return bytes(made)


@data()
def truncated(t):
    """half a file"""
    out = io.BytesIO()
    np.savez(out, image=np.zeros((200, 64), np.float32))
    return out.getvalue()[:20_000]
