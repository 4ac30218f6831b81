"""A file is what its bytes say, and what cannot be verified is refused by name."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from qgate.errors import FormatError
from qgate.formats.code import CodeError
from qgate.formats.detect import FORMAT_NAMES, READ, detect_format, refuse_other_format
from qgate.formats.read import named_side_files, read_model


def zipped(*names: str, content: bytes = b"x") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in names:
            archive.writestr(name, content)
    return made.getvalue()


def tarred(*names: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    return made.getvalue()


def array(compressed: bool = False) -> bytes:
    made = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(made, x=np.ones(3))
    return made.getvalue()


HEADER = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
SAFE = struct.pack("<Q", len(HEADER)) + HEADER + b"\0" * 4
ONNX = (Path(__file__).parents[2] / "examples" / "digits" / "digits_fp32.onnx").read_bytes()
MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."

CODE = [
    (zipped("m/data.pkl", "m/code/a.py"), "torchscript", "TorchScript"),
    (zipped("m/data.pkl", "m/constants.pkl"), "torchscript", "TorchScript"),
    (zipped("m/data.pkl", "m/code/__torch__.py.debug_pkl"), "torchscript", "TorchScript"),
    (zipped("m/models/model.json", "m/data/aotinductor/model/c.json"), "aotinductor", "AOTInductor"),
    (zipped("m/models/model.json", "m/extra/k.CUBIN"), "aotinductor", "AOTInductor"),
    (zipped("m/lib.so"), "aotinductor", "AOTInductor"),
    (zipped("p/.data/extern_modules", "p/model.pkl"), "torch-package", "torch.package"),
    (zipped("p/data.pkl", "p/hook.py"), "torch-package", "torch.package"),
    (zipped("serialized_exported_program.json", "serialized_state_dict.pt"), "torch-export-old", "before PyTorch 2.8"),
    (tarred("sys_info", "pickle", "tensors", "storages"), "torch-tar", "tar form"),
    (b"\x7fELF\x02\x01\x01" + b"\0" * 64, "native", "native"),
    (b"MZ\x90\0" + b"\0" * 64, "native", "native"),
    (b"\xcf\xfa\xed\xfe" + b"\0" * 64, "native", "native"),
    (b"!<arch>\n" + b"\0" * 64, "native", "native"),
    (pickle.dumps({"a": 1}), "pickle", "no checkpoint"),
    (pickle.dumps({"a": 1}, 5), "pickle", "no checkpoint"),
    (b"cposix\nsystem\n(S'true'\ntR.", "pickle", "posix.system"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "kind", "words"), CODE, ids=[f"{k}-{i}" for i, (_, k, _) in enumerate(CODE)]
)
def test_files_that_hold_code(data: bytes, kind: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    assert detect_format(path) == kind
    assert dict(named_side_files(path)) == {}
    with pytest.raises(CodeError, match=words) as caught:
        read_model(path)
    assert (caught.value.rule, caught.value.kind, caught.value.where) == ("ART114", kind, "m.onnx")
    assert "ONNX" in caught.value.remedy
    assert "trust: code" in caught.value.remedy


OTHERS = [
    (b"ftrt" + b"\0" * 20, "tensorrt-engine", "never deserialised", "ONNX file that the engine"),
    (b"ptrt" + b"\0" * 20, "tensorrt-engine", "never deserialised", "ONNX file that the engine"),
    (b"vtrt" + b"\0" * 20, "tensorrt-engine", "never deserialised", "ONNX file that the engine"),
    (array(), "npz", "no model", "data set"),
    (array(compressed=True), "npz", "no model", "data set"),
    (b"\x93NUMPY\1\0v\0" + b" " * 60, "npy", "no model", "data set"),
    (b"GGUF\3\0\0\0" + b"\0" * 60, "gguf", "does not read", "ONNX"),
    (b"\x89HDF\r\n\x1a\n" + b"\0" * 60, "hdf5", "does not read", "ONNX"),
    (b"\x1c\0\0\0ORTM" + b"\0" * 60, "ort", "does not read", "ONNX"),
    (tarred("readme"), "tar", "holds files", "inside it"),
    (b"\x1f\x8b\x08\0" + b"\0" * 60, "compressed", "not looked for", "uncompressed"),
    (b"\x28\xb5\x2f\xfd" + b"\0" * 60, "compressed", "not looked for", "uncompressed"),
]


@pytest.mark.parametrize(
    ("data", "kind", "words", "remedy"), OTHERS, ids=[f"{o[1]}-{i}" for i, o in enumerate(OTHERS)]
)
def test_formats_that_are_recognised_and_not_read(
    data: bytes, kind: str, words: str, remedy: str, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    assert detect_format(path) == kind
    with pytest.raises(FormatError, match=words) as caught:
        read_model(path)
    assert (caught.value.rule, caught.value.where) == ("ART103", "m.onnx")
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (SAFE, "safetensors"), (ONNX, "onnx"), (zipped("m/data.pkl", "m/data/0"), "torch-checkpoint"),
        (zipped("m/models/model.json"), "torch-export"), (MAGIC + b"rest", "torch-legacy"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["m.onnx", "m.safetensors", "m.pt", "m.engine", "m"])
def test_names_say_nothing(data: bytes, kind: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert detect_format(path) == kind
    assert kind in READ


def test_every_format_has_words_and_a_refusal(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(b"\x80\x02N.")
    for kind in set(FORMAT_NAMES) - set(READ) - {"torch-module"}:
        error = refuse_other_format(kind, path)
        assert error.rule in ("ART103", "ART114")
        assert error.remedy


@pytest.mark.parametrize(
    "front",
    [ONNX, SAFE, b"\x80\x02}.", b"ftrt" + b"\0" * 30],
    ids=["onnx", "safetensors", "pickle", "engine"],
)
@pytest.mark.parametrize("comment", [b"", b"c" * 9])
def test_files_of_two_formats_at_once(front: bytes, comment: bytes, tmp_path: Path) -> None:
    archive = zipped("m/data.pkl")
    path = tmp_path / "m.onnx"
    path.write_bytes(front + archive[:-2] + struct.pack("<H", len(comment)) + comment)
    with pytest.raises(FormatError, match="and a zip archive at once") as caught:
        read_model(path)
    assert caught.value.rule == "ART105"


def test_an_archive_followed_by_something_else(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    path.write_bytes(zipped("m/data.pkl") + ONNX)
    with pytest.raises(FormatError, match="a whole directory at its end") as caught:
        read_model(path)
    assert caught.value.rule == "ART104"


def test_the_mark_of_an_archive_in_the_last_bytes_of_weights(tmp_path: Path) -> None:
    header = b'{"a":{"dtype":"U8","shape":[40],"data_offsets":[0,40]}}'
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"PK\x05\x06".ljust(40, b"\1"))
    assert read_model(path).graph.constants["a"].shape == (40,)


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "ART101"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "ART102"),
        (b"<!DOCTYPE html>", "ART104"),
        (b"\xff\xd8\xff\xe0", "ART104"),
        (b"PK\x03\x04 and nothing more", "ART104"),
        (zipped("readme.txt"), "ART104"),
    ],
)
def test_what_is_no_model(data: bytes, rule: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    with pytest.raises(FormatError) as caught:
        read_model(path)
    assert (caught.value.rule, bool(caught.value.remedy)) == (rule, True)


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "none.onnx", tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(FormatError) as caught:
            read_model(path)
        assert caught.value.rule == "ART101"
