"""What qgate's own readers say of a file, without running it."""

from __future__ import annotations

from pathlib import Path

from qgate.errors import DataError, FormatError
from qgate.formats.read import read_model
from qgate.measure.data import NpzFile
from qgate.measure.operators import unknown_operators


def refusal(path: Path, role: str = "candidate") -> str:
    """Why a file is refused; empty where every byte of it was read.

    Raises:
        Exception: Anything but a refusal is a defect of the reader.
    """
    try:
        if role == "data":
            with NpzFile(path) as held:
                for name, spec in held.arrays.items():
                    _ = (
                        held.whole(name, "a test")
                        if not spec.shape
                        else list(held.rows(name, [1] * spec.shape[0]))
                    )
            return ""
        model = read_model(path)
        for constant in model.graph.all_constants():
            constant.load()
    except (FormatError, DataError) as error:
        return str(error)
    if model.format != "onnx":
        return ""
    return "; ".join(str(found.detail["message"]) for found in unknown_operators(model, frozenset()))
