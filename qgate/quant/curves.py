"""Recognises an activation that one exporter writes as one operator and another as a handful.

What stands between a tensor and what is made of it is evaluated on a grid over all magnitudes and compared
with the activation's definition in the ONNX specification.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import pi, sqrt
from typing import Any

import numpy as np

from qgate.quant.constants import Array
from qgate.quant.evaluation import erf_of, evaluate, sigmoid, sources
from qgate.quant.floatgraph import FloatGraph, FloatNode

_FAR = np.geomspace(12.0, 1e4, 200)
_GRID: Array = np.concatenate([-_FAR[::-1], np.linspace(-12.0, 12.0, 4801), _FAR])


def _gelu_tanh(x: Array) -> Array:
    return np.asarray(0.5 * x * (1 + np.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))))


_CURVES: tuple[tuple[str, Mapping[str, Any], Callable[[Array], Array]], ...] = (
    ("Gelu", {"approximate": "none"}, lambda x: 0.5 * x * (1 + erf_of(x / sqrt(2)))),
    ("Gelu", {"approximate": "tanh"}, _gelu_tanh),
    ("Swish", {"alpha": 1.0}, lambda x: x * sigmoid(x)),
    ("Swish", {"alpha": 1.702}, lambda x: x * sigmoid(1.702 * x)),
    ("Mish", {}, lambda x: x * np.tanh(np.logaddexp(x, 0.0))),
    ("HardSwish", {}, lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}, lambda x: np.clip(x / 6 + 0.5, 0, 1)),
)
CURVES = frozenset(name for name, _, _ in _CURVES)
_ROOTS = {"Mul", "Div", "Clip"}


def join_curves(graph: FloatGraph, wanted: frozenset[str]) -> None:
    """Puts each of the wanted activations in the place of what amounts to it."""
    made = graph.producers()
    targets = [(name, settings, curve(_GRID)) for name, settings, curve in _CURVES if name in wanted]
    for position, node in enumerate(graph.nodes):
        found = _recognised(graph, node, made, targets) if node.op in _ROOTS else None
        if found is not None:
            name, settings, source = found
            joined = FloatNode(name, "", [source], list(node.outputs), dict(settings), node.node, node.stages)
            graph.nodes[position] = made[node.outputs[0]] = joined


def _recognised(
    graph: FloatGraph,
    root: FloatNode,
    made: Mapping[str, FloatNode],
    targets: list[tuple[str, Mapping[str, Any], Array]],
) -> tuple[str, Mapping[str, Any], str] | None:
    for source in sources(graph, root, made):
        found = evaluate(graph, root.outputs[0], source, made, _GRID)
        if found is None or not np.isfinite(found.values).all():
            continue
        allowed = found.tolerance * np.maximum(np.abs(_GRID), 1)
        errors = [float(np.max(np.abs(found.values - values) / allowed)) for _, _, values in targets]
        if errors and min(errors) <= 1:
            name, settings, _ = targets[errors.index(min(errors))]
            return name, settings, source
    return None
