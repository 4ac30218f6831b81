"""No reader takes more than 10 s or four times its file: nasty files, each of one thing from end to end."""

import io
import struct
import time
import zipfile
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from qgate.baseline.record import MAX_BASELINE_BYTES, read_baseline
from qgate.errors import DataError, FormatError, PolicyError, QgateError
from qgate.formats.read import read_model
from qgate.measure.data import NpzFile
from qgate.policy.yaml_reader import MAX_BYTES, parse_document
from qgate.report.schema import read_report
from tests.formats.bounds import FULL, SECONDS, Outcome, measure_call, measure_read
from tests.formats.nasty import NASTY

SMALL = 2**16
WARM = Path(__file__).parents[2] / "examples" / "digits" / "digits_int8_pt.onnx"
# One of each way to be expensive; all others go through the full size in the long run.
SCALED = ["tiny_tensors", "long_texts", "float8_as_packed_numbers", "raw_int2"]


def test_what_is_measured_is_measured(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(NASTY["raw_float8"](2**24))
    found = measure_read(path, warm=WARM)
    assert (found.error, found.crash) == ("", "")
    # The values are four bytes for each of the file's, and its pages are given back on the way.
    assert 4 * 2**24 <= found.peak_extra_bytes <= 6 * 2**24
    assert 0 < found.seconds < SECONDS
    assert found.within(2**24)
    path.write_bytes(b"no model")
    assert "FormatError" in measure_read(path).error


def test_a_reader_that_fails_otherwise_or_never_ends_is_a_crash(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"")
    hung = measure_call("tests.formats.test_bounds:never_ending", path, deadline=3)
    assert not hung.within(FULL)
    assert "still reading" in hung.crash
    failed = measure_call("tests.formats.test_bounds:failing", path)
    assert "ZeroDivisionError" in failed.crash
    assert not failed.within(FULL)
    assert not Outcome(SECONDS + 1, 0).within(FULL)
    assert not Outcome(1, 5 * FULL).within(FULL)
    assert not Outcome(1, 5 * FULL).within(1)
    assert Outcome(1, 3 * FULL).within(1)


def never_ending(_: Path) -> None:
    while True:
        pass


def failing(_: Path) -> None:
    _ = 1 // 0


@pytest.mark.parametrize("name", sorted(NASTY))
def test_a_small_nasty_file_is_read_or_refused_at_once(name, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(NASTY[name](SMALL))
    started = time.process_time()
    try:
        for constant in read_model(path).graph.all_constants():
            assert constant.load().shape == constant.shape
    except FormatError as error:
        assert error.rule in ("ART103", "ART104", "ART105", "ART107")
        assert error.remedy
    assert time.process_time() - started < 5


@pytest.mark.parametrize("name", SCALED)
def test_a_nasty_file_stays_within_the_bounds(name, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(NASTY[name](2**22))
    found = measure_read(path, warm=WARM)
    assert found.within(path.stat().st_size), found


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NASTY))
def test_a_nasty_file_of_64_mb_stays_within_the_bounds(name, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(NASTY[name](FULL))
    found = measure_read(path, warm=WARM)
    assert found.within(path.stat().st_size), found


def large_and_honest(layers: int) -> onnx.ModelProto:
    """As exporters of transformers write them: long names, a type for every tensor, parameters of their own."""
    nodes, types, held, last = [], [], [], "input_ids"
    for layer in range(layers):
        base, weight = (
            f"/model/layers.{layer // 50}/self_attn/sub_{layer}",
            f"model.layers.{layer}.q_proj.weight",
        )
        held += [
            helper.make_tensor(weight + "_quantized", TensorProto.INT8, [4, 4], b"\1" * 16, raw=True),
            helper.make_tensor(weight + "_scale", TensorProto.FLOAT, [], [0.1]),
            helper.make_tensor(weight + "_zero_point", TensorProto.INT8, [], [0]),
        ]
        made = [f"{base}/{op}_output_0" for op in ("DequantizeLinear", "MatMul", "Transpose")]
        quantized = [weight + "_quantized", weight + "_scale", weight + "_zero_point"]
        nodes += [
            helper.make_node("DequantizeLinear", quantized, made[:1], f"{base}/DequantizeLinear", axis=1),
            helper.make_node("MatMul", [last, made[0]], [made[1]], f"{base}/MatMul"),
            helper.make_node("Transpose", [made[1]], [made[2]], f"{base}/Transpose", perm=[0, 2, 1]),
        ]
        types += [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", "seq", 4]) for n in made]
        last = made[2]
    ends = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", "seq", 4]) for n in ("input_ids", last)
    ]
    graph = helper.make_graph(nodes, "main_graph", ends[:1], ends[1:], held, value_info=types)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.mark.slow
def test_an_honest_model_of_sixty_thousand_nodes_is_read(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(large_and_honest(20_000).SerializeToString())
    found = measure_read(path, warm=WARM)
    assert (found.error, found.crash) == ("", "")
    assert found.within(path.stat().st_size), found


def test_an_honest_model_of_few_nodes_costs_milliseconds_whatever_its_weights(tmp_path):
    proto = large_and_honest(20)
    big = helper.make_tensor("big", TensorProto.FLOAT, [2**23], b"\0" * 2**25, raw=True)
    proto.graph.initializer.append(big)
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    read_model(WARM)
    started = time.process_time()
    model = read_model(path)
    assert time.process_time() - started < 0.5
    assert model.graph.constants["big"].load().nbytes == 2**25


YAML = {
    "one_long_list": b"a: [\n" + b"0,\n" * (MAX_BYTES // 3) + b"]",
    "keys": b"".join(b"k%d: 0\n" % n for n in range(MAX_BYTES // 12)),
    "nothing": b"\n" * (MAX_BYTES - 10) + b"a: 1\n",
    "comments": b"#\n" * (MAX_BYTES // 2 - 10) + b"a: 1\n",
    "folded_text": b"a: >\n" + b" x\n\n" * (MAX_BYTES // 4),
    "plain_text": b"a: " + b"b\n " * (MAX_BYTES // 3),
    "directives": b"%FOO bar\n" * (MAX_BYTES // 9),
    "anchors": b"".join(b"k%d: &a%d 0\n" % (n, n) for n in range(MAX_BYTES // 20)),
    "nesting": b"a: " + b"[\n" * (MAX_BYTES // 2),
    "dashes": (b"- " * 8000 + b"\n") * 64,
}


def read_policy(path: Path) -> None:
    parse_document(path.read_bytes()[:MAX_BYTES], "qgate.yml")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(YAML))
def test_a_nasty_policy_stays_within_the_bounds(name, tmp_path):
    path = tmp_path / "qgate.yml"
    path.write_bytes(YAML[name])
    found = measure_call("tests.formats.test_bounds:read_policy", path)
    assert found.within(MAX_BYTES), found


def test_a_policy_of_64_mb_is_refused_before_it_is_looked_at():
    started = time.process_time()
    with pytest.raises(PolicyError, match="more than the"):
        parse_document(b"a" * FULL, "qgate.yml")
    assert time.process_time() - started < 1


def many_members(size: int) -> bytes:
    """A zip of nothing but a directory: 46 bytes an entry, which zipfile makes an object each of."""
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", *[0] * 18)
    count = size // len(entry)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count % 2**16, count % 2**16, count * len(entry), 4, 0)
    return b"PK\x03\x04" + entry * count + end


def npz(size: int, method: int, header: bytes | None = None) -> bytes:
    """One array; deflated, of zeros, it unfolds a thousand times."""
    stream = io.BytesIO()
    wanted = size if method == zipfile.ZIP_STORED else 900 * size
    plain = f"{{'descr': '|u1', 'fortran_order': False, 'shape': (1, {wanted}), }}".encode()
    text = header if header is not None else plain
    with (
        zipfile.ZipFile(stream, "w", method) as archive,
        archive.open("x.npy", "w", force_zip64=True) as member,
    ):
        member.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text)
        for at in range(0, wanted if header is None else size, 2**20):
            member.write(b"\0" * min(2**20, wanted - at))
    return stream.getvalue()


NPZ = {
    "directory": many_members,
    "directory_and_comment": lambda size: many_members(size // 2)[:-2] + b"\xff\xff" + b"c" * 65535,
    "stored": lambda size: npz(size, zipfile.ZIP_STORED),
    "deflated": lambda size: npz(2**19, zipfile.ZIP_DEFLATED),
    "header_of_brackets": lambda size: npz(2**16, zipfile.ZIP_STORED, b"(" * 9000),
    "header_of_operations": lambda size: npz(2**16, zipfile.ZIP_STORED, b"-" * 9000 + b"1"),
    "header_of_dicts": lambda size: npz(2**16, zipfile.ZIP_STORED, b"{1:" * 3000),
    "header_that_is_not_closed": lambda size: npz(2**16, zipfile.ZIP_STORED, b"\x27" * 3 + b"a" * 9000),
}


def read_npz(path: Path) -> None:
    with NpzFile(path) as file:
        for name, spec in file.arrays.items():
            for _ in file.rows(name, [1] * spec.shape[0]):
                pass


@pytest.mark.parametrize("name", sorted(NPZ))
def test_nasty_data_stay_within_the_bounds(name, tmp_path):
    path = tmp_path / "x.npz"
    path.write_bytes(NPZ[name](2**20))
    started = time.process_time()
    if name == "stored":
        read_npz(path)
    else:
        with pytest.raises(DataError) as caught:
            read_npz(path)
        assert caught.value.remedy
    assert time.process_time() - started < 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["directory", "directory_and_comment", "stored"])
def test_nasty_data_of_64_mb_stay_within_the_bounds(name, tmp_path):
    path = tmp_path / "x.npz"
    path.write_bytes(NPZ[name](FULL))
    found = measure_call("tests.formats.test_bounds:read_npz", path)
    assert found.within(path.stat().st_size), found


JSON = {
    "dicts": lambda size: b'{"a":[' + b"{}," * (size // 3) + b"{}]}",
    "lists": lambda size: b'{"a":[' + b"[]," * (size // 3) + b"[]]}",
    "numbers": lambda size: b'{"a":[' + b"0," * (size // 2) + b"0]}",
    "keys": lambda size: b'{"a":{' + b",".join(b'"%d":0' % n for n in range(size // 12)) + b"}}",
    "nesting": lambda size: b'{"a":' + b"[" * size,
    "text": lambda size: b'{"digest":"x","a":"' + b"a" * size + b'"}',
    "wide_text": lambda size: b'{"digest":"x","a":"' + "\U0001f600".encode() + b"a" * size + b'"}',
    "escapes": lambda size: b'{"digest":"x","a":"' + b"\\ud83d\\ude00" * (size // 12) + b'"}',
    "long_number": lambda size: b'{"digest":"x","a":' + b"1" * size + b"}",
}


def read_stored_baseline(path: Path) -> None:
    assert read_baseline(path.read_bytes()[: MAX_BASELINE_BYTES + 1], "t").state == "corrupt"


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(JSON))
def test_a_nasty_report_or_baseline_stays_within_the_bounds(name, tmp_path):
    path = tmp_path / "r.json"
    path.write_bytes(JSON[name](FULL))
    found = measure_call("qgate.report.schema:read_report", path)
    assert "not a qgate-report" in found.error
    assert found.within(path.stat().st_size), found
    path.write_bytes(JSON[name](MAX_BASELINE_BYTES - 100))
    found = measure_call("tests.formats.test_bounds:read_stored_baseline", path)
    assert found.within(path.stat().st_size), found


def test_a_report_of_too_many_values_is_refused_before_it_is_parsed(tmp_path):
    path = tmp_path / "r.json"
    path.write_bytes(JSON["dicts"](2**23))
    started = time.process_time()
    with pytest.raises(QgateError, match="more than 2,000,000 values"):
        read_report(path)
    assert "more than 2,000,000 values" in read_baseline(path.read_bytes(), "t").reason
    assert time.process_time() - started < 1
