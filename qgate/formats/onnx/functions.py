"""Model-local functions of a file: what may be defined at all.

A function that stands where a specification has an operator would change what a reader understands; one
that calls itself has no end; one that is written for another version of an operator computes another thing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from qgate.errors import FormatError
from qgate.formats.model import Graph, Node
from qgate.formats.onnx.graphs import MAX_NODES, Function
from qgate.formats.onnx.operators import is_reserved, same_meaning

MAX_CALLS_DEEP = 32
REMEDY = "Export the model with its functions inlined; do not merge this file"
Key = tuple[str, str]


def check_functions(functions: Sequence[Function], opsets: Mapping[str, int], where: str) -> Functions:
    """Checks every function by itself, used or not.

    Args:
        functions: The file's functions.
        opsets: The model's operator sets.
        where: The file's name, for messages.

    Raises:
        FormatError: A function stands for a known operator, is defined twice, calls itself, is written for
            operators of another meaning, leaves an output unmade, or unfolds to too much.
    """
    table: dict[Key, Function] = {}
    for function in functions:
        key = function.domain, function.name
        if is_reserved(function.domain):
            raise refusal(key, "stands where operators of a specification stand", where)
        if table.setdefault(key, function) is not function:
            raise refusal(key, "is defined twice", where)
    found = Functions(table, dict(opsets), where)
    found.check()
    return found


@dataclass
class Functions:
    """The functions of one file.

    Args:
        table: By domain and name.
        opsets: The model's operator sets, and those that only functions import.
        where: The file's name.
    """

    table: Mapping[Key, Function]
    opsets: dict[str, int]
    where: str
    _sizes: dict[Key, int] = field(default_factory=dict)

    def check(self) -> None:
        """See ``check_functions``."""
        for key, function in self.table.items():
            self._check_scope(key, function)
            for node in all_nodes(function.nodes):
                self._check_version(key, function, node)
            self._size(key, ())

    def _check_scope(self, key: Key, function: Function) -> None:
        known = set(function.inputs)
        for node in function.nodes:
            for output in filter(None, node.outputs):
                if output in known:
                    raise self.refused(key, f"makes {output!r} twice")
                known.add(output)
        missing = [name for name in function.outputs if name not in known]
        if missing:
            raise self.refused(key, f"does not make its output {missing[0]!r}")

    def _check_version(self, key: Key, function: Function, node: Node) -> None:
        if node.domain not in function.opsets:
            raise self.refused(key, f"uses {node.op} of an operator set that it does not import")
        theirs = function.opsets[node.domain]
        ours = self.opsets.setdefault(node.domain, theirs)
        if not same_meaning(node.domain, node.op, ours, theirs):
            raise self.refused(
                key, f"is written for version {theirs} of {node.op}, the model for version {ours}", "ART103"
            )

    def _size(self, key: Key, above: tuple[Key, ...]) -> int:
        """Nodes that a call unfolds to."""
        if key in above:
            raise self.refused(key, "calls itself")
        if len(above) > MAX_CALLS_DEEP:
            raise self.refused(key, f"calls functions more than {MAX_CALLS_DEEP} deep")
        if key not in self._sizes:
            size = 0
            for node in all_nodes(self.table[key].nodes):
                called = (node.domain, node.op)
                size += 1 + (self._size(called, (*above, key)) if called in self.table else 0)
                if size > MAX_NODES:
                    raise self.refused(key, f"unfolds to more than {MAX_NODES} nodes")
            self._sizes[key] = size
        return self._sizes[key]

    def called_from(self, graph: Graph) -> set[Key]:
        """Functions that a graph calls, and those that they call."""
        called: set[Key] = set()
        waiting: list[Graph] = [graph] if self.table else []
        while waiting:
            for node in waiting.pop().all_nodes():
                key = node.domain, node.op
                if key in self.table and key not in called:
                    called.add(key)
                    waiting.append(Graph((), (), self.table[key].nodes, {}))
        return called

    def refused(self, key: Key, what: str, rule: str = "ART105") -> FormatError:
        """An error about one function."""
        return refusal(key, what, self.where, rule)


def all_nodes(nodes: Sequence[Node]) -> Iterator[Node]:
    """Nodes with those of the graphs that they hold."""
    return Graph((), (), tuple(nodes), {}).all_nodes()


def refusal(key: Key, what: str, where: str, rule: str = "ART105") -> FormatError:
    """An error about one function."""
    label = f"{key[0] or 'ai.onnx'}::{key[1]}"
    return FormatError(f"function {label} {what}", where=where, remedy=REMEDY, rule=rule, tensor=label)
