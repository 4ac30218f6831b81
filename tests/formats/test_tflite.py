"""LiteRT models are read as data, whatever their bytes say."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip(
    "ai_edge_litert", reason="qgate[litert] is not installed: its schema makes the files of these tests"
)

from qgate.errors import FormatError
from qgate.formats.read import read_model
from qgate.formats.tflite.flat import MAX_ITEMS

from .tflite_files import OPS, TYPES, flatbuffers, network, schema


def read(data: bytes, folder: Path, name: str = "m"):
    path = folder / f"{name}.tflite"
    path.write_bytes(data)
    return read_model(path)


def changed(after, **more) -> bytes:
    return network(quantized=True, change=lambda _, values: values.update(after=after, **more))


def test_weights_come_with_what_their_codes_stand_for(tmp_path: Path) -> None:
    model, plain = read(network(quantized=True), tmp_path), read(network(quantized=False), tmp_path, "plain")
    assert [node.op for node in plain.graph.nodes] == ["tfl.conv_2d", "tfl.reshape", "tfl.fully_connected"]
    assert [node.op for node in model.graph.nodes][0::4] == ["tfl.quantize", "tfl.dequantize"]
    assert [(t.name, t.dtype, t.shape) for t in model.graph.inputs] == [("x", "float", (1, 4, 4, 2))]
    weight = model.graph.constants["conv/w"]
    assert (weight.dtype, weight.shape) == ("int8", (4, 3, 3, 2))
    stored = weight.quantization
    assert stored is not None
    assert stored.axis == 0
    back = weight.load() * stored.scale.load().reshape(4, 1, 1, 1)
    original = plain.graph.constants["conv/w"].load()
    assert np.abs(back - original).max() <= stored.scale.load().max() / 2 + 1e-6
    assert float(model.graph.constants["x_int8.scale"].load()) == np.float32(0.03)
    assert "x.scale" not in model.graph.constants


@pytest.mark.parametrize("quantized", [False, True])
def test_no_cut_file_is_read(quantized: bool, tmp_path: Path) -> None:
    data = network(quantized=quantized)
    for length in range(8, len(data), 7):
        try:
            read(data[:length], tmp_path)
        except FormatError:
            continue
        pytest.fail(f"{length} of {len(data)} bytes were read")


def test_a_changed_byte_is_read_or_refused_and_nothing_else(tmp_path: Path) -> None:
    data = network(quantized=True)
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(1500):
        edited = bytearray(data)
        for place in random.integers(8, len(data), random.integers(1, 4)):
            edited[place] = random.integers(0, 256)
        try:
            model = read(bytes(edited), tmp_path)
            for constant in model.graph.constants.values():
                assert constant.load().shape == constant.shape
        except FormatError as error:
            refused += 1
            assert error.rule in ("ART103", "ART104", "ART105")
    assert refused > 100


def test_a_vector_of_billions_is_refused_before_it_is_read(tmp_path: Path) -> None:
    data = bytearray(network(quantized=True))
    for place in range(8, len(data) - 4):
        edited = bytearray(data)
        struct.pack_into("<I", edited, place, 0x7FFFFFFF)
        try:
            read(bytes(edited), tmp_path)
        except FormatError:
            continue


def test_shared_tables_are_counted(tmp_path: Path) -> None:
    """One list of tables that all are one table: a small file that says a lot."""
    count = MAX_ITEMS + 1
    table = struct.pack("<HHi", 4, 4, 4)  # a layout without fields, and a table that has it
    head = struct.pack("<I4s", 28, b"TFL3")
    layout = struct.pack("<HHHHHHHH", 14, 12, 4, 0, 8, 0, 0, 0)
    body = layout[:14] + b"\0\0" + struct.pack("<iII", 28 - 8, 3, 4)
    vector = struct.pack("<I", count) + b"\0" * 4 * 16
    with pytest.raises(FormatError):
        read(head + body + vector + table, tmp_path)


@pytest.mark.parametrize(
    ("after", "rule", "says"),
    [
        (lambda m: m.model.subgraphs.append(m.graph), "ART103", "2 graphs"),
        (lambda m: setattr(m.model, "version", 2), "ART103", "version 2"),
        (lambda m: setattr(m.graph, "operators", []), "ART105", "computes nothing"),
        (
            lambda m: setattr(m.graph.operators[1], "inputs", np.array([99, 0], np.int32)),
            "ART105",
            "that there is not",
        ),
        (
            lambda m: setattr(m.graph.operators[1], "inputs", np.array([-2], np.int32)),
            "ART105",
            "that there is not",
        ),
        (lambda m: setattr(m.graph.operators[1], "opcodeIndex", 77), "ART105", "operator that there is not"),
        (lambda m: setattr(m.graph.tensors[1], "buffer", 77), "ART105", "buffer that there is not"),
        (lambda m: setattr(m.graph.tensors[1], "type", TYPES.RESOURCE), "ART103", "type 13"),
        (
            lambda m: setattr(m.graph.tensors[6], "shape", np.array([2**30], np.int32)),
            "ART105",
            "are present",
        ),
        (lambda m: setattr(m.graph.tensors[1], "shape", np.array([-5], np.int32)), "ART105", "negative size"),
        (lambda m: setattr(m.graph.tensors[1], "name", "a\nb"), "ART105", "cannot be printed"),
        (lambda m: setattr(m.graph.tensors[1], "name", "a" * 600), "ART105", "too long"),
        (lambda m: setattr(m.model.operatorCodes[0], "builtinCode", 5000), "ART103", "operator number 5000"),
    ],
)
def test_what_is_not_read_is_refused_by_name(after, rule: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=says) as caught:
        read(changed(after), tmp_path)
    assert caught.value.rule == rule


def test_scales_that_fit_no_axis_are_refused(tmp_path: Path) -> None:
    def wrong(maker) -> None:
        weight = next(t for t in maker.graph.tensors if t.name == "conv/w")
        weight.quantization.quantizedDimension = 1

    with pytest.raises(FormatError, match="no axis of that size"):
        read(changed(wrong), tmp_path)


def test_names_that_are_missing_or_twice_are_made(tmp_path: Path) -> None:
    def rename(maker) -> None:
        maker.graph.tensors[1].name = ""
        maker.graph.tensors[2].name = "x"

    model = read(changed(rename), tmp_path)
    assert {"tensor#1", "x#2", "x"} <= set(model.graph.types)


def test_an_operator_of_somebody_elses_is_named(tmp_path: Path) -> None:
    def custom(maker) -> None:
        maker.operator(OPS.CUSTOM, [0], [0], custom="Backdoor")

    assert "tfl.custom.Backdoor" in {node.op for node in read(changed(custom), tmp_path).graph.nodes}


def behind(data: bytes, name: str, *, begin: int | None = None) -> bytes:
    """The model with the bytes of a constant behind its end, as converters write large ones."""
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    number = next(t.buffer for t in model.subgraphs[0].tensors if t.name == name.encode())
    moved = bytes(bytearray(model.buffers[number].data))
    model.buffers[number].data = None
    place, packed = 1 << 20, b""
    for _ in range(2):  # a first time for the length: numbers of eight bytes lie inline
        model.buffers[number].offset, model.buffers[number].size = place, len(moved)
        builder = flatbuffers.Builder(4096)
        builder.Finish(model.Pack(builder), b"TFL3")
        packed = bytes(builder.Output())
        place = len(packed) if begin is None else begin
    return packed + moved


def test_weights_behind_the_models_end_are_those_within(tmp_path: Path) -> None:
    data = network(quantized=True)
    inside, outside = read(data, tmp_path), read(behind(data, "conv/w"), tmp_path, "b")
    held = [each.graph.constants["conv/w"].load() for each in (inside, outside)]
    assert held[0].tobytes() == held[1].tobytes()
    for place in (2, 2**40, 2**63):
        if place == 2:
            assert (
                read(behind(data, "conv/w", begin=place), tmp_path, "c")
                .graph.constants["conv/w"]
                .load()
                .shape
            )
            continue
        with pytest.raises(FormatError, match="leads out of the file"):
            read(behind(data, "conv/w", begin=place), tmp_path, "c")
