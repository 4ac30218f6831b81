"""Quantizing operations of a LiteRT model that quantizing does not need: dead ones, and chains of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from qgate.align.flat import FlatProgram
from qgate.formats.model import Node, StaticModel
from qgate.quant.constants import INTEGER_RANGES
from qgate.records import Measurement, Place

_FLOATS = ("float", "float16", "bfloat16", "double")
_COPIES = {
    f"tfl.{name}"
    for name in ("concatenation", "pack", "maximum", "minimum", "pad", "padv2", "select", "select_v2")
}
"""Operations whose results are some of their operands' values: LiteRT gives both one scale."""
_MOST = 2
"""Quantizing operations between two that compute."""
_NARROWED = 1.05
"""How many times narrower a tensor's range may become when its codes are made into others: requantizing rounds scales."""


def measure_flat_quantizers(program: FlatProgram) -> Iterator[Measurement]:
    """``structure.difference`` for every QUANTIZE and DEQUANTIZE beyond what a converter writes.

    A converter writes one DEQUANTIZE behind a constant, and between two operations that compute at most one change of
    codes for codes: two floats have nothing between them, and a change of codes keeps the range, but for operands that are
    brought to the scale of the concatenation that reads them.

    Args:
        program: The candidate.
    """
    graph = program.model.graph
    outputs = {each.name for each in graph.outputs}
    made = {name: node for node in graph.nodes for name in node.outputs if name}
    used = set(outputs)
    for node in reversed(graph.nodes):
        if not program.quantizes(node) or used & set(node.outputs):
            used |= set(node.inputs) - {""}
    for node in graph.nodes:
        if not program.quantizes(node):
            continue
        if not used & set(node.outputs):
            yield _added(node, "has a result that nothing reads")
            continue
        readers = [r for name in node.outputs for r in program.readers.get(name, [])]
        if readers and all(program.quantizes(r) for r in readers) and not outputs & set(node.outputs):
            continue  # Told at the end of its chain.
        yield from _chain(program, node, made)


def _chain(program: FlatProgram, last: Node, made: dict[str, Node]) -> Iterator[Measurement]:
    """What is wrong with the quantizing operations that end with one."""
    chain = [last]
    while (source := made.get(_source(chain[0]))) is not None and program.quantizes(source):
        chain.insert(0, source)
        if len(chain) > _MOST:
            yield _added(last, f"ends more than {_MOST} quantizing operations in a row")
            return
    graph = program.model.graph
    begin, ends = _source(chain[0]), [node.outputs[0] if node.outputs else "" for node in chain]
    kinds = [graph.types[name].dtype if name in graph.types else "" for name in (begin, *ends)]
    if begin in graph.constants:
        if len(chain) > 1 or last.op != "tfl.dequantize":
            yield _added(last, f"computes {begin!r}, a constant, into another by {len(chain)} operations")
        return
    if len(chain) > 1 and kinds[0] in _FLOATS and kinds[-1] in _FLOATS:
        yield _added(last, "gives back in floating point what was floating point, in fewer values")
    ranges = [(name, _bounds(program, name)) for name in (begin, *ends)]
    coded = [(name, held) for name, held in ranges if held is not None]
    for (_, before), (name, after) in pairwise(coded):
        width = min(before[1], after[1]) - max(before[0], after[0])
        if name == ends[-1] and _is_readers_own(program, name, after):
            continue
        # Of a scale that is no number nothing holds.
        if not before[1] - before[0] <= _NARROWED * width or not np.isfinite((*before, *after)).all():
            yield _added(last, f"narrows the range to that of {name!r}, {after[0]:.4g} to {after[1]:.4g}")


def _is_readers_own(program: FlatProgram, name: str, bounds: tuple[float, float]) -> bool:
    """Whether all that read a tensor only copy it, into a range that is this one: it takes nothing away that they keep."""
    readers = program.readers.get(name, [])
    if any(each.name == name for each in program.model.graph.outputs):
        return False
    return bool(readers) and all(
        reader.op in _COPIES and [_bounds(program, each) for each in reader.outputs] == [bounds]
        for reader in readers
    )


def given_scales(model: StaticModel) -> set[str]:
    """Constants whose scale is not their own choice: all that read them copy values, and make what has that very scale."""
    program = FlatProgram(model, model)
    found = set()
    for name, held in model.graph.constants.items():
        stored, readers = held.quantization, program.readers.get(name, [])
        if stored is None or stored.scale.size != 1 or not readers:
            continue
        step = np.asarray(stored.scale.load()).reshape(-1)[0]
        made = [model.graph.constants.get(f"{each}.scale") for node in readers for each in node.outputs]
        if all(node.op in _COPIES for node in readers) and all(
            scale is not None and np.asarray(scale.load()).reshape(-1)[0] == step for scale in made
        ):
            found.add(name)
    return found


def _source(node: Node) -> str:
    return node.inputs[0] if node.inputs else ""


def _bounds(program: FlatProgram, name: str) -> tuple[float, float] | None:
    """The least and the greatest number that an activation's codes stand for; None of floats."""
    graph = program.model.graph
    scale, zero = (graph.constants.get(f"{name}.{part}") for part in ("scale", "zero_point"))
    kind = graph.types[name].dtype if name in graph.types else ""
    if scale is None or zero is None or kind not in INTEGER_RANGES:
        return None
    step, middle = float(np.asarray(scale.load())), float(np.asarray(zero.load()))
    low, high = INTEGER_RANGES[kind]
    return (low - middle) * step, (high - middle) * step


def _added(node: Node, what: str) -> Measurement:
    return Measurement(
        name="structure.difference",
        at=Place(node=node.label, tensor=(node.outputs[0] or None) if node.outputs else None),
        value="added",
        detail={
            "message": f"{node.label} {what}: no quantizer needs it", "rewritten": False,
            "candidate_operators": [node.op], "reference_operators": [],
        },
    )  # fmt: skip
