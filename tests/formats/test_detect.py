"""A file is what its bytes say, and what cannot be verified is refused by name."""

import pickle
import struct
import zipfile

import pytest

from qgate.errors import FormatError
from qgate.formats.detect import detect_format
from qgate.formats.read import named_side_files, read_model


def zipped(path, *names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return path.read_bytes()


@pytest.mark.parametrize(
    ("names", "kind", "words"),
    [
        (["m/data.pkl", "m/data/0"], "torch-zip", "a PyTorch checkpoint"),
        (["m/data.pkl", "m/code/a.py"], "torchscript", "a TorchScript archive"),
        (["m/models/model.json"], "torch-export", "torch.export"),
    ],
)
def test_archives_of_pytorch(names, kind, words, tmp_path):
    path = tmp_path / "m.onnx"
    zipped(path, *names)
    assert detect_format(path) == kind
    assert dict(named_side_files(path)) == {}
    with pytest.raises(FormatError, match=words) as caught:
        read_model(path)
    assert caught.value.rule == "ART103"
    assert "ONNX" in caught.value.remedy


HEADER = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (pickle.dumps({"a": 1}), "pickle"),
        (struct.pack("<Q", len(HEADER)) + HEADER + b"\0" * 4, "safetensors"),
        (b"ftrt" + b"\0" * 20, "tensorrt-engine"),
    ],
)
def test_other_formats(data, kind, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    assert detect_format(path) == kind
    with pytest.raises(FormatError) as caught:
        read_model(path)
    assert (caught.value.rule, caught.value.where) == ("ART103", "m.onnx")


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "ART101"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "ART102"),
        (b"<!DOCTYPE html>", "ART104"),
        (b"\xff\xd8\xff\xe0", "ART104"),
        (b"PK\x03\x04 and nothing more", "ART104"),
    ],
)
def test_what_is_no_model(data, rule, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    with pytest.raises(FormatError) as caught:
        read_model(path)
    assert (caught.value.rule, bool(caught.value.remedy)) == (rule, True)


def test_an_archive_of_something_else(tmp_path):
    zipped(tmp_path / "m.zip", "readme.txt")
    with pytest.raises(FormatError, match="no model") as caught:
        read_model(tmp_path / "m.zip")
    assert caught.value.rule == "ART104"


def test_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path, tmp_path / "none.onnx"):
        with pytest.raises(FormatError) as caught:
            read_model(path)
        assert caught.value.rule == "ART101"
