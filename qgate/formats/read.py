"""The one door to every reader."""

from __future__ import annotations

from pathlib import Path

from qgate.errors import FormatError
from qgate.formats.detect import detect_format, refuse_other_format
from qgate.formats.model import StaticModel


def read_model(path: Path) -> StaticModel:
    """Reads a model as data.

    Raises:
        FormatError: It is missing, unsafe, damaged, or of a form that this version cannot verify.
    """
    kind = detect_format(path)
    if kind != "onnx":
        raise refuse_other_format(kind, path)
    from qgate.formats.onnx_reader import read_onnx

    try:
        return read_onnx(path)
    except (RecursionError, MemoryError) as error:
        raise FormatError(
            "the file asks for more memory or depth than a reader gives",
            where=path.name,
            remedy="Do not merge this file",
            rule="ART105",
        ) from error


def named_side_files(path: Path) -> tuple[str, ...]:
    """The side files that a model names; none for formats that have none.

    Raises:
        FormatError: As for read_model.
    """
    if detect_format(path) != "onnx":
        return ()
    from qgate.formats.onnx_reader import side_files

    return side_files(path)
