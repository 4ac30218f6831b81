"""External data: names that stay in the folder, ranges that fit their file, plain files alone."""

import hashlib
import os

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from qgate.errors import FormatError
from qgate.formats.external import ExternalRange, SideFiles, is_safe_relative, parse_external
from qgate.formats.read import named_side_files, read_model

WEIGHT = np.arange(24, dtype=np.float32).reshape(4, 6)
PAYLOAD = WEIGHT.tobytes()


def saved(folder, entries=None, data=PAYLOAD, location="w.bin", dtype=TensorProto.FLOAT, **settings):
    """A model whose weight lies outside; ``entries`` replaces its key-value pairs."""
    weight = TensorProto(name="w", data_type=dtype, dims=WEIGHT.shape, data_location=TensorProto.EXTERNAL)
    for key, value in entries if entries is not None else [("location", location)]:
        weight.external_data.add(key=key, value=value)
    for key, value in settings.items():
        setattr(weight, key, value)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 6])],
        [weight],
    )
    if data is not None:
        (folder / "w.bin").write_bytes(data)
    path = folder / "m.onnx"
    path.write_bytes(helper.make_model(graph, ir_version=8).SerializeToString())
    return path


def refused(path):
    with pytest.raises(FormatError) as caught:
        read_model(path)
    assert (caught.value.rule, caught.value.tensor, caught.value.where) == ("ART107", "w", "m.onnx")
    assert caught.value.remedy
    return caught.value.what


def test_the_values_are_those_of_the_range(tmp_path):
    held = b"\xff" * 8 + WEIGHT.tobytes() + b"tail"
    sha1 = hashlib.sha1(held).hexdigest()
    entries = [("location", "w.bin"), ("offset", "8"), ("length", "96"), ("checksum", sha1.upper())]
    path = saved(tmp_path, entries, held)
    model = read_model(path)
    constant = model.graph.constants["w"]
    assert np.array_equal(constant.load(), WEIGHT)
    assert (constant.file, constant.bytes, constant.shape) == ("w.bin", 96, (4, 6))
    assert dict(model.side_files) == {"w.bin": "w"}
    assert model.file_bytes == path.stat().st_size + 108


def test_onnx_reads_the_same_values(tmp_path):
    proto = onnx.load(saved(tmp_path))
    external_data_helper.load_external_data_for_model(proto, str(tmp_path))
    ours = read_model(tmp_path / "m.onnx").graph.constants["w"].load()
    assert np.array_equal(ours, numpy_helper.to_array(proto.graph.initializer[0]))


def test_a_side_file_may_lie_in_a_folder_below(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "w.bin").write_bytes(WEIGHT.tobytes())
    path = saved(tmp_path, location="data/w.bin", data=None)
    assert np.array_equal(read_model(path).graph.constants["w"].load(), WEIGHT)


def test_an_empty_tensor_needs_no_bytes(tmp_path):
    weight = TensorProto(name="w", data_type=1, dims=(0, 6), data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="w.bin")
    proto = onnx.load(saved(tmp_path, data=b""), load_external_data=False)
    proto.graph.initializer[0].CopyFrom(weight)
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    assert read_model(tmp_path / "m.onnx").graph.constants["w"].load().shape == (0, 6)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([], "points outside"),
        ([("location", "")], "points outside"),
        ([("location", "../w.bin")], "points outside"),
        ([("location", "a/../../w.bin")], "points outside"),
        ([("location", "/etc/passwd")], "points outside"),
        ([("location", "~/w.bin")], "points outside"),
        ([("location", "C:w.bin")], "points outside"),
        ([("location", "a\\w.bin")], "points outside"),
        ([("location", "w\0.bin")], "points outside"),
        ([("location", ".")], "points outside"),
        ([("location", "w.bin"), ("location", "other.bin")], "a key twice"),
        ([("location", "w.bin"), ("library", "evil.so")], "unknown key 'library'"),
        ([("location", "w.bin"), ("offset", "-8")], "offset"),
        ([("location", "w.bin"), ("length", "-1")], "length"),
        ([("location", "w.bin"), ("offset", "1e3")], "offset"),
        ([("location", "w.bin"), ("offset", "1_0")], "offset"),
        ([("location", "w.bin"), ("offset", " 8")], "offset"),
        ([("location", "w.bin"), ("offset", "+8")], "offset"),
        ([("location", "w.bin"), ("offset", "٨")], "offset"),
        ([("location", "w.bin"), ("length", "0x60")], "length"),
        ([("location", "w.bin"), ("offset", "9" * 5000)], "offset"),
        ([("location", "w.bin"), ("offset", "9" * 30)], "ends at byte"),
        ([("location", "w.bin"), ("offset", "4")], "ends at byte 100"),
        ([("location", "w.bin"), ("length", "92")], "declares 92 bytes where its shape needs 96"),
        ([("location", "w.bin"), ("length", "0")], "declares 0 bytes"),
        ([("location", "n" * 300)], "missing"),
        ([("location", "none.bin")], "missing"),
        ([("location", "w.bin/inner")], "missing"),
        ([("location", "folder")], "no plain file"),
    ],
    ids=lambda v: None if isinstance(v, str) else ascii(str(v))[:60],
)
def test_what_leaves_the_folder_or_does_not_fit_is_refused(entries, words, tmp_path):
    (tmp_path / "folder").mkdir()
    assert words in refused(saved(tmp_path, entries))


def test_links_are_refused(tmp_path):
    (tmp_path / "real.bin").write_bytes(WEIGHT.tobytes())
    path = saved(tmp_path, data=None)
    (tmp_path / "w.bin").symlink_to("real.bin")
    assert "symbolic link" in refused(path)
    (tmp_path / "w.bin").unlink()
    os.link(tmp_path / "real.bin", tmp_path / "w.bin")
    assert "hard link" in refused(path)
    (tmp_path / "away").mkdir()
    (tmp_path / "inner").symlink_to("away")
    (tmp_path / "away" / "w.bin").write_bytes(WEIGHT.tobytes())
    assert "symbolic link" in refused(saved(tmp_path, location="inner/w.bin", data=None))


def test_a_pipe_is_refused_without_being_opened(tmp_path):
    path = saved(tmp_path, data=None)
    os.mkfifo(tmp_path / "w.bin")
    assert "no plain file" in refused(path)


@pytest.mark.parametrize(
    "settings", [{"raw_data": WEIGHT.tobytes()}, {"dtype": TensorProto.STRING}], ids=["twice", "strings"]
)
def test_data_that_is_there_twice_or_cannot_lie_outside_is_refused(settings, tmp_path):
    with pytest.raises(FormatError) as caught:
        read_model(saved(tmp_path, **settings))
    assert (caught.value.rule, caught.value.tensor) == ("ART105", "w")


def test_side_files_are_named_before_they_are_there_but_never_unsafe_ones(tmp_path):
    assert dict(named_side_files(saved(tmp_path, data=None))) == {"w.bin": "w"}
    with pytest.raises(FormatError, match="points outside"):
        named_side_files(saved(tmp_path, location="../w.bin", data=None))


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.text(max_size=30))
def test_a_name_that_is_called_safe_stays_below_its_folder(location):
    if is_safe_relative(location):
        normal = os.path.normpath(f"/base/folder/{location}")
        assert normal.startswith("/base/folder/")


NUMBERS = st.one_of(st.integers(-5, 200).map(str), st.text(max_size=6))


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.dictionaries(st.sampled_from(["location", "offset", "length", "checksum", "x"]), NUMBERS))
def test_any_entries_give_a_range_or_are_refused(entries):
    try:
        found = parse_external(entries, "w", "m.onnx")
    except FormatError as error:
        assert (error.rule, error.tensor, error.where) == ("ART107", "w", "m.onnx")
        return
    assert found.offset >= 0
    assert found.length is None or found.length >= 0


def noted(folder, *ranges):
    found = SideFiles(folder / "m.onnx")
    (folder / "m.onnx").write_bytes(b"model")
    for number, (location, offset, needed, dtype) in enumerate(ranges):
        found.add(ExternalRange(location, offset, None), needed, dtype, f"w{number}")
    found.finish()
    return found


def test_a_file_that_shrank_or_was_replaced_since_is_noticed(tmp_path):
    (tmp_path / "w.bin").write_bytes(b"\0" * 10)
    with pytest.raises(FormatError, match="ends at byte 12, its file at 10"):
        noted(tmp_path, ("w.bin", 4, 8, "int8"))
    found = noted(tmp_path, ("w.bin", 2, 8, "int8"))
    assert found.bytes == 10
    assert bytes(found.open("w.bin", 10, "w0")[2:]) == b"\0" * 8
    (tmp_path / "w.bin").write_bytes(b"\0" * 9)
    with pytest.raises(FormatError, match="its file at 9"):
        found.open("w.bin", 10, "w0")
    (tmp_path / "w.bin").unlink()
    (tmp_path / "w.bin").symlink_to("m.onnx")
    with pytest.raises(FormatError, match="symbolic link"):
        found.open("w.bin", 10, "w0")


@pytest.mark.parametrize(
    ("ranges", "fits"),
    [
        ([(0, 8, "int8"), (8, 8, "int8")], True),
        ([(8, 8, "int8"), (0, 8, "float")], True),
        ([(0, 8, "int8"), (0, 8, "int8"), (0, 8, "int8")], True),  # tied weights
        ([(0, 8, "int8"), (0, 8, "uint8")], False),
        ([(0, 8, "int8"), (7, 8, "int8")], False),
        ([(0, 16, "int8"), (4, 4, "int8")], False),
        ([(4, 4, "int8"), (0, 16, "int8"), (12, 4, "int8")], False),
        ([(0, 8, "int8"), (4, 0, "int8"), (0, 8, "int8")], True),
    ],
)
def test_ranges_are_shared_whole_or_not_at_all(ranges, fits, tmp_path):
    (tmp_path / "w.bin").write_bytes(b"\0" * 16)
    placed = [("w.bin", *r) for r in ranges]
    if fits:
        assert noted(tmp_path, *placed).names == {"w.bin": "w0"}
        return
    with pytest.raises(FormatError, match="overlap in 'w") as caught:
        noted(tmp_path, *placed)
    assert caught.value.rule == "ART107"


@pytest.mark.parametrize(
    "other", ["W.bin", "stra\u00dfe/w", "e\u0301.bin", "M.ONNX"], ids=["case", "sharp-s", "composed", "model"]
)
def test_names_that_are_one_file_on_some_systems_are_refused(other, tmp_path):
    first = {"W.bin": "w.bin", "M.ONNX": "n.bin"}.get(
        other, other.replace("\u00df", "ss").replace("e\u0301", "\u00e9")
    )
    (tmp_path / "strasse").mkdir()
    (tmp_path / "stra\u00dfe").mkdir()
    for name in (first, other):
        (tmp_path / name).write_bytes(b"\0" * 8)
    with pytest.raises(FormatError, match="are one file on some systems"):
        noted(tmp_path, (first, 0, 8, "int8"), (other, 0, 8, "int8"))


def test_spellings_of_one_name_are_one_file(tmp_path):
    one, two = (parse_external({"location": name}, "w", "m") for name in ("./a//w.bin", "a/./w.bin"))
    assert one == two == ExternalRange("a/w.bin", 0, None)


def test_the_model_is_not_its_own_side_file(tmp_path):
    assert "the model file itself" in refused(saved(tmp_path, location="m.onnx"))
    assert "the model file itself" in refused(saved(tmp_path, location="./m.onnx"))


@pytest.mark.parametrize(
    ("checksum", "words"),
    [
        ("0" * 40, "its checksum says 0000"),
        ("0", "no SHA1"),
        ("g" * 40, "no SHA1"),
        ("\u0660" * 40, "no SHA1"),
    ],
)
def test_a_checksum_is_verified(checksum, words, tmp_path):
    assert words in refused(saved(tmp_path, [("location", "w.bin"), ("checksum", checksum)]))


def test_two_checksums_of_one_file_are_refused(tmp_path):
    (tmp_path / "w.bin").write_bytes(b"\0" * 8)
    digest = hashlib.sha1(b"\0" * 8).hexdigest()
    found = SideFiles(tmp_path / "m.onnx")
    (tmp_path / "m.onnx").write_bytes(b"model")
    found.add(ExternalRange("w.bin", 0, None, digest), 4, "int8", "w")
    with pytest.raises(FormatError, match="another checksum"):
        found.add(ExternalRange("w.bin", 4, None), 4, "int8", "v")
