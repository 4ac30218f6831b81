"""Faults of the file itself: damaged, hostile, or something else by the same name."""

from __future__ import annotations

import io
import os
import zipfile

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.corpus import graph
from tests.corpus.faults import Planted, Subject, fault

FORMS = ("qdq", "dynamic", "half", "nbits")


def _write(s: Subject, data: bytes, *at: str) -> Planted:
    (s.folder / "model.onnx").write_bytes(data)
    return Planted(None, at or ("file",))


def _bytes(s: Subject) -> bytes:
    return s.candidate.SerializeToString()


def _file(identity: str, runs: bool = False, **settings: object):
    return fault(identity, FORMS, expected="error", runs=runs, **settings)


for _share in (5, 50, 99):

    @_file(f"f100_truncated_{_share}")
    def truncated(s: Subject, share: int = _share) -> Planted:
        data = _bytes(s)
        return _write(s, data[: len(data) * share // 100])


@_file("f101_random_bytes")
def random_bytes(s: Subject) -> Planted:
    return _write(s, s.rng.bytes(4096))


@_file("f102_empty")
def empty(s: Subject) -> Planted:
    return _write(s, b"")


@_file("f103_missing")
def missing(s: Subject) -> Planted:
    return Planted(None, ["file"])


@_file("f104_directory")
def directory(s: Subject) -> Planted:
    (s.folder / "model.onnx").mkdir()
    return Planted(None, ["file"])


@_file("f105_lfs_pointer")
def lfs_pointer(s: Subject) -> Planted:
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'ab' * 32}\nsize 68864\n"
    return _write(s, text.encode())


@_file("f106_text")
def text(s: Subject) -> Planted:
    return _write(s, b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n")


@_file("f107_zip")
def zip_file(s: Subject) -> Planted:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("model.onnx", _bytes(s))
    return _write(s, stream.getvalue())


@_file("f108_torch_checkpoint")
def torch_checkpoint(s: Subject) -> Planted:
    """A zip laid out as torch.save writes it, named .onnx."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}q\x00.")
        archive.writestr("archive/version", b"3\n")
    return _write(s, stream.getvalue())


@_file("f109_pickle")
def pickle_file(s: Subject) -> Planted:
    return _write(
        s,
        b"\x80\x04\x95\x1c\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x02id\x94\x85\x94R\x94.",
    )


@_file("f110_appended_graph", runs=True)
def appended_graph(s: Subject) -> Planted:
    """A second graph field appended: protobuf merges it into the first and runtimes load the result."""
    extra = onnx.ModelProto()
    tensor = helper.make_tensor("smuggled", TensorProto.FLOAT, [2], [1.0, 2.0])
    extra.graph.initializer.append(tensor)
    return _write(s, _bytes(s) + extra.SerializeToString(), "file", "graph", "smuggled")


@_file("f111_appended_field", runs=True)
def appended_field(s: Subject) -> Planted:
    """An unknown field number with a payload appended."""
    payload = b"#!/bin/sh\n" * 20
    return _write(s, _bytes(s) + b"\xfa\x7f" + bytes([len(payload) % 128 | 128, len(payload) >> 7]) + payload)


@_file("f112_appended_garbage")
def appended_garbage(s: Subject) -> Planted:
    return _write(s, _bytes(s) + b"\x00" * 16)


@_file("f113_no_graph")
def no_graph(s: Subject) -> Planted:
    model = onnx.ModelProto()
    model.ir_version = 8
    model.opset_import.append(helper.make_opsetid("", 17))
    return _write(s, model.SerializeToString(), "file", "model", "graph")


@_file("f114_no_opset")
def no_opset(s: Subject) -> Planted:
    model = s.copy()
    del model.opset_import[:]
    return _write(s, model.SerializeToString(), "file", "model")


@_file("f115_opset_of_the_future")
def future_opset(s: Subject) -> Planted:
    model = s.copy()
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = 99
    return _write(s, model.SerializeToString(), "file", "model", "99")


@_file("f116_ir_of_the_future")
def future_ir(s: Subject) -> Planted:
    model = s.copy()
    model.ir_version = 90
    return _write(s, model.SerializeToString(), "file", "model", "90")


def _external(s: Subject, location: str, data: bytes | None, **more: str) -> Planted:
    """The largest weight's bytes declared to be in a side file."""
    model, weight = s.copy(), s.weight()
    tensor = graph.initializers(model)[weight.tensor]
    raw = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.ClearField("int32_data")
    tensor.data_location = TensorProto.EXTERNAL
    entries = {"location": location, **more}
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    if data is not None:
        (s.folder / "weights.bin").write_bytes(data or raw)
    (s.folder / "model.onnx").write_bytes(model.SerializeToString())
    return Planted(None, [weight.tensor, location])


@_file("f120_external_traversal")
def external_traversal(s: Subject) -> Planted:
    return _external(s, "../../../etc/hostname", None)


@_file("f121_external_traversal_inside")
def external_traversal_inside(s: Subject) -> Planted:
    """Climbs out through a folder that exists."""
    (s.folder / "sub").mkdir()
    return _external(s, "sub/../../reference.onnx", None)


@_file("f122_external_absolute")
def external_absolute(s: Subject) -> Planted:
    return _external(s, "/etc/passwd", None)


@_file("f123_external_symlink")
def external_symlink(s: Subject) -> Planted:
    (s.folder / "weights.bin").symlink_to("/etc/passwd")
    return _external(s, "weights.bin", None)


@_file("f124_external_hard_link", debatable="a checkout cannot carry hard links; copies hide them")
def external_hard_link(s: Subject) -> Planted:
    planted = _external(s, "weights.bin", b"")
    os.link(s.folder / "weights.bin", s.folder / "elsewhere.bin")
    return planted


@_file("f125_external_missing")
def external_missing(s: Subject) -> Planted:
    return _external(s, "weights.bin", None)


@_file("f126_external_short")
def external_short(s: Subject) -> Planted:
    return _external(s, "weights.bin", b"\x01" * 7)


@_file("f127_external_offset_beyond")
def external_offset(s: Subject) -> Planted:
    return _external(s, "weights.bin", b"", offset="1000000000")


@_file("f128_external_length_huge")
def external_length(s: Subject) -> Planted:
    return _external(s, "weights.bin", b"", offset="0", length=str(2**62))


@_file("f129_external_length_negative")
def external_negative(s: Subject) -> Planted:
    return _external(s, "weights.bin", b"", offset="-8")


@_file("f130_external_duplicate_keys")
def external_duplicates(s: Subject) -> Planted:
    """Two locations: readers disagree which counts."""
    planted = _external(s, "weights.bin", b"")
    model = onnx.load(s.folder / "model.onnx", load_external_data=False)
    tensor = graph.initializers(model)[planted.at[0]]
    tensor.external_data.add(key="location", value="weights.bin")
    (s.folder / "model.onnx").write_bytes(model.SerializeToString())
    return planted


@_file("f131_external_unknown_key")
def external_unknown(s: Subject) -> Planted:
    return _external(s, "weights.bin", b"", basepath="/etc")


@_file("f132_external_tampered")
def external_tampered(s: Subject) -> Planted:
    """One byte of the side file changed."""
    planted = _external(s, "weights.bin", b"")
    data = bytearray((s.folder / "weights.bin").read_bytes())
    data[len(data) // 2] ^= 0x04
    (s.folder / "weights.bin").write_bytes(bytes(data))
    return planted


@_file("f140_huge_dims")
def huge_dims(s: Subject) -> Planted:
    model = s.copy()
    bomb = TensorProto(name="bomb", data_type=TensorProto.FLOAT, dims=[2**20, 2**20, 2**11])
    model.graph.initializer.append(bomb)
    return _write(s, model.SerializeToString(), "bomb")


@_file("f141_negative_dims")
def negative_dims(s: Subject) -> Planted:
    model, weight = s.copy(), s.weight()
    graph.initializers(model)[weight.tensor].dims[0] *= -1
    return _write(s, model.SerializeToString(), weight.tensor)


@_file("f142_too_few_bytes")
def too_few_bytes(s: Subject) -> Planted:
    model, weight = s.copy(), s.weight()
    tensor = graph.initializers(model)[weight.tensor]
    tensor.raw_data = tensor.raw_data[:-3]
    return _write(s, model.SerializeToString(), weight.tensor)


@_file("f143_data_twice", runs=True)
def data_twice(s: Subject) -> Planted:
    """raw_data and typed data both present: readers disagree which counts."""
    model, weight = s.copy(), s.weight()
    tensor = graph.initializers(model)[weight.tensor]
    tensor.int32_data.extend([0] * int(np.prod(tensor.dims)))
    return _write(s, model.SerializeToString(), weight.tensor)


@_file("f144_constant_of_shape_bomb")
def shape_bomb(s: Subject) -> Planted:
    """76 bytes that ask for 64 GB while the model runs."""
    model = s.copy()
    name = model.graph.output[0].name
    kind = model.graph.output[0].type.tensor_type.elem_type
    graph.put(model, "bomb_shape", np.array([2**17, 2**17], np.int64))
    nodes = [
        helper.make_node("ConstantOfShape", ["bomb_shape"], ["bomb"], "bomb_node"),
        helper.make_node("ReduceMax", ["bomb"], ["bomb_peak_f"], "bomb_max", keepdims=0),
        helper.make_node("Cast", ["bomb_peak_f"], ["bomb_peak"], "bomb_cast", to=kind),
        helper.make_node("Add", [name + "_true", "bomb_peak"], [name], "bomb_add"),
    ]
    graph.insert_before_output(model, name, nodes, name + "_true")
    return _write(
        s, model.SerializeToString(), "bomb_node", "bomb", "bomb_shape", "bomb_max", "bomb_add", "bomb_cast"
    )


@_file("f145_expand_bomb")
def expand_bomb(s: Subject) -> Planted:
    """The same through Expand: no ConstantOfShape in the file."""
    model = s.copy()
    name = model.graph.output[0].name
    kind = model.graph.output[0].type.tensor_type.elem_type
    graph.put(model, "bomb_shape", np.array([2**18, 2**17], np.int64))
    graph.put(model, "bomb_seed", np.zeros((1, 1), np.float32))
    nodes = [
        helper.make_node("Expand", ["bomb_seed", "bomb_shape"], ["bomb"], "bomb_node"),
        helper.make_node("ReduceMax", ["bomb"], ["bomb_peak_f"], "bomb_max", keepdims=0),
        helper.make_node("Cast", ["bomb_peak_f"], ["bomb_peak"], "bomb_cast", to=kind),
        helper.make_node("Add", [name + "_true", "bomb_peak"], [name], "bomb_add"),
    ]
    graph.insert_before_output(model, name, nodes, name + "_true")
    return _write(
        s, model.SerializeToString(), "bomb_node", "bomb", "bomb_shape", "bomb_max", "bomb_add", "bomb_cast"
    )


@_file("f146_endless_loop")
def endless_loop(s: Subject) -> Planted:
    """A Loop of 2^60 turns."""
    model = s.copy()
    name = model.graph.output[0].name
    kind = model.graph.output[0].type.tensor_type.elem_type
    graph.put(model, "turns", np.array(2**60, np.int64))
    graph.put(model, "go", np.array(True))
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_in"], ["go_out"], "loop_go"),
            helper.make_node("Neg", ["carried"], ["next"], "loop_neg"),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried", kind, None),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", kind, None),
        ],
    )
    node = helper.make_node("Loop", ["turns", "go", name + "_true"], [name], "forever", body=body)
    graph.insert_before_output(model, name, [node], name + "_true")
    return _write(s, model.SerializeToString(), "forever", "turns", "loop_neg")


@_file("f147_deep_nesting")
def deep_nesting(s: Subject) -> Planted:
    """If within If, 200 levels deep: recursive readers run out of stack."""
    model = s.copy()
    name = model.graph.output[0].name
    kind = model.graph.output[0].type.tensor_type.elem_type
    graph.put(model, "always", np.array(True))

    def leaf(depth: int) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(f"leaf{depth}", kind, None)
        node = helper.make_node("Identity", [name + "_true"], [f"leaf{depth}"], f"leaf_node{depth}")
        return helper.make_graph([node], f"leaf{depth}", [], [out])

    data = leaf(0).SerializeToString()
    for depth in range(1, 200):
        data = _if_graph(depth, data, leaf(-depth).SerializeToString(), kind)
    nest = onnx.NodeProto(op_type="If", name="nest", input=["always"], output=[name])
    raw = (
        nest.SerializeToString()
        + _branch("then_branch", data)
        + _branch("else_branch", leaf(999).SerializeToString())
    )
    graph.insert_before_output(model, name, [], name + "_true")
    # Written by hand: the library itself refuses to build or copy a message nested this deep.
    extra = _field(7, _field(1, raw))
    return _write(s, model.SerializeToString() + extra, "nest", "file", "graph")


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def _field(number: int, data: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _branch(name: str, data: bytes) -> bytes:
    """NodeProto.attribute of type GRAPH."""
    return _field(5, _field(1, name.encode()) + _field(6, data) + _varint(20 << 3) + _varint(5))


def _if_graph(depth: int, then: bytes, other: bytes, kind: int) -> bytes:
    """A serialized graph of one If."""
    node = onnx.NodeProto(op_type="If", name=f"if{depth}", input=["always"], output=[f"deep{depth}"])
    out = helper.make_tensor_value_info(f"deep{depth}", kind, None).SerializeToString()
    raw = node.SerializeToString() + _branch("then_branch", then) + _branch("else_branch", other)
    return _field(1, raw) + _field(2, b"g") + _field(12, out)


@_file("f148_unknown_data_type")
def unknown_data_type(s: Subject) -> Planted:
    model, weight = s.copy(), s.weight()
    graph.initializers(model)[weight.tensor].data_type = 77
    return _write(s, model.SerializeToString(), weight.tensor)


@_file("f149_string_tensor_as_weight")
def string_weight(s: Subject) -> Planted:
    model, weight = s.copy(), s.weight()
    tensor = graph.initializers(model)[weight.tensor]
    tensor.ClearField("raw_data")
    tensor.data_type = TensorProto.STRING
    tensor.string_data.extend([b"x"] * int(np.prod(tensor.dims)))
    return _write(s, model.SerializeToString(), weight.tensor)


@_file("f150_no_inputs_no_nodes")
def hollow(s: Subject) -> Planted:
    model = s.copy()
    del model.graph.node[:], model.graph.initializer[:]
    return _write(s, model.SerializeToString(), "file", "model", model.graph.output[0].name)


@_file("f151_hostile_names", runs=True)
def hostile_names(s: Subject) -> Planted:
    """A flipped weight whose name is Markdown, HTML, a mention and a workflow command."""
    from tests.corpus.faults_weight import flip

    model, weight = s.copy(), s.weight()
    hostile = "w|`<img src=x onerror=alert(1)>`\n::error file=x::@everyone [a](http://evil.example)"
    flip(model, weight.tensor, 5, 3 if graph.initializers(model)[weight.tensor].data_type in (21, 22) else 6)
    graph.rename_tensor(model, weight.tensor, hostile)
    return _write(s, model.SerializeToString(), "onerror=alert(1)", weight.node)
