"""The order in which runtimes carry out the nodes of a graph."""

from __future__ import annotations

from collections import defaultdict
from heapq import heapify, heappop, heappush

from qgate.formats.model import Graph, Node
from qgate.quant.floatgraph import held_graphs, outer_names


def in_order(graph: Graph) -> list[Node]:
    """The nodes in topological order, as runtimes sort them; what is on a cycle comes last, as it stands.

    Converters to fp16 append their casts at the end of the file.
    """
    made = {name for node in graph.nodes for name in node.outputs if name}
    done = {t.name for t in graph.inputs} | set(graph.constants)
    waiting: dict[str, list[int]] = defaultdict(list)
    missing: list[int] = []
    for position, node in enumerate(graph.nodes):
        needs = {n for n in (*node.inputs, *outer_names(held_graphs(node))) if n in made and n not in done}
        missing.append(len(needs))
        for name in needs:
            waiting[name].append(position)
    ready = [position for position, count in enumerate(missing) if count == 0]
    heapify(ready)
    ordered: list[Node] = []
    while ready:
        node = graph.nodes[heappop(ready)]
        ordered.append(node)
        for name in dict.fromkeys(node.outputs):
            for position in waiting.pop(name, ()):
                missing[position] -= 1
                if missing[position] == 0:
                    heappush(ready, position)
    if len(ordered) < len(graph.nodes):
        placed = {id(node) for node in ordered}
        ordered += [node for node in graph.nodes if id(node) not in placed]
    return ordered
