"""The example pairs that edits are made on, and honest rewrites of candidates that must not be blocked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from structure_models import Arrays, Pair

from tests.corpus.harmless import VARIANTS

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
_DIGITS = ("int8_pc", "int8_pt", "int8_qop", "dyn", "a16w8", "w4a8", "fp16")
_OTHERS = ("ort_qdq_pc", "nncf_int8", "conv_fp16")
_PAIRS = [
    *(("digits", "digits_fp32.onnx", f"digits_{name}.onnx") for name in _DIGITS),
    *(("ppocr_cls", "ref.onnx", f"{name}.onnx") for name in (*_OTHERS, "ort_dyn")),
    *((folder, "ref.onnx", f"{name}.onnx") for folder in ("mtcnn_rnet", "crepe_tiny") for name in _OTHERS),
]
REWRITES = (
    "renamed", "unnamed_nodes", "reshuffled", "ort_basic", "ort_extended", "slimmed", "newer_opset", "identities",
    "constants_as_nodes", "no_dead_initializers", "shapes_inferred", "no_value_info", "typed_fields", "reshape_to_same",
)  # fmt: skip
"""Of the corpus's harmless changes those of the graph."""


def feeds_of(proto: onnx.ModelProto, seed: int = 0) -> Arrays:
    """Values for every input; free sizes become 2."""
    rng = np.random.default_rng(seed)
    held = {t.name for t in proto.graph.initializer}
    made: Arrays = {}
    for entry in proto.graph.input:
        if entry.name not in held:
            tensor = entry.type.tensor_type
            shape = [d.dim_value or 2 for d in tensor.shape.dim]
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
            made[entry.name] = (rng.random(shape) if dtype.kind == "f" else np.ones(shape)).astype(dtype)
    return made


def examples() -> Iterator[Pair]:
    """The example models with their quantized twins."""
    for folder, reference, candidate in _PAIRS:
        ours, theirs = onnx.load(EXAMPLES / folder / reference), onnx.load(EXAMPLES / folder / candidate)
        yield Pair(f"{folder}/{candidate}", ours, theirs, feeds_of(theirs))


def rewrites(pair: Pair, work: Path) -> Iterator[tuple[str, onnx.ModelProto]]:
    """Honest rewrites of a candidate, by what was done; those that a tool refuses are left out."""
    for name in REWRITES:
        variant = VARIANTS[name]
        if not variant.available:
            continue
        copy = onnx.ModelProto()
        copy.CopyFrom(pair.candidate)
        try:
            made = variant.make(copy, work)
        except Exception:  # converters raise many kinds where a model is not for them
            continue
        if made is not None:
            yield name, made
