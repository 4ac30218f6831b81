"""The tree of a document whose values remember where they stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Path = tuple[str | int, ...]
"""Keys and positions from the top of a document to one of its values."""


@dataclass(frozen=True, eq=False)
class Trace:
    """Where a path leads: the parts that exist, the place to point at, and the value there."""

    path: Path
    line: int
    column: int
    node: Node


@dataclass(frozen=True, eq=False)
class Node:
    """A value of the document with its place, both counted from 1.

    Args:
        value: A scalar, a tuple of nodes, or a mapping of text keys to (key line, key column, node).
        line: Line of the value's first character.
        column: Column of the value's first character.
        size: Nodes in it with every alias unfolded.
        height: Levels of nesting in it with every alias unfolded.
    """

    value: object
    line: int
    column: int
    size: int = 1
    height: int = 0

    @property
    def entries(self) -> dict[str, tuple[int, int, Node]]:
        """What a mapping holds; empty for anything else."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def items(self) -> tuple[Node, ...]:
        """What a sequence holds; empty for anything else."""
        return self.value if isinstance(self.value, tuple) else ()

    def plain(self) -> Any:  # any JSON-like value
        """The value as dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, (_, _, node) in self.entries.items()}
        if isinstance(self.value, tuple):
            return [node.plain() for node in self.items]
        return self.value

    def trace(self, path: Path) -> Trace:
        """The best match of ``path``, at its key where it has one.

        Parts that are not in the document (a missing key, the tag of a union) are passed over; of several
        matches, the one whose last matched part is latest in ``path``, then the one with most parts.
        """
        return self._trace(path, 0)[1]

    def _trace(self, path: Path, position: int) -> tuple[tuple[int, int], Trace]:
        best, found = (0, 0), Trace((), self.line, self.column, self)
        for skip, part in enumerate(path):
            step = self._step(part)
            if step is None:
                continue
            line, column, node = step
            here = position + skip + 1
            (last, count), below = node._trace(path[skip + 1 :], here)
            rank = max(last, here), count + 1
            if rank > best:
                best = rank
                found = Trace((part, *below.path), below.line, below.column, below.node)
                if not count:
                    found = Trace((part,), line, column, node)
        return best, found

    def _step(self, part: str | int) -> tuple[int, int, Node] | None:
        if isinstance(part, str):
            return self.entries.get(part)
        if 0 <= part < len(self.items):
            node = self.items[part]
            return node.line, node.column, node
        return None


def quoted(text: object, limit: int = 80) -> str:
    """``text`` as a quoted, escaped, bounded piece of a message."""
    shown = str(text)
    return ascii(shown if len(shown) <= limit else shown[: limit - 3] + "...")


def type_name(value: object) -> str:
    """What a scalar is called in a message."""
    if value is None:
        return "empty value"
    if isinstance(value, bool):
        return f"word {str(value).lower()}"
    if isinstance(value, int | float):
        return f"number {value}"
    if isinstance(value, str):
        return f"text {quoted(value)}"
    return "mapping" if isinstance(value, dict) else "list"
