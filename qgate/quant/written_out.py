"""Softmax and PRelu that a runtime wrote out by their definition, as it does for types that it has no kernel for.

ONNX defines both as functions: ``Softmax(x) = Exp(x - ReduceMax(x)) / ReduceSum(Exp(x - ReduceMax(x)))`` and
``PRelu(x, slope) = Where(x < 0, slope * x, x)`` (onnx/defs/math and onnx/defs/nn). Only these very forms are taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from qgate.quant.floatgraph import FloatGraph, FloatNode

WRITTEN_OUT = frozenset({"Softmax", "PRelu"})


def join_written_out(graph: FloatGraph, wanted: frozenset[str]) -> None:
    """Puts each of the wanted operators in the place of its definition."""
    made = graph.producers()
    for position, node in enumerate(graph.nodes):
        found: tuple[list[str], dict[str, Any]] | None = None
        if node.op == "Div" and "Softmax" in wanted:
            name, found = "Softmax", _softmax(graph, node, made)
        elif node.op == "Where" and "PRelu" in wanted:
            name, found = "PRelu", _prelu(graph, node, made)
        if found is not None:
            inputs, attributes = found
            joined = FloatNode(name, "", inputs, list(node.outputs), attributes, node.node, node.stages)
            graph.nodes[position] = made[node.outputs[0]] = joined


def _softmax(
    graph: FloatGraph, root: FloatNode, made: Mapping[str, FloatNode]
) -> tuple[list[str], dict[str, Any]] | None:
    top, total = (made.get(name) for name in root.inputs[:2])
    if top is None or total is None or top.op != "Exp" or total.op != "ReduceSum":
        return None
    moved = made.get(top.inputs[0])
    if moved is None or moved.op != "Sub" or total.inputs[0] != root.inputs[0]:
        return None
    source, peak = moved.inputs[0], made.get(moved.inputs[1])
    if peak is None or peak.op != "ReduceMax" or peak.inputs[0] != source:
        return None
    axes = [_only_axis(node) for node in (total, peak)]
    inner = (*top.outputs, *total.outputs, *moved.outputs, *peak.outputs)
    if axes[0] is None or axes[0] != axes[1] or any(graph.quantizers.get(name) for name in inner):
        return None
    return [source], {"axis": axes[0]}


def _only_axis(node: FloatNode) -> int | None:
    axes = node.attributes.get("axes")
    if len(node.inputs) > 1 or node.attributes.get("keepdims", 1) != 1 or axes is None:
        return None
    several = np.atleast_1d(np.asarray(axes))
    return int(several[0]) if several.size == 1 else None


def _prelu(
    graph: FloatGraph, root: FloatNode, made: Mapping[str, FloatNode]
) -> tuple[list[str], dict[str, Any]] | None:
    condition, bent = (made.get(name) for name in root.inputs[:2])
    source = root.inputs[2]
    if condition is None or bent is None or condition.op != "Less" or bent.op != "Mul":
        return None
    bound = graph.constants.get(condition.inputs[1])
    if condition.inputs[0] != source or bound is None or np.any(bound.values() != 0):
        return None
    slopes = [name for name in bent.inputs if name != source]
    inner = (*condition.outputs, *bent.outputs)
    if (
        len(slopes) != 1
        or slopes[0] not in graph.constants
        or any(graph.quantizers.get(name) for name in inner)
    ):
        return None
    return [source, slopes[0]], {}
