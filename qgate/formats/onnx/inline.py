"""Model-local functions: checked, and put in place of the nodes that call them.

What runs is the body, so the graph that everybody else sees has to hold it. Bindings follow the ONNX IR
specification (Functions): a reference to an attribute takes the caller's value, else the function's
default, else the attribute is left out; an input or output that the caller leaves out is left out inside.
Every name of a body gets the calling node's name in front, so that nothing is captured by accident.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from qgate.errors import FormatError
from qgate.formats.model import Constant, Graph, Node
from qgate.formats.onnx.functions import REMEDY, Functions, Key, check_functions
from qgate.formats.onnx.graphs import MAX_NODES, Function, Reference

MAX_NAME_CHARACTERS = 2**26
_LABEL = 120
_KINDS: Mapping[int, type] = {
    1: float,
    2: int,
    3: str,
    4: Constant,
    5: Graph,
    **dict.fromkeys(range(6, 11), tuple),
}


@dataclass(frozen=True)
class Inlined:
    """A graph without calls of functions.

    Args:
        graph: The graph.
        opsets: The model's operator sets, and those that only functions import.
        made: Tensors that only this graph has: no runtime knows them by these names.
        idle: Bodies of functions that nothing calls.
    """

    graph: Graph
    opsets: Mapping[str, int]
    made: frozenset[str] = frozenset()
    idle: tuple[Graph, ...] = ()


def inline(graph: Graph, functions: Sequence[Function], opsets: Mapping[str, int], where: str) -> Inlined:
    """Puts the bodies of functions in place of their calls, in subgraphs too.

    Args:
        graph: The main graph.
        functions: The file's functions.
        opsets: The model's operator sets.
        where: The file's name, for messages.

    Raises:
        FormatError: As for ``check_functions``; or a call does not fit its function.
    """
    work = _Inliner(check_functions(functions, opsets, where))
    done = graph
    if work.calls(graph):
        work.taken = set(_names(graph))
        done = work.graph(graph)
    work.forbid_references(done)
    called = work.functions.called_from(graph)
    table = work.functions.table
    idle = tuple(Graph((), (), f.nodes, {}) for key, f in table.items() if key not in called)
    return Inlined(done, work.functions.opsets, frozenset(work.made), idle)


@dataclass
class _Inliner:
    """The work on one model.

    Args:
        functions: The file's functions, checked.
        taken: Every name that is in use.
        made: Names that were made for bodies.
    """

    functions: Functions
    taken: set[str] = field(default_factory=set)
    made: set[str] = field(default_factory=set)
    _nodes: int = 0
    _characters: int = 0

    def calls(self, graph: Graph) -> bool:
        """Whether a function is called anywhere in a graph."""
        return bool(self.functions.table) and any(
            (n.domain, n.op) in self.functions.table for n in graph.all_nodes()
        )

    def forbid_references(self, graph: Graph) -> None:
        """Outside of functions there is no caller to give a value."""
        for node in graph.all_nodes():
            for name, value in node.attributes.items():
                if isinstance(value, Reference):
                    raise FormatError(
                        f"node {node.label!r} takes its attribute {name!r} from a caller, and has none",
                        where=self.functions.where, remedy=REMEDY, rule="ART105", tensor=node.name or None,
                    )  # fmt: skip

    def graph(self, graph: Graph) -> Graph:
        """A graph of which every name is final, with calls replaced."""
        nodes: list[Node] = []
        for node in graph.nodes:
            nodes += self._expanded(node)
        placed = tuple(n if n.position == at else replace(n, position=at) for at, n in enumerate(nodes))
        return replace(graph, nodes=placed)

    def _expanded(self, node: Node) -> Iterator[Node]:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise FormatError(
                f"its functions unfold to more than {MAX_NODES} nodes",
                where=self.functions.where, remedy=REMEDY, rule="ART105",
            )  # fmt: skip
        held = {name: _mapped(v, self.graph) for name, v in node.attributes.items() if _has_graph(v)}
        if held:
            node = replace(node, attributes={**node.attributes, **held})
        function = self.functions.table.get((node.domain, node.op))
        if function is None:
            yield node
        else:
            for inner in self._body(node, function):
                yield from self._expanded(inner)

    def _body(self, call: Node, function: Function) -> Iterator[Node]:
        """The nodes of one call, calls within them not yet replaced."""
        key = call.domain, call.op
        if call.domain not in self.functions.opsets:
            raise self.functions.refused(key, "is called, and its domain is not imported")
        inputs, outputs = function.inputs, function.outputs
        if len(call.inputs) > len(inputs) or len(call.outputs) > len(outputs):
            raise self.functions.refused(key, "is called with more inputs or outputs than it has")
        scope = _Scope(self, f"{call.label[:_LABEL]}/")
        bound = dict(zip(inputs, (*call.inputs, *[""] * len(inputs)), strict=False))
        scope.names.update(bound)
        passed: list[tuple[str, str]] = []
        for inner, outer in zip(outputs, call.outputs, strict=False):
            if inner in bound:
                passed.append((bound[inner], outer))
            elif outer:
                scope.names[inner] = outer
        given = self._attributes(call, function)
        for node in function.nodes:
            yield scope.node(node, given, key)
        for source, target in passed:
            if target and not source:
                raise self.functions.refused(key, f"hands out an input for {target!r} that it is not given")
            if target:
                yield Node(f"{scope.prefix}output", "Identity", "", (source,), (target,), {}, 0)

    def _attributes(self, call: Node, function: Function) -> dict[str, Any]:
        declared = {*function.attributes, *function.defaults}
        given = {name: value for name, value in call.attributes.items() if name in declared}
        return {**function.defaults, **given}

    def fresh(self, name: str) -> str:
        """A name that nothing has, counted against a limit."""
        self._characters += len(name)
        if self._characters > MAX_NAME_CHARACTERS:
            raise FormatError(
                "its functions unfold to more names than are read",
                where=self.functions.where, remedy=REMEDY, rule="ART105",
            )  # fmt: skip
        free, number = name, 1
        while free in self.taken:
            number += 1
            free = f"{name}.{number}"
        self.taken.add(free)
        self.made.add(free)
        return free

    def value(self, reference: Reference, given: Mapping[str, Any], key: Key) -> Any:
        """The value of a reference; None where the attribute is left out."""
        function = self.functions.table[key]
        if reference.name not in function.defaults and reference.name not in function.attributes:
            raise self.functions.refused(
                key, f"refers to the attribute {reference.name!r}, which it does not have"
            )
        value = given.get(reference.name)
        if value is not None and not isinstance(value, _KINDS.get(reference.kind, object)):
            raise self.functions.refused(key, f"is given an attribute {reference.name!r} of another kind")
        return value


@dataclass
class _Scope:
    """Names of one call's body: inputs and outputs are the caller's, all others are made.

    Args:
        work: The model's work.
        prefix: What stands before the names that are made.
        names: Names so far, inside to outside.
    """

    work: _Inliner
    prefix: str
    names: dict[str, str] = field(default_factory=dict)

    def name(self, inner: str) -> str:
        if inner and inner not in self.names:
            self.names[inner] = self.work.fresh(self.prefix + inner)
        return self.names.get(inner, "")

    def node(self, node: Node, given: Mapping[str, Any], key: Key) -> Node:
        attributes: dict[str, Any] = {}
        for name, value in node.attributes.items():
            if isinstance(value, Reference):
                found = self.work.value(value, given, key)
                if found is not None:
                    attributes[name] = found
            else:
                attributes[name] = _mapped(value, lambda inner: self.graph(inner, given, key))
        return replace(
            node,
            name=self.prefix + node.name if node.name else "",
            inputs=tuple(map(self.name, node.inputs)),
            outputs=tuple(map(self.name, node.outputs)),
            attributes=attributes,
        )

    def graph(self, graph: Graph, given: Mapping[str, Any], key: Key) -> Graph:
        """A subgraph of the body: names of its own are made too, what it captures is the body's."""
        own = dict.fromkeys((*(t.name for t in graph.inputs), *graph.constants, *graph.overridable))
        own.update(dict.fromkeys(o for n in graph.nodes for o in n.outputs))
        inner = _Scope(self.work, self.prefix, {k: v for k, v in self.names.items() if k not in own})
        inner.names.update({k: self.work.fresh(self.prefix + k) for k in own if k})
        nodes = tuple(inner.node(node, given, key) for node in graph.nodes)
        return Graph(
            inputs=tuple(replace(t, name=inner.name(t.name)) for t in graph.inputs),
            outputs=tuple(replace(t, name=inner.name(t.name)) for t in graph.outputs),
            nodes=nodes,
            constants={inner.name(k): replace(c, name=inner.name(k)) for k, c in graph.constants.items()},
            types={inner.name(k): replace(t, name=inner.name(k)) for k, t in graph.types.items()},
            overridable=tuple(map(inner.name, graph.overridable)),
        )


def _mapped(value: Any, change: Any) -> Any:
    if isinstance(value, Graph):
        return change(value)
    return tuple(change(each) for each in value) if _has_graph(value) else value


def _has_graph(value: Any) -> bool:
    return isinstance(value, Graph) or (isinstance(value, tuple) and any(isinstance(v, Graph) for v in value))


def _names(graph: Graph) -> Iterator[str]:
    for each in (graph, *graph.subgraphs()):
        yield from (t.name for t in (*each.inputs, *each.outputs))
        yield from each.constants
        yield from each.types
        for node in each.nodes:
            yield from (*node.inputs, *node.outputs)
