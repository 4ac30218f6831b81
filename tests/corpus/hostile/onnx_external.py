"""External data of ONNX files: paths that leave the folder, ranges that leave the file, keys that contradict."""

from __future__ import annotations

import os

from tests.corpus.hostile.case import Target, case
from tests.corpus.hostile.onnx_base import base, external

SIZE = 8 * 6 * 4
KEYS: dict[str, tuple[dict[str, str], str]] = {
    "traversal": ({"location": "../../../etc/hostname"}, "a path that climbs out"),
    "traversal-inside": ({"location": "sub/../../weights.bin"}, "climbs out through a folder that exists"),
    "traversal-dot": ({"location": "./../weights.bin"}, "climbs out behind a dot"),
    "absolute": ({"location": "/etc/passwd"}, "an absolute path"),
    "home": ({"location": "~/secret"}, "somebody's home"),
    "url": ({"location": "file:///etc/passwd"}, "an address for a path"),
    "backslash": ({"location": "..\\..\\secret"}, "backslashes"),
    "drive": ({"location": "C:/secret"}, "a drive letter"),
    "nul": ({"location": "weights.bin\0.txt"}, "NUL in the path"),
    "empty": ({"location": ""}, "no path"),
    "dot": ({"location": "."}, "the folder itself"),
    "device": ({"location": "/dev/zero"}, "a device"),
    "proc": ({"location": "/proc/self/environ"}, "the process's own environment"),
    "itself": (
        {"location": "model.onnx", "offset": "0", "length": str(SIZE)},
        "the model's own bytes as weights",
    ),
    "missing": ({"location": "nothing.bin"}, "a file that is not there"),
    "unknown-key": ({"location": "weights.bin", "basepath": "/etc"}, "a key that some readers obey"),
    "offset-beyond": ({"location": "weights.bin", "offset": "1000000"}, "a range behind the file's end"),
    "offset-negative": ({"location": "weights.bin", "offset": "-8"}, "a negative offset"),
    "offset-overflow": ({"location": "weights.bin", "offset": str(2**64 - 8)}, "an offset that overflows"),
    "offset-hexadecimal": ({"location": "weights.bin", "offset": "0x10"}, "an offset in hexadecimal digits"),
    "length-huge": ({"location": "weights.bin", "length": str(2**62)}, "a length of 2^62"),
    "length-negative": ({"location": "weights.bin", "length": "-1"}, "a negative length"),
    "length-other": ({"location": "weights.bin", "length": "8"}, "a length that the shape contradicts"),
}


def _keys(t: Target, entries: dict[str, str]) -> bytes:
    model = base()
    (t.folder / "sub").mkdir()
    (t.folder / "weights.bin").write_bytes(bytes(SIZE))
    external(model, **entries)
    return model.SerializeToString()


def _plain(t: Target) -> bytes:
    model = base()
    external(model, location="weights.bin", offset="0", length=str(SIZE))
    return model.SerializeToString()


def symlink(t: Target) -> bytes:
    """the side file is a symbolic link out of the folder"""
    (t.folder / "weights.bin").symlink_to("/etc/passwd")
    return _plain(t)


def symlink_folder(t: Target) -> bytes:
    """a folder on the way is a symbolic link"""
    (t.folder / "sub").symlink_to("/etc")
    model = base()
    external(model, location="sub/passwd")
    return model.SerializeToString()


def hard_link(t: Target) -> bytes:
    """the side file is a hard link"""
    (t.folder / "other.bin").write_bytes(bytes(SIZE))
    os.link(t.folder / "other.bin", t.folder / "weights.bin")
    return _plain(t)


def fifo(t: Target) -> bytes:
    """the side file is a named pipe"""
    os.mkfifo(t.folder / "weights.bin")
    return _plain(t)


def folder(t: Target) -> bytes:
    """the side file is a folder"""
    (t.folder / "weights.bin").mkdir()
    return _plain(t)


def short(t: Target) -> bytes:
    """the side file ends early"""
    (t.folder / "weights.bin").write_bytes(b"\1" * 7)
    return _plain(t)


def duplicate_key(t: Target) -> bytes:
    """two locations: readers differ in which counts"""
    (t.folder / "weights.bin").write_bytes(bytes(SIZE))
    model = base()
    external(model, location="weights.bin").external_data.add(key="location", value="other.bin")
    return model.SerializeToString()


def twice(t: Target) -> bytes:
    """bytes in the model and beside it"""
    (t.folder / "weights.bin").write_bytes(bytes(SIZE))
    model = base()
    external(model, location="weights.bin").raw_data = bytes(SIZE)
    return model.SerializeToString()


def in_attribute(t: Target) -> bytes:
    """the path that climbs out is hidden in a node's attribute"""
    from onnx import TensorProto, helper

    model = base()
    tensor = TensorProto(name="hidden", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../../etc/passwd")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["c"], "constant", value=tensor))
    return model.SerializeToString()


def in_function(t: Target) -> bytes:
    """the path that climbs out is hidden in a function's constant"""
    from onnx import TensorProto, helper

    model = base()
    tensor = TensorProto(name="hidden", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../../etc/passwd")
    inner = helper.make_node("Constant", [], ["b"], "constant", value=tensor)
    made = helper.make_function("local", "F", ["a"], ["b"], [inner], [helper.make_opsetid("", 17)])
    model.functions.append(made)
    model.opset_import.append(helper.make_opsetid("local", 1))
    return model.SerializeToString()


for _key, (_entries, _what) in KEYS.items():
    case(f"onnx-external-{_key}", "onnx", _what, "model.onnx", lambda t, held=_entries: _keys(t, held))
for _made in (
    symlink,
    symlink_folder,
    hard_link,
    fifo,
    folder,
    short,
    duplicate_key,
    twice,
    in_attribute,
    in_function,
):
    _name = _made.__name__.replace("_", "-")
    case(f"onnx-external-{_name}", "onnx", (_made.__doc__ or "").strip(), "model.onnx", _made)
