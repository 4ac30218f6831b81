"""The float view of a graph: what it computes once quantization is looked through.

Quantize and dequantize pairs on activations become marks on a tensor (``Quantizer``), quantized operators
become their float twins, quantized constants become ``ConstantValue``. Two models that are the same but
for quantization have the same float view; where the views differ, the models differ.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qgate.formats.model import Graph, Node, TensorType
from qgate.quant.constants import INTEGER_RANGES, Array, ConstantValue


@dataclass(frozen=True)
class Quantizer:
    """A static quantizer of an activation.

    Args:
        tensor: The tensor that it quantizes, in the float view.
        source: The same tensor as the file names it.
        node: The node that quantizes.
        dtype: Integer type of the codes.
        scale: Scale values.
        zero_point: Zero points, or None for 0.
        scale_name: The scale's name in the file.
        zero_name: The zero point's name, empty where there is none.
        inherent: The tensor itself is codes, so that nothing can read it unquantized.
    """

    tensor: str
    source: str
    node: str
    dtype: str
    scale: Array
    zero_point: Array | None
    scale_name: str
    zero_name: str
    inherent: bool = False

    def bounds(self) -> tuple[float, float]:
        """The least and the greatest float that the codes can stand for."""
        if self.dtype not in INTEGER_RANGES:
            return float("-inf"), float("inf")
        least, greatest = INTEGER_RANGES[self.dtype]
        scale = self.scale.astype(np.float64).reshape(-1)
        zero = np.zeros(1) if self.zero_point is None else self.zero_point.astype(np.float64).reshape(-1)
        with np.errstate(all="ignore"):
            low, high = np.min((least - zero) * scale), np.max((greatest - zero) * scale)
        return float(low), float(high)


@dataclass
class FloatNode:
    """One operation of the float view.

    ``stages`` names the file's own tensors inside an operation that absorbed its bias, its BatchNorm or
    its integer arithmetic: operator -> tensor.
    """

    op: str
    domain: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]
    node: Node
    stages: dict[str, str] = field(default_factory=dict)
    implicit: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The name of the file's own node."""
        return self.node.label


@dataclass(frozen=True)
class Defect:
    """Something in the graph that is wrong in itself, whatever the reference says."""

    kind: str
    message: str
    node: str | None = None
    tensor: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class FloatGraph:
    """Nodes in topological order with constants, quantizers and defects beside them."""

    inputs: tuple[TensorType, ...]
    outputs: tuple[tuple[str, str], ...]
    nodes: list[FloatNode]
    constants: dict[str, ConstantValue]
    quantizers: dict[str, list[Quantizer]]
    defects: list[Defect]
    dynamic: bool
    names: dict[str, str]
    types: Mapping[str, TensorType]

    def producers(self) -> dict[str, FloatNode]:
        """The node that makes each tensor."""
        return {name: node for node in self.nodes for name in node.outputs if name}

    def consumers(self) -> dict[str, list[FloatNode]]:
        """The nodes that read each tensor."""
        readers: dict[str, list[FloatNode]] = defaultdict(list)
        for node in self.nodes:
            for name in dict.fromkeys((*node.inputs, *node.implicit)):
                if name:
                    readers[name].append(node)
        return readers

    def prune(self) -> None:
        """Drops nodes and constants that no output depends on."""
        needed = {ref for _, ref in self.outputs}
        kept: list[FloatNode] = []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                needed.update(name for name in (*node.inputs, *node.implicit) if name)
                kept.append(node)
        self.nodes = kept[::-1]
        self.constants = {name: value for name, value in self.constants.items() if name in needed}


def outer_names(graphs: Iterable[Graph]) -> set[str]:
    """Tensors that subgraphs read from the graph around them."""
    found: set[str] = set()
    for graph in graphs:
        own = {t.name for t in graph.inputs} | set(graph.constants)
        for node in graph.nodes:
            found.update(name for name in node.inputs if name and name not in own)
            found.update(outer_names(held_graphs(node)) - own)
            own.update(node.outputs)
        found.update(t.name for t in graph.outputs if t.name not in own)
    return found


def held_graphs(node: Node) -> list[Graph]:
    """The subgraphs of a node, in the order of its attributes."""
    held: list[Graph] = []
    for value in node.attributes.values():
        held.extend(
            item for item in (value if isinstance(value, tuple) else (value,)) if isinstance(item, Graph)
        )
    return held
