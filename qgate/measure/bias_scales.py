"""``bias.odd_scale``: biases that integer arithmetic reads with another scale than the file states."""

from __future__ import annotations

from collections.abc import Iterator

from qgate.quant.bias_scales import bias_scales
from qgate.quant.floatgraph import FloatGraph
from qgate.records import Measurement, Place


def measure_bias_scales(candidate: FloatGraph) -> Iterator[Measurement]:
    """Every int32 bias whose scale is not input scale times weight scale, or whose zero point is not 0.

    Args:
        candidate: The candidate's view, of any format.
    """
    for found in bias_scales(candidate):
        held = found.bias.quantized
        name = held.scale_name if held is not None else ""
        yield Measurement(
            name="bias.odd_scale",
            at=Place(tensor=name or found.bias.name, node=found.node.label, index=found.index or None),
            value=found.deviation,
            unit="ratio",
            n=found.count,
            detail={
                "codes": found.bias.name,
                "scale": found.scale,
                "natural": found.natural,
                "zero_point": found.zero_point,
                "stated": found.stated,
                "added": found.added,
            },
        )
