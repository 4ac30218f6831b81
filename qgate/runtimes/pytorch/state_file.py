"""The tensors of a file that go into a module: exactly those that the static reader judges, as they are stored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qgate.errors import FormatError
from qgate.runtimes.base import ModelRefusedError

_TYPES = {
    "float": "float32", "double": "float64", "float16": "float16", "bfloat16": "bfloat16", "bool": "bool",
    "int8": "int8", "int16": "int16", "int32": "int32", "int64": "int64", "uint8": "uint8", "uint16": "uint16",
    "uint32": "uint32", "uint64": "uint64", "float8e4m3fn": "float8_e4m3fn", "float8e5m2": "float8_e5m2",
    "float8e4m3fnuz": "float8_e4m3fnuz", "float8e5m2fnuz": "float8_e5m2fnuz", "float8e8m0": "float8_e8m0fnu",
}  # fmt: skip


def read_state(path: Path, form: str) -> tuple[Mapping[str, Any], str]:
    """A file's state_dict and its record, see ``formats.torch.root.state_record``.

    Args:
        path: A checkpoint or a safetensors file.
        form: Its format.

    Raises:
        ModelRefusedError: It is not read, or holds no state_dict.
    """
    try:
        return _stored(path) if form == "safetensors" else _saved(path)
    except FormatError as error:
        raise ModelRefusedError(error.what) from error


def _saved(path: Path) -> tuple[Mapping[str, Any], str]:
    """The dictionary that the static reader picked, as PyTorch loads it."""
    import torch

    from qgate.formats.read import read_model
    from qgate.formats.torch.root import state_record

    judged = read_model(path)
    if not judged.state:
        raise ModelRefusedError("it holds no state_dict, or several")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:
        raise ModelRefusedError(f"torch.load(weights_only=True) refuses it: {error}") from error
    key = judged.root.removesuffix(".")
    held = found.get(key) if key and isinstance(found, Mapping) else found
    words = isinstance(held, Mapping) and all(isinstance(name, str) for name in held)
    if not isinstance(held, Mapping) or not words or state_record(key, held) != judged.state:
        raise ModelRefusedError("PyTorch loads another dictionary from it than was judged")
    return held, judged.state


def _stored(path: Path) -> tuple[Mapping[str, Any], str]:
    """The tensors of a safetensors file, by our own reader: codes and scales apart, as modules keep them."""
    import numpy as np
    import torch

    from qgate.formats.elements import Mapped
    from qgate.formats.safetensors import stored_tensors
    from qgate.formats.torch.root import state_record

    constants, _ = stored_tensors(path, Mapped(path))
    found = {}
    for name, constant in constants.items():
        dtype = getattr(torch, _TYPES.get(constant.dtype, ""), None)
        if dtype is None:
            raise ModelRefusedError(
                f"the tensor {name!r} is {constant.dtype}, which is not put into a module"
            )
        raw = (
            constant.raw()
            if constant.raw is not None
            else np.ascontiguousarray(constant.load()).view(np.uint8)
        )
        flat = torch.frombuffer(bytearray(raw.tobytes()), dtype=dtype) if raw.size else None
        empty = torch.empty(constant.shape, dtype=dtype)
        found[name] = empty if flat is None else flat.reshape(constant.shape)
    return found, state_record("", found)
