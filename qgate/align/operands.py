"""Differences in what two operations read: an operand more or fewer, a constant, another tensor."""

from __future__ import annotations

import numpy as np

from qgate.align.detour import Reader
from qgate.align.side import Side
from qgate.quant.alignment import Difference
from qgate.quant.floatgraph import FloatNode

WEIGHTED = {"Conv", "ConvTranspose", "MatMul", "Gemm", "LSTM", "GRU", "RNN", "Gather"}


def missing(name: str, reader: Reader, side: Side, *, extra: bool) -> Difference | None:
    """An operand that one side alone has; none where it is zero throughout.

    Args:
        name: The operand.
        reader: Who reads it.
        side: The side that has it.
        extra: That side is the candidate.
    """
    if reader is None:
        return None
    one, two, position = reader
    value = side.graph.constants.get(name)
    if value is not None and not np.any(value.values()):
        return None
    what = (
        "reads an operand that the reference does not have" if extra else "lacks an operand of the reference"
    )
    bias = ", the bias" if one.op in WEIGHTED and position == 2 else ""
    shown = value.name if value is not None else name
    return Difference(
        "wiring",
        f"{two.op} {two.label!r} {what}: {shown!r} (position {position}{bias})",
        (two,),
        (one,),
        {"operand": shown},
    )


def constant_alone(left: str, right: str, reader: Reader, ours: Side, theirs: Side) -> Difference:
    """What one side computes is a constant of the other's file."""
    candidate = theirs.is_constant(right)
    computed, shown = (ours.maker(left), left) if candidate else (theirs.maker(right), right)
    source = f"{computed.op} {computed.label!r} computes it" if computed is not None else f"it is {shown!r}"
    sides = ("candidate", "reference") if candidate else ("reference", "candidate")
    if reader is None:
        message = f"an output is constant in the {sides[0]} alone; in the {sides[1]} {source}"
        return Difference(
            "wiring", message, (), (), {"tensor": (theirs.constant(right) or right) if candidate else right}
        )
    one, two, position = reader
    message = f"operand {position} of {two.op} {two.label!r} is constant in the {sides[0]} alone; in the {sides[1]} {source}"
    return Difference("wiring", message, (two,), (one,))


def other_tensor(left: str, right: str, reader: Reader, ours: Side, theirs: Side) -> Difference:
    """Both are there, and it is another one that is read.

    Args:
        left: The reference's tensor.
        right: The candidate's, which has another counterpart.
        reader: Who reads them; None for an output.
        ours: The reference.
        theirs: The candidate.
    """
    read, expected = _described(right, theirs), _described(left, ours)
    if reader is None:
        return Difference(
            "wiring", f"an output is {read} where the reference's is {expected}", _nodes(right, theirs), _nodes(left, ours),
            {"tensor": right},
        )  # fmt: skip
    one, two, position = reader
    return Difference(
        "wiring",
        f"operand {position} of {two.op} {two.label!r} is {read} where the reference reads {expected}",
        (two,),
        (one,),
    )


def _described(name: str, side: Side) -> str:
    node = side.maker(name)
    if node is None:
        return f"input {name!r}"
    which = f"output {node.outputs.index(name)} of " if len(node.outputs) > 1 else "what "
    return f"{which}{node.op} {node.label!r}{'' if len(node.outputs) > 1 else ' computes'}"


def _nodes(name: str, side: Side) -> tuple[FloatNode, ...]:
    node = side.maker(name)
    return () if node is None else (node,)
