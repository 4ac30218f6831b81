"""Scales and zero points judged by themselves: finite, positive, normal, of the right number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qgate.quant.constants import Array, ConstantValue, Quantized, numbers
from qgate.quant.floatgraph import FloatGraph

_LEAST_NORMAL = 2.0**-126
MIN_CHANNELS = 8


@dataclass(frozen=True)
class ScaleDefect:
    """A scale or zero point that no quantizer writes."""

    kind: str
    message: str
    tensor: str
    node: str | None
    index: tuple[int, ...] | None
    evidence: dict[str, Any] = field(default_factory=dict)


def scale_defects(graph: FloatGraph) -> Iterator[ScaleDefect]:
    """Every implausible scale of weights and of activation quantizers, in bodies too, each tensor once."""
    seen: set[tuple[str, bytes]] = set()
    for held in graph.graphs():
        for node in held.nodes:
            for name in node.inputs:
                value = held.constants.get(name)
                if value is None or value.quantized is None:
                    continue
                quantized = value.quantized
                label = quantized.scale_name or value.name
                if _is_new(seen, label, quantized.scale):
                    # Block-wise quantizers give a block the sign of its largest value, and mean it.
                    yield from _check(quantized.scale, label, node.label, signed=bool(quantized.block))
                yield from _check_fit(value.name, quantized.scale, value, label, node.label)
        for quantizers in held.quantizers.values():
            for quantizer in quantizers:
                if _is_new(seen, quantizer.scale_name, quantizer.scale):
                    yield from _check(quantizer.scale, quantizer.scale_name, quantizer.node)


def _is_new(seen: set[tuple[str, bytes]], label: str, scale: Array) -> bool:
    key = (label, scale.tobytes())
    if key in seen:
        return False
    seen.add(key)
    return True


def _check(scale: Array, name: str, node: str, *, signed: bool = False) -> Iterator[ScaleDefect]:
    flat = numbers(scale).reshape(-1)
    for kind, wrong, what in (
        ("not-finite", ~np.isfinite(flat), "not finite"),
        ("zero", flat == 0, "zero"),
        ("negative", (flat < 0) & (not signed), "negative"),
        ("subnormal", (flat > 0) & (flat < _LEAST_NORMAL), "subnormal"),
    ):
        at = np.flatnonzero(wrong)
        if at.size:
            index = tuple(int(i) for i in np.unravel_index(int(at[0]), scale.shape)) if scale.ndim else None
            value = float(flat[at[0]])
            count = f", and {at.size - 1} more" if at.size > 1 else ""
            yield ScaleDefect(
                kind,
                f"the scale is {what} ({value:g}{count})",
                name,
                node,
                index,
                {"value": value, "count": int(at.size)},
            )


def _check_fit(codes: str, scale: Array, value: Any, label: str, node: str) -> Iterator[ScaleDefect]:
    error = value.misfit()
    if error:
        yield ScaleDefect("misfit", f"scale and codes {codes!r} do not fit: {error}", label, node, None)


@dataclass(frozen=True)
class OddScale:
    """A channel whose scale does not follow the formula that all the others' follow."""

    index: tuple[int, ...]
    scale: float
    expected: float


def odd_scales(reference: Array, value: ConstantValue, *, slack: float = 0.0) -> tuple[OddScale, ...]:
    """Channels or blocks whose scale is not range / levels, where nearly all of the tensor's are.

    A quantizer derives every scale of a tensor by one rule, so scale over range is the same number in all
    channels; one that differs was edited, even where its codes still are what rounding gives. Empty where
    the tensor follows no single rule (scales by least square error).

    Args:
        reference: Float weights in the constant's layout.
        value: The quantized constant, per channel or by block.
        slack: Relative uncertainty of the reference.
    """
    quantized = value.quantized
    if quantized is None or quantized.scale.size < MIN_CHANNELS or value.size != reference.size:
        return ()
    groups = _groups(reference, value)
    if groups is None:
        return ()
    low, high = np.minimum(groups[1], 0), np.maximum(groups[2], 0)
    scale = np.abs(quantized.scale.astype(np.float64).reshape(-1))
    symmetric = np.maximum(-low, high)
    ranges = symmetric if _is_symmetric(quantized) else high - low
    usable = ranges > 1e-3 * np.max(ranges)
    if np.count_nonzero(usable) < MIN_CHANNELS:
        return ()
    with np.errstate(all="ignore"):
        ratio = np.where(usable, scale / ranges, np.nan)
    middle = float(np.nanmedian(ratio))
    tolerance = (2e-3 if quantized.scale_dtype in ("float16", "bfloat16") else 2e-4) + 2 * slack
    # AutoAWQ and others do not stretch the range of a block to hold zero: where all its weights have one sign
    # the rule gives another number.
    with np.errstate(all="ignore"):
        unstretched = scale / (ranges if _is_symmetric(quantized) else groups[2] - groups[1])
    same = (np.abs(ratio - middle) <= tolerance * middle) | (
        np.abs(unstretched - middle) <= tolerance * middle
    )
    odd = np.flatnonzero(usable & ~same)
    if odd.size == 0 or odd.size > max(2, 0.05 * np.count_nonzero(usable)):
        return ()
    return tuple(
        OddScale(
            tuple(int(i) for i in np.unravel_index(int(at), quantized.scale.shape)),
            float(scale[at]),
            float(middle * ranges[at]),
        )
        for at in odd
    )


def _is_symmetric(quantized: Quantized) -> bool:
    """Whether all zero points are one number: 0, or the middle of an unsigned type."""
    zero = quantized.zero_point
    return zero is None or bool(np.all(zero == zero.reshape(-1)[0]))


def _groups(reference: Array, value: ConstantValue) -> tuple[Array, Array, Array] | None:
    """Number of each element's scale, and the least and greatest weight of each scale's elements."""
    quantized = value.quantized
    if quantized is None:
        return None
    numbers = np.arange(quantized.scale.size).reshape(quantized.scale.shape)
    stored_shape = value.stored().shape
    try:
        spread = np.broadcast_to(quantized.spread(numbers, stored_shape), stored_shape)
    except ValueError:
        return None
    which = value.lay_out(spread).reshape(-1)
    flat = reference.astype(np.float64).reshape(-1)
    if value.factor is not None:
        return None
    low, high = np.full(numbers.size, np.inf), np.full(numbers.size, -np.inf)
    np.minimum.at(low, which, flat)
    np.maximum.at(high, which, flat)
    return which, low, high
