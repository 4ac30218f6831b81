"""Faults of the file itself: damaged, hostile, or something else by the same name."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.corpus import graph
from tests.corpus.faults import Planted, Subject, fault

FORMS = ("qdq", "dynamic", "half", "nbits")


def write(s: Subject, data: bytes, *at: str) -> Planted:
    (s.folder / "model.onnx").write_bytes(data)
    return Planted(None, at or ("file",))


def model_bytes(s: Subject) -> bytes:
    return s.candidate.SerializeToString()


def file_fault(identity: str, runs: bool = False, **settings: object):
    return fault(identity, FORMS, expected="error", runs=runs, **settings)


for _share in (5, 50, 99):

    @file_fault(f"f100_truncated_{_share}")
    def truncated(s: Subject, share: int = _share) -> Planted:
        data = model_bytes(s)
        return write(s, data[: len(data) * share // 100])


@file_fault("f101_random_bytes")
def random_bytes(s: Subject) -> Planted:
    return write(s, s.rng.bytes(4096))


@file_fault("f102_empty")
def empty(s: Subject) -> Planted:
    return write(s, b"")


@file_fault("f103_missing")
def missing(s: Subject) -> Planted:
    return Planted(None, ["file"])


@file_fault("f104_directory")
def directory(s: Subject) -> Planted:
    (s.folder / "model.onnx").mkdir()
    return Planted(None, ["file"])


@file_fault("f105_lfs_pointer")
def lfs_pointer(s: Subject) -> Planted:
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'ab' * 32}\nsize 68864\n"
    return write(s, text.encode())


@file_fault("f106_text")
def text(s: Subject) -> Planted:
    return write(s, b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n")


@file_fault("f107_zip")
def zip_file(s: Subject) -> Planted:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("model.onnx", model_bytes(s))
    return write(s, stream.getvalue())


@file_fault("f108_torch_checkpoint")
def torch_checkpoint(s: Subject) -> Planted:
    """A zip laid out as torch.save writes it, named .onnx."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}q\x00.")
        archive.writestr("archive/version", b"3\n")
    return write(s, stream.getvalue())


@file_fault("f109_pickle")
def pickle_file(s: Subject) -> Planted:
    return write(
        s,
        b"\x80\x04\x95\x1c\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x02id\x94\x85\x94R\x94.",
    )


@file_fault("f110_appended_graph", runs=True)
def appended_graph(s: Subject) -> Planted:
    """A second graph field appended: protobuf merges it into the first and runtimes load the result."""
    extra = onnx.ModelProto()
    tensor = helper.make_tensor("smuggled", TensorProto.FLOAT, [2], [1.0, 2.0])
    extra.graph.initializer.append(tensor)
    return write(s, model_bytes(s) + extra.SerializeToString(), "file", "graph", "smuggled")


@file_fault("f111_appended_field", runs=True)
def appended_field(s: Subject) -> Planted:
    """An unknown field number with a payload appended."""
    payload = b"#!/bin/sh\n" * 20
    return write(
        s, model_bytes(s) + b"\xfa\x7f" + bytes([len(payload) % 128 | 128, len(payload) >> 7]) + payload
    )


@file_fault("f112_appended_garbage")
def appended_garbage(s: Subject) -> Planted:
    return write(s, model_bytes(s) + b"\x00" * 16)


@file_fault("f113_no_graph")
def no_graph(s: Subject) -> Planted:
    model = onnx.ModelProto()
    model.ir_version = 8
    model.opset_import.append(helper.make_opsetid("", 17))
    return write(s, model.SerializeToString(), "file", "model", "graph")


@file_fault("f114_no_opset")
def no_opset(s: Subject) -> Planted:
    model = s.copy()
    del model.opset_import[:]
    return write(s, model.SerializeToString(), "file", "model")


@file_fault("f115_opset_of_the_future")
def future_opset(s: Subject) -> Planted:
    model = s.copy()
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = 99
    return write(s, model.SerializeToString(), "file", "model", "99")


@file_fault("f116_ir_of_the_future")
def future_ir(s: Subject) -> Planted:
    model = s.copy()
    model.ir_version = 90
    return write(s, model.SerializeToString(), "file", "model", "90")


@file_fault("f141_negative_dims")
def negative_dims(s: Subject) -> Planted:
    model, weight = s.copy(), s.weight()
    graph.initializers(model)[weight.tensor].dims[0] *= -1
    return write(s, model.SerializeToString(), weight.tensor)


@file_fault("f142_too_few_bytes")
def too_few_bytes(s: Subject) -> Planted:
    model, weight = s.copy(), s.weight()
    tensor = graph.initializers(model)[weight.tensor]
    tensor.raw_data = tensor.raw_data[:-3]
    return write(s, model.SerializeToString(), weight.tensor)


@file_fault("f143_data_twice", runs=True)
def data_twice(s: Subject) -> Planted:
    """raw_data and typed data both present: readers disagree which counts."""
    model, weight = s.copy(), s.weight()
    tensor = graph.initializers(model)[weight.tensor]
    tensor.int32_data.extend([0] * int(np.prod(tensor.dims)))
    return write(s, model.SerializeToString(), weight.tensor)


@file_fault("f148_unknown_data_type")
def unknown_data_type(s: Subject) -> Planted:
    model, weight = s.copy(), s.weight()
    graph.initializers(model)[weight.tensor].data_type = 77
    return write(s, model.SerializeToString(), weight.tensor)


@file_fault("f149_string_tensor_as_weight")
def string_weight(s: Subject) -> Planted:
    model, weight = s.copy(), s.weight()
    tensor = graph.initializers(model)[weight.tensor]
    tensor.ClearField("raw_data")
    tensor.data_type = TensorProto.STRING
    tensor.string_data.extend([b"x"] * int(np.prod(tensor.dims)))
    return write(s, model.SerializeToString(), weight.tensor)


@file_fault("f150_no_inputs_no_nodes")
def hollow(s: Subject) -> Planted:
    model = s.copy()
    del model.graph.node[:], model.graph.initializer[:]
    return write(s, model.SerializeToString(), "file", "model", model.graph.output[0].name)


@file_fault("f151_hostile_names", runs=True)
def hostile_names(s: Subject) -> Planted:
    """A flipped weight whose name is Markdown, HTML, a mention and a workflow command."""
    from tests.corpus.faults_weight import flip

    model, weight = s.copy(), s.weight()
    hostile = "w|`<img src=x onerror=alert(1)>`\n::error file=x::@everyone [a](http://evil.example)"
    flip(model, weight.tensor, 5, 3 if graph.initializers(model)[weight.tensor].data_type in (21, 22) else 6)
    graph.rename_tensor(model, weight.tensor, hostile)
    return write(s, model.SerializeToString(), "onerror=alert(1)", weight.node)
