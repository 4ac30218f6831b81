"""Tables of codes, as embeddings have them: rows are gathered, moved, and only then dequantized, here and there alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qgate.formats.model import Node
from qgate.quant.constants import INTEGER_RANGES, ConstantValue
from qgate.quant.floatgraph import FloatNode
from qgate.quant.parameters import positions

if TYPE_CHECKING:
    from qgate.quant.build import Builder

_MOVES = {"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Slice", "Split", "Expand"}
_REACH = 16


def quantize_table(builder: Builder, node: Node, codes: str, scale: str, zero: str) -> bool:
    """Takes the table that codes were gathered from for the quantized table that it is.

    Args:
        builder: The view so far.
        node: The node that dequantizes.
        codes: Its codes.
        scale: Its scale, one number for the whole table.
        zero: Its zero point, or empty.

    Returns:
        Whether every reader of the codes reads them with a scale, so that the operations between work on values.
    """
    gather = _gathered(builder, builder.ref(codes))
    if gather is None:
        return False
    name, table = gather.inputs[0], builder.constants[gather.inputs[0]]
    if table.dtype not in INTEGER_RANGES:
        return False
    made = builder.quantized(name, scale, zero, None)
    if made is None or made.quantized is None or made.quantized.scale.size != 1:
        return False
    if table.quantized is None:
        if not _only_dequantized(builder, gather.outputs[0]):
            return False
        gather.inputs[0] = builder.put_constant(f"{gather.outputs[0]}|table", made)
    elif not _same(table, made):
        builder.defect(
            "requantized",
            f"rows of {table.name!r} are read with scale {scale!r} here and with {table.quantized.scale_name!r} elsewhere",
            node=node.label,
            tensor=scale,
        )
    return True


def _gathered(builder: Builder, name: str) -> FloatNode | None:
    """The operation that takes a tensor's rows from a constant table, through operations that only move them."""
    makers = {made: held for held in builder.nodes for made in held.outputs}
    for _ in range(_REACH):
        maker = makers.get(name)
        if maker is None or not maker.inputs:
            return None
        if maker.op == "Gather":
            return maker if maker.inputs[0] in builder.constants else None
        if maker.op not in _MOVES:
            return None
        name = maker.inputs[0]
    return None


def _only_dequantized(builder: Builder, codes: str) -> bool:
    """Whether nothing reads codes as numbers, wherever they are moved to."""
    waiting, seen = [codes], {codes}
    outputs = {t.name for t in builder.graph.outputs}
    while waiting:
        name = waiting.pop()
        if name in outputs:
            return False
        for reader in builder.readers[name]:
            if reader.op in ("Shape", "Size") or _reads_codes(reader, name):
                continue
            if reader.op not in _MOVES or reader.domain or name in reader.inputs[1:]:
                return False
            waiting += [made for made in reader.outputs if made and made not in seen]
            seen.update(reader.outputs)
    return True


def _reads_codes(reader: Node, name: str) -> bool:
    """Whether an operation takes a tensor for codes, with a scale and a zero point beside them."""
    coded = {codes for codes, scale, _ in positions(reader) if scale >= 0}
    return all(at in coded for at, operand in enumerate(reader.inputs) if operand == name)


def _same(one: ConstantValue, two: ConstantValue) -> bool:
    if one.quantized is None or two.quantized is None:
        return False
    scales = [q.scale.reshape(-1) for q in (one.quantized, two.quantized)]
    zeros = [
        np.zeros(1) if q.zero_point is None else q.zero_point.reshape(-1)
        for q in (one.quantized, two.quantized)
    ]
    return np.array_equal(scales[0], scales[1]) and np.array_equal(zeros[0], zeros[1])
