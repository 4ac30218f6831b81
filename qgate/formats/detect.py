"""Recognises what a file is by its content, whatever its name says."""

from __future__ import annotations

import re
from pathlib import Path

from qgate.errors import FormatError
from qgate.formats.code import CodeError
from qgate.formats.elements import Mapped
from qgate.formats.torch.archive import names_of
from qgate.formats.torch.bare import refuse_pickle
from qgate.formats.torch.legacy import is_legacy

LFS_PREFIX = b"version https://git-lfs.github.com/spec/"
READ = ("onnx", "torch-checkpoint", "torch-legacy", "torch-export", "safetensors", "tflite")
"""Formats that are read as data."""

FORMAT_NAMES = {
    "onnx": "an ONNX model",
    "torch-checkpoint": "a PyTorch checkpoint",
    "torch-legacy": "a PyTorch checkpoint of the form before 1.6",
    "torch-export": "a torch.export archive (.pt2)",
    "safetensors": "a safetensors file",
    "torch-module": "a PyTorch file that holds whole objects",
    "torchscript": "a TorchScript archive",
    "executorch": "an ExecuTorch program (.pte)",
    "torch-package": "a torch.package archive",
    "torch-tar": "a PyTorch checkpoint of the tar form before 0.1.10",
    "torch-export-old": "a torch.export archive of the form before PyTorch 2.8",
    "aotinductor": "an AOTInductor package",
    "native": "a native library or program",
    "pickle": "a Python pickle",
    "tensorrt-engine": "a TensorRT engine",
    "npz": "a NumPy archive (.npz)",
    "npy": "a NumPy array (.npy)",
    "gguf": "a GGUF file",
    "hdf5": "an HDF5 file",
    "tflite": "a TensorFlow Lite model",
    "ort": "a model in ONNX Runtime's own format (.ort)",
    "tar": "a tar archive",
    "compressed": "a compressed file",
}
"""Every format that is recognised, in words."""

_WHY_CODE = {
    "torchscript": "its functions are compiled and run when it is loaded",
    "executorch": "native code carries out its instructions, and what it holds for delegates is not read",
    "torch-package": "its Python modules are imported when it is loaded",
    "torch-tar": "PyTorch loads this form with an unrestricted pickle alone",
    "torch-export-old": "PyTorch loads this form with an unrestricted pickle",
    "aotinductor": "it is native code",
    "native": "it is native code",
}
_OPAQUE = {
    "tensorrt-engine": (
        "it is native code, and never deserialised",
        "Verify the ONNX file that the engine was built from",
    ),
    "npz": ("it holds arrays and no model", "Name the model; a data set goes under `data` or --inputs"),
    "npy": ("it holds an array and no model", "Name the model; a data set goes under `data` or --inputs"),
    "tar": ("it holds files and is no model", "Name the model file inside it"),
    "compressed": ("what it holds is not looked for", "Commit the model uncompressed"),
}
_MAGIC = (
    (0, b"\x7fELF", "native"), (0, b"MZ", "native"), (0, b"\xfe\xed\xfa", "native"), (0, b"\xcf\xfa\xed\xfe", "native"),
    (0, b"!<arch>\n", "native"), (0, b"ftrt", "tensorrt-engine"), (0, b"ptrt", "tensorrt-engine"),
    (0, b"vtrt", "tensorrt-engine"),
    (0, b"\x93NUMPY", "npy"), (0, b"GGUF", "gguf"), (0, b"\x89HDF\r\n", "hdf5"), (4, b"TFL3", "tflite"),
    (4, b"ET12", "executorch"),
    (4, b"ORTM", "ort"), (0, b"\x1f\x8b", "compressed"), (0, b"BZh", "compressed"), (0, b"\xfd7zXZ\0", "compressed"),
    (0, b"7z\xbc\xaf", "compressed"), (0, b"\x28\xb5\x2f\xfd", "compressed"), (257, b"ustar", "tar"),
)  # fmt: skip
# The first opcode of protocol 0 that a harmful pickle begins with: a global's name in two lines.
_OLD_PICKLE = re.compile(rb"[(]?c[A-Za-z_][\w.]*\r?\n[A-Za-z_][\w.]*\r?\n")
_NATIVE = (".so", ".o", ".a", ".dll", ".dylib", ".cubin", ".ptx", ".cpp", ".hsaco", ".fatbin", ".spv")
_TAR_OF_TORCH = (b"sys_info", b"pickle", b"storages", b"tensors")


def detect_format(path: Path) -> str:
    """The format of a file, a key of ``FORMAT_NAMES``.

    Raises:
        FormatError: Missing, empty, a directory, a Git LFS pointer, of no known format, or of two at once.
    """
    where = path.name
    if path.is_dir():
        raise FormatError(
            "a directory where a model file is expected",
            where=where,
            remedy="Name the model file itself",
            rule="ART101",
        )
    if path.exists() and not path.is_file():
        raise FormatError(
            "a device, a pipe or a socket where a model file is expected",
            where=where,
            remedy="Name the model file itself",
            rule="ART101",
        )
    try:
        with path.open("rb") as file:
            head = file.read(1024)
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
    if head.startswith(b"PK\x03\x04"):
        return _zip_kind(path)
    kind = _by_magic(head, where)
    if _is_followed_by_archive(path):
        raise FormatError(
            f"the file is {FORMAT_NAMES[kind]} and a zip archive at once: it begins as the one and ends as the other",
            where=where, remedy="Do not merge this file; export the model again", rule="ART105",
        )  # fmt: skip
    return kind


def _by_magic(head: bytes, where: str) -> str:
    if is_legacy(head):
        return "torch-legacy"
    # First, for a header of 0x380 bytes begins as a pickle does: no pickle goes on with zeros and a brace.
    if len(head) > 9 and head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= 100 * 2**20:
        return "safetensors"
    if (head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")) or _OLD_PICKLE.match(head):
        return "pickle"
    for place, magic, kind in _MAGIC:
        if head[place : place + len(magic)] == magic:
            return "torch-tar" if kind == "tar" and head.startswith(_TAR_OF_TORCH) else kind
    # A ModelProto begins with the tag of one of its first fields: ir_version, opset_import, graph, ...
    if head[0] in (0x08, 0x12, 0x1A, 0x22, 0x2A, 0x32, 0x3A, 0x42, 0x72):
        return "onnx"
    raise FormatError(
        "not a model: the first bytes belong to no known model format",
        where=where,
        remedy="Check that the right file was committed and not cut or filtered",
        rule="ART104",
    )


def _is_followed_by_archive(path: Path) -> bool:
    """Whether readers that look at a file's end, as those of zip archives do, find an archive there."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 65_557))
        tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    while at >= 0:
        comment = int.from_bytes(tail[at + 20 : at + 22], "little")
        if at + 22 + comment == len(tail) and tail[at + 8 : at + 10] != b"\0\0":
            return True
        at = tail.rfind(b"PK\x05\x06", 0, at)
    return False


def _zip_kind(path: Path) -> str:
    names = names_of(Mapped(path).view)
    if names is None:
        raise FormatError(
            "a zip archive without a whole directory at its end", where=path.name,
            remedy="Commit the file again; it was cut or something was appended to it", rule="ART104",
        )  # fmt: skip
    inner = {name.partition("/")[2] or name for name in names}
    if any(name.lower().endswith(_NATIVE) for name in names) or any(
        n.startswith("data/aotinductor/") for n in inner
    ):
        return "aotinductor"
    if any(name.startswith("code/") for name in inner) or "constants.pkl" in inner:
        return "torchscript"
    if ".data/extern_modules" in inner or any(name.endswith(".py") for name in names):
        return "torch-package"
    if any(name.startswith("models/") and name.endswith(".json") for name in inner):
        return "torch-export"
    if any(name.rpartition("/")[2] == "serialized_exported_program.json" for name in names):
        return "torch-export-old"
    if "data.pkl" in inner:
        return "torch-checkpoint"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    raise FormatError(
        "a zip archive that is no model",
        where=path.name,
        remedy="Name the model file inside it",
        rule="ART104",
    )


def refuse_other_format(kind: str, path: Path) -> FormatError:
    """The error for a format that is recognised and not read."""
    name = FORMAT_NAMES[kind]
    if kind == "pickle":
        return refuse_pickle(path)
    if kind in _WHY_CODE:
        return CodeError(f"{name}: {_WHY_CODE[kind]}", where=path.name, kind=kind)
    what, remedy = _OPAQUE.get(
        kind, ("this version of qgate does not read this format", "Export the model to ONNX and verify that")
    )
    return FormatError(f"{name}: {what}", where=path.name, remedy=remedy, rule="ART103")
