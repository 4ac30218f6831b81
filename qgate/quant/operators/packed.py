"""Weight-only forms of ONNX Runtime: codes packed into bytes, scaled by block."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from qgate.formats.model import Node
from qgate.quant.constants import FLOATS, Array, ConstantValue, Quantized, transposed
from qgate.quant.operators.shared import MS, Handler, input_at

if TYPE_CHECKING:
    from qgate.quant.build import Builder


def _matmul_nbits(builder: Builder, node: Node) -> bool:
    """com.microsoft MatMulNBits: B is [N, blocks, block bytes], packed low half first."""
    k, n = int(node.attribute("K", 0)), int(node.attribute("N", 0))
    bits, block = int(node.attribute("bits", 4)), int(node.attribute("block_size", 0))
    packed, scales = builder.constant(input_at(node, 1)), builder.constant(input_at(node, 2))
    if (
        packed is None
        or scales is None
        or bits not in (4, 8)
        or block <= 0
        or k <= 0
        or n <= 0
        or input_at(node, 4)
    ):
        return False
    blocks = -(-k // block)
    if packed.size != n * blocks * block * bits // 8 or scales.size != n * blocks:
        builder.defect("nbits", "the packed weight does not have the size that K, N, bits and block_size give",
                       node=node.label, tensor=packed.name)  # fmt: skip
        return False
    zero = _nbits_zero_points(builder, input_at(node, 3), n, blocks, bits)
    if zero is None:
        return False
    source = packed

    def codes() -> Array:
        return _unpacked(source.codes(), n, bits)[:, :k]

    made = Quantized(
        dtype=f"uint{bits}",
        scale=scales.values().reshape(n, blocks),
        zero_point=zero,
        axis=1,
        block=block,
        scale_name=scales.name,
        zero_name=input_at(node, 3),
        scale_dtype=scales.dtype,
    )
    weight = ConstantValue(packed.name, f"uint{bits}", (n, k), codes, bits, made, (), None)
    inputs = [
        builder.ref(input_at(node, 0)),
        builder.put_constant(f"{node.outputs[0]}|weight", transposed(weight)),
    ]
    bias = input_at(node, 5)
    inputs += [builder.ref(bias)] if bias else []
    builder.emit(node, "MatMul", inputs, list(node.outputs), {}, MatMul=node.outputs[0])
    return True


def _unpacked(packed: Array, rows: int, bits: int) -> Array:
    """Codes by row; two to a byte where they have four bits, the first in the low half."""
    raw = packed.astype(np.uint8).reshape(rows, -1)
    return raw if bits == 8 else np.stack([raw & 15, raw >> 4], axis=-1).reshape(rows, -1)


def _nbits_zero_points(builder: Builder, name: str, n: int, blocks: int, bits: int) -> Array | None:
    """One for each block, by default the middle of the range; None where those of the file do not fit."""
    if not name:
        return np.full((n, blocks), 1 << (bits - 1), np.uint8)
    held = builder.constant(name)
    if held is None:
        return None
    if held.dtype in FLOATS:
        return held.values().reshape(n, blocks) if held.size == n * blocks else None
    if held.size != n * -(-blocks * bits // 8):
        return None
    return _unpacked(held.codes(), n, bits)[:, :blocks]


def _gather_block(builder: Builder, node: Node) -> bool:
    data, indices, scale, zero = (input_at(node, i) for i in range(4))
    axis, block = int(node.attribute("quantize_axis", 1)), int(node.attribute("block_size", 128))
    weight = builder.quantized(data, scale, zero, axis, block)
    if weight is not None and weight.dtype == "uint8":
        weight = _packed_table(builder, node, weight, axis, zero)
    if weight is None or weight.dtype not in ("int4", "uint4", "uint8"):
        return False
    inputs = [builder.put_constant(f"{node.outputs[0]}|weight", weight), builder.ref(indices)]
    builder.emit(node, "Gather", inputs, list(node.outputs), {"axis": int(node.attribute("gather_axis", 0))})
    return True


def _packed_table(
    builder: Builder, node: Node, table: ConstantValue, axis: int, zero: str
) -> ConstantValue | None:
    """A table whose bytes hold 8-bit codes or two 4-bit ones, blocked along its last axis."""
    bits, rank = int(node.attribute("bits", 4)), len(table.shape)
    quantized = table.quantized
    if quantized is None or bits not in (4, 8) or axis % max(rank, 1) != rank - 1 or rank < 2:
        return None
    shape = (*table.shape[:-1], table.shape[-1] * 8 // bits)
    rows, blocks = int(np.prod(shape[:-1], dtype=np.int64)), quantized.scale.shape[-1]
    points = _nbits_zero_points(builder, zero, rows, blocks, bits)
    if points is None or quantized.scale.shape[:-1] != shape[:-1]:
        return None
    made = replace(
        quantized, dtype=f"uint{bits}", zero_point=points.reshape(quantized.scale.shape), axis=rank - 1
    )
    return ConstantValue(
        table.name, made.dtype, shape, lambda: _unpacked(table.codes(), rows, bits).reshape(shape), bits, made
    )


HANDLERS: dict[tuple[str, str], Handler] = {
    (MS, "MatMulNBits"): _matmul_nbits,
    (MS, "GatherBlockQuantized"): _gather_block,
}
