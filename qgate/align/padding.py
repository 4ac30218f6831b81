"""A Pad in front of a convolution is the same as a convolution with pads: optimisers write one as the other."""

from __future__ import annotations

import numpy as np

from qgate.align.side import Side
from qgate.quant.floatgraph import FloatNode

_NARROWER = 1e-3
"""How much a quantizer behind the Pad may fall short of the one before it, as a share of its range."""


def padding_before(one: FloatNode, two: FloatNode, ours: Side, theirs: Side) -> tuple[Side, FloatNode] | None:
    """The Pad to look through so that two convolutions pad the same; None where there is no such.

    Args:
        one: The reference's convolution; ``two`` the candidate's.
        ours: The reference's side; ``theirs`` the candidate's.

    Returns:
        The side that has the Pad, and the Pad: of zeros, on spatial axes alone, that cuts nothing off, and whose result
        no quantizer of the candidate's narrows.
    """
    if one.op != "Conv" or two.op != "Conv" or {"auto_pad"} & {*one.attributes, *two.attributes}:
        return None
    pads = [node.attributes.get("pads") for node in (one, two)]
    for position, (node, side) in enumerate(((one, ours), (two, theirs))):
        pad = side.made.get(node.inputs[0]) if node.inputs else None
        added = _zeros(pad) if pad is not None else None
        if pad is None or added is None or _narrowed(pad, side):
            continue
        own = pads[position] or (0,) * len(added)
        other = pads[1 - position] or (0,) * len(added)
        if len(own) == len(added) == len(other) and tuple(map(sum, zip(own, added, strict=True))) == tuple(
            other
        ):
            return side, pad
    return None


def _zeros(pad: FloatNode) -> tuple[int, ...] | None:
    """What it adds on spatial axes, as a convolution has its pads; None where it does anything else."""
    pads = pad.attributes.get("pads")
    plain = pad.op == "Pad" and pad.attributes.get("mode", "constant") in ("constant", b"constant")
    if (
        not plain
        or not isinstance(pads, tuple)
        or len(pads) % 2
        or len(pad.inputs) != 1
        or "axes" in pad.attributes
    ):
        return None
    value = pad.attributes.get("value", 0)
    if not isinstance(value, int | float) or value != 0 or not all(isinstance(each, int) for each in pads):
        return None
    rank = len(pads) // 2
    begin, end = pads[:rank], pads[rank:]
    if rank < 3 or any((*begin[:2], *end[:2])) or min(pads) < 0:
        return None
    return (*begin[2:], *end[2:])


def _narrowed(pad: FloatNode, side: Side) -> bool:
    """Whether a quantizer behind the Pad holds less than what stands before it does."""
    behind = side.graph.quantizers.get(pad.outputs[0], ())
    before = side.graph.quantizers.get(pad.inputs[0], ())
    if not behind:
        return False
    if not before:
        return True
    lows, highs = zip(*(each.bounds() for each in before), strict=True)
    low, high = np.max([np.max(each) for each in lows]), np.min([np.min(each) for each in highs])
    slack = _NARROWER * (high - low)
    return not all(
        np.max(each.bounds()[0]) <= low + slack and np.min(each.bounds()[1]) >= high - slack
        for each in behind
    )
