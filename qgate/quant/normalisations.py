"""Recognises LayerNormalization and RMSNormalization that are written as arithmetic.

The arithmetic is evaluated on random rows and compared with the definition in the ONNX specification, with
each of its own constants tried as epsilon; the gain and the shift that follow become its operands.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from qgate.quant.constants import Array
from qgate.quant.evaluation import evaluate, sources
from qgate.quant.floatgraph import FloatGraph, FloatNode

NORMALISATIONS = frozenset({"LayerNormalization", "RMSNormalization"})
_TOLERANCE = 1e-5
_MOST_EPSILON = 0.1


def _rows() -> Array:
    """Rows of many magnitudes and offsets, some so small that epsilon is all that counts."""
    rng = np.random.default_rng(0)
    size = np.geomspace(1e-7, 1e3, 96).reshape(-1, 1)
    return np.asarray(rng.standard_normal((96, 24)) * size + rng.standard_normal((96, 1)) * size)


_ROWS = _rows()


def _layer_norm(x: Array, epsilon: float) -> Array:
    centred = x - x.mean(axis=-1, keepdims=True)
    return np.asarray(centred / np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + epsilon))


def _rms_norm(x: Array, epsilon: float) -> Array:
    return np.asarray(x / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + epsilon))


_DEFINITIONS = {"LayerNormalization": _layer_norm, "RMSNormalization": _rms_norm}


def join_normalisations(graph: FloatGraph, wanted: frozenset[str]) -> None:
    """Puts each of the wanted normalisations in the place of its arithmetic, gain and shift."""
    made, readers = graph.producers(), graph.consumers()
    places = {id(node): position for position, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        found = _recognised(graph, node, made, wanted) if node.op in ("Div", "Mul") else None
        if found is None:
            continue
        name, epsilon, source = found
        last, operands = _affine(graph, node, readers, shifted=name == "LayerNormalization")
        if last is None:
            continue
        attributes = {"axis": -1, "epsilon": epsilon, "stash_type": 1}
        joined = FloatNode(
            name, "", [source, *operands], list(last.outputs), attributes, last.node, last.stages
        )
        graph.nodes[places[id(last)]] = made[last.outputs[0]] = joined


def _recognised(
    graph: FloatGraph, root: FloatNode, made: Mapping[str, FloatNode], wanted: frozenset[str]
) -> tuple[str, float, str] | None:
    for source in sources(graph, root, made):
        found = evaluate(graph, root.outputs[0], source, made, _ROWS)
        if found is None or not np.isfinite(found.values).all():
            continue
        for name in sorted(wanted & NORMALISATIONS):
            for epsilon in dict.fromkeys(c for c in found.constants if 0 <= c <= _MOST_EPSILON):
                if np.max(np.abs(found.values - _DEFINITIONS[name](_ROWS, epsilon))) <= _TOLERANCE:
                    return name, epsilon, source
    return None


def _affine(
    graph: FloatGraph, core: FloatNode, readers: Mapping[str, list[FloatNode]], *, shifted: bool
) -> tuple[FloatNode | None, list[str]]:
    """The operation that ends the normalisation, with the constants that it multiplies and adds."""
    last, operands = core, []
    for op in ("Mul", "Add") if shifted else ("Mul",):
        following = readers.get(last.outputs[0], [])
        if len(following) != 1 or following[0].op != op or len(following[0].inputs) != 2:
            break
        other = next((i for i in following[0].inputs if i != last.outputs[0]), "")
        if other not in graph.constants:
            break
        last = following[0]
        operands.append(other)
    return (None, []) if not operands else (last, operands)
