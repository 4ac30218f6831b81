"""The figures of one batch as the joined session returns them: float32 lists, taken apart into arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.measure.layers.layer import Layer
from qgate.measure.layers.ledger import (
    BY_CHANNEL,
    GREATEST,
    LEAST,
    SKETCH,
    SKETCHES,
    SUMS,
    TINY,
    sizes_of,
    statistics_of,
    width_of,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLUMNS = (*SUMS, *GREATEST, *LEAST)
"""Figures of every layer."""


class LayersError(Exception):
    """The layers cannot be observed, or observing them changes what the candidate answers."""


@dataclass(frozen=True)
class Figures:
    """What one batch says of all layers.

    Args:
        values: float64 [layers, COLUMNS]; what a layer does not have is a sum of 0 or an extreme of nothing.
        channels: float64 [BY_CHANNEL, channels of all layers that have them].
        sketches: float32 [SKETCHES, sampled layers, SKETCH].
    """

    values: NDArray[np.float64]
    channels: NDArray[np.float64]
    sketches: NDArray[np.float32]


class Reader:
    """Takes apart what a session returns for some layers; where each number belongs is worked out once.

    Args:
        layers: The layers, in the order of the session's outputs.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = layers
        self._told = np.asarray(sizes_of(layers)[1], np.int64)
        self.offsets = channel_offsets(layers)
        self.sampled = sampled_places(layers)
        kinds = {"one": [], "channel": [], "sketch": []}  # type: dict[str, list[NDArray[np.int64]]]
        targets = {"one": [], "channel": [], "sketch": []}  # type: dict[str, list[NDArray[np.int64]]]
        total, at = int(self.offsets[-1]), 0
        rows = {place: row for row, place in enumerate(self.sampled)}
        for place, layer in enumerate(layers):
            for name in statistics_of(layer):
                width = width_of(layer, name)
                if name in SKETCHES:
                    kind, first = "sketch", (SKETCHES.index(name) * len(rows) + rows[place]) * SKETCH
                elif layer.channels and name in BY_CHANNEL:
                    kind, first = "channel", BY_CHANNEL.index(name) * total + int(self.offsets[place])
                else:
                    kind, first = "one", place * len(COLUMNS) + COLUMNS.index(name)
                kinds[kind].append(np.arange(at, at + width))
                targets[kind].append(np.arange(first, first + width))
                at += width
        self._length = at
        self._from = {kind: _joined(found) for kind, found in kinds.items()}
        self._to = {kind: _joined(found) for kind, found in targets.items()}

    def read(self, lists: Sequence[NDArray[Any]], shapes: Sequence[NDArray[Any]]) -> Figures:
        """One batch.

        Args:
            lists: The output of each layer.
            shapes: The shapes that leave beside them, see ``ledger.sizes_of``.

        Raises:
            LayersError: They are not as many numbers as were asked for.
        """
        numbers = np.concatenate([np.asarray(each).reshape(-1) for each in lists]).astype(np.float64)
        if numbers.shape != (self._length,):
            raise LayersError("the joined model returns something else than figures")
        found = empty_figures(self._layers)
        found.values.reshape(-1)[self._to["one"]] = numbers[self._from["one"]]
        found.channels.reshape(-1)[self._to["channel"]] = numbers[self._from["channel"]]
        found.sketches.reshape(-1)[self._to["sketch"]] = numbers[self._from["sketch"]]
        sizes = np.asarray([float(np.prod(each, dtype=np.float64)) for each in shapes])
        found.values[:, COLUMNS.index("n")] = sizes[self._told]
        found.values[:, COLUMNS.index("outside")] /= TINY
        over_channels(found, self.offsets)
        return found


def empty_figures(layers: Sequence[Layer]) -> Figures:
    """Figures of nothing."""
    values = np.zeros((len(layers), len(COLUMNS)))
    values[:, [COLUMNS.index(name) for name in GREATEST]] = -np.inf
    values[:, [COLUMNS.index(name) for name in LEAST]] = np.inf
    channels = np.empty((len(BY_CHANNEL), int(channel_offsets(layers)[-1])))
    channels[:] = [[-np.inf if name.endswith("_max") else np.inf] for name in BY_CHANNEL]
    return Figures(
        values, channels, np.zeros((len(SKETCHES), len(sampled_places(layers)), SKETCH), np.float32)
    )


def channel_offsets(layers: Sequence[Layer]) -> NDArray[np.int64]:
    """Where the channels of each layer begin among those of all, and their number at the end."""
    return np.cumsum([0, *(0 if layer.moved else layer.channels for layer in layers)], dtype=np.int64)


def sampled_places(layers: Sequence[Layer]) -> list[int]:
    """The layers of which values are kept."""
    return [place for place, layer in enumerate(layers) if layer.sampled and not layer.moved]


def over_channels(found: Figures, offsets: NDArray[np.int64]) -> None:
    """Extremes of a layer from those of its channels."""
    having = np.flatnonzero(np.diff(offsets))
    if not having.size:
        return
    for row, name in enumerate(BY_CHANNEL):
        reduce = np.maximum if name.endswith("_max") else np.minimum
        found.values[having, COLUMNS.index(name)] = reduce.reduceat(found.channels[row], offsets[having])


def _joined(found: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate(found) if found else np.zeros(0, np.int64)
