"""What is known of a layer: scalars that merge over batches, samples and shards.

Sums are kept in float64; the sum inside one tensor is the runtime's, in float32. SQNR is
``10 log10(sum a^2 / sum (a - b)^2)``, the cosine follows from the same sums because
``2 sum a b = sum a^2 + sum b^2 - sum (a - b)^2``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.measure.activations import RangeUse
from qgate.measure.layers.layer import CODES, Layer
from qgate.measure.request import Tap

if TYPE_CHECKING:
    from numpy.typing import NDArray

SKETCH = 256
"""Values of each tensor that are kept of each batch, at places that are the same in every run."""

KEPT = 4096
"""Values of a sketch that are kept over all batches."""

STATISTICS = (
    "n",
    "aa",
    "bb",
    "dd",
    "d_max",
    "d_min",
    "a_max",
    "a_min",
    "ee",
    "outside",
    "a_sketch",
    "b_sketch",
)
"""Figures of a layer: the number of values; sums of squares of the reference's values (aa), of the candidate's
(bb), of their difference (dd), of what the quantizer's range cannot hold (ee); extremes; how many values lie
outside of the range; a sample of both sides."""

_OF_CODES = ("ee", "outside")
_OF_RANGE = ("n", "aa", "a_max", "a_min", "ee", "outside")
SKETCHES = ("a_sketch", "b_sketch")
_PAIRED = ("bb", "dd")
_NOTHING = np.zeros(0, np.float32)
_GREATEST, _LEAST = ("d_max", "a_max"), ("d_min", "a_min")


def statistics_of(layer: Layer) -> tuple[str, ...]:
    """The statistics that a layer of this kind has."""
    if layer.moved:
        return _OF_RANGE
    without = {*(SKETCHES if not layer.sampled else ()), *(_OF_CODES if layer.kind != CODES else ())}
    return tuple(name for name in STATISTICS if name not in without)


def figures_of(layer: Layer, numbers: NDArray[np.float32]) -> dict[str, Any]:
    """The list of numbers that the session returns for a layer, taken apart by statistic.

    Raises:
        LayersError: It has another length.
    """
    found: dict[str, Any] = {}
    at = 0
    for name in statistics_of(layer):
        width = SKETCH if name in SKETCHES else 1
        found[name] = numbers[at : at + width] if name in SKETCHES else float(numbers[at])
        at += width
    if numbers.shape != (at,):
        raise LayersError("the joined model returns something else than figures")
    return found


def sketch_positions() -> NDArray[np.float64]:
    """Shares of a tensor's length at which the sketch reads, in rising order: a fixed sample without weight."""
    shares = np.random.default_rng(20_171_204).random(SKETCH)
    return np.sort(shares) * (1 - 2.0**-40)


class LayersError(Exception):
    """The layers cannot be observed, or observing them changes what the candidate answers."""


class LayerRecord:
    """The statistics of all layers over some samples; records merge in any order.

    Args:
        layers: The layers, in the order of the session's outputs.

    Attributes:
        sums: float64 [layers, 6]: n, aa, bb, dd, ee, outside.
        greatest: float64 [layers, 2]: largest difference, largest reference value; ``least`` likewise.
        broken: int64 [layers, 2]: batches in which the reference's values, or only the candidate's, were not
            finite or too large for a sum of squares. The former count nowhere else, the latter only on the
            reference's side.
        batches: Batches seen.
    """

    SUMS = ("n", "aa", "bb", "dd", "ee", "outside")

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = layers
        self.sums = np.zeros((len(layers), len(self.SUMS)))
        self.greatest = np.full((len(layers), len(_GREATEST)), -np.inf)
        self.least = np.full((len(layers), len(_LEAST)), np.inf)
        self.broken = np.zeros((len(layers), 2), np.int64)
        self.batches = 0
        self._sketches: dict[int, list[tuple[NDArray[np.float32], NDArray[np.float32]]]] = {}

    def add(self, values: Sequence[Mapping[str, Any]], start: int) -> None:
        """Adds one batch.

        Args:
            values: The session's scalars and sketches of each layer, by statistic.
            start: Number of the batch's first sample; decides which sketches are kept.
        """
        self.batches += 1
        for place, found in enumerate(values):
            self._add(place, found)
        self._sketches[start] = [
            (np.asarray(found.get("a_sketch", _NOTHING)), np.asarray(found.get("b_sketch", _NOTHING)))
            for found in values
        ]
        self._thin()

    def _add(self, place: int, found: Mapping[str, Any]) -> None:
        sums = {name: float(found.get(name, 0.0)) for name in self.SUMS}
        whole = np.isfinite(sums["aa"])
        paired = np.isfinite(sums["bb"]) and np.isfinite(sums["dd"])
        self.broken[place] += [not whole, whole and not paired]
        if not whole:
            return
        taken = [each if paired or name not in _PAIRED else 0.0 for name, each in sums.items()]
        self.sums[place] += taken
        highest = [
            float(found.get(name, -np.inf)) if paired or name == "a_max" else -np.inf for name in _GREATEST
        ]
        lowest = [float(found.get(name, np.inf)) if paired or name == "a_min" else np.inf for name in _LEAST]
        self.greatest[place] = np.maximum(self.greatest[place], highest)
        self.least[place] = np.minimum(self.least[place], lowest)

    def _thin(self) -> None:
        """Keeps the sketches of the batches whose numbers come first by a fixed hash: whatever the order."""
        most = max(1, KEPT // SKETCH)
        if len(self._sketches) > most:
            kept = sorted(self._sketches, key=_hash)[:most]
            self._sketches = {start: self._sketches[start] for start in kept}

    def merge(self, other: LayerRecord) -> None:
        """Adds what another record of the same layers saw."""
        self.batches += other.batches
        self.sums += other.sums
        self.broken += other.broken
        self.greatest = np.maximum(self.greatest, other.greatest)
        self.least = np.minimum(self.least, other.least)
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
            sums = dict(zip(self.SUMS, self.sums[place], strict=True))
            found[position] = RangeUse(
                tap.low,
                tap.high,
                elements=int(sums["n"]),
                outside=int(sums["outside"]),
                energy=float(sums["aa"]),
                clipped_energy=float(sums["ee"]),
                minimum=float(self.least[place, _LEAST.index("a_min")]),
                maximum=float(self.greatest[place, _GREATEST.index("a_max")]),
            )
        return found

    def states(self) -> list[dict[str, Any]]:
        """What the parent is told of each layer: plain numbers."""
        return [self._state(place, layer) for place, layer in enumerate(self._layers)]

    def _state(self, place: int, layer: Layer) -> dict[str, Any]:
        kept = [self._sketches[start][place] for start in sorted(self._sketches)]
        a = np.concatenate([pair[0] for pair in kept]) if kept else np.zeros(0, np.float32)
        b = np.concatenate([pair[1] for pair in kept]) if kept else np.zeros(0, np.float32)
        state: dict[str, Any] = {
            name: float(value) for name, value in zip(self.SUMS, self.sums[place], strict=True)
        }
        state |= {n: float(v) for n, v in zip(_GREATEST, self.greatest[place], strict=True)}
        state |= {n: float(v) for n, v in zip(_LEAST, self.least[place], strict=True)}
        state |= {"a_broken": int(self.broken[place, 0]), "b_broken": int(self.broken[place, 1])}
        state |= {"batches": self.batches, "a_quantiles": quantiles(a), "b_quantiles": quantiles(b)}
        state |= {"a_zero": _share(a == 0), "b_zero": _share(b == 0), "sampled": int(a.size)}
        state |= dict(zip(("sample_energy", "rounding_energy"), rounding(a, layer), strict=True))
        return state


def rounding(values: NDArray[Any], layer: Layer) -> tuple[float, float]:
    """Energy of some of the reference's values, and of what the candidate's own quantizer does to them.

    The quantizer's codes stand for ``low + k * step``; a value becomes the nearest of them. Zero where scales
    vary, because a sample does not know its channel.
    """
    exact = values[np.isfinite(values)].astype(np.float64)
    if layer.kind != CODES or layer.axis is not None or not exact.size:
        return 0.0, 0.0
    step = (layer.high - layer.low) / (2 ** (16 if layer.dtype.endswith("16") else 8) - 1)
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
