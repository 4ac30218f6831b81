"""Follows shapes through a graph and its loops, and adds up what a run asks for at the least.

What cannot be followed asks for nothing here: the sandbox's limits hold for it. The walk itself is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from qgate.formats.model import Constant, Graph, Node
from qgate.measure.demand import making, moving
from qgate.measure.demand.arithmetic import multiplications
from qgate.measure.demand.rules import SHAPES
from qgate.measure.demand.sizes import (
    CEILING,
    MAX_RANK,
    UNKNOWN,
    Size,
    Tensor,
    exact,
    of_constant,
    of_type,
    of_values,
)  # fmt: skip

RULES_OF = (making, moving)
"""Modules whose rules are in the table once they are imported."""
MAX_STEPS = 500_000
MAX_ROUNDS = 64


@dataclass(frozen=True)
class Need:
    """What a graph asks for at the least.

    Args:
        bytes: Of one node's inputs and outputs together, which are in memory at the same time.
        largest: That node.
        work: Multiplications.
        heaviest: The node with most of them.
        turns: Nodes that loops run, each as often as it is run.
        loop: The loop with most of them.
    """

    bytes: int = 0
    largest: Node | None = None
    work: int = 0
    heaviest: Node | None = None
    turns: int = 0
    loop: Node | None = None

    def repeated(self, times: int, loop: Node, nodes: int) -> Need:
        """The same, run as often as a loop turns."""
        turns = min(times * (nodes + self.turns), CEILING)
        work = min(self.work * times, CEILING)
        return Need(self.bytes, self.largest, work, self.heaviest, turns, loop)


def need_of(graph: Graph) -> Need:
    """What one run of a model asks for, its open sizes being one."""
    return _Walk().graph(_Scope(graph, None, _declared(graph)))[1]


def tensors_of(graph: Graph) -> Mapping[str, Tensor]:
    """What is known of each tensor that a model's main graph makes, its open sizes being one."""
    scope = _Scope(graph, None, _declared(graph))
    _Walk().graph(scope)
    return scope.known


def _declared(graph: Graph) -> dict[str, Tensor]:
    return {t.name: of_type(t) for t in graph.inputs}


@dataclass
class _Scope:
    """A graph with what is known of its tensors so far, within the graph that holds it."""

    graph: Graph
    outer: _Scope | None
    known: dict[str, Tensor]


@dataclass
class _Walk:
    """The work on one model.

    Args:
        steps: Nodes and inputs that were followed so far.
    """

    steps: int = 0
    _loaded: dict[int, Tensor] = field(default_factory=dict)

    def graph(self, scope: _Scope) -> tuple[list[Tensor], Need]:
        """What is known of a graph's outputs, and what it asks for."""
        need = _Sum()
        for node in scope.graph.nodes:
            self.steps += 1 + len(node.inputs)
            if self.steps > MAX_STEPS:
                break
            given = [self.tensor(name, scope) for name in node.inputs]
            self.steps += sum(len(t.values) for t in given if t.values) // 4
            made, inner = self.node(node, given, scope)
            every = [*made, *[UNKNOWN] * (len(node.outputs) - len(made))]
            scope.known.update((n, t) for n, t in zip(node.outputs, every, strict=False) if n)
            need.add(node, inner, {n: t for n, t in zip(node.inputs, given, strict=True) if n}, made)
        return [self.tensor(t.name, scope) for t in scope.graph.outputs], need.total()

    def tensor(self, name: str, scope: _Scope | None) -> Tensor:
        """What is known of a tensor by its name, in a graph or in those around it."""
        while scope is not None and name:
            if name in scope.known:
                return scope.known[name]
            constant = scope.graph.constants.get(name)
            if constant is not None:
                if id(constant) not in self._loaded:
                    self._loaded[id(constant)] = of_constant(constant)
                return self._loaded[id(constant)]
            scope = scope.outer
        return UNKNOWN

    def node(self, node: Node, given: Sequence[Tensor], scope: _Scope) -> tuple[Sequence[Tensor], Need]:
        """What is known of a node's outputs, and what it and the graphs in it ask for."""
        try:
            if node.domain == "" and node.op in ("If", "Loop", "Scan"):
                return {"If": self._if, "Loop": self._loop, "Scan": self._scan}[node.op](node, given, scope)
            if node.op in SHAPES and node.domain in ("", "com.microsoft"):
                made = [_checked(t) for t in SHAPES[node.op](node, given)]
                return made, Need(work=multiplications(node, given, made))
        except (
            ValueError,
            IndexError,
            KeyError,
            TypeError,
            OverflowError,
            ZeroDivisionError,
            AttributeError,
        ):
            pass  # a node that its operator does not allow: a runtime refuses it
        return [], Need()

    def _if(self, node: Node, given: Sequence[Tensor], scope: _Scope) -> tuple[Sequence[Tensor], Need]:
        """The branch that is taken, or of both the less."""
        branches = [node.attributes["then_branch"], node.attributes["else_branch"]]
        condition = (given[0].values or (None,))[0]
        if condition is not None and condition.exact:
            branches = branches[:1] if condition.low else branches[1:]
        found = [self.graph(_Scope(branch, scope, {})) for branch in branches]
        if len(found) == 1:
            return found[0]
        (one, need), (two, other) = found
        same = [a if a == b else UNKNOWN for a, b in zip(one, two, strict=False)]
        return same, Need(
            *min((need.bytes, 0, need.largest), (other.bytes, 1, other.largest))[::2],
            *min((need.work, 0, need.heaviest), (other.work, 1, other.heaviest))[::2],
            *min((need.turns, 0, need.loop), (other.turns, 1, other.loop))[::2],
        )

    def _loop(self, node: Node, given: Sequence[Tensor], scope: _Scope) -> tuple[Sequence[Tensor], Need]:
        body: Graph = node.attributes["body"]
        limit = (given[0].values or (None,))[0] if node.inputs[0] else exact(CEILING)
        first = (given[1].values or (None,))[0] if len(node.inputs) > 1 and node.inputs[1] else exact(1)
        count = limit.low if limit is not None and first is not None and first.low and _goes_on(body) else 0
        states = list(given[2:])
        seen: list[Tensor] = []
        need, stable = Need(), False
        for _ in range(min(count, MAX_ROUNDS)):
            turn = {body.inputs[0].name: Tensor((), 64), body.inputs[1].name: Tensor((), 8)}
            turn |= {t.name: s for t, s in zip(body.inputs[2:], states, strict=False)}
            outputs, now = self.graph(_Scope(body, scope, turn))
            need = now if now.bytes >= need.bytes else need
            stable = outputs[1 : 1 + len(states)] == states
            states, seen = outputs[1 : 1 + len(states)], outputs[1 + len(states) :]
            if stable:
                break
        # States that still grow are only followed so far; what they are in the end is not known.
        ended = stable or 0 < count <= MAX_ROUNDS
        made = states if ended else [UNKNOWN] * len(states)
        rows = [_stacked(t, exact(count)) if ended else UNKNOWN for t in seen]
        return [*made, *rows], need.repeated(count, node, len(body.nodes))

    def _scan(self, node: Node, given: Sequence[Tensor], scope: _Scope) -> tuple[Sequence[Tensor], Need]:
        body: Graph = node.attributes["body"]
        scanned = int(node.attributes["num_scan_inputs"])
        states, rows = list(given[: len(given) - scanned]), given[len(given) - scanned :]
        chosen = node.attribute("scan_input_axes", (0,) * scanned)
        length, slices = Size(0, False), []
        for row, axis in zip(rows, chosen, strict=True):
            if row.shape is None:
                slices.append(UNKNOWN)
                continue
            place = axis % len(row.shape)
            length = row.shape[place] if row.shape[place].low > length.low else length
            slices.append(Tensor(row.shape[:place] + row.shape[place + 1 :], row.bits))
        turn = {t.name: s for t, s in zip(body.inputs, (*states, *slices), strict=False)}
        outputs, need = self.graph(_Scope(body, scope, turn))
        ends = [s if s == o else UNKNOWN for s, o in zip(states, outputs, strict=False)]
        straight = "scan_output_axes" not in node.attributes
        made = [_stacked(t, length) if straight else UNKNOWN for t in outputs[len(states) :]]
        return [*ends, *made], need.repeated(length.low, node, len(body.nodes))


@dataclass
class _Sum:
    """Needs of the nodes of one graph, added up."""

    bytes: int = 0
    largest: Node | None = None
    work: int = 0
    heaviest: tuple[int, Node | None] = (0, None)
    turns: int = 0
    loop: tuple[int, Node | None] = (0, None)

    def add(self, node: Node, inner: Need, given: Mapping[str, Tensor], made: Sequence[Tensor]) -> None:
        """Adds one node; a tensor that it takes twice is there once."""
        used = [t for output, t in zip(node.outputs, made, strict=False) if output]
        held = sum(t.bytes for t in given.values()) + sum(t.bytes for t in used)
        for size, where in ((held, node), (inner.bytes, inner.largest)):
            if size > self.bytes:
                self.bytes, self.largest = min(size, CEILING), where
        self.work = min(self.work + inner.work, CEILING)
        if inner.work > self.heaviest[0]:
            self.heaviest = inner.work, inner.heaviest or node
        self.turns = min(self.turns + inner.turns, CEILING)
        if inner.turns > self.loop[0]:
            self.loop = inner.turns, inner.loop

    def total(self) -> Need:
        """Of the graph."""
        return Need(self.bytes, self.largest, self.work, self.heaviest[1], self.turns, self.loop[1])


def _goes_on(body: Graph) -> bool:
    """Whether a loop's body says itself that it goes on: its condition is handed on, or is always true."""
    makers = {output: node for node in body.nodes for output in node.outputs}
    name = body.outputs[0].name
    for _ in range(len(body.nodes) + 1):
        if name == body.inputs[1].name:
            return True
        if name in body.constants:
            return bool((of_constant(body.constants[name]).values or (Size(0),))[0] == Size(1))
        node = makers.get(name)
        if node is None or node.op not in ("Identity", "Cast", "Constant"):
            return False
        if node.op == "Constant":
            held = node.attribute("value")
            return isinstance(held, Constant) and of_constant(held).values == (Size(1),)
        name = node.inputs[0]
    return False


def _stacked(tensor: Tensor, count: Size) -> Tensor:
    return Tensor((count, *tensor.shape), tensor.bits) if tensor.shape is not None else UNKNOWN


def _checked(tensor: Tensor) -> Tensor:
    """Nothing said of what no runtime makes."""
    if tensor.shape is None or len(tensor.shape) > MAX_RANK:
        return Tensor(None, tensor.bits)
    return tensor if tensor.values is None else of_values(tensor.values, tensor.shape, tensor.bits)
