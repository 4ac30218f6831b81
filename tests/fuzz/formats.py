"""Harnesses of the readers of models and data sets."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import json
import struct
import zipfile
from collections.abc import Iterable
from functools import cache

from qgate.formats.boundedjson import read_json
from qgate.formats.elements import Mapped
from qgate.formats.external import parse_external
from qgate.formats.model import StaticModel
from qgate.formats.onnx.schema import SCHEMA
from qgate.formats.read import read_model
from qgate.formats.safetensors import read_safetensors
from qgate.formats.tflite.reader import read_tflite
from qgate.formats.torch.archive import read_archive
from qgate.formats.torch.expression import is_plain_expression
from qgate.formats.torch.legacy import LegacyStore
from qgate.formats.torch.machine import Machine
from qgate.formats.torch.program import check_expressions, read_program
from qgate.formats.wire import Decoder
from qgate.measure.data import NpzFile
from qgate.sources.pointer import POINTER_MAX, read_pointer
from tests.corpus.hostile import catalogue
from tests.corpus.hostile.case import Target as Place
from tests.corpus.hostile.onnx_base import base
from tests.corpus.hostile.opcodes import stream
from tests.corpus.hostile.tensors import SAFETENSORS, npy, npz
from tests.corpus.hostile.torch_bytes import checkpoint, legacy, state
from tests.fuzz.harness import as_file, harness


@cache
def hostile(*families: str, limit: int = 4096) -> tuple[bytes, ...]:
    """The hostile cases of some families that are written as one small file."""
    import tempfile
    from pathlib import Path

    found = []
    with tempfile.TemporaryDirectory() as folder:
        for made in catalogue.CASES.values():
            if made.family in families:
                home = Path(folder) / made.name
                home.mkdir()
                data = made.make(Place(home, "/nowhere/canary"))
                if data is not None and len(data) <= limit:
                    found.append(data)
    return tuple(found)


def plain_pickles() -> Iterable[bytes]:
    yield stream(state(), protocol=2)
    yield stream({"a": [1, 2.5, None, True, "x", b"y", (1, (2, 3)), {"k": []}]}, protocol=4)
    yield from hostile("pickle")


def examined(model: StaticModel) -> None:
    """Every tensor that a reader hands out can be loaded, and is what it was declared to be."""
    for constant in model.graph.all_constants():
        if constant.size <= 1 << 20:
            assert constant.load().size == constant.size, constant


@harness(plain_pickles, runs=1000)
def pickle(data: bytes) -> None:
    machine = Machine(memoryview(data), "fuzz", LegacyStore())
    machine.run()
    assert machine.at <= len(data)


@harness(lambda: [checkpoint(), *hostile("torch-zip")], runs=800)
def zip_archive(data: bytes) -> None:
    archive = read_archive(memoryview(data), "fuzz")
    end = 0
    for member in archive.members.values():  # one after the other, within the file
        assert end <= member.offset <= member.offset + member.size <= len(data), member
        end = member.offset + member.size
    _ = list(archive.damaged())
    # Another reader, which believes the directory alone, finds the same bytes under the same names.
    with zipfile.ZipFile(io.BytesIO(data)) as other:
        folder = f"{archive.folder}/" if archive.folder else ""
        files = [info for info in other.infolist() if not info.is_dir()]
        assert [info.filename for info in files] == [folder + name for name in archive.members], (
            archive.members
        )
        damaged = set(archive.damaged())
        for info, name in zip(files, archive.members, strict=True):
            if name not in damaged and info.CRC:
                assert other.read(info) == bytes(archive.read(name)), name


@harness(lambda: [checkpoint(), legacy(), *hostile("torch-zip", "torch-legacy")], runs=600)
def torch_file(data: bytes) -> None:
    examined(read_model(as_file(data, "model.pt")))


def safetensors_seeds() -> Iterable[bytes]:
    header = json.dumps(
        {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "__metadata__": {"k": "v"}}
    )
    yield struct.pack("<Q", len(header)) + header.encode() + bytes(24)
    yield from (made for made, _ in SAFETENSORS.values())


@harness(safetensors_seeds, runs=800)
def safetensors(data: bytes) -> None:
    if data:
        path = as_file(data, "model.safetensors")
        model = read_safetensors(path, Mapped(path))
        examined(model)
        if importlib.util.find_spec("safetensors"):
            from safetensors import deserialize

            assert {name for name, _ in deserialize(data)} == set(model.graph.constants)


def litert_seeds() -> Iterable[bytes]:
    """A model with a signature, packed by LiteRT's own schema where that is there."""
    yield b"\x1c\0\0\0TFL3" + bytes(60)
    if importlib.util.find_spec("ai_edge_litert"):
        from tests.formats.tflite_files import network, sign

        yield network(quantized=True, change=lambda _, values: values.update(after=sign))


@harness(litert_seeds, runs=800, length=16384)
def litert_file(data: bytes) -> None:
    if data:
        path = as_file(data, "model.tflite")
        model = read_tflite(path, Mapped(path))
        examined(model)
        for signature in model.signatures.values():
            for names, ends in (
                (signature.inputs, model.graph.inputs),
                (signature.outputs, model.graph.outputs),
            ):
                met = sorted({place for places in names.values() for place in places})
                assert met == list(range(len(ends))), signature


def graph_json() -> dict[str, object]:
    """A graph of one operation as torch.export stores it, written by hand so that no torch is needed."""
    symbol = {"as_expr": {"expr_str": "Symbol('s77', positive=True, integer=True)", "hint": {"as_int": 2}}}
    meta = {
        "dtype": 7, "sizes": [symbol, {"as_int": 4}], "requires_grad": False, "storage_offset": {"as_int": 0},
        "device": {"type": "cpu", "index": None}, "strides": [{"as_int": 4}, {"as_int": 1}], "layout": 7,
    }  # fmt: skip
    node = {
        "target": "torch.ops.aten.relu.default", "name": "relu", "metadata": {}, "is_hop_single_tensor_return": None,
        "inputs": [{"name": "self", "arg": {"as_tensor": {"name": "x"}}, "kind": 1}],
        "outputs": [{"as_tensor": {"name": "relu"}}],
    }  # fmt: skip
    graph = {
        "inputs": [{"as_tensor": {"name": "x"}}], "outputs": [{"as_tensor": {"name": "relu"}}], "nodes": [node],
        "tensor_values": {"x": meta, "relu": meta}, "sym_int_values": {}, "sym_bool_values": {},
        "sym_float_values": {}, "is_single_tensor_return": False, "custom_obj_values": {},
    }  # fmt: skip
    signature = {
        "input_specs": [{"user_input": {"arg": {"as_tensor": {"name": "x"}}}}],
        "output_specs": [{"user_output": {"arg": {"as_tensor": {"name": "relu"}}}}],
    }
    module = {"graph": graph, "signature": signature, "module_call_graph": []}
    return {
        "graph_module": module, "opset_version": {"aten": 10}, "range_constraints": {}, "guards_code": [],
        "schema_version": {"major": 8, "minor": 14}, "torch_version": "2.13.0",
    }  # fmt: skip


@harness(lambda: [json.dumps(graph_json()).encode(), b"{}", b'{"graph_module": 1}'], runs=500, length=8192)
def export_graph(data: bytes) -> None:
    found = read_json(memoryview(data), "the graph", "fuzz")
    check_expressions(found, "fuzz")
    read_program(found, "fuzz")


def expressions() -> Iterable[bytes]:
    yield from (
        b"Symbol('s77', positive=True, integer=True)", b"2*s0 + 1", b"(s0 - 1)//2", b"Max(1, s0)", b"Integer(4)",
        b"__import__('os')", b"[x for x in ()]", b"s0.__class__", b"10**10**10", b"lambda: 0", b"'a'", b"s0 if 1 else 2",
    )  # fmt: skip


@harness(expressions, runs=1000, length=512)
def export_expression(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    if is_plain_expression(text):
        # Others evaluate what passes: it parses as an expression of numbers, names and known calls, and ends.
        tree = ast.parse(text.strip(), mode="eval")
        kinds = {type(node) for node in ast.walk(tree)}
        assert not kinds & {
            ast.Attribute,
            ast.Subscript,
            ast.Lambda,
            ast.NamedExpr,
            ast.Starred,
            ast.JoinedStr,
        }, text
        for node in ast.walk(tree):
            assert not (isinstance(node, ast.Name) and "__" in node.id), text
            assert not isinstance(node, ast.Call) or isinstance(node.func, ast.Name), text
        arithmetic = {ast.Expression, ast.BinOp, ast.UnaryOp, ast.Constant}
        if all(issubclass(kind, (ast.operator, ast.unaryop)) or kind in arithmetic for kind in kinds):
            with contextlib.suppress(ZeroDivisionError, OverflowError, ValueError, TypeError):
                eval(compile(tree, "x", "eval"), {"__builtins__": {}})  # constants and operators alone


@harness(lambda: [base().SerializeToString(), *hostile("onnx")], runs=500)
def onnx_file(data: bytes) -> None:
    examined(read_model(as_file(b"\x08" + data[1:] if data else data, "model.onnx")))


@harness(lambda: [base().SerializeToString(), *hostile("onnx")], runs=800)
def onnx_wire(data: bytes) -> None:
    import onnx

    Decoder(data, SCHEMA, {}, "fuzz", room=1 << 24, depth=56).message("ModelProto", 0, len(data))
    parsed = onnx.ModelProto.FromString(data)  # what passes is no less to the parser that runtimes use
    assert parsed.SerializeToString() is not None


def external_entries() -> Iterable[bytes]:
    yield from (
        b"location\0weights.bin\0offset\x000\0length\x0096",
        b"location\0../../etc/passwd",
        b"basepath\0/",
    )


@harness(external_entries, runs=1000, length=256)
def external_keys(data: bytes) -> None:
    words = data.decode("utf-8", "surrogateescape").split("\0")
    found = parse_external(dict(zip(words[::2], words[1::2], strict=False)), "tensor", "fuzz")
    parts = found.location.split("/")
    assert found.offset >= 0, found
    assert ".." not in parts and not found.location.startswith(("/", "~")) and "\\" not in found.location, (
        found
    )


@harness(
    lambda: [npz(("image.npy", npy()), ("label.npy", npy("(3, 1)", "'<i4'"))), *hostile("data")], runs=600
)
def npz_file(data: bytes) -> None:
    with NpzFile(as_file(data, "inputs.npz")) as held:
        for name, spec in held.arrays.items():
            if spec.shape and spec.shape[0] <= 1000 and not spec.fortran:
                assert sum(len(part) for part in held.rows(name, [1] * spec.shape[0])) == spec.shape[0]


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"


@harness(lambda: [POINTER], runs=1000, length=POINTER_MAX)
def lfs_pointer(data: bytes) -> None:
    found = read_pointer(data[:POINTER_MAX], len(data), where="fuzz")
    assert found is None or (len(found.oid) == 64 and found.size >= 0)


@harness(lambda: [checkpoint(), legacy(), base().SerializeToString(), *hostile("other")], runs=500)
def any_file(data: bytes) -> None:
    examined(read_model(as_file(data)))
