"""Attributes of two operations that stand for each other: which of them differ in what they make the operation do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qgate.formats.model import Graph
from qgate.quant.attributes import same_attribute
from qgate.quant.floatgraph import FloatGraph, FloatNode

_KEEPS_RANK = {"Softmax", "LogSoftmax", "Hardmax", "Concat", "Split", "LayerNormalization", "RMSNormalization",
               "LpNormalization", "CumSum", "TopK", "Slice", "Transpose", "Pad"}  # fmt: skip
_AXES = ("axis", "axes")


def differing(
    one: FloatNode, two: FloatNode, reference: FloatGraph, candidate: FloatGraph
) -> Iterator[tuple[str, Any, Any]]:
    """Name, the reference's value and the candidate's of every attribute that differs; bodies aside."""
    rank = _rank(one, reference) or _rank(two, candidate)
    lenient = bool({one.node.domain, two.node.domain} - {"", "ai.onnx.ml"})
    for key in sorted(set(one.attributes) | set(two.attributes)):
        left, right = one.attributes.get(key), two.attributes.get(key)
        if _holds_graph(left) or _holds_graph(right) or same_attribute(left, right, lenient=lenient):
            continue
        if key in _AXES and _from_the_front(left, rank) == _from_the_front(right, rank) is not None:
            continue
        if key == "flattened" and _on_the_last_axis(one, rank) and _on_the_last_axis(two, rank):
            continue
        yield key, left, right


def _rank(node: FloatNode, graph: FloatGraph) -> int | None:
    """The rank of what an operation reads, if the file says it."""
    typed = {t.name: t for t in graph.inputs}
    names = [*node.node.inputs[:1], *(node.node.outputs[:1] if node.op in _KEEPS_RANK else ())]
    for name in names:
        found = graph.types.get(name) or typed.get(name)
        if found is not None and found.shape is not None:
            axes = node.attributes.get("axes")
            # Unsqueeze counts in what it makes.
            more = (len(axes) if isinstance(axes, tuple) else 1) if node.op == "Unsqueeze" else 0
            return len(found.shape) + more
    return None


def _from_the_front(value: Any, rank: int | None) -> tuple[int, ...] | None:
    """Axes counted from the first; None where the rank is needed and not known."""
    axes = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(axis, int) and (axis >= 0 or rank is not None) for axis in axes):
        return None
    return tuple(int(axis) + (rank or 0) if axis < 0 else int(axis) for axis in axes)


def _on_the_last_axis(node: FloatNode, rank: int | None) -> bool:
    """Whether flattening from the axis on changes nothing, because nothing comes after it."""
    axis = node.attributes.get("axis")
    return axis == -1 or (rank is not None and axis == rank - 1)


def _holds_graph(value: Any) -> bool:
    return isinstance(value, Graph) or (isinstance(value, tuple) and any(isinstance(v, Graph) for v in value))
