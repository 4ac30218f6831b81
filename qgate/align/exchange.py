"""In which order an operation reads what its counterpart reads.

Operands are told apart by what they are computed from; where that is the same, by the clipping activations on the
way, and then by the first weight above each of them.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Hashable, Sequence

import numpy as np

from qgate.align.fingerprint import MIN_COSINE, MIN_ELEMENTS, unit
from qgate.align.side import COMMUTATIVE, Side
from qgate.quant.alignment import Difference
from qgate.quant.constants import Array, ConstantValue
from qgate.quant.floatgraph import FloatNode

_REACH = 3
_MAX_ELEMENTS = 1 << 20
_MOST = 16
_UNLIKE = 0.5


def order(one: FloatNode, two: FloatNode, left: Side, right: Side) -> list[int]:
    """For each operand of the reference's operation the position of the candidate's that is the same tensor.

    Positions as they stand where nothing speaks for another order.

    Args:
        one: The reference's operation.
        two: The candidate's.
        left: The reference.
        right: The candidate.
    """
    straight = list(range(max(len(one.inputs), len(two.inputs))))
    if len(one.inputs) != len(two.inputs) or len(straight) < 2 or one.inputs == two.inputs:
        return straight
    ours = [left.signature(name) for name in one.inputs]
    theirs = [right.signature(name) for name in two.inputs]
    if ours != theirs:
        if len(straight) == 2 and ours[0] != theirs[0] and ours[1] != theirs[1]:
            return [1, 0] if ours[0] == theirs[1] or ours[1] == theirs[0] else straight
        return _matched(ours, theirs) or straight
    for positions in _alike(one, ours, left):
        found = _told_apart(one, two, positions, left, right)
        for at, to in zip(positions, found, strict=True):
            straight[at] = to
    return straight


def same_weights(one: FloatNode, two: FloatNode, left: Side, right: Side) -> bool | None:
    """Whether the weights right above two operations' operands say that it is one operation; None where they say nothing.

    What is added to what is the same in every block of a residual network; the weights are not.
    """
    ours = [found for name in one.inputs if (found := _unit(left, name, reach=1)) is not None]
    theirs = [found for name in two.inputs if (found := _unit(right, name, reach=1)) is not None]
    compared = [abs(float(a @ b)) for a in ours for b in theirs if a.size == b.size]
    if not compared or _UNLIKE <= max(compared) < MIN_COSINE:
        return None
    return max(compared) >= MIN_COSINE


def exchanged(one: FloatNode, two: FloatNode, found: Sequence[int]) -> Difference | None:
    """What it means that operands stand in another order; nothing where the operation does not mind."""
    moved = [at for at, to in enumerate(found) if at != to]
    if not moved or (one.op in COMMUTATIVE and len(found) == 2) or one.op in ("Sum", "Mean", "Max", "Min"):
        return None
    if len(moved) == 2:
        message = f"operands {moved[0]} and {moved[1]} of {two.op} {two.label!r} are exchanged"
    else:
        places = ", ".join(f"{at} at {found[at]}" for at in moved[:6]) + (", ..." if len(moved) > 6 else "")
        message = f"operands of {two.op} {two.label!r} stand in another order (the reference's {places})"
    return Difference("wiring", message, (two,), (one,), {"order": list(found)[:64]})


def _matched(ours: Sequence[Hashable], theirs: Sequence[Hashable]) -> list[int] | None:
    """Each to one of its own kind, those that stand right where they are; None where kinds do not match."""
    free: dict[Hashable, deque[int]] = defaultdict(deque)
    for at, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        if mine != other:
            free[other].append(at)
    found = []
    for at, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        if mine != other and not free[mine]:
            return None
        found.append(at if mine == other else free[mine].popleft())
    return found


def _alike(one: FloatNode, signatures: Sequence[int], side: Side) -> list[list[int]]:
    """Positions of operands that are computed alike and are not the same tensor."""
    groups: dict[int, list[int]] = defaultdict(list)
    for at, (name, signature) in enumerate(zip(one.inputs, signatures, strict=True)):
        if name and not side.is_constant(name):
            groups[signature].append(at)
    return [g for g in groups.values() if 2 <= len(g) <= _MOST and len({one.inputs[at] for at in g}) > 1]


def _told_apart(one: FloatNode, two: FloatNode, positions: list[int], left: Side, right: Side) -> list[int]:
    ours, theirs = [one.inputs[at] for at in positions], [two.inputs[at] for at in positions]
    chains = [left.passed(name) for name in ours], [right.passed(name) for name in theirs]
    if chains[0] != chains[1]:
        moved = _matched(*chains)
        return [positions[to] for to in moved] if moved is not None else positions
    rows, columns = [_unit(left, name) for name in ours], [_unit(right, name) for name in theirs]
    likeness = np.zeros((len(rows), len(columns)))
    for at, row in enumerate(rows):
        for to, column in enumerate(columns):
            if row is None or column is None:
                return positions
            likeness[at, to] = float(row @ column) if row.size == column.size else 0.0
    found = [int(at) for at in likeness.argmax(axis=1)]
    moved = [at for at, to in enumerate(found) if at != to]
    sure = all(likeness[at, found[at]] >= MIN_COSINE and likeness[at, at] < _UNLIKE for at in moved)
    return [positions[to] for to in found] if sure and sorted(found) == list(range(len(found))) else positions


def _unit(side: Side, name: str, reach: int = _REACH) -> Array | None:
    """The direction of the first weight above a tensor, if there is one that is not too large to look at."""
    value = _first_weight(side, name, reach)
    return None if value is None or value.size > _MAX_ELEMENTS else unit(value)


def _first_weight(side: Side, name: str, reach: int) -> ConstantValue | None:
    queue: deque[tuple[str, int]] = deque([(name, 0)])
    while queue:
        tensor, depth = queue.popleft()
        node = side.made.get(tensor)
        if node is None or depth >= reach:
            continue
        for operand in node.inputs:
            held = side.graph.constants.get(operand)
            if held is not None and held.size >= MIN_ELEMENTS:
                return held
        queue += [(above, depth + 1) for above in side.data_inputs(node)]
    return None
