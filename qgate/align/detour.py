"""Where two graphs part, the shortest way around that brings them together again, and what it is called."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from qgate.align.side import Side
from qgate.quant.alignment import Difference
from qgate.quant.floatgraph import FloatNode, Quantizer

REACH = 8
Reader = tuple[FloatNode, FloatNode, int] | None
"""Who reads a pair of tensors: the reference's operation, the candidate's, and at which position."""
Nodes = tuple[FloatNode, ...]


class Detours:
    """Looks for ways around in both graphs, given the pairs of operations that are known already."""

    def __init__(
        self,
        left: Side,
        right: Side,
        same_source: Callable[[str, str], bool],
        paired: Mapping[int, FloatNode],
    ) -> None:
        self.left = left
        self.right = right
        self.same_source = same_source
        self.paired = paired

    def implied(self, one: FloatNode, right: str, reader: Reader) -> list[Quantizer]:
        """The candidate's quantizers that clip as the reference's activation does.

        They must stand between the tensor and its reader: one that hangs beside it clips nothing.
        """
        if one.op not in ("Relu", "Clip") or not one.inputs:
            return []
        low = 0.0 if one.op == "Relu" else one.attributes.get("min", float("-inf"))
        high = float("inf") if one.op == "Relu" else one.attributes.get("max", float("inf"))
        if not isinstance(low, int | float) or not isinstance(high, int | float):
            return []
        found: list[Quantizer] = []
        read = (
            {name for name, _ in self.right.graph.outputs} if reader is None else set(reader[1].node.inputs)
        )
        for quantizer in self.right.graph.quantizers.get(right, []):
            if not quantizer.inherent and quantizer.source in read:
                continue
            least, greatest = quantizer.bounds()
            step = float(np.max(quantizer.scale)) if quantizer.scale.size else 0.0
            if least >= low - 0.51 * step and greatest <= high + 1.01 * step:
                found.append(quantizer)
        return found

    def find(self, left: str, right: str) -> tuple[str, str, Nodes, Nodes] | None:
        """The least number of operations to step over until both sides agree again."""
        ours = list(_upstream(self.left, left))
        theirs = list(_upstream(self.right, right))
        best = None
        for a, left_nodes in ours:
            for b, right_nodes in theirs:
                cost = len(left_nodes) + len(right_nodes)
                if cost == 0 or (best is not None and cost >= best[0]):
                    continue
                if self._agree(a, b):
                    best = (cost, a, b, left_nodes, right_nodes)
        return best[1:] if best is not None else None

    def _agree(self, left: str, right: str) -> bool:
        one, two = self.left.made.get(left), self.right.made.get(right)
        if one is None or two is None:
            return one is two and self.same_source(left, right)
        if one.op != two.op or not self.weights_fit(one, two):
            return False
        if id(two) in self.paired:
            return self.paired[id(two)] is one
        return self.left.signature(left) == self.right.signature(right)

    def weights_fit(self, one: FloatNode, two: FloatNode) -> bool:
        """Weight shapes agree where both have constant weights."""
        for a, b in zip(one.inputs[:2], two.inputs[:2], strict=False):
            left, right = self.left.graph.constants.get(a), self.right.graph.constants.get(b)
            if left is not None and right is not None and left.size != right.size:
                return False
        return True

    def other_shape(self, one: FloatNode, two: FloatNode) -> Difference | None:
        """A weight of another size than the reference's has; None where all fit."""
        for a, b in zip(one.inputs[:2], two.inputs[:2], strict=False):
            left, right = self.left.graph.constants.get(a), self.right.graph.constants.get(b)
            if left is not None and right is not None and left.size != right.size:
                message = (
                    f"{two.op} {two.label!r} has the weight {right.name!r} of shape {list(right.shape)}, and the reference's "
                    f"{left.name!r} there is of shape {list(left.shape)}"
                )
                return Difference(
                    "constant", message, (two,), (one,), {"tensor": right.name, "node": two.label}
                )
        return None

    def moved_constant(self, one: FloatNode, two: FloatNode) -> Difference | None:
        """What it means that an operation reads its constant at another position than the reference's does."""
        places = [
            [at for at, name in enumerate(node.inputs[:2]) if name in side.graph.constants]
            for node, side in ((one, self.left), (two, self.right))
        ]
        if not (len(places[0]) == len(places[1]) == 1) or places[0] == places[1]:
            return None
        message = (
            f"operands 0 and 1 of {two.node.op} {two.label!r} are exchanged: its weight is operand {places[1][0]}, and operand "
            f"{places[0][0]} in the reference"
        )
        return Difference("wiring", message, (two,), (one,))

    def difference(self, ours: Nodes, theirs: Nodes, tensor: str, reader: Reader) -> Difference | None:
        """What was stepped over, as a difference; None where it changes nothing.

        Args:
            ours: Operations of the reference.
            theirs: Operations of the candidate.
            tensor: The candidate's tensor that the detour began at.
            reader: Who reads that tensor.
        """
        ours = tuple(n for n in ours if not _is_float_cast(n))
        theirs = tuple(n for n in theirs if not _is_float_cast(n))
        if not ours and not theirs:
            return None
        before = (
            f", before operand {reader[2]} of {reader[1].op} {reader[1].label!r}"
            if reader is not None
            else ""
        )
        if not ours:
            message = f"{_named(theirs)} stands in the candidate and not in the reference"
            return Difference("added", message + before, theirs)
        if len(ours) == len(theirs) == 1 and ours[0].label == theirs[0].label:
            moved = self.moved_constant(ours[0], theirs[0])
            if moved is not None:
                return moved
        if theirs:
            message = f"{_named(theirs)} stands where the reference has {_named(ours)}"
            return Difference("replaced", message + before, theirs, ours)
        message = f"{_named(ours)} of the reference is missing in the candidate"
        stand_in = self.right.graph.quantizers.get(tensor, [])
        if stand_in and {n.op for n in ours} <= {"Relu", "Clip"}:
            return _lost_activation(message, stand_in[0], ours)
        evidence = {"tensor": tensor, **({"node": reader[1].label} if reader is not None else {})}
        return Difference("removed", message + before, (), ours, evidence)


def _named(nodes: Nodes) -> str:
    """Operators with their names in the file, of a long run the first ones."""
    shown = ", ".join(f"{n.op} {n.label!r}" for n in nodes[:4])
    return shown if len(nodes) <= 4 else f"{shown} and {len(nodes) - 4} more"


def past(difference: Difference, right: str, reader: tuple[FloatNode, FloatNode, int]) -> Difference:
    """The same where what seems to be missing stands elsewhere in the candidate: an edge was moved past it."""
    ours, reading, position = difference.reference, reader[1], reader[2]
    message = (
        f"operand {position} of {reading.op} {reading.label!r} reads {right!r}, past {_named(ours)}, whose result the reference "
        "reads there: the candidate has it and connects it otherwise"
    )
    return replace(difference, message=message)


def _lost_activation(message: str, quantizer: Quantizer, ours: Nodes) -> Difference:
    """A quantizer that should clip as the activation did, and does not: its range was changed."""
    low, high = quantizer.bounds()
    return Difference(
        "range",
        f"{message}, and its quantizer's range [{low:.4g}, {high:.4g}] does not stand in for it",
        (),
        ours,
        {"tensor": quantizer.zero_name or quantizer.scale_name, "scale": quantizer.scale_name,
         "zero_point": quantizer.zero_name, "node": quantizer.node, "low": low, "high": high},
    )  # fmt: skip


def _upstream(side: Side, start: str) -> Iterator[tuple[str, Nodes]]:
    """Tensors above one, each with the operations that lie between, nearest first."""
    queue: deque[tuple[str, Nodes]] = deque([(start, ())])
    seen = {start}
    while queue:
        name, passed = queue.popleft()
        yield name, passed
        node = side.made.get(name)
        if node is None or len(passed) >= REACH:
            continue
        for above in side.data_inputs(node):
            if above not in seen:
                seen.add(above)
                queue.append((above, (*passed, node)))


def _is_float_cast(node: FloatNode) -> bool:
    """A change of float type; a cast to whole numbers is a change of values."""
    return node.op == "Cast" and int(node.node.attribute("to", 0)) in (1, 10, 11, 16)
