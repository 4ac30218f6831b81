"""The one door to every reader."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from qgate.errors import FormatError
from qgate.formats.detect import READ, detect_format, refuse_other_format
from qgate.formats.elements import Mapped
from qgate.formats.model import StaticModel


def read_model(path: Path) -> StaticModel:
    """Reads a model as data.

    Raises:
        FormatError: It is missing, unsafe, damaged, or of a form that this version cannot verify.
        CodeError: It runs code of its own when it is loaded.
    """
    kind = detect_format(path)
    if kind not in READ:
        raise refuse_other_format(kind, path)
    try:
        return _read(kind, path)
    except (RecursionError, MemoryError) as error:
        raise FormatError(
            "the file asks for more memory or depth than a reader gives",
            where=path.name,
            remedy="Do not merge this file",
            rule="ART105",
        ) from error


def _read(kind: str, path: Path) -> StaticModel:
    if kind == "onnx":
        from qgate.formats.onnx.reader import read_onnx

        return read_onnx(path)
    file = Mapped(path)
    if kind == "safetensors":
        from qgate.formats.safetensors import read_safetensors

        return read_safetensors(path, file)
    if kind == "tflite":
        from qgate.formats.tflite.reader import read_tflite

        return read_tflite(path, file)
    if kind == "torch-export":
        from qgate.formats.torch.export import read_export

        return read_export(path, file)
    if kind == "torch-legacy":
        from qgate.formats.torch.legacy import read_legacy

        return read_legacy(path, file)
    from qgate.formats.torch.checkpoint import read_checkpoint

    return read_checkpoint(path, file)


def named_side_files(path: Path) -> Mapping[str, str]:
    """The side files that a model names, each with a tensor that lies in it; none for most formats.

    The names are checked to be safe; whether the files are there is not looked at.

    Raises:
        FormatError: As for read_model.
    """
    if detect_format(path) != "onnx":
        return {}
    from qgate.formats.onnx.reader import read_onnx

    return read_onnx(path, check_side_files=False).side_files
