"""All hostile cases: the modules that add them, and the list."""

from __future__ import annotations

from tests.corpus.hostile import (
    exported,
    onnx_bytes,
    onnx_external,
    onnx_graphs,
    others,
    pickles,
    tensors,
    torch_code,
    torch_legacy,
    torch_zip,
)
from tests.corpus.hostile.case import CASES

SOURCES = (
    pickles, torch_zip, torch_legacy, torch_code, exported, tensors, onnx_bytes, onnx_external, onnx_graphs, others,
)  # fmt: skip

BOUNDED = frozenset({"onnx-input-of-terabytes", "onnx-library-in-attribute"})
"""Cases that are read: the sandboxed run ends in an error, by the limit on memory and by the runtime's own check."""

__all__ = ["BOUNDED", "CASES", "SOURCES"]
