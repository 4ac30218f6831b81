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

BOUNDED: frozenset[str] = frozenset()
"""Cases that may be read: what they ask for is bounded before or while they run."""

__all__ = ["BOUNDED", "CASES", "SOURCES"]
