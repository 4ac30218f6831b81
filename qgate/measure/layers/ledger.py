"""Which figures of a layer leave the joined session, and in which order; what writes them and what reads them agree here.

Each layer's figures are one output of the graph, a list of float32 numbers, because ONNX Runtime looks through the
outputs of a graph for each of its nodes: a few hundred are loaded in a fraction of the time that thousands take. Sizes
leave once for each shape, for what the file calls by the same names has the same sizes.
"""

from __future__ import annotations

from collections.abc import Sequence

from qgate.measure.layers.layer import CODES, Layer

SKETCH = 256
"""Values of each tensor that are kept of each batch, at places that are the same in every run."""

SUMS = ("n", "aa", "bb", "dd", "ee", "outside")
GREATEST, LEAST = ("d_max", "a_max", "b_max"), ("d_min", "a_min", "b_min")
SKETCHES = ("a_sketch", "b_sketch")
BY_CHANNEL = ("a_max", "a_min", "b_max", "b_min")
"""Figures that leave for each channel, of layers that have such an axis."""

STATISTICS = ("aa", "bb", "dd", "d_max", "d_min", *BY_CHANNEL, "ee", "outside", *SKETCHES)
"""Sums of squares of the reference's values (aa), of the candidate's (bb), of their difference (dd), of what the
quantizer's range cannot hold (ee); extremes; how many values lie outside of the range; a sample of both sides."""

_OF_CODES = ("ee", "outside")
_OF_RANGE = ("aa", "a_max", "a_min", "ee", "outside")
TINY = 2.0**-120
"""What lies outside of a range is clipped to this and summed, so that the sum counts: a power of two, hence exact."""


def statistics_of(layer: Layer) -> tuple[str, ...]:
    """The statistics that a layer of this kind has."""
    if layer.moved:
        return _OF_RANGE
    without = {*(SKETCHES if not layer.sampled else ()), *(_OF_CODES if layer.kind != CODES else ())}
    return tuple(name for name in STATISTICS if name not in without)


def width_of(layer: Layer, statistic: str) -> int:
    """How many numbers a statistic is."""
    if statistic in SKETCHES:
        return SKETCH
    return layer.channels if layer.channels and statistic in BY_CHANNEL else 1


def sizes_of(layers: Sequence[Layer]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The layers whose shape leaves, and for each layer which of these tells its size."""
    first: dict[object, int] = {}
    asked: list[int] = []
    told = []
    for position, layer in enumerate(layers):
        key = layer.shape or position
        if key not in first:
            first[key] = len(asked)
            asked.append(position)
        told.append(first[key])
    return tuple(asked), tuple(told)
