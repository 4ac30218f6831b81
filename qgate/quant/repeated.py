"""Makes one of operations that compute the same twice, as runtimes do when they optimise a graph.

Only the reference is brought to this form. Several operations of a candidate may stand for one of the reference's,
so a candidate compares whether or not it was optimised; and nothing of the candidate itself is left out of sight, nor
do two of its constants count as one because rounding has made them equal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Any

import numpy as np

from qgate.formats.model import Constant, StaticModel
from qgate.quant.build import float_view
from qgate.quant.floatgraph import FloatGraph, FloatNode

MAX_COMPARED = 64
"""Elements up to which two constants of different names are compared by their values."""
# Draws another number each time, also where a seed is given, or may do so.
_DRAWS = {
    "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli", "Dropout",
}  # fmt: skip
# Updates what it is given while it trains.
_STATEFUL = {"BatchNormalization"}


def reference_view(model: StaticModel, *, fold_norms: bool = True) -> FloatGraph:
    """The float view of a reference; its arguments are those of ``float_view``."""
    graph = float_view(model, fold_norms=fold_norms)
    merge_repeated(graph)
    return graph


def merge_repeated(graph: FloatGraph) -> None:
    """Lets the first of several equal operations stand for all, in place, here and in all bodies.

    Equal are operations of the standard domain with one operator, the same attributes and the same operands. What draws
    random numbers, keeps a state or has a body stays, and so does what a quantizer stands behind.
    """
    made = Counter(name for node in graph.nodes for name in node.outputs if name)
    first: dict[Hashable, FloatNode] = {}
    renamed: dict[str, str] = {}
    kept: list[FloatNode] = []
    for node in graph.nodes:
        for body in node.bodies.values():
            merge_repeated(body)
        sure = all(made[name] == 1 and name not in graph.quantizers for name in node.outputs if name)
        key = _key(graph, node, renamed) if sure else None
        stands_for = node if key is None else first.setdefault(key, node)
        if stands_for is node:
            kept.append(node)
            continue
        renamed.update({a: b for a, b in zip(node.outputs, stands_for.outputs, strict=True) if a})
    if not renamed:
        return
    graph.nodes = kept
    graph.rename(renamed)
    graph.names = {
        **{name: renamed.get(ref, ref) for name, ref in graph.names.items()},
        **renamed,
    }
    graph.prune()


def _key(graph: FloatGraph, node: FloatNode, renamed: dict[str, str]) -> Hashable | None:
    """What two operations have in common that compute the same; None for one that stays."""
    if node.domain or node.node.domain or node.bodies or node.implicit or not _is_standard(node.op):
        return None
    if node.op in _DRAWS | _STATEFUL:
        return None
    settings = [_setting(held) for held in (node.attributes, node.node.attributes)]
    if None in settings:
        return None
    operands = tuple(_operand(graph, renamed.get(name, name)) for name in node.inputs)
    return node.op, node.node.op, tuple(map(bool, node.outputs)), *settings, operands


def _operand(graph: FloatGraph, name: str) -> Hashable:
    """A tensor by its name, a small constant by its type and bytes."""
    held = graph.constants.get(name)
    if held is None or held.is_quantized or held.size > MAX_COMPARED or held.dtype == "string":
        return name
    values = held.values() if held.factor is not None else held.codes()
    return held.dtype, str(values.dtype), held.shape, np.ascontiguousarray(values).tobytes()


def _setting(value: Any) -> Hashable | None:
    """A setting as something to compare, exactly and with its type; None for one of another kind."""
    if isinstance(value, dict):
        found = [(key, _setting(held)) for key, held in sorted(value.items())]
        return None if any(held is None for _, held in found) else tuple(found)
    if isinstance(value, tuple):
        parts = [_setting(held) for held in value]
        return None if None in parts else ("tuple", *parts)
    if isinstance(value, Constant):
        if value.dtype == "string" or int(np.prod(value.shape, dtype=object)) > MAX_COMPARED:
            return None
        return "constant", value.dtype, value.shape, np.ascontiguousarray(value.load()).tobytes()
    if isinstance(value, bool | int | float | str | bytes):
        return type(value).__name__, repr(value)
    return None


def _is_standard(op: str) -> bool:
    """Whether the specification knows the operator; nothing is assumed of what it does not know."""
    import onnx

    return bool(onnx.defs.has(op))
