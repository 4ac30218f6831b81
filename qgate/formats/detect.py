"""Recognises what a file is by its content, whatever its name says."""

from __future__ import annotations

import zipfile
from pathlib import Path

from qgate.errors import FormatError

LFS_PREFIX = b"version https://git-lfs.github.com/spec/"
_TORCH_REMEDY = "Export the model to ONNX and verify that file"


def detect_format(path: Path) -> str:
    """The format of a file: ``onnx`` or the reason that it is none.

    Returns:
        ``onnx``, ``torch-zip``, ``pickle``, ``safetensors``, ``tensorrt-engine``.

    Raises:
        FormatError: Missing, empty, a directory, a Git LFS pointer, or of no known format.
    """
    where = path.name
    if path.is_dir():
        raise FormatError(
            "a directory where a model file is expected",
            where=where,
            remedy="Name the model file itself",
            rule="ART101",
        )
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise FormatError(
            f"the file cannot be read ({error.strerror})",
            where=where,
            remedy="Check the path and its permissions",
            rule="ART101",
        ) from error
    if not head:
        raise FormatError("the file is empty", where=where, remedy="Commit the model's bytes", rule="ART101")
    if head.startswith(LFS_PREFIX):
        raise FormatError(
            "a Git LFS pointer, not the model itself",
            where=where,
            remedy=f'Run `git lfs pull --include "{where}"`, or give the action a token',
            rule="ART102",
        )
    return _by_magic(head, path)


def _by_magic(head: bytes, path: Path) -> str:
    if head.startswith(b"PK\x03\x04"):
        return _zip_kind(path)
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        return "pickle"
    if head.startswith((b"ftrt", b"ptrt")):
        return "tensorrt-engine"
    if len(head) > 9 and head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= 100 * 2**20:
        return "safetensors"
    # A ModelProto begins with the tag of one of its first fields: ir_version, opset_import, graph, ...
    if head[0] in (0x08, 0x12, 0x1A, 0x22, 0x2A, 0x32, 0x3A, 0x42, 0x72):
        return "onnx"
    raise FormatError(
        "not a model: the first bytes belong to no known model format",
        where=path.name,
        remedy="Check that the right file was committed and not cut or filtered",
        rule="ART104",
    )


def _zip_kind(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()[:10_000]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise FormatError(
            "a damaged zip archive", where=path.name, remedy="Commit the model again", rule="ART104"
        ) from error
    if any(name.endswith("data.pkl") for name in names):
        return "torchscript" if any("/code/" in name for name in names) else "torch-zip"
    if any(name.endswith("models/model.json") for name in names):
        return "torch-export"
    raise FormatError(
        "a zip archive that is no model",
        where=path.name,
        remedy="Name the model file inside it",
        rule="ART104",
    )


FORMAT_NAMES = {
    "torch-zip": "a PyTorch checkpoint",
    "torchscript": "a TorchScript archive",
    "torch-export": "a torch.export archive (.pt2)",
    "pickle": "a Python pickle",
    "safetensors": "a safetensors file",
    "tensorrt-engine": "a TensorRT engine",
}


def refuse_other_format(kind: str, path: Path) -> FormatError:
    """The error for a format that is recognised and cannot be verified by this version."""
    if kind in ("torch-zip", "torchscript", "torch-export", "pickle", "safetensors"):
        missing, remedy = "verifying PyTorch files is a capability this version of qgate lacks", _TORCH_REMEDY
    else:
        missing = "a TensorRT engine is native code and is never deserialised"
        remedy = "Verify the ONNX file that the engine was built from"
    return FormatError(f"{FORMAT_NAMES[kind]}: {missing}", where=path.name, remedy=remedy, rule="ART103")
