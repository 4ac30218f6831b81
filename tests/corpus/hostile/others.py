"""Containers of other worlds, and files that are no models: each must be refused for what it is."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import marshal
import struct
import zlib
from functools import partial

from tests.corpus.hostile.case import Target, hostile
from tests.corpus.hostile.gadgets import nested
from tests.corpus.hostile.tensors import npz
from tests.corpus.hostile.torch_bytes import archive, member

other = partial(hostile, "other")


def lambda_layer(t: Target) -> dict:
    """A Keras configuration with a Lambda layer: marshalled Python."""
    body = base64.b64encode(marshal.dumps(compile(t.code, "x", "eval"))).decode()
    layer = {"class_name": "Lambda", "config": {"name": "x", "function": [body, None, None]}}
    return {"class_name": "Sequential", "config": {"name": "m", "layers": [layer]}}


@other("model.keras")
def keras_lambda(t):
    """a .keras archive with a Lambda layer"""
    held = {"config.json": lambda_layer(t), "metadata.json": {"keras_version": "3.0.0"}}
    members = [member(name, json.dumps(value).encode()) for name, value in held.items()]
    return archive([*members, member("model.weights.h5", b"\x89HDF\r\n\x1a\n" + bytes(64))])


@other("model.keras")
def keras_module(t):
    """a .keras archive whose configuration names a module to import"""
    value = {
        "module": "os",
        "class_name": "system",
        "config": {"command": t.shell},
        "registered_name": "system",
    }
    return archive([member("config.json", json.dumps(value).encode())])


@other("model.h5")
def hdf5_lambda(t):
    """HDF5 with a Lambda layer in its model_config"""
    return b"\x89HDF\r\n\x1a\n" + bytes(88) + b"model_config" + json.dumps(lambda_layer(t)).encode()


@other("model.onnx")
def hdf5_renamed(t):
    """the same, named .onnx"""
    return hdf5_lambda(t)


@other("model.joblib")
def joblib_zlib(t):
    """a pickle compressed as joblib does"""
    return zlib.compress(nested(t))


@other("model.joblib", loader="pickle")
def joblib_plain(t):
    """a pickle as joblib writes it without compression"""
    return nested(t)


@other("model.pkl.gz")
def pickle_gzip(t):
    """a pickle in gzip"""
    return gzip.compress(nested(t))


@other("model.pkl.bz2")
def pickle_bz2(t):
    """a pickle in bzip2"""
    return bz2.compress(nested(t))


@other("model.pkl.xz")
def pickle_xz(t):
    """a pickle in xz"""
    return lzma.compress(nested(t))


@other("model.npz")
def npz_as_model(t):
    """arrays of objects where a model is expected"""
    from tests.corpus.hostile.tensors import objects

    return npz(("w.npy", objects(t)))


@other("model.onnx")
def zip_of_pickle(t):
    """a plain zip with a pickle in it"""
    return archive([member("weights/model.pkl", nested(t))])


@other("model.gguf")
def gguf(t):
    """GGUF whose chat template is a Jinja escape"""
    template = b"{{ cycler.__init__.__globals__.os.system('" + t.shell.encode() + b"') }}"
    key = b"tokenizer.chat_template"
    pair = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(template)) + template
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + pair


@other("model.onnx")
def gguf_renamed(t):
    """the same, named .onnx"""
    return gguf(t)


@other("model.gguf")
def gguf_bomb(t):
    """GGUF that declares 2^62 tensors"""
    return b"GGUF" + struct.pack("<IQQ", 3, 2**62, 2**62)


@other("model.engine")
def tensorrt(t):
    """a TensorRT engine"""
    return b"ftrt" + struct.pack("<IQ", 239, 4096) + bytes(4096)


@other("model.plan")
def tensorrt_portable(t):
    """a version-compatible TensorRT engine"""
    return b"ptrt" + struct.pack("<IQ", 239, 4096) + bytes(4096)


@other("model.onnx")
def tensorrt_renamed(t):
    """an engine named .onnx"""
    return tensorrt(t)


@other("model.onnx")
def lfs_pointer(t):
    """a Git LFS pointer"""
    return b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"


@other("model.onnx")
def lfs_pointer_long(t):
    """a pointer with a payload behind it"""
    return lfs_pointer(t) + nested(t)


@other("model.tflite")
def tflite(t):
    """a TFLite flatbuffer"""
    return struct.pack("<I", 28) + b"TFL3" + bytes(256)


@other("saved_model.pb")
def saved_model(t):
    """a TensorFlow graph that writes a file"""
    node = b"\x0a\x05write\x12\x09WriteFile\x1a\x04name"
    return (
        b"\x08\x01\x12"
        + bytes([len(node) + 4])
        + b"\x12"
        + bytes([len(node) + 2])
        + b"\x0a"
        + bytes([len(node)])
        + node
    )


@other("model.onnx")
def shell_script(t):
    """a shell script"""
    return f"#!/bin/sh\n{t.shell}\n".encode()


@other("model.onnx")
def python_source(t):
    """Python"""
    return t.code.encode()


@other("model.onnx")
def html(t):
    """the error page of a web server"""
    return b"<!DOCTYPE html><html><script>alert(1)</script></html>"


@other("model.onnx")
def empty(t):
    """no bytes"""
    return b""


@other("model.onnx")
def zeros(t):
    """a megabyte of zeros"""
    return bytes(1 << 20)


@other("model.onnx")
def random(t):
    """bytes without meaning that begin as ONNX does"""
    return b"\x08\x07" + bytes((i * 7919) >> 3 & 255 for i in range(5000))


@other("model.onnx")
def python_bytecode(t):
    """a .pyc file"""
    return b"\xa7\x0d\x0d\x0a" + bytes(12) + marshal.dumps(compile(t.code, "x", "exec"))


@other("model.onnx")
def windows_program(t):
    """a Windows program"""
    return b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0" + bytes(200)


@other("model.onnx")
def image(t):
    """a picture"""
    return b"\x89PNG\r\n\x1a\n" + bytes(100)


@other("model.onnx")
def tar_of_model(t):
    """a tar archive"""
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        info = tarfile.TarInfo("../model.onnx")
        info.size = 4
        made.addfile(info, io.BytesIO(b"\x08\x07\x12\x00"))
    return out.getvalue()


@other("model.onnx")
def directory(t):
    """a folder where a file is expected"""
    (t.folder / "model.onnx").mkdir()


@other("model.onnx")
def fifo(t):
    """a named pipe that nobody writes to"""
    import os

    os.mkfifo(t.folder / "model.onnx")


@other("model.onnx")
def dangling(t):
    """a symbolic link to nowhere"""
    (t.folder / "model.onnx").symlink_to("/nowhere/model.onnx")
