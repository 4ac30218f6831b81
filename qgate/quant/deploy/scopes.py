"""The graphs of a model with what each can see: constants and makers of its own and from around it."""

from __future__ import annotations

from collections import ChainMap, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from qgate.formats.model import Constant, Graph, Node, StaticModel
from qgate.formats.onnx.dtypes import DTYPES
from qgate.quant.constants import Array
from qgate.quant.floatgraph import held_graphs

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_DOMAINS = ("", "ai.onnx", "com.microsoft")
_ARRANGES = {"Identity", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze"}
_CHAIN = 16


@dataclass(frozen=True)
class Scope:
    """One graph and what it sees.

    Args:
        graph: The graph.
        constants: Constants by name, those of Constant nodes and of the graphs around it among them.
        makers: The node that makes each tensor, likewise.
        readers: Nodes of this graph that read each tensor.
    """

    graph: Graph
    constants: Mapping[str, Constant]
    makers: Mapping[str, Node]
    readers: Mapping[str, list[Node]]

    def maker(self, name: str, op: str, *, through: frozenset[str] = frozenset()) -> Node | None:
        """The node of that operator which makes a tensor, through nodes that only move or select values."""
        for _ in range(_CHAIN):
            node = self.makers.get(name)
            if node is None or node.domain not in _DOMAINS:
                return None
            if node.op == op:
                return node
            if node.op not in _ARRANGES | through or not node.inputs:
                return None
            name = node.inputs[0]
        return None

    def dtype(self, name: str) -> str:
        """Element type of a tensor as far as the file says it; empty where it does not."""
        if name in self.constants:
            return self.constants[name].dtype
        node = self.makers.get(name)
        if node is not None and node.op == QUANTIZE:
            return self.code_type(node)
        declared = {t.name: t.dtype for t in (*self.graph.inputs, *self.graph.outputs)}
        known = self.graph.types.get(name)
        return declared.get(name) or (known.dtype if known is not None else "")

    def code_type(self, node: Node) -> str:
        """Element type that a QuantizeLinear makes: its zero point's, ``output_dtype``, or uint8 (ONNX)."""
        zero = operand(node, 2)
        if zero:
            return self.dtype(zero)
        return DTYPES.get(int(node.attribute("output_dtype", 0) or 0), ("uint8", 8))[0]

    def values(self, name: str) -> Array | None:
        """The values of a constant, flat; None where it is none, or no numbers."""
        held = self.constants.get(name)
        if held is None or held.dtype == "string":
            return None
        return np.asarray(held.load()).reshape(-1)


def operand(node: Node, position: int) -> str:
    """The tensor at a position of a node's inputs; empty where there is none."""
    return node.inputs[position] if position < len(node.inputs) else ""


def is_op(node: Node, *ops: str) -> bool:
    """Whether a node is one of these operators, in the domains that define quantizers."""
    return node.op in ops and node.domain in _DOMAINS


def scopes(model: StaticModel) -> Iterator[Scope]:
    """The main graph, then the bodies of its nodes and theirs."""
    yield from _scopes(model.graph, ChainMap(), ChainMap())


def _scopes(graph: Graph, constants: ChainMap[str, Constant], makers: ChainMap[str, Node]) -> Iterator[Scope]:
    own = dict(graph.constants)
    for node in graph.nodes:
        value = node.attribute("value")
        if node.op == "Constant" and isinstance(value, Constant) and node.outputs:
            own[node.outputs[0]] = value
    made = {name: node for node in graph.nodes for name in node.outputs if name}
    readers: dict[str, list[Node]] = defaultdict(list)
    for node in graph.nodes:
        for name in dict.fromkeys(node.inputs):
            if name:
                readers[name].append(node)
    constants, makers = constants.new_child(own), makers.new_child(made)
    yield Scope(graph, constants, makers, readers)
    for node in graph.nodes:
        for body in held_graphs(node):
            yield from _scopes(body, constants, makers)
