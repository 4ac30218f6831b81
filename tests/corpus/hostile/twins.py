"""An honest file of each form that the hostile ones take: what they are compared with."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path

import numpy as np

from tests.corpus.hostile import exported, onnx_base, torch_bytes

TWINS = {
    "pickle": "checkpoint.pt", "torch-zip": "checkpoint.pt", "torch-legacy": "legacy.pt", "torch-code": "checkpoint.pt",
    "pt2": "program.pt2", "safetensors": "tensors.safetensors", "onnx": "model.onnx", "data": "model.onnx",
    "other": "model.onnx",
}  # fmt: skip
"""By family: the name of the honest file."""


def tensors() -> bytes:
    """A safetensors file of one tensor."""
    entry = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
    header = json.dumps({"a": entry, "__metadata__": {"format": "pt"}})
    return struct.pack("<Q", len(header)) + header.encode() + bytes(24)


def inputs() -> bytes:
    """Inputs of the small ONNX model."""
    out = io.BytesIO()
    np.savez(out, x=np.random.default_rng(0).normal(size=(128, 8)).astype(np.float32))
    return out.getvalue()


def write(folder: Path) -> dict[str, Path]:
    """Writes them all, and ``inputs.npz``; their paths by name."""
    folder.mkdir(parents=True, exist_ok=True)
    held = {
        "checkpoint.pt": torch_bytes.checkpoint(), "legacy.pt": torch_bytes.legacy(), "program.pt2": exported.planted({}),
        "tensors.safetensors": tensors(), "model.onnx": onnx_base.base().SerializeToString(), "inputs.npz": inputs(),
    }  # fmt: skip
    for name, data in held.items():
        (folder / name).write_bytes(data)
    return {name: folder / name for name in held}
