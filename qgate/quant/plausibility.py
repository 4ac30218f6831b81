"""Scales and zero points judged by themselves: finite, positive, normal, of the right number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qgate.quant.constants import Array
from qgate.quant.floatgraph import FloatGraph

_LEAST_NORMAL = 2.0**-126


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
    """Every implausible scale of weights and of activation quantizers, each tensor once."""
    seen: set[str] = set()
    for node in graph.nodes:
        for name in node.inputs:
            value = graph.constants.get(name)
            if value is None or value.quantized is None:
                continue
            quantized = value.quantized
            label = quantized.scale_name or value.name
            if label not in seen:
                seen.add(label)
                # Block-wise quantizers give a block the sign of its largest value, and mean it.
                yield from _check(quantized.scale, label, node.label, signed=bool(quantized.block))
            yield from _check_fit(value.name, quantized.scale, value, label, node.label)
    for held in graph.quantizers.values():
        for quantizer in held:
            if quantizer.scale_name not in seen:
                seen.add(quantizer.scale_name)
                yield from _check(quantizer.scale, quantizer.scale_name, quantizer.node)


def _check(scale: Array, name: str, node: str, *, signed: bool = False) -> Iterator[ScaleDefect]:
    flat = scale.astype(np.float64).reshape(-1)
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
    try:
        value.scales()
        value.zero_points()
    except ValueError as error:
        yield ScaleDefect("misfit", f"scale and codes {codes!r} do not fit: {error}", label, node, None)
