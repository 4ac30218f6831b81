"""The float view of a graph: what it computes once quantization is looked through.

Quantize and dequantize pairs on activations become marks on a tensor (``Quantizer``), quantized operators
become their float twins, quantized constants become ``ConstantValue``. Two models that are the same but
for quantization have the same float view; where the views differ, the models differ.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from qgate.formats.model import Graph, Node, TensorType
from qgate.quant.constants import INTEGER_RANGES, Array, ConstantValue, numbers


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
        codes: The tensor of the file that holds the codes.
        scale_input: What the node reads its scale from; ``zero_input`` the zero point, or empty.
        axis: The axis that scales vary along, where there are several.
        before: The quantizer whose codes it dequantizes to quantize them again, if it does.
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
    codes: str = ""
    scale_input: str = ""
    zero_input: str = ""
    axis: int = 1
    before: Quantizer | None = None

    def same_as(self, other: Quantizer) -> bool:
        """Whether the codes of both stand for the same numbers."""
        return (
            self.dtype == other.dtype
            and np.array_equal(self.scale.reshape(-1), other.scale.reshape(-1))
            and np.array_equal(self._zeros(), other._zeros())
        )

    def _zeros(self) -> Array:
        return np.zeros(1) if self.zero_point is None else numbers(self.zero_point).reshape(-1)

    def bounds(self) -> tuple[float, float]:
        """The least and the greatest float that the codes can stand for."""
        return self._bounds

    @cached_property
    def is_sound(self) -> bool:
        """Whether its scales are finite and positive; what is not is told as a defect of the scale."""
        return bool(
            self.scale.size > 0 and np.isfinite(self.scale).all() and (np.asarray(self.scale) > 0).all()
        )

    @cached_property
    def steps(self) -> tuple[float, float]:
        """The finest and the coarsest step."""
        return float(np.min(self.scale)), float(np.max(self.scale))

    @cached_property
    def _bounds(self) -> tuple[float, float]:
        # Asked for again by whatever stands near a quantizer, thousands of times in a long chain of them.
        scale, zero = numbers(self.scale).reshape(-1), self._zeros()
        if self.dtype not in INTEGER_RANGES or not scale.size or zero.size not in (1, scale.size):
            return float("-inf"), float("inf")
        least, greatest = INTEGER_RANGES[self.dtype]
        with np.errstate(all="ignore"):
            low, high = np.min((least - zero) * scale), np.max((greatest - zero) * scale)
        return float(low), float(high)


@dataclass
class FloatNode:
    """One operation of the float view.

    ``stages`` names the file's own tensors inside an operation that absorbed its bias, its BatchNorm or
    its integer arithmetic: operator -> tensor. ``bodies`` are the views of If, Loop and Scan's graphs by
    attribute; ``implicit`` is what they read from around them.
    """

    op: str
    domain: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]
    node: Node
    stages: dict[str, str] = field(default_factory=dict)
    implicit: tuple[str, ...] = ()
    bodies: dict[str, FloatGraph] = field(default_factory=dict)

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
    """Nodes in topological order with constants, quantizers and defects beside them.

    ``read_static`` is the quantizer whose codes a tensor of the file is, as they are or dequantized, and ``read_dynamic``
    are the tensors that are codes made while the model runs; None where the format gives a tensor one range for all who
    read it. ``dynamic``: something that an output depends on quantizes while the model runs.
    """

    inputs: tuple[TensorType, ...]
    outputs: tuple[tuple[str, str], ...]
    nodes: list[FloatNode]
    constants: dict[str, ConstantValue]
    quantizers: dict[str, list[Quantizer]]
    defects: list[Defect]
    dynamic: bool
    names: dict[str, str]
    types: Mapping[str, TensorType]
    read_static: Mapping[str, Quantizer] | None = None
    read_dynamic: frozenset[str] = frozenset()

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

    def graphs(self) -> Iterator[FloatGraph]:
        """This graph, then the bodies of its nodes and theirs."""
        yield self
        for node in self.nodes:
            for body in node.bodies.values():
                yield from body.graphs()

    def all_nodes(self) -> Iterator[FloatNode]:
        """The nodes of this graph and of all bodies."""
        for graph in self.graphs():
            yield from graph.nodes

    def rename(self, renamed: Mapping[str, str]) -> None:
        """Lets the operations here and in all bodies read other tensors in the place of some."""
        for node in self.nodes:
            node.inputs = [renamed.get(name, name) for name in node.inputs]
            node.implicit = tuple(renamed.get(name, name) for name in node.implicit)
            for body in node.bodies.values():
                own = {t.name for t in body.inputs} | {n for inner in body.nodes for n in inner.outputs}
                body.rename({old: new for old, new in renamed.items() if old not in own})
        self.outputs = tuple((name, renamed.get(ref, ref)) for name, ref in self.outputs)

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
    return [graph for _, graph in named_graphs(node)]


def named_graphs(node: Node) -> Iterator[tuple[str, Graph]]:
    """The subgraphs of a node with the attribute that holds each, numbered where it holds several."""
    for key, value in node.attributes.items():
        if isinstance(value, Graph):
            yield key, value
        elif isinstance(value, tuple):
            yield from ((f"{key}[{i}]", item) for i, item in enumerate(value) if isinstance(item, Graph))
