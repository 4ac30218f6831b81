"""What a name stands for while a float view is built: in a graph, or in a body within the graph around it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from qgate.formats.model import Graph, Node
from qgate.quant.constants import Array, ConstantValue, plain
from qgate.quant.floatgraph import Defect, FloatNode, Quantizer, held_graphs, outer_names


class Scope:
    """Tensors of one graph; what a body does not have itself is looked up in the graph around it.

    Args:
        graph: The graph or the body.
        outer: The scope around a body.
    """

    def __init__(self, graph: Graph, outer: Scope | None = None) -> None:
        self.graph = graph
        self.outer = outer
        self.alias: dict[str, str] = {}
        # How far a chain was followed before: one of thousands is else followed from its start by each reader.
        self._roots: dict[str, str] = {}
        self.constants: dict[str, ConstantValue] = {name: plain(c) for name, c in graph.constants.items()}
        self.nodes: list[FloatNode] = []
        self.defects: list[Defect] = []
        self.readers: dict[str, list[Node]] = defaultdict(list)
        self.makers: dict[str, Node] = {}
        self.own = {t.name for t in graph.inputs} | set(graph.constants)
        for node in graph.nodes:
            for name in dict.fromkeys((*node.inputs, *sorted(outer_names(held_graphs(node))))):
                self.readers[name].append(node)
            for name in node.outputs:
                if name and (name in self.makers or name in self.own):
                    other = (
                        "two nodes make" if name in self.makers else "a node makes, beside the graph itself,"
                    )
                    self.defect("graph", f"{other} the tensor {name!r}", tensor=name, node=node.label)
                self.makers[name] = node
        self.own.update(self.makers)
        self.known = {t.name for t in graph.inputs} | set(graph.constants) | {""}
        self.coded: dict[str, Quantizer] = {}
        self.dynamic_of: dict[str, str] = {}
        if outer is not None:
            self.known |= outer.known
            self.coded.update({k: v for k, v in outer.coded.items() if k not in self.own})
            self.dynamic_of.update({k: v for k, v in outer.dynamic_of.items() if k not in self.own})

    def ref(self, name: str) -> str:
        """The tensor of the float view that a tensor of the file stands for."""
        passed = []
        for _ in range(len(self.alias)):  # no chain is longer, so that a circle ends as well
            if name not in self.alias:
                break
            passed.append(name)
            name = self._roots.get(name, self.alias[name])
        for each in passed:
            self._roots[each] = name
        return name if self.outer is None or name in self.own else self.outer.ref(name)

    def constant(self, name: str) -> ConstantValue | None:
        """The constant behind a tensor, if it is one."""
        if not name:
            return None
        found = self.constants.get(self.ref(name))
        if found is None and self.outer is not None and self.ref(name) not in self.own:
            return self.outer.constant(self.ref(name))
        return found

    def array(self, name: str) -> Array | None:
        """The values of a small constant as they are stored."""
        found = self.constant(name)
        return None if found is None else found.codes()

    def maker(self, name: str) -> Node | None:
        """The node that makes a tensor of the file, here or in the graph around."""
        if name in self.own or self.outer is None:
            return self.makers.get(name)
        return self.outer.maker(name)

    def dtype(self, name: str) -> str:
        """The element type of a tensor where the file states it, else empty."""
        named = self.graph.types.get(name) or next((t for t in self.graph.inputs if t.name == name), None)
        if named is not None and named.dtype:
            return named.dtype
        return self.outer.dtype(name) if self.outer is not None and name not in self.own else ""

    def only_reader(self, name: str, op: str) -> Node | None:
        """The single node that reads a tensor, if it is of that operator."""
        readers = self.readers[name]
        return readers[0] if len(readers) == 1 and readers[0].op == op else None

    def defect(self, kind: str, message: str, **place: Any) -> None:
        """Notes a defect of the graph itself."""
        self.defects.append(Defect(kind, message, **place))
