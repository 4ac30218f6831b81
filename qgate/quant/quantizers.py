"""Activation quantizers that no converter places: a second one in a row, or one of a handful of levels.

An extra QuantizeLinear and DequantizeLinear is no operation of the float view, and yet it can clip what a
trigger needs clipped, or throw a tensor's resolution away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np

from qgate.quant.constants import INTEGER_RANGES
from qgate.quant.floatgraph import FloatGraph, FloatNode, Quantizer
from qgate.quant.intervals import intervals

_MIN_LEVELS = 16
_MILD = 1.01
_SEVERE = 2.0
_FAR = 4.0
_PASSED = 64
# What they make has the values of what they read, each as often: two calibrations of it see the same range.
_PERMUTES = {"Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "DepthToSpace", "SpaceToDepth"}


@dataclass(frozen=True)
class OddQuantizer:
    """A quantizer that is out of line.

    Args:
        kind: ``levels``, ``series`` (twice or more out of line) or ``series-mild``.
        message: What is wrong, in one sentence.
        quantizer: The quantizer.
        evidence: Ranges, steps and levels.
    """

    kind: str
    message: str
    quantizer: Quantizer
    evidence: Mapping[str, Any] = field(default_factory=dict)


def odd_quantizers(graph: FloatGraph) -> Iterator[OddQuantizer]:
    """Every quantizer of a graph or one of its bodies that is out of line, each once."""
    for view in graph.graphs():
        bounds, rearranged = intervals(view), _Rearranged(view)
        for tensor, held in view.quantizers.items():
            for quantizer in held:
                if quantizer.dtype not in INTEGER_RANGES or not quantizer.is_sound:
                    continue
                found = _after_another(rearranged, tensor, quantizer) or _levels(
                    quantizer, bounds.get(tensor)
                )
                if found is not None:
                    yield found


def _after_another(rearranged: _Rearranged, tensor: str, quantizer: Quantizer) -> OddQuantizer | None:
    """What it takes from what those before it have left: of several in a row each may be a little out of line."""
    found = [_beside(quantizer, before, limit) for before, limit in _chain(rearranged, tensor, quantizer)]
    odd = [each for each in found if each is not None]
    return max(odd, key=lambda each: each[0])[1] if odd else None


def _beside(quantizer: Quantizer, before: Quantizer, limit: float) -> tuple[float, OddQuantizer] | None:
    (low, high), (least, most) = quantizer.bounds(), before.bounds()
    if least >= most or not all(map(isfinite, (low, high, least, most))):
        return None
    # How many times the range is narrower, on the worse side, and the steps coarser.
    narrower = max(least / low if low < 0 and least < 0 else _cut(low - least, most - least),
                   most / high if high > 0 and most > 0 else _cut(most - high, most - least))  # fmt: skip
    coarser = quantizer.steps[1] / before.steps[0]
    worst = max(narrower, coarser)
    if worst <= _MILD or (limit == _FAR and worst < _FAR):
        return None
    what = []
    if narrower > _MILD:
        what.append(f"cuts its range [{least:.4g}, {most:.4g}] to [{low:.4g}, {high:.4g}]")
    if coarser > _MILD:
        what.append(f"makes its steps {coarser:.3g} times as coarse ({quantizer.steps[1]:.4g})")
    return worst, OddQuantizer(
        "series" if worst >= _SEVERE else "series-mild",
        f"tensor {quantizer.source!r} was quantized by {before.node!r} already, and {quantizer.node!r} quantizes it again: "
        f"that {' and '.join(what)}, where the reference does nothing",
        quantizer,
        {"before": before.node, "range_before": [least, most], "range": [low, high], "coarser": coarser},
    )  # fmt: skip


def _chain(rearranged: _Rearranged, tensor: str, quantizer: Quantizer) -> Iterator[tuple[Quantizer, float]]:
    """The quantizers that the same numbers went through before, nearest first, with how far out of line one may be."""
    current, limit = quantizer, _SEVERE
    for _ in range(_PASSED):
        before = current.before
        if before is None:
            limit = _FAR
            tensor, before = rearranged.before(tensor)
        if before is None:
            return
        if before.dtype in INTEGER_RANGES and before.is_sound:
            yield before, limit
        current = before


def _cut(lost: float, span: float) -> float:
    """As how many times narrower it counts that an end of a range moved inwards, where its sign does not compare."""
    share = lost / span
    return 1.0 if share <= 0.004 else float("inf") if share >= 1 else 1 / (1 - share)


class _Rearranged:
    """Which tensor another one is a mere rearrangement of, found once for each."""

    def __init__(self, view: FloatGraph) -> None:
        self._view = view
        self._makers = view.producers()
        self._known: dict[str, tuple[str, Quantizer | None]] = {}

    def before(self, tensor: str) -> tuple[str, Quantizer | None]:
        """The tensor that this one is a rearrangement of, and the quantizer that its values have been through."""
        if tensor not in self._known:
            self._known[tensor] = self._look(tensor)
        return self._known[tensor]

    def _look(self, tensor: str) -> tuple[str, Quantizer | None]:
        for _ in range(_PASSED):
            maker = self._makers.get(tensor)
            if maker is None or maker.op not in _PERMUTES or not maker.inputs:
                break
            tensor = maker.inputs[0]
            held = self._view.quantizers.get(tensor, [])
            if held:
                return tensor, _read_by(maker, held)
        return tensor, None


def _read_by(reader: FloatNode, held: list[Quantizer]) -> Quantizer | None:
    """The quantizer behind which an operation reads a tensor: of several that could be it the coarsest; None before all."""
    beside = [q for q in held if q.source in reader.node.inputs and not q.inherent]
    inner = {id(q.before) for q in held}
    last = [q.before for q in beside] if beside else [q for q in held if id(q) not in inner]
    known = [q for q in last if q is not None and q.is_sound]
    return max(known, key=lambda q: q.steps[1]) if known and len(known) == len(last) else None


def _levels(quantizer: Quantizer, bounds: tuple[float, float] | None) -> OddQuantizer | None:
    """Fewer codes than any calibration leaves, of a tensor whose bounds are proven."""
    least, greatest = INTEGER_RANGES[quantizer.dtype]
    if bounds is None or not np.isfinite(bounds).all() or bounds[1] <= bounds[0]:
        return None
    low, high = (max(bounds[0], quantizer.bounds()[0]), min(bounds[1], quantizer.bounds()[1]))
    step = quantizer.steps[0]
    levels = max(int(np.floor(max(high - low, 0.0) / step + 0.5)) + 1, 1)
    total = greatest - least + 1
    if levels >= min(_MIN_LEVELS, total // 4):
        return None
    return OddQuantizer(
        "levels",
        f"{quantizer.node!r} quantizes tensor {quantizer.source!r}, which cannot leave [{bounds[0]:.4g}, {bounds[1]:.4g}], in "
        f"steps of {step:.4g}: no more than {levels} of {total} codes can ever occur",
        quantizer,
        {"levels": levels, "codes": total, "bounds": list(bounds), "step": step},
    )
