"""A graph in an order and in words of its own, so that two files of one model give the same digest.

What does not count: the order in which a file lists nodes and initializers, names of nodes and of inner
tensors, recorded inner shapes, and whether a constant is an initializer or a Constant node. What counts:
names, types and order of inputs and outputs, every operation with its domain, version and attributes, the
wiring, and in subgraphs likewise. Constants are numbered in the order in which the graph uses them; their
names and values are told apart from the graph, which is what lets a reader say "the same graph, other
weights".
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from qgate.errors import FormatError
from qgate.formats.model import Constant, Graph, Node, StaticModel, TensorType
from qgate.merkle import token

_Id = tuple[str, int]


@dataclass(frozen=True)
class Slot:
    """A constant at its place in the canonical order.

    Args:
        name: The file's name; of a constant in a subgraph or an attribute, behind the name of the node.
        constant: The constant.
    """

    name: str
    constant: Constant


@dataclass(frozen=True)
class CanonicalModel:
    """A model's graph as a digest, and its constants in the order in which the graph uses them.

    Args:
        graph: SHA-256 of the canonical graph, as hexadecimal digits.
        slots: Every constant once; unused ones last, by name.
    """

    graph: str
    slots: tuple[Slot, ...]


def canonical_model(model: StaticModel) -> CanonicalModel:
    """The canonical form of a model's graph."""
    found = _walk(model.graph, "")
    digest = hashlib.sha256(token(b"qgate graph v1"))
    used = sorted({node.domain for node in model.graph.all_nodes()})
    for domain in used:
        digest.update(_tokens("opset", domain, str(model.opsets.get(domain, 0))))
    digest.update(found.digest + _tokens(*found.captured))
    return CanonicalModel(digest.hexdigest(), _named_apart(found.slots))


@dataclass
class _Walked:
    """A graph or subgraph: its digest, its constants, and the outer values that it uses, in order."""

    digest: bytes
    slots: list[Slot]
    captured: list[str]


@dataclass
class _Walk:
    """State of the walk over one graph."""

    graph: Graph
    prefix: str
    ids: dict[str, _Id] = field(default_factory=dict)
    slots: list[Slot] = field(default_factory=list)
    captured: list[str] = field(default_factory=list)
    values: int = 0
    inner: dict[int, list[_Walked]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.digest = hashlib.sha256()
        self.constants: Mapping[str, Constant] = {**_constant_nodes(self.graph), **self.graph.constants}
        self.makers = {
            name: index
            for index, node in enumerate(self.graph.nodes)
            for name in node.outputs
            if name and name not in self.constants
        }
        self.done: set[int] = set()

    def run(self) -> _Walked:
        graph = self.graph
        for position, declared in enumerate(graph.inputs):
            self.ids[declared.name] = ("input", position)
            self.digest.update(_type_tokens("input", declared))
        for declared in graph.outputs:
            self.reach(declared.name)
            self.digest.update(_type_tokens("output", declared) + _tokens(*map(str, self.ids[declared.name])))
        # What no output needs comes last, by names, for nothing else orders it.
        for index in sorted(range(len(graph.nodes)), key=lambda i: (graph.nodes[i].outputs, i)):
            self.finish(index)
        for name in sorted(self.constants):
            self.name_value(name)
        for name in sorted(graph.overridable):
            self.digest.update(_tokens("overridable", name, *map(str, self.ids.get(name, ("none", 0)))))
        return _Walked(self.digest.digest(), self.slots, self.captured)

    def reach(self, name: str) -> None:
        """Writes down everything that a value needs, then knows the value."""
        maker = self.makers.get(name)
        if maker is not None and name not in self.ids:
            self.finish(maker)
        self.name_value(name)

    def finish(self, start: int) -> None:
        """Writes down a node after those that it reads from; without recursion, for graphs are deep."""
        waiting = [start]
        entered: set[int] = set()
        while waiting:
            index = waiting[-1]
            if index in self.done:
                waiting.pop()
                continue
            needed = () if index in entered else self.needs(index)
            entered.add(index)
            before = [m for m in needed if m not in self.done and m not in entered]
            if before:
                waiting += reversed(before)
                continue
            waiting.pop()
            self.write(index)

    def needs(self, index: int) -> list[int]:
        """The nodes that a node reads from, in the order of its inputs."""
        names = (*self.graph.nodes[index].inputs, *self.outer_names(index))
        return [self.makers[name] for name in names if name in self.makers]

    def outer_names(self, index: int) -> Iterator[str]:
        """Values around it that a node's subgraphs use."""
        for walked in self.subgraphs(index):
            yield from walked.captured

    def subgraphs(self, index: int) -> list[_Walked]:
        if index not in self.inner:
            node = self.graph.nodes[index]
            self.inner[index] = [
                _walk(graph, f"{self.prefix}{node.label}.{key}/") for key, graph in _held_graphs(node)
            ]
        return self.inner[index]

    def write(self, index: int) -> None:
        """Writes down one node and numbers what it makes."""
        self.done.add(index)
        node = self.graph.nodes[index]
        if _constant_value(node) is not None:
            return
        inner = self.subgraphs(index)
        parts = ["node", node.domain, node.op]
        for name in (*node.inputs, *self.outer_names(index)):
            parts += map(str, self.name_value(name) if name else ("absent", 0))
        self.digest.update(_tokens(*parts))
        graphs = iter(inner)
        for key in sorted(node.attributes):
            self.digest.update(_tokens("attribute", key))
            self.attribute(node.attributes[key], f"{self.prefix}{node.label}.{key}", graphs)
        for name in node.outputs:
            self.digest.update(_tokens("makes" if name else "absent"))
            if name and name not in self.ids and name not in self.constants:
                self.ids[name] = ("value", self.values)
            self.values += 1

    def attribute(self, value: Any, name: str, graphs: Iterator[_Walked]) -> None:
        """Writes down an attribute's value; tensors become constants of the model."""
        if isinstance(value, Graph):
            walked = next(graphs)
            first = len(self.slots)
            self.slots += walked.slots
            self.digest.update(_tokens("graph", str(first), str(len(walked.slots))) + walked.digest)
        elif isinstance(value, Constant):
            self.digest.update(_tokens("tensor", str(len(self.slots))))
            self.slots.append(Slot(name, value))
        elif isinstance(value, tuple | list):
            self.digest.update(_tokens("list", str(len(value))))
            for position, item in enumerate(value):
                self.attribute(item, f"{name}[{position}]", graphs)
        elif isinstance(value, float):
            self.digest.update(_tokens("float") + struct.pack("<d", value))
        elif isinstance(value, Mapping):
            self.digest.update(_tokens("mapping", str(len(value))))
            for key in sorted(value, key=str):
                self.digest.update(_tokens(str(key)))
                self.attribute(value[key], f"{name}.{key}", graphs)
        elif value is None or isinstance(value, int | str | bytes | complex):
            self.digest.update(_tokens(type(value).__name__, str(value)))
        else:
            raise FormatError(
                f"{name} is a {type(value).__name__}, which has no digest",
                remedy="Export the model without it",
                rule="ART103",
                tensor=name,
            )

    def name_value(self, name: str) -> _Id:
        """What a value is called here: an input, a constant by its number, a node's result, or from outside."""
        known = self.ids.get(name)
        if known is None:
            constant = self.constants.get(name)
            if constant is not None:
                known = ("constant", len(self.slots))
                self.slots.append(Slot(self.prefix + name, constant))
            else:
                known = ("outer", len(self.captured))
                self.captured.append(name)
            self.ids[name] = known
        return known


def _walk(graph: Graph, prefix: str) -> _Walked:
    return _Walk(graph, prefix).run()


def _constant_nodes(graph: Graph) -> dict[str, Constant]:
    """Constant nodes that hold a tensor are initializers written in another way."""
    found = {}
    for node in graph.nodes:
        value = _constant_value(node)
        if value is not None:
            found[node.outputs[0]] = value
    return found


def _constant_value(node: Node) -> Constant | None:
    if node.op != "Constant" or node.domain or set(node.attributes) != {"value"} or len(node.outputs) != 1:
        return None
    value = node.attributes["value"]
    return value if isinstance(value, Constant) else None


def _held_graphs(node: Node) -> Iterator[tuple[str, Graph]]:
    for key in sorted(node.attributes):
        value = node.attributes[key]
        for held in value if isinstance(value, tuple) else (value,):
            if isinstance(held, Graph):
                yield key, held


def _type_tokens(what: str, declared: TensorType) -> bytes:
    shape = ("none",) if declared.shape is None else tuple(_dimension(d) for d in declared.shape)
    return _tokens(what, declared.name, declared.dtype, *shape)


def _dimension(size: object) -> str:
    return "?" if size is None else str(size) if isinstance(size, int) else f"name {size}"


def _tokens(*parts: str) -> bytes:
    whole = b"".join(token(part.encode("utf-8", "surrogatepass")) for part in parts)
    return len(parts).to_bytes(8, "little") + whole


def _named_apart(slots: list[Slot]) -> tuple[Slot, ...]:
    """Slots whose names are all different: a repeated one gets its number behind it."""
    taken: set[str] = set()
    found = []
    for slot in slots:
        name, number = slot.name, 1
        while name in taken:
            number += 1
            name = f"{slot.name}#{number}"
        taken.add(name)
        found.append(Slot(name, slot.constant))
    return tuple(found)
