"""Checkpoints whose zip archive says one thing to a scanner and another to torch."""

from __future__ import annotations

import struct
import zipfile
import zlib
from functools import partial
from typing import Any

from tests.corpus.hostile.case import Target, case, hostile
from tests.corpus.hostile.gadgets import nested
from tests.corpus.hostile.native import shared_library
from tests.corpus.hostile.opcodes import Global, Persistent, call, emit, stream
from tests.corpus.hostile.torch_bytes import archive, checkpoint, member, members, state, tensor

CLEAN = stream(state(), protocol=2)
zips = partial(hostile, "torch-zip", "model.pt", loader="torch")
silent = partial(hostile, "torch-zip", "model.pt")


def armed(t: Target) -> bytes:
    """The pickle of a checkpoint with a payload."""
    return stream(state(call("os:system", t.shell)), protocol=2)


@zips()
def plain(t):
    """a call beside the weights"""
    return checkpoint(call("os:system", t.shell))


@zips()
def duplicate_first(t):
    """two members named data.pkl, the payload in the first"""
    return archive([member("archive/data.pkl", armed(t)), *members(CLEAN)])


@silent()
def duplicate_last(t):
    """two members named data.pkl, the payload in the last"""
    return archive([*members(CLEAN), member("archive/data.pkl", armed(t))])


@silent()
def duplicate_case(t):
    """data.pkl and DATA.PKL: torch's reader does not tell them apart everywhere"""
    return archive([member("archive/DATA.PKL", CLEAN), *members(armed(t))])


@silent()
def two_roots(t):
    """two folders with a data.pkl each"""
    return archive([*members(armed(t), "a"), *members(CLEAN, "b")])


@silent()
def two_roots_clean_first(t):
    """two folders, the harmless one first"""
    return archive([*members(CLEAN, "a"), *members(armed(t), "b")])


@zips()
def name_mismatch(t):
    """the local header names the pickle readme.txt"""
    return archive(members(armed(t), local_name=b"archive/readme.txt"))


@zips()
def name_mismatch_central(t):
    """a second local header hides behind the central directory's offsets"""
    hidden = {**member("archive/data.pkl", CLEAN), "local_only": True}
    return archive([hidden, *members(armed(t))])


@zips()
def size_mismatch(t):
    """the local header declares no bytes"""
    return archive(members(armed(t), local_size=0, local_packed=0))


@zips()
def crc_zero(t):
    """wrong checksum in both headers: strict readers stop, torch does not look"""
    return archive(members(armed(t), crc=0))


@zips()
def crc_local(t):
    """wrong checksum in the local header alone"""
    return archive(members(armed(t), local_crc=1))


@silent()
def encrypted_flag(t):
    """the encryption bit is set on bytes that are not encrypted"""
    return archive(members(armed(t), flags=1))


@zips()
def encrypted_flag_local(t):
    """the encryption bit is set in the local header alone"""
    return archive(members(armed(t), local_flags=1))


@zips()
def descriptor_flag(t):
    """the sizes are said to follow the data"""
    return archive(members(armed(t), flags=8))


@zips()
def deflated(t):
    """the pickle is compressed, as torch never writes it and reads it all the same"""
    return archive(members(armed(t), method=zipfile.ZIP_DEFLATED))


@silent()
def bzip2(t):
    """the pickle is compressed by a method that torch lacks and Python has"""
    return archive(members(armed(t), method=zipfile.ZIP_BZIP2))


@silent()
def method_mismatch(t):
    """stored by the local header, deflated by the central one"""
    return archive(members(armed(t), local_method=8))


@silent()
def prepended(t):
    """bytes before the archive, as in a self-extracting one; offsets from the beginning"""
    return archive(members(armed(t)), before=b"#!/bin/sh\nexit\n")


@zips()
def prepended_zip(t):
    """a harmless archive before the real one"""
    return archive(members(armed(t)), before=archive(members(CLEAN)))


@silent()
def appended_zip(t):
    """the real archive behind a harmless one"""
    first = archive(members(CLEAN))
    return first + archive(members(armed(t)), before=b"")


@silent()
def comment_zip(t):
    """the comment of a harmless archive holds another one"""
    inner = archive(members(armed(t)))
    return archive(members(CLEAN), comment=inner)


@silent()
def comment_payload(t):
    """a harmless checkpoint whose comment is a pickle"""
    return archive(members(CLEAN), comment=nested(t))


@zips()
def appended_bytes(t):
    """a kilobyte behind the end record"""
    return checkpoint(call("os:system", t.shell)) + bytes(1024)


@hostile("torch-zip", "model.pt", loader="pickle")
def pickle_polyglot(t):
    """a pickle at the front, a checkpoint at the back"""
    return archive(members(CLEAN), before=nested(t))


@silent()
def hidden_between(t):
    """a pickle between two members that no directory names"""
    hidden = {**member("archive/data.pkl", nested(t)), "local_only": True}
    held = members(CLEAN)
    return archive([held[0], hidden, *held[1:]])


@silent()
def central_only(t):
    """the directory names a member whose bytes lie in another one"""
    ghost = {**member("archive/data/1", b"x" * 64), "central_only": True, "offset": 0}
    return archive([*members(CLEAN), ghost])


@silent()
def overlapping(t):
    """two members share their bytes"""
    twin = {**member("archive/data/1", CLEAN), "central_only": True, "offset": 0}
    return archive([*members(CLEAN), twin])


@silent()
def member_beyond_end(t):
    """a member that ends behind the file"""
    return archive([*members(CLEAN), {**member("archive/data/1", b""), "size": 2**31, "packed": 2**31}])


@silent()
def count_lies(t):
    """the end record counts one member of four"""
    return archive(members(armed(t)), count=1)


@silent()
def offset_lies(t):
    """the end record points into a member"""
    return archive(members(armed(t)), offset=30)


@silent()
def zip64_lies(t):
    """a zip64 field with another size than the header's"""
    extra = struct.pack("<HHQQ", 1, 16, 2**40, 2**40)
    return archive(members(CLEAN, extra=extra, size=0xFFFFFFFF, packed=0xFFFFFFFF))


@silent()
def zip64_record(t):
    """a zip64 end record that points elsewhere"""
    data = checkpoint(call("os:system", t.shell))
    end = data.index(b"PK\5\6")
    record = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 9, 9, 9, 9)
    return data[:end] + record + b"PK\6\7" + struct.pack("<IQI", 0, end, 1) + data[end:]


@zips()
def unicode_name(t):
    """an extra field gives the member another name"""
    other = b"archive/readme.txt"
    extra = struct.pack("<HHBI", 0x7075, 5 + len(other), 1, zlib.crc32(b"archive/data.pkl")) + other
    return archive(members(armed(t), extra=extra))


@zips()
def traversal_member(t):
    """a member named ../../etc/x besides"""
    return archive([*members(armed(t)), member("archive/../../etc/x", b"x")])


@silent()
def traversal_alone(t):
    """no payload, a member named ../x"""
    return archive([*members(CLEAN), member("../x", b"x")])


@silent()
def absolute_member(t):
    """a member with an absolute name"""
    return archive([*members(CLEAN), member("/etc/x", b"x")])


@silent()
def backslash_member(t):
    """a member whose name has backslashes"""
    return archive([*members(CLEAN), member("archive\\..\\x", b"x")])


@silent()
def nul_name(t):
    """data.pkl with a NUL and .txt behind it"""
    return archive(members(armed(t), name=b"archive/data.pkl\0.txt"))


@silent()
def extra_pickle(t):
    """a second pickle that torch does not read, and others do"""
    return archive([*members(CLEAN), member("archive/other.pkl", nested(t))])


@silent()
def nested_archive(t):
    """a whole checkpoint as a member"""
    return archive([*members(CLEAN), member("archive/data/1.pt", checkpoint(call("os:system", t.shell)))])


@silent()
def native_member(t):
    """a shared library as a member"""
    return archive([*members(CLEAN), member("archive/data/1", shared_library(t.canary))])


@silent()
def script_member(t):
    """Python beside the weights"""
    return archive([*members(CLEAN), member("archive/__init__.py", t.code.encode())])


@silent()
def bomb(t):
    """a storage of 64 MB in 64 KB"""
    return archive([*members(CLEAN), member("archive/data/1", bytes(64 << 20), method=8)])


@silent()
def missing_storage(t):
    """the pickle names a storage that is not there"""
    return archive([m for m in members(CLEAN) if m["name"] != b"archive/data/0"])


@silent()
def storage_traversal(t):
    """the pickle names a storage by ../"""
    return archive(members(stream({"w": tensor("../../secret")}, protocol=2)))


def rebuilt(*arguments: Any) -> bytes:
    """A checkpoint whose tensor is rebuilt with these arguments."""
    hooks = call("collections:OrderedDict")
    made = call("torch._utils:_rebuild_tensor_v2", storage(6), *arguments, False, hooks)
    return archive(members(stream({"w": made}, protocol=2)))


def storage(elements: int, kind: str = "FloatStorage") -> Persistent:
    return Persistent(("storage", Global("torch", kind), "0", "cpu", elements))


@silent()
def huge_shape(t):
    """a tensor of 2^60 elements over 24 bytes"""
    return rebuilt(0, (2**30, 2**30), (2**30, 1))


@silent()
def zero_stride(t):
    """a tensor of 2^40 elements that are one: strides of zero"""
    return rebuilt(0, (2**20, 2**20), (0, 0))


@silent()
def offset_beyond(t):
    """a tensor that begins behind its storage"""
    return rebuilt(1000, (2, 3), (3, 1))


@silent()
def negative_offset(t):
    """a tensor that begins before its storage"""
    return rebuilt(-4, (2, 3), (3, 1))


@silent()
def negative_stride(t):
    """strides that run backwards out of the storage"""
    return rebuilt(0, (2, 3), (-3, -1))


@silent()
def storage_size_lies(t):
    """a storage of 6 elements declared as 2^40"""
    made = call(
        "torch._utils:_rebuild_tensor_v2",
        storage(2**40),
        0,
        (2, 3),
        (3, 1),
        False,
        call("collections:OrderedDict"),
    )
    return archive(members(stream({"w": made}, protocol=2)))


@zips()
def hooks_argument(t):
    """the payload is the argument for backward hooks"""
    made = call(
        "torch._utils:_rebuild_tensor_v2", storage(6), 0, (2, 3), (3, 1), False, call("os:system", t.shell)
    )
    return archive(members(stream({"w": made}, protocol=2)))


@zips()
def rebuild_with_state(t):
    """_rebuild_from_type_v2 calls the function that it is given"""
    made = call(
        "torch._tensor:_rebuild_from_type_v2",
        Global("os", "system"),
        Global("builtins", "str"),
        (t.shell,),
        {},
    )
    return archive(members(stream({"w": made}, protocol=2)))


@zips()
def rebuild_wrapper(t):
    """_rebuild_device_tensor_from_numpy and its kin take what they are given"""
    made = call(
        "torch._utils:_rebuild_device_tensor_from_numpy", call("os:system", t.shell), None, None, False
    )
    return archive(members(stream({"w": made}, protocol=2)))


@zips()
def key_payload(t):
    """the payload makes a key of the state dict"""
    return archive(members(stream({call("os:system", t.shell): 1}, protocol=2)))


@zips()
def ordered_payload(t):
    """the payload makes the pairs of an OrderedDict"""
    made = call("collections:OrderedDict", [["a", call("os:system", t.shell)]])
    return archive(members(stream(made, protocol=2)))


@zips()
def persistent_payload(t):
    """the payload stands in a persistent identifier"""
    identity = ("storage", Global("torch", "FloatStorage"), "0", call("os:system", t.shell), 6)
    return archive(members(stream({"w": Persistent(identity)}, protocol=2)))


@zips()
def broken_after(t):
    """the payload runs, then the pickle ends without STOP"""
    return archive(members(b"\x80\x02" + emit(call("os:system", t.shell)) + b"0"))


@zips()
def second_stream(t):
    """a payload before the dict, popped from the stack"""
    return archive(members(stream(call("os:system", t.shell), state(), protocol=2)))


@zips()
def set_state_of_tensor(t):
    """BUILD with a state that holds the payload"""
    body = (
        emit(state())
        + emit(call("collections:OrderedDict"))
        + emit({"x": call("os:system", t.shell)})
        + b"b0"
    )
    return archive(members(b"\x80\x02" + body + b"."))


@silent()
def deep_pickle(t):
    """lists within lists, a hundred thousand deep"""
    return archive(members(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."))


@silent()
def memo_bomb(t):
    """a pickle that doubles a list forty times: 2^40 elements"""
    body = emit([0, 0]) + b"".join(
        b"q" + bytes([i]) + b"0](h" + bytes([i]) + b"h" + bytes([i]) + b"e" for i in range(40)
    )
    return archive(members(b"\x80\x02" + body + b"."))


@silent()
def long_integer(t):
    """an integer of a million digits"""
    return archive(members(b"\x80\x02I" + b"9" * 1_000_000 + b"\n."))


@silent()
def many_opcodes(t):
    """six million opcodes that do nothing"""
    return archive(members(b"\x80\x02" + b"N0" * 3_000_000 + emit({}) + b"."))


for _name in (
    "model.onnx",
    "model.safetensors",
    "model.bin",
    "model.ckpt",
    "model.npz",
    "model.txt",
    "model",
):
    case(
        f"torch-zip-renamed-{_name.partition('.')[2] or 'bare'}", "torch-zip", f"a checkpoint named {_name}", _name,
        plain, loader="" if _name.endswith("safetensors") else "torch",
    )  # fmt: skip
