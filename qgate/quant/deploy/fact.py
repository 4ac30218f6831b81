"""One thing that a target runtime would refuse or compute differently."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Fact:
    """Something about a model that a runtime does not like.

    Args:
        kind: What it is; one rule judges each kind.
        message: What is wrong, in words.
        node: The node, in the file's own words; None for the model as a whole.
        tensor: The tensor, if there is one.
        refused: It is known that the runtime refuses it, where the kind alone is only a warning.
        nodes: Every node of that kind, once facts are gathered.
    """

    kind: str
    message: str
    node: str | None = None
    tensor: str | None = None
    refused: bool = False
    nodes: tuple[str, ...] = field(default=())

    @property
    def count(self) -> int:
        """How many nodes it is about."""
        return max(len(self.nodes), 1)


def gathered(facts: Iterable[Fact]) -> list[Fact]:
    """One fact of each kind: the first (one that is refused, if any is), with the names of all nodes.

    A converter does the same everywhere, so that a finding for each node would say one thing a hundred times.
    """
    found: dict[str, Fact] = {}
    nodes: dict[str, dict[str, None]] = {}
    for fact in facts:
        first = found.setdefault(fact.kind, fact)
        if fact.refused and not first.refused:
            found[fact.kind] = fact
        if fact.node is not None:
            nodes.setdefault(fact.kind, {})[fact.node] = None
    return [replace(fact, nodes=tuple(nodes.get(kind, ()))) for kind, fact in found.items()]
