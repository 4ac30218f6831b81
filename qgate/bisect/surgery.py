"""Edits of a graph in ONNX's own form: a constant more, a node in the place of another, what is left without a reader."""

from __future__ import annotations

from typing import Any

import numpy as np

from qgate.errors import MeasureError
from qgate.quant.constants import Array

_AS_IT_WAS = "#quantized"


def add_constant(graph: Any, name: str, values: Array) -> str:
    """Adds float32 values under a name; returns the name."""
    from onnx import numpy_helper

    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name))
    return name


def put_in_place(graph: Any, output: str, made: list[Any]) -> None:
    """Puts nodes where the one that makes ``output`` stands, which then makes something that nobody reads.

    Raises:
        MeasureError: No operation makes it.
    """
    nodes = list(graph.node)
    place = next((i for i, node in enumerate(nodes) if output in node.output), None)
    if place is None:
        raise MeasureError(f"no operation of the file makes {output!r}")
    old = nodes[place]
    for i, name in enumerate(old.output):
        if name == output:
            old.output[i] = output + _AS_IT_WAS
    del graph.node[:]
    graph.node.extend([*nodes[: place + 1], *made, *nodes[place + 1 :]])


def prune(graph: Any) -> None:
    """Takes out what nothing reads any more: the operations that were replaced, and their constants."""
    needed = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        # A body reads names of the graph around it: whatever holds one is kept, with all that it could read.
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
            for attribute in node.attribute:
                for body in (attribute.g, *attribute.graphs):
                    needed.update(name for inner in body.node for name in inner.input)
                    needed.update(output.name for output in body.output)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    constants = [each for each in graph.initializer if each.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(constants)
