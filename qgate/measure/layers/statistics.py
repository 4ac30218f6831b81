"""What is known of a layer: scalars that merge over batches, samples and shards.

Sums are kept in float64; the sum inside one tensor is the runtime's, in float32. SQNR is
``10 log10(sum a^2 / sum (a - b)^2)``, the cosine follows from the same sums because
``2 sum a b = sum a^2 + sum b^2 - sum (a - b)^2``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.measure.activations import RangeUse
from qgate.measure.layers.channels import channel_state
from qgate.measure.layers.figures import (
    COLUMNS,
    Figures,
    LayersError,
    channel_offsets,
    empty_figures,
    sampled_places,
)
from qgate.measure.layers.layer import CODES, Layer
from qgate.measure.layers.ledger import BY_CHANNEL, GREATEST, SKETCH, SUMS
from qgate.measure.request import Tap

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["KEPT", "QUANTILES", "LayerRecord", "LayersError", "quantiles", "rounding"]

KEPT = 4096
"""Values of a sketch that are kept over all batches."""

_PAIRED = ("bb", "dd", "d_max", "b_max", "d_min", "b_min")
"""Figures that say something of the candidate."""

_OF_CANDIDATE = np.array([name in _PAIRED for name in COLUMNS])
_SUMS = slice(0, len(SUMS))
_GREATEST = slice(len(SUMS), len(SUMS) + len(GREATEST))
_LEAST = slice(len(SUMS) + len(GREATEST), len(COLUMNS))
_HIGHEST = np.array([name.endswith("_max") for name in BY_CHANNEL])


class LayerRecord:
    """The statistics of all layers over some samples; records merge in any order.

    Args:
        layers: The layers, in the order of the session's outputs.

    Attributes:
        values: float64 [layers, figures.COLUMNS]: sums, greatest and least values.
        channels: float64 [BY_CHANNEL, channels of all layers]: extremes of each.
        broken: int64 [layers, 2]: batches in which the reference's values, or only the candidate's, were not
            finite or too large for a sum of squares. The former count nowhere else, the latter only on the
            reference's side.
        batches: Batches seen.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = layers
        nothing = empty_figures(layers)
        self.values, self.channels = nothing.values, nothing.channels
        self.broken = np.zeros((len(layers), 2), np.int64)
        self.batches = 0
        self._none = nothing.values.copy(), nothing.channels.copy()
        self._offsets = channel_offsets(layers)
        self._sampled = {place: row for row, place in enumerate(sampled_places(layers))}
        self._sketches: dict[int, NDArray[np.float32]] = {}

    def add(self, found: Figures, start: int) -> None:
        """Adds one batch.

        Args:
            found: What the session says of it.
            start: Number of the batch's first sample; decides which sketches are kept.
        """
        self.batches += 1
        sums = found.values[:, _SUMS]
        whole = np.isfinite(sums[:, SUMS.index("aa")])
        paired = np.isfinite(sums[:, SUMS.index("bb")]) & np.isfinite(sums[:, SUMS.index("dd")])
        self.broken += np.stack([~whole, whole & ~paired], axis=1)
        counts = np.where(_OF_CANDIDATE, (whole & paired)[:, None], whole[:, None])
        values = np.where(counts, found.values, self._none[0])
        each = np.repeat(whole & paired, np.diff(self._offsets))
        self._take(values, np.where(each, found.channels, self._none[1]))
        self._sketches[start] = found.sketches
        self._thin()

    def _take(self, values: NDArray[np.float64], channels: NDArray[np.float64]) -> None:
        self.values[:, _SUMS] += values[:, _SUMS]
        np.maximum(self.values[:, _GREATEST], values[:, _GREATEST], out=self.values[:, _GREATEST])
        np.minimum(self.values[:, _LEAST], values[:, _LEAST], out=self.values[:, _LEAST])
        self.channels[_HIGHEST] = np.maximum(self.channels[_HIGHEST], channels[_HIGHEST])
        self.channels[~_HIGHEST] = np.minimum(self.channels[~_HIGHEST], channels[~_HIGHEST])

    def _thin(self) -> None:
        """Keeps the sketches of the batches whose numbers come first by a fixed hash: whatever the order."""
        most = max(1, KEPT // SKETCH)
        if len(self._sketches) > most:
            kept = sorted(self._sketches, key=_hash)[:most]
            self._sketches = {start: self._sketches[start] for start in kept}

    def merge(self, other: LayerRecord) -> None:
        """Adds what another record of the same layers saw."""
        self.batches += other.batches
        self.broken += other.broken
        self._take(other.values, other.channels)
        self._sketches.update(other._sketches)
        self._thin()

    def require_ranges(self, taps: Sequence[Tap]) -> None:
        """Sees to it, before anything is run, that every watched range is a layer's.

        Raises:
            LayersError: One is not.
        """
        known = {(layer.reference, layer.low, layer.high) for layer in self._layers}
        for tap in taps:
            if (tap.tensor, tap.low, tap.high) not in known:
                raise LayersError(f"the range of {tap.name!r} is watched and is no layer's")

    def range_uses(self, taps: Sequence[Tap]) -> dict[int, RangeUse]:
        """How the reference's activations use the ranges that some taps name, by the tap's position.

        Raises:
            LayersError: A range is no layer's, or the reference's values in it are not all finite.
        """
        places = {(layer.reference, layer.low, layer.high): i for i, layer in enumerate(self._layers)}
        found = {}
        for position, tap in enumerate(taps):
            place = places.get((tap.tensor, tap.low, tap.high))
            if place is None or self.broken[place, 0]:
                raise LayersError("a range is watched that no layer tells of in full")
            told = self._figures(place)
            found[position] = RangeUse(
                tap.low,
                tap.high,
                elements=int(told["n"]),
                outside=int(told["outside"]),
                energy=told["aa"],
                clipped_energy=told["ee"],
                minimum=told["a_min"],
                maximum=told["a_max"],
            )
        return found

    def states(self) -> list[dict[str, Any]]:
        """What the parent is told of each layer: plain numbers."""
        return [self._state(place, layer) for place, layer in enumerate(self._layers)]

    def _figures(self, place: int) -> dict[str, float]:
        return {name: float(value) for name, value in zip(COLUMNS, self.values[place], strict=True)}

    def _state(self, place: int, layer: Layer) -> dict[str, Any]:
        a, b = self._sketch(place)
        state: dict[str, Any] = {**self._figures(place)}
        state |= {"a_broken": int(self.broken[place, 0]), "b_broken": int(self.broken[place, 1])}
        state |= {"batches": self.batches, "a_quantiles": quantiles(a), "b_quantiles": quantiles(b)}
        state |= {"a_zero": _share(a == 0), "b_zero": _share(b == 0), "sampled": int(a.size)}
        state |= dict(zip(("sample_energy", "rounding_energy"), rounding(a, layer), strict=True))
        of_layer = self.channels[:, self._offsets[place] : self._offsets[place + 1]]
        state["channels"] = channel_state(layer, of_layer) if of_layer.size else None
        return state

    def _sketch(self, place: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        row = self._sampled.get(place)
        if row is None or not self._sketches:
            return np.zeros(0, np.float32), np.zeros(0, np.float32)
        kept = [self._sketches[start][:, row] for start in sorted(self._sketches)]
        a, b = np.concatenate(kept, axis=1)
        return a, b


def rounding(values: NDArray[Any], layer: Layer) -> tuple[float, float]:
    """Energy of some of the reference's values, and of what the candidate's own quantizer does to them.

    The quantizer's codes stand for ``low + k * step``; a value becomes the nearest of them. Zero where scales
    vary, because a sample does not know its channel.
    """
    exact = values[np.isfinite(values)].astype(np.float64)
    if layer.kind != CODES or layer.axis is not None or not exact.size:
        return 0.0, 0.0
    step = layer.step
    with np.errstate(all="ignore"):
        back = np.clip(np.rint((exact - layer.low) / step) * step + layer.low, layer.low, layer.high)
    error = exact - back
    return float(exact @ exact), float(error @ error)


QUANTILES = (0.001, 0.01, 0.5, 0.99, 0.999)
"""Which quantiles of a layer's values are told."""


def quantiles(values: NDArray[Any]) -> list[float]:
    """``QUANTILES`` of the finite values; NaN where there are none."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return [float("nan")] * len(QUANTILES)
    return [float(value) for value in np.quantile(finite.astype(np.float64), QUANTILES)]


def _share(mask: NDArray[np.bool_]) -> float:
    return float(mask.mean()) if mask.size else 0.0


def _hash(number: int) -> int:
    """Knuth's multiplicative hash (The Art of Computer Programming, vol. 3, 6.4)."""
    return number * 2_654_435_761 % 2**32
