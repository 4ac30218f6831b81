"""What the codes of an exported program's weights stand for: the operations that dequantize them say so."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from qgate.formats.elements import in_memory
from qgate.formats.model import Constant, Graph, Node, StoredQuantization

_DECOMPOSED = "torch.ops.quantized_decomposed."
_NARROW = {(-8, 7): "int4", (-2, 1): "int2", (0, 15): "uint4", (0, 3): "uint2"}


def quantized_constants(graph: Graph) -> dict[str, Constant]:
    """The graph's constants; those that every reader dequantizes alike say how."""
    found = dict(graph.constants)
    said: dict[str, list[Constant | None]] = {}
    for node in graph.all_nodes():
        if node.inputs and node.inputs[0] in found and "dequantize" in node.op:
            said.setdefault(node.inputs[0], []).append(_read_as(node, graph.constants))
    for name, readings in said.items():
        first = readings[0]
        if first is not None and all(_same(first, other) for other in readings[1:]):
            found[name] = first
    return found


def _read_as(node: Node, constants: Mapping[str, Constant]) -> Constant | None:
    codes = constants[node.inputs[0]]
    limits = (node.attribute("quant_min"), node.attribute("quant_max"))
    codes = replace(codes, dtype=_NARROW.get(limits, codes.dtype) if None not in limits else codes.dtype)
    if node.op.startswith(_DECOMPOSED + "dequantize_per_tensor."):
        scale, zero = _number(node, "scale", constants, 1), _number(node, "zero_point", constants, 2)
        return _with(codes, StoredQuantization(scale, zero) if scale and zero else None)
    if node.op.startswith(_DECOMPOSED + "dequantize_per_channel.") and len(node.inputs) >= 2:
        axis = node.attribute("axis")
        scale, zero = (constants.get(n) for n in (*node.inputs[1:3], "")[:2])
        if scale is None or type(axis) is not int or not -len(codes.shape) <= axis < len(codes.shape):
            return None
        return _with(codes, StoredQuantization(scale, zero, axis % len(codes.shape)))
    if ".dequantize_affine." in node.op and len(node.inputs) >= 2:
        scale, zero = (constants.get(n) for n in (*node.inputs[1:3], "")[:2])
        blocks = node.attribute("block_size", ())
        held = blocked(codes.shape, blocks, scale, zero) if scale is not None else None
        return _with(codes, held)
    return None


def blocked(
    shape: tuple[int, ...], blocks: Any, scale: Constant, zero: Constant | None
) -> StoredQuantization | None:
    """Along which axis scales lie that stand for blocks of given sizes; None for blocks over several axes.

    Args:
        shape: Sizes of the codes.
        blocks: Sizes of a block, one for each axis.
        scale: One for each block.
        zero: Likewise, or None.
    """
    if scale.size == 1:
        return StoredQuantization(scale, zero)
    sizes = tuple(blocks) if isinstance(blocks, list | tuple) else ()
    if len(sizes) != len(shape) or any(type(b) is not int or b <= 0 for b in sizes):
        return None
    wanted = tuple(math.ceil(n / b) for n, b in zip(shape, sizes, strict=True))
    # One scale for each row may come as a column or flat.
    flat = tuple(n for n in wanted if n > 1)
    if scale.shape not in (wanted, flat) or (zero is not None and zero.shape not in (wanted, flat, ())):
        return None
    split = [i for i, (n, b) in enumerate(zip(shape, sizes, strict=True)) if 1 < b < n]
    if not split:
        axes = [i for i, n in enumerate(wanted) if n > 1]
        return StoredQuantization(scale, zero, axes[0]) if len(axes) == 1 or scale.shape == wanted else None
    whole = all(b == 1 or n == 1 for i, (n, b) in enumerate(zip(shape, sizes, strict=True)) if i != split[0])
    if len(split) > 1 or not whole or scale.shape != wanted:
        return None
    return StoredQuantization(scale, zero, split[0], sizes[split[0]])


def _with(codes: Constant, quantization: StoredQuantization | None) -> Constant | None:
    return replace(codes, quantization=quantization) if quantization is not None else None


def _number(node: Node, name: str, constants: Mapping[str, Constant], position: int) -> Constant | None:
    """A scale or zero point that is an argument of the operation itself, or a constant."""
    value = node.attribute(name)
    if type(value) in (int, float):
        dtype = "double" if name == "scale" else "int64"
        label = f"{node.label}.{name}"
        return in_memory(
            label, dtype, lambda: np.array(value, np.float64 if dtype == "double" else np.int64), ()
        )
    return constants.get(node.inputs[position]) if position < len(node.inputs) else None


def _same(one: Constant, other: Constant | None) -> bool:
    """Whether two readers take the same codes for the same numbers."""
    a, b = one.quantization, other.quantization if other is not None else None
    if (
        a is None
        or b is None
        or other is None
        or (one.dtype, a.axis, a.block) != (other.dtype, b.axis, b.block)
    ):
        return False
    pairs = [(a.scale, b.scale), (a.zero_point, b.zero_point)]
    return all(
        (x is None) == (y is None) and (x is None or y is None or np.array_equal(x.load(), y.load())) for x, y in pairs
    )  # fmt: skip
