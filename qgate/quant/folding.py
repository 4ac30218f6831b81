"""Folds nodes whose operands are all constant, as every converter does.

Layout changes keep codes and scale apart; an integer tensor that is cast and multiplied by a scale
becomes a quantized constant (weight-only files have no DequantizeLinear at all); arithmetic on small
constants is carried out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from qgate.formats.model import Constant, Node
from qgate.quant.constants import FLOATS, INTEGER_RANGES, Array, ConstantValue, Quantized, View, computed

MAX_ELEMENTS = 1 << 22
_CODES = set(INTEGER_RANGES) - {"int32"}
_BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Pow": np.power,
    "Min": np.minimum, "Max": np.maximum, "Equal": np.equal,
}  # fmt: skip
_DOUBLE: dict[str, Callable[[Array, Array], Array]] = {**_BINARY, "Div": np.divide}
_UNARY: dict[str, Callable[[Array], Array]] = {
    "Sqrt": np.sqrt, "Neg": np.negative, "Reciprocal": np.reciprocal, "Exp": np.exp, "Abs": np.abs,
    "Floor": np.floor, "Ceil": np.ceil, "Not": np.logical_not,
}  # fmt: skip


def fold(node: Node, operands: Sequence[ConstantValue | None]) -> ConstantValue | None:
    """The constant that a node makes, or None where it reads something that is not constant."""
    if node.domain or not operands or any(v is None for v, n in zip(operands, node.inputs, strict=True) if n):
        return None
    held = [v for v in operands if v is not None]
    if len(held) != len(operands) and any(v is not None for v in operands[operands.index(None) :]):
        return None  # an operand that is left out before others: positions would shift
    if not held or max(v.size for v in held) > MAX_ELEMENTS:
        return _layout(node, held) if held else None
    laid_out = _layout(node, held)
    if laid_out is not None:
        return laid_out
    scaled = _scaled_codes(node, held)
    if scaled is not None:
        return scaled
    try:
        with np.errstate(all="ignore"):
            values = _compute(node, held)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    if values is None or values.size > MAX_ELEMENTS:
        return None
    if node.op != "Cast":
        values = _as_stored(values, held)
    name = max(held, key=lambda v: v.size).name if max(v.size for v in held) > 1 else node.outputs[0]
    return computed(name, np.array(values, order="C"))  # which leaves a number without axes as it is


def _as_stored(values: Array, held: Sequence[ConstantValue]) -> Array:
    """Halves make halves: a runtime rounds, and overflows, after every step."""
    halves = {v.dtype for v in held if not v.is_quantized} == {"float16"}
    with np.errstate(all="ignore"):
        return values.astype(np.float16) if halves and values.dtype == np.float32 else values


def _layout(node: Node, held: Sequence[ConstantValue]) -> ConstantValue | None:
    """Transpose, Reshape and their kin, without touching the values."""
    value = held[0]
    shape = value.shape
    if node.op == "Transpose":
        perm = tuple(node.attribute("perm") or range(len(shape))[::-1])
        if sorted(perm) != list(range(len(shape))):
            return None
        return value.viewed(View(perm=perm), tuple(shape[i] for i in perm))
    target: tuple[int, ...] | None = None
    if node.op == "Reshape" and len(held) == 2 and not node.attribute("allowzero", 0):
        target = _reshaped(shape, [int(v) for v in held[1].codes().reshape(-1)])
    elif node.op == "Flatten":
        axis = int(node.attribute("axis", 1))
        axis = axis + len(shape) if axis < 0 else axis
        if not 0 <= axis <= len(shape):
            return None
        target = (int(np.prod(shape[:axis], dtype=np.int64)), int(np.prod(shape[axis:], dtype=np.int64)))
    elif node.op in ("Squeeze", "Unsqueeze"):
        axes = held[1].codes().reshape(-1).tolist() if len(held) == 2 else list(node.attribute("axes") or ())
        target = _squeezed(shape, axes) if node.op == "Squeeze" else _unsqueezed(shape, axes)
    if target is None or int(np.prod(target, dtype=np.int64)) != value.size:
        return None
    return value.viewed(View(shape=target), target)


def _reshaped(shape: tuple[int, ...], wanted: list[int]) -> tuple[int, ...] | None:
    target = [shape[i] if d == 0 and i < len(shape) else d for i, d in enumerate(wanted)]
    if target.count(-1) == 1:
        rest = int(np.prod([d for d in target if d != -1], dtype=np.int64))
        total = int(np.prod(shape, dtype=np.int64))
        if rest <= 0 or total % rest:
            return None
        target[target.index(-1)] = total // rest
    return tuple(target) if all(d >= 0 for d in target) else None


def _squeezed(shape: tuple[int, ...], axes: list[int]) -> tuple[int, ...]:
    drop = {a % max(len(shape), 1) for a in axes} if axes else {i for i, d in enumerate(shape) if d == 1}
    return tuple(d for i, d in enumerate(shape) if i not in drop)


def _unsqueezed(shape: tuple[int, ...], axes: list[int]) -> tuple[int, ...]:
    rank = len(shape) + len(axes)
    put = {a % rank for a in axes}
    rest = iter(shape)
    return tuple(1 if i in put else next(rest, 1) for i in range(rank))


def _scaled_codes(node: Node, held: Sequence[ConstantValue]) -> ConstantValue | None:
    """Cast, minus a zero point, times a scale: the weight-only form without DequantizeLinear."""
    first = held[0]
    if node.op == "Cast":
        to = int(node.attribute("to", 0))
        if first.dtype in _CODES and to in (1, 10, 11, 16):
            # From here on these are the floats that the codes are, until a scale says what they stand for.
            return (
                first
                if first.is_quantized
                else replace(first, quantized=_affine(first, np.ones(1), None, "", "", "float"))
            )
        return first if first.dtype in FLOATS and to in (1, 16) else None
    if len(held) != 2 or node.op not in ("Mul", "Sub"):
        return None
    codes, other = (held[0], held[1]) if held[0].dtype in _CODES else (held[1], held[0])
    if codes.dtype not in _CODES or codes.size < 2 or other.is_quantized or codes.quantized is None:
        return None
    if codes.quantized.scale_name or np.broadcast_shapes(codes.shape, other.shape) != codes.shape:
        return None
    if node.op == "Sub" and codes is held[0]:
        zero = _in_file_layout(codes, other.codes().astype(np.float64))
        made = None if zero is None else _affine(codes, np.ones(1), zero, "", other.name, "float")
    elif node.op == "Mul" and other.dtype in FLOATS:
        scale = _in_file_layout(codes, other.values())
        held_zero = codes.quantized.zero_point, codes.quantized.zero_name
        made = (
            None
            if scale is None
            else _affine(codes, scale, held_zero[0], other.name, held_zero[1], other.dtype)
        )
    else:
        return None
    return None if made is None else replace(codes, quantized=made)


def _in_file_layout(codes: ConstantValue, values: Array) -> Array | None:
    """A scale or zero point that broadcasts against a constant, brought to the layout of the file's own codes.

    None where the codes are too many to follow a change of shape.
    """
    if values.size == 1:
        return values
    # Mul broadcasts from the last axis, DequantizeLinear by a named one: full rank serves both.
    full = values.reshape((1,) * (len(codes.shape) - values.ndim) + values.shape)
    if not codes.views:
        return full
    if codes.size > MAX_ELEMENTS and any(view.perm is None for view in codes.views):
        return None
    spread = codes.as_stored(np.broadcast_to(full, codes.shape), codes.stored().shape)
    for axis in range(spread.ndim):
        first = spread.take([0], axis=axis)
        if bool((spread == first).all()):
            spread = first
    return np.ascontiguousarray(spread)


def _affine(
    codes: ConstantValue, scale: Array, zero: Array | None, scale_name: str, zero_name: str, scale_dtype: str
) -> Quantized:
    return Quantized(codes.dtype, scale, zero, None, 0, scale_name, zero_name, scale_dtype)


def _numbers(value: ConstantValue) -> Array:
    return value.values() if value.is_quantized or value.dtype in FLOATS else value.codes()


def _compute(node: Node, held: Sequence[ConstantValue]) -> Array | None:
    values: list[Any] = [_numbers(v) for v in held]
    if (node.op in _BINARY or node.op == "Div") and len(values) == 2:
        return _of_two(node.op, values[0], values[1])
    if node.op in _UNARY:
        return np.asarray(_UNARY[node.op](values[0]))
    if node.op == "Shape":
        return np.asarray(values[0].shape[node.attribute("start", 0) : node.attribute("end")], np.int64)
    if node.op == "Concat":
        return np.asarray(np.concatenate(values, axis=int(node.attribute("axis", 0))))
    if node.op == "Gather" and len(values) == 2:
        return np.asarray(np.take(values[0], values[1].astype(np.int64), axis=int(node.attribute("axis", 0))))
    if node.op == "Cast":
        return _cast(values[0], int(node.attribute("to", 0)))
    if node.op == "ConstantOfShape":
        return _filled(node, values[0])
    if (
        node.op == "Range"
        and len(values) == 3
        and abs(float(values[1]) - float(values[0])) <= 65536 * abs(float(values[2]))
    ):
        return np.arange(values[0].item(), values[1].item(), values[2].item(), dtype=values[0].dtype)
    return _slice(node, values) if node.op == "Slice" and len(values) >= 3 else None


def _of_two(op: str, one: Array, two: Array) -> Array | None:
    """None where runtimes differ: types that are mixed, whole numbers beyond their type, least and greatest of NaN."""
    made = _divided(one, two) if op == "Div" else np.asarray(_BINARY[op](one, two))
    if op == "Equal":
        return made
    if one.dtype != two.dtype or (op in ("Min", "Max") and np.isnan(made).any()):
        return None
    if np.issubdtype(one.dtype, np.integer) and op not in ("Min", "Max"):
        wide = _DOUBLE[op](one.astype(np.float64), two.astype(np.float64))
        limits = np.iinfo(one.dtype)
        if not ((wide >= limits.min) & (wide <= limits.max) & (np.abs(wide) < 2.0**62)).all():
            return None
    return made


def _cast(values: Array, to: int) -> Array | None:
    """None where no specification says what comes out: floats beyond the whole numbers of the type that they are cast to."""
    kinds: dict[int, Any] = {
        1: np.float32,
        6: np.int32,
        7: np.int64,
        9: np.bool_,
        11: np.float64,
        10: np.float16,
    }
    if to in (6, 7) and not np.issubdtype(values.dtype, np.integer) and values.dtype != np.bool_:
        limit = 2.0 ** (31 if to == 6 else 63)
        wide = values.astype(np.float64)
        if not ((wide > -limit - 1) & (wide < limit)).all():
            return None
    return values.astype(kinds[to]) if to in kinds else None


def _divided(one: Array, two: Array) -> Array:
    """Division; of whole numbers the one that rounds towards zero."""
    if not np.issubdtype(one.dtype, np.integer):
        return np.asarray(one / two)
    down = one // two
    return np.asarray(down + ((one % two != 0) & ((one < 0) != (two < 0))))


def _filled(node: Node, sizes: Array) -> Array | None:
    shape = [int(v) for v in sizes.reshape(-1)]
    if any(d < 0 for d in shape) or int(np.prod(shape, dtype=object)) > 65536:
        return None
    value = node.attribute("value")
    fill = value.load().reshape(-1)[0] if isinstance(value, Constant) else np.float32(0)
    return np.full(shape, fill)


def _slice(node: Node, values: Sequence[Array]) -> Array | None:
    data, starts, ends = values[0], values[1].reshape(-1), values[2].reshape(-1)
    axes = values[3].reshape(-1) if len(values) > 3 else np.arange(len(starts))
    steps = values[4].reshape(-1) if len(values) > 4 else np.ones(len(starts), np.int64)
    cut: list[slice] = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if step < 0 and start < -data.shape[int(axis)]:
            return None  # which runtimes take for the first element
        cut[int(axis)] = slice(
            int(start), None if step < 0 and end < -data.shape[int(axis)] else int(end), int(step)
        )
    return data[tuple(cut)]
