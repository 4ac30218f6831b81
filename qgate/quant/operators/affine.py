"""QuantizeLinear and DequantizeLinear, on activations and on weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qgate.formats.model import Node
from qgate.quant.constants import FLOATS, INTEGER_RANGES, Array, ConstantValue, Quantized
from qgate.quant.operators.shared import Handler, input_at
from qgate.quant.tables import quantize_table

if TYPE_CHECKING:
    from qgate.quant.build import Builder

# float8 types with their greatest number.
_FLOAT8 = {"float8e4m3fn": 448.0, "float8e4m3fnuz": 240.0, "float8e5m2": 57344.0, "float8e5m2fnuz": 57344.0}
_BITS = {"int4": 4, "uint4": 4, "int2": 2, "uint2": 2, "int16": 16, "uint16": 16, "int32": 32}


def _quantize(builder: Builder, node: Node) -> bool:
    source, scale, zero = input_at(node, 0), input_at(node, 1), input_at(node, 2)
    if builder.constant(scale) is None:
        return False
    held = builder.constant(source)
    if held is not None and held.dtype in FLOATS:
        made = _quantized_on_load(builder, node, held)
        if made is None:
            return False
        builder.put_constant(node.outputs[0], made)
        return True
    builder.mark(node, source, node.outputs[0], scale, zero)
    builder.alias[node.outputs[0]] = source
    return True


def _quantized_on_load(builder: Builder, node: Node, held: ConstantValue) -> ConstantValue | None:
    """A float weight that the graph itself quantizes: the codes that any runtime computes for it."""
    scale, zero = input_at(node, 1), input_at(node, 2)
    zero_value = builder.constant(zero) if zero else None
    dtype = zero_value.dtype if zero_value is not None else builder.code_type(node, node.outputs[0])
    scales = builder.constant(scale)
    if scales is None or dtype not in {*INTEGER_RANGES, *_FLOAT8}:
        return None
    shape = held.shape
    quantized = Quantized(
        dtype,
        scales.values(),
        None if zero_value is None else zero_value.codes(),
        int(node.attribute("axis", 1)) if scales.size > 1 else None,
        int(node.attribute("block_size", 0)),
        scales.name,
        zero,
        scales.dtype,
    )

    def codes() -> Array:
        step = quantized.spread(quantized.scale, shape)
        if dtype in _FLOAT8:
            return _to_float8(held.values() / step, dtype)
        least, greatest = INTEGER_RANGES[dtype]
        offset = 0 if quantized.zero_point is None else quantized.spread(quantized.zero_point, shape)
        with np.errstate(all="ignore"):
            rounded = np.rint(held.values() / step) + offset
        return np.nan_to_num(np.clip(rounded, least, greatest)).astype(np.int32)

    return ConstantValue(held.name, dtype, shape, codes, _BITS.get(dtype, 8), on_load=True)


def _to_float8(values: Array, dtype: str) -> Array:
    """Saturating, as QuantizeLinear is by default."""
    import ml_dtypes

    kind = getattr(ml_dtypes, dtype.replace("float8e", "float8_e"))
    return np.clip(values, -_FLOAT8[dtype], _FLOAT8[dtype]).astype(kind).astype(np.float32)


def _dequantize(builder: Builder, node: Node) -> bool:
    source, scale, zero = input_at(node, 0), input_at(node, 1), input_at(node, 2)
    if builder.constant(source) is not None and source not in builder.coded:
        made = builder.quantized(
            source, scale, zero, int(node.attribute("axis", 1)), int(node.attribute("block_size", 0))
        )
        if made is None:
            return False
        builder.put_constant(node.outputs[0], made)
        return True
    if builder.constant(scale) is None and scale not in builder.dynamic_of:
        return False
    inputs = {t.name for t in builder.graph.inputs}
    if source not in builder.coded and source not in builder.dynamic_of.values() and source not in inputs:
        gathered = quantize_table(builder, node, source, scale, zero)
        if not gathered:
            # Codes that no quantizer made: a cast to them is an operation of its own.
            return False
    builder.check_coded(node, source, scale, zero)
    builder.alias[node.outputs[0]] = source
    return True


def _dynamic_quantize(builder: Builder, node: Node) -> bool:
    builder.dynamic = True
    builder.alias[node.outputs[0]] = input_at(node, 0)
    builder.dynamic_of.update(dict.fromkeys(node.outputs[1:], node.outputs[0]))
    return True


HANDLERS: dict[tuple[str, str], Handler] = {
    ("*", "QuantizeLinear"): _quantize,
    ("*", "DequantizeLinear"): _dequantize,
    ("", "DynamicQuantizeLinear"): _dynamic_quantize,
}
