"""One bit of one stored tensor changed, in a file of its own, and who is named for it: tensor, leaf and element."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from qgate.baseline.content import compare_contents
from qgate.formats.content import ModelContent, model_content
from qgate.formats.difference import difference
from qgate.formats.model import Constant
from qgate.formats.read import read_model
from qgate.merkle import LEAF_ELEMENTS, content_digest, elements_of, leaf_runs
from qgate.report.schema import Artifact, Content

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@dataclass(frozen=True)
class Honest:
    """A model before the change: as a message, its stored tensors, its digests and its entries as text."""

    proto: onnx.ModelProto
    raw: tuple[onnx.TensorProto, ...]
    content: ModelContent
    entries: tuple[str, ...]
    constants: Mapping[str, Constant]


@functools.cache
def honest(model: str) -> Honest:
    """A model before the change, read once in each process; saved anew first, so that only the change differs."""
    proto = onnx.load(EXAMPLES / f"{model}.onnx")
    path = Path(tempfile.mkdtemp(prefix="content-")) / "honest.onnx"
    onnx.save(proto, path)
    read = read_model(path)
    content = model_content(read)
    raw = tuple(t for t in proto.graph.initializer if t.raw_data)
    # The values are read from the file whenever they are asked for.
    atexit.register(shutil.rmtree, path.parent, ignore_errors=True)
    return Honest(proto, raw, content, content.entries, read.graph.constants)


def change(asked: tuple[str, int, int]) -> tuple[str, tuple[bool, bool, bool]]:
    """Flips one bit, writes the file, reads it and says whether tensor, leaf and element are named."""
    model, place, bit = asked
    before = honest(model)
    tensor, kept = before.raw[place], before.raw[place].raw_data
    flipped = bytearray(kept)
    flipped[bit // 8] ^= 1 << bit % 8
    tensor.raw_data = bytes(flipped)
    with tempfile.TemporaryDirectory() as folder:
        try:
            onnx.save(before.proto, path := Path(folder) / "flipped.onnx")
        finally:
            tensor.raw_data = kept
        read = read_model(path)
        after = model_content(read)
        constant = before.constants[tensor.name]
        element = bit // constant.bits
        found = difference(constant, read.graph.constants[tensor.name])
    exact = found.elements == 1 and bool(
        np.ravel_multi_index(found.at[0] or (0,), constant.shape or (1,)) == element
    )
    hits = (*_located(before, after, tensor.name, element), exact)
    return f"{model} {tensor.name} bit {bit}", hits


def _located(before: Honest, after: ModelContent, name: str, element: int) -> tuple[bool, bool]:
    sides = [
        (
            Artifact(locator="m", content=content_digest(content.graph, entries)),
            Content(graph=content.graph, count=len(content.tensors), tensors=entries),
        )
        for content, entries in ((before.content, before.entries), (after, after.entries))
    ]
    delta = compare_contents(sides[0], sides[1])
    named = [tensor.name for tensor in delta.tensors] == [name] and not delta.graph and not delta.wiring
    old, new = (next(t for t in c.tensors if t.name == name) for c in (before.content, after))
    runs = leaf_runs(old.leaves, new.leaves)
    shape = new.identity.shape
    ranges = [elements_of(run, shape) for run in runs]
    return named, runs == ((element // LEAF_ELEMENTS,) * 2,) and len(ranges) == 1
