"""Quantized constants made as ONNX Runtime's quantizer makes them: nearest, half to even, in float32."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from qgate.quant.constants import INTEGER_RANGES, ConstantValue, Quantized, View

BITS = {"int2": 2, "uint2": 2, "int4": 4, "uint4": 4, "int16": 16, "uint16": 16, "int32": 32}
_STORED = {"int4": np.int8, "uint4": np.uint8, "int2": np.int8, "uint2": np.uint8}


def scale_of(weight, dtype, axes, *, symmetric=False):
    """Scale and zero point of min-max calibration over ``axes``."""
    least, greatest = INTEGER_RANGES[dtype]
    low = np.minimum(weight.min(axis=axes, keepdims=True), 0).astype(np.float64)
    high = np.maximum(weight.max(axis=axes, keepdims=True), 0).astype(np.float64)
    if symmetric:
        scale = (2 * np.maximum(-low, high) / (greatest - least - 1)).astype(np.float32)
        return np.maximum(scale, 1e-6), np.zeros(scale.shape, np.int64)
    scale = np.maximum(((high - low) / (greatest - least)).astype(np.float32), np.float32(1e-6))
    return scale, np.clip(np.rint(least - low / scale), least, greatest).astype(np.int64)


def nearest(weight, scale, zero, dtype):
    least, greatest = INTEGER_RANGES[dtype]
    codes = np.rint(weight.astype(np.float32) / scale.astype(np.float32)).astype(np.int64) + zero
    return np.clip(codes, least, greatest)


def coded(codes, scale, zero=None, *, dtype="int8", axis=None, block=0, scale_dtype="float", name="w"):
    """The constant that a file with these codes, scale and zero point holds."""
    kind = _STORED.get(dtype, dtype)
    held = np.asarray(codes).astype(kind)
    quantized = Quantized(
        dtype, np.asarray(scale), None if zero is None else np.asarray(zero).astype(kind), axis, block,
        f"{name}_scale", "" if zero is None else f"{name}_zero", scale_dtype,
    )  # fmt: skip
    return ConstantValue(name, dtype, held.shape, lambda: held, BITS.get(dtype, 8), quantized)


def floats(values, dtype="float", name="w"):
    held = np.asarray(values)
    return ConstantValue(name, dtype, held.shape, lambda: held, held.dtype.itemsize * 8)


def quantized(weight, dtype="int8", layout="tensor", *, symmetric=False, block=4):
    """A weight with its float32 nearest codes: ``tensor``, ``channel`` (axis 0) or ``block`` (axis 1)."""
    if layout == "block":
        count = weight.shape[1] // block
        parts = weight.reshape(weight.shape[0], count, block, *weight.shape[2:])
        scale, zero = scale_of(parts, dtype, (2,), symmetric=symmetric)
        codes = nearest(parts, scale, zero, dtype).reshape(weight.shape)
        return coded(codes, np.squeeze(scale, 2), np.squeeze(zero, 2), dtype=dtype, axis=1, block=block)
    axes = tuple(range(weight.ndim)) if layout == "tensor" else tuple(range(1, weight.ndim))
    scale, zero = scale_of(weight, dtype, axes, symmetric=symmetric)
    codes = nearest(weight, scale, zero, dtype)
    return coded(
        codes, scale.reshape(-1), zero.reshape(-1), dtype=dtype, axis=0 if layout == "channel" else None
    )


def with_codes(value, codes):
    """The same constant with other codes."""
    changed = codes.astype(value.stored().dtype)
    return ConstantValue(
        value.name, value.dtype, value.shape, lambda: changed, value.bits, value.quantized, value.views
    )


def flipped(value, index, bit):
    """The same constant with one bit of one stored code flipped, as in the file."""
    codes = value.stored().copy()
    width = BITS.get(value.dtype, 8)
    raw = (int(codes[index]) ^ (1 << bit)) & ((1 << width) - 1)
    signed = value.dtype.startswith("int")
    codes[index] = raw - (1 << width) if signed and raw >> (width - 1) else raw
    return with_codes(value, codes)


def transposed_view(value):
    return value.viewed(View(perm=(1, 0)), value.shape[::-1])


def bfloat(values):
    return np.asarray(values).astype(ml_dtypes.bfloat16).astype(np.float32)
