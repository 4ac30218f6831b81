"""Ways in which files without a graph keep a quantized weight: which tensors belong together, and how codes are packed.

A way that is not recognised leaves its tensors as they are: integers without a scale, which nothing takes
for weights.

Sources: compressed-tensors 0.20 (``weight`` or ``weight_packed`` with ``weight_scale``), AutoGPTQ and
GPTQModel (``qweight``, ``qzeros``, ``scales``, ``g_idx``), AutoAWQ (the same names, nibbles interleaved).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qgate.errors import FormatError
from qgate.formats.elements import unpacked
from qgate.formats.model import Constant, StoredQuantization

_FLOATS = {"float", "double", "float16", "bfloat16"}
_CODES = {"int8", "uint8", "int4", "uint4", "int16", "float8e4m3fn", "float8e5m2"}
# AutoAWQ keeps column 8 i + order[j] in nibble j of word i.
_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


@dataclass(frozen=True)
class _Names:
    """Suffixes of one way: codes, scale, zero point."""

    codes: str
    scale: str
    zero: str


# The first that fits counts.
_SIDE_BY_SIDE = (
    _Names("weight", "weight_scale", "weight_zero_point"),
    _Names(".int8", ".scale", ".zero_point"),
    _Names(".int4", ".scale", ".zero_point"),
)


def packed_constants(constants: Mapping[str, Constant], where: str) -> dict[str, Constant]:
    """The same constants; those that are codes say what they stand for, and packed ones come unpacked.

    What only says what others stand for is part of those, and no longer stands by itself.

    Args:
        constants: Every tensor of the file, by name.
        where: The file, for messages.

    Raises:
        FormatError: A tensor has the name that a part of another goes by.
    """
    found: dict[str, Constant] = {}
    for name, constant in constants.items():
        made = _gptq(name, constants) or _packed(name, constants) or _side_by_side(name, constants)
        found[name] = made or constant
    parts = set(parameters(found))
    kept = {name: constant for name, constant in found.items() if name not in parts}
    for name, constant in kept.items():
        for part in ("scale", "zero_point") if constant.quantization is not None else ():
            if f"{name}.{part}" in kept:
                raise FormatError(
                    f"the name {f'{name}.{part}'!r} stands for a tensor and for a part of {name!r}", where=where,
                    remedy="Rename one of them", rule="ART105", tensor=name,
                )  # fmt: skip
    return kept


def _side_by_side(name: str, constants: Mapping[str, Constant]) -> Constant | None:
    codes = constants[name]
    if codes.dtype not in _CODES or codes.quantization is not None:
        return None
    for names in _SIDE_BY_SIDE:
        stem = name.removesuffix(names.codes)
        scale = constants.get(stem + names.scale) if stem != name else None
        if scale is not None:
            held = _quantization(codes.shape, scale, constants.get(stem + names.zero))
            return replace(codes, quantization=held) if held is not None else None
    return None


def _quantization(
    shape: tuple[int, ...], scale: Constant, zero: Constant | None
) -> StoredQuantization | None:
    """How scales lie along the codes; None where it cannot be told."""
    if scale.dtype not in _FLOATS or (zero is not None and zero.shape != scale.shape):
        return None
    if scale.size == 1:
        return StoredQuantization(scale, zero)
    if scale.shape == shape[:1] or scale.shape == (*shape[:1], *(1 for _ in shape[1:])):
        return StoredQuantization(scale, zero, axis=0)
    if len(shape) != 2 or len(scale.shape) != 2 or scale.shape[0] != shape[0]:
        return None
    block = math.ceil(shape[1] / max(scale.shape[1], 1))
    return (
        StoredQuantization(scale, zero, axis=1, block=block)
        if math.ceil(shape[1] / max(block, 1)) == scale.shape[1]
        else None
    )


def _packed(name: str, constants: Mapping[str, Constant]) -> Constant | None:
    """``weight_packed``: codes plus half their range in words of 32 bits, along the last axis."""
    stem = name.removesuffix("weight_packed")
    scale, held = constants.get(stem + "weight_scale"), constants.get(stem + "weight_shape")
    words = constants[name]
    if stem == name or scale is None or held is None or words.dtype != "int32" or len(words.shape) != 2:
        return None
    if held.shape != (2,) or held.dtype not in ("int64", "int32"):
        return None
    rows, columns = (int(n) for n in held.load())
    bits = next((b for b in (4, 8) if words.shape == (rows, math.ceil(columns * b / 32)) and columns > 0), 0)
    if not bits:
        return None
    zero = _packed_zero(constants.get(stem + "weight_zero_point"), rows, bits)
    quantization = _quantization((rows, columns), scale, zero)

    def codes() -> NDArray[Any]:
        values = unpacked(words.load().view(np.uint32), bits)[:, :columns].astype(np.int16)
        return (values - (1 << (bits - 1))).astype(np.int8)

    return _unpacked_constant(words, f"int{bits}", (rows, columns), bits, codes, quantization)


def _packed_zero(zero: Constant | None, rows: int, bits: int) -> Constant | None:
    """Zero points packed along the first axis."""
    if zero is None or zero.dtype != "int32" or zero.shape[:1] != (math.ceil(rows * bits / 32),):
        return zero
    words = zero

    def values() -> NDArray[Any]:
        columns = unpacked(words.load().T.copy().view(np.uint32), bits)[:, :rows]
        return (columns.T.astype(np.int16) - (1 << (bits - 1))).astype(np.int8)

    return Constant(zero.name, "int8", (rows, *zero.shape[1:]), 8, values)


def _gptq(name: str, constants: Mapping[str, Constant]) -> Constant | None:
    """``qweight`` of GPTQ (packed along the inputs) or of AWQ (along the outputs, interleaved)."""
    stem = name.removesuffix("qweight")
    words = constants[name]
    scale, zeros = constants.get(stem + "scales"), constants.get(stem + "qzeros")
    if stem == name or scale is None or zeros is None or {words.dtype, zeros.dtype} != {"int32"}:
        return None
    if not len(words.shape) == len(scale.shape) == len(zeros.shape) == 2 or scale.dtype not in _FLOATS:
        return None
    groups, outputs = scale.shape
    bits = next((b for b in (4, 8) if zeros.shape == (groups, outputs * b // 32)), 0)
    if not bits or not groups or outputs * bits % 32:
        return None
    if words.shape[1] == outputs:
        inputs = words.shape[0] * 32 // bits
        order = constants.get(stem + "g_idx")
        if not _in_groups(order, inputs, groups):
            return None
        codes, offset = _along_inputs, 1
    elif words.shape[1] * 32 // bits == outputs and bits == 4:
        inputs, codes, offset = words.shape[0], _interleaved, 0
    else:
        return None
    zero = Constant(
        zeros.name, "int16", scale.shape, 16,
        lambda: (codes(zeros.load(), bits, False).astype(np.int16) + offset),
    )  # fmt: skip
    block = math.ceil(inputs / groups)
    quantization = StoredQuantization(scale, zero, axis=0, block=block) if inputs == block * groups else None
    return _unpacked_constant(
        words, f"uint{bits}", (inputs, outputs), bits, lambda: codes(words.load(), bits, True), quantization
    )


def _in_groups(order: Constant | None, inputs: int, groups: int) -> bool:
    """Whether inputs belong to groups in their own order, which ``g_idx`` may say otherwise."""
    if order is None:
        return True
    if order.shape != (inputs,) or order.dtype not in ("int32", "int64"):
        return False
    return bool(np.array_equal(order.load(), np.arange(inputs) // math.ceil(inputs / groups)))


def _along_inputs(words: NDArray[Any], bits: int, rows: bool) -> NDArray[Any]:
    """GPTQ's packing: weights along the rows, zero points along the columns."""
    held = np.ascontiguousarray(words.T if rows else words).view(np.uint32)
    codes = unpacked(held, bits)
    return np.ascontiguousarray(codes.T) if rows else codes


def _interleaved(words: NDArray[Any], bits: int, rows: bool) -> NDArray[Any]:
    """AWQ's packing, the same for weights and zero points."""
    del rows
    codes = unpacked(np.ascontiguousarray(words).view(np.uint32), bits).reshape(words.shape[0], -1, 8)
    ordered = np.empty_like(codes)
    for nibble, column in enumerate(_AWQ_ORDER):
        ordered[:, :, column] = codes[:, :, nibble]
    return ordered.reshape(words.shape[0], -1)


def _unpacked_constant(
    words: Constant, dtype: str, shape: tuple[int, ...], bits: int, load: Any,
    quantization: StoredQuantization | None,
) -> Constant:  # fmt: skip
    return Constant(words.name, dtype, shape, bits, load, file=words.file, quantization=quantization)


def parameters(constants: Mapping[str, Constant]) -> Iterator[str]:
    """Names of the constants that only say what others stand for."""
    for constant in constants.values():
        if constant.quantization is not None:
            yield constant.quantization.scale.name
            if constant.quantization.zero_point is not None:
                yield constant.quantization.zero_point.name
