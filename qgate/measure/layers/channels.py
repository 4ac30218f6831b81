"""Channels of a layer that say nothing in the candidate, where the reference's vary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.measure.layers.layer import CODES, Layer
from qgate.measure.layers.ledger import BY_CHANNEL

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPAN = 1 / 8
"""A channel of the reference varies where its values span this share of the candidate's range, or of the layer's own span
where nothing is rounded. Behind a ReLU honest rounding can silence a channel that seldom leaves zero, and by little."""

NAMED = 8
"""Channels that are told by number."""


def channel_state(layer: Layer, extremes: NDArray[np.float64]) -> dict[str, Any]:
    """Which channels are one value throughout, though the reference's vary.

    Args:
        layer: The layer.
        extremes: float64 [BY_CHANNEL, channels].

    Returns:
        The number of channels; how many are dead (one value throughout), how many of these are saturated (that value is
        an end of the quantizer's range, and not zero); the first by number.
    """
    told = dict(zip(BY_CHANNEL, extremes, strict=True))
    known = np.isfinite(extremes).all(axis=0)
    with np.errstate(all="ignore"):
        span = told["a_max"] - told["a_min"]
        highest = np.max(told["a_max"], where=known, initial=-np.inf)
        lowest = np.min(told["a_min"], where=known, initial=np.inf)
        least = SPAN * (layer.high - layer.low if layer.kind == CODES else highest - lowest)
        dead = known & (told["b_max"] == told["b_min"]) & (span >= max(least, np.finfo(np.float32).tiny))
        at_end = np.zeros_like(dead)
        if layer.kind == CODES:
            value = told["b_max"]
            ends = np.minimum(np.abs(value - layer.low), np.abs(value - layer.high))
            at_end = dead & (ends < layer.step / 2) & (np.abs(value) >= layer.step / 2)
    return {
        "count": int(known.sum()),
        "dead": int(dead.sum()),
        "saturated": int(at_end.sum()),
        "first": [int(each) for each in np.flatnonzero(dead)[:NAMED]],
    }
