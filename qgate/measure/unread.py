"""What a file holds and nothing reads: room for a payload, or a copy that makes the file larger."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from qgate.formats.model import Constant, Graph, Node, StaticModel
from qgate.quant.floatgraph import held_graphs, outer_names
from qgate.records import Measurement, Place

_SHOWN = 8
# A constant as a node of its own or a copy of a name computes nothing; exporters leave them behind.
_IDLE = {"Constant", "Identity"}


@dataclass
class _Unread:
    constants: list[Constant] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)


def measure_unread(reference: StaticModel | None, candidate: StaticModel) -> Iterator[Measurement]:
    """Yields ``artifact.unread_bytes`` and ``artifact.unread_nodes``; what the reference leaves unread as well is no news."""
    found = _of(candidate)
    known = _of(reference) if reference is not None else _Unread()
    held = {c.name: c for c in known.constants}
    fresh = [c for c in found.constants if not _same(c, held.get(c.name))]
    fresh.sort(key=lambda c: (-c.bytes, c.name))
    total = sum(c.bytes for c in fresh)
    yield Measurement(
        name="artifact.unread_bytes",
        at=Place(file="model"),
        value=total,
        unit="bytes",
        n=len(fresh),
        detail={
            "tensors": [[c.name, c.bytes] for c in fresh[:_SHOWN]],
            "share": total / max(candidate.file_bytes, 1),
        },
    )
    idle = {(n.op, n.name) for n in known.nodes}
    computing = [n for n in found.nodes if n.op not in _IDLE and (n.op, n.name) not in idle]
    yield Measurement(
        name="artifact.unread_nodes",
        at=Place(file="model"),
        value=len(computing),
        unit="nodes",
        detail={
            "nodes": [n.label for n in computing[:_SHOWN]],
            "operators": [n.op for n in computing[:_SHOWN]],
        },
    )


def _of(model: StaticModel) -> _Unread:
    """Of the graph, and of functions that nothing calls."""
    found = _scan(model.graph, set())
    for body in model.idle:
        more = _scan(body, set())
        found.constants += more.constants
        found.nodes += more.nodes
    return found


def _same(one: Constant, other: Constant | None) -> bool:
    if other is None or (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return bool(np.array_equal(one.load(), other.load()))


def _scan(graph: Graph, wanted: set[str]) -> _Unread:
    """What no output needs, in a graph and in the bodies of what some output needs.

    Args:
        graph: The graph or body.
        wanted: Tensors that are read from elsewhere.
    """
    makers = {name: node for node in graph.nodes for name in node.outputs if name}
    queue = [*(t.name for t in graph.outputs), *wanted]
    needed: set[str] = set()
    live: dict[int, Node] = {}
    while queue:
        name = queue.pop()
        if not name or name in needed:
            continue
        needed.add(name)
        node = makers.get(name)
        if node is not None and id(node) not in live:
            live[id(node)] = node
            queue += [*node.inputs, *outer_names(held_graphs(node))]
    found = _Unread([c for c in graph.constants.values() if c.name not in needed])
    for node in graph.nodes:
        if id(node) not in live:
            found.nodes.append(node)
            found.constants += [v for v in node.attributes.values() if isinstance(v, Constant)]
    for node in live.values():
        for body in held_graphs(node):
            inner = _scan(body, set())
            found.constants += inner.constants
            found.nodes += inner.nodes
    return found
