"""Both models as they are, their layers read out and compared here: for what cannot be one graph.

It gives the figures of the joined model, from whole activations that leave both sessions. So it takes more memory
and time, and serves where operator sets differ or a model has functions of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.measure.activations import SLACK
from qgate.measure.layers.figures import (
    COLUMNS,
    Figures,
    LayersError,
    channel_offsets,
    empty_figures,
    over_channels,
    sampled_places,
)
from qgate.measure.layers.layer import CODES, Layer
from qgate.measure.layers.ledger import BY_CHANNEL, GREATEST, LEAST, SKETCHES, statistics_of
from qgate.measure.layers.sketch import sketch_positions
from qgate.runtimes.base import Runner

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 1 << 15
"""Elements compared at a time: they stay in the second-level cache between the passes."""

_CODE_RANGE = {
    "int8": (-128, 127),
    "uint8": (0, 255),
    "int16": (-(2**15), 2**15 - 1),
    "uint16": (0, 2**16 - 1),
}


class TappedModel:
    """Two sessions that return the tensors of the layers after their outputs.

    Args:
        runners: Reference and candidate; their taps are the layers' tensors.
        layers: What is compared.

    Attributes:
        kept: Bytes of inner tensors that the runtimes keep for one sample.

    Raises:
        LayersError: A layer's codes have no one scale.
    """

    def __init__(self, runners: Mapping[str, Runner], layers: Sequence[Layer]) -> None:
        if any(layer.axis is not None for layer in layers):
            raise LayersError("scales that vary by channel are compared in one graph only")
        self._runners, self._layers = runners, layers
        self.kept = sum(int(getattr(runner, "kept", 0)) for runner in runners.values())

    def run(self, feeds: Mapping[str, Mapping[str, NDArray[Any]]]) -> tuple[dict[str, list[Any]], Figures]:
        """Runs both once; see ``PairModel.run``."""
        outputs: dict[str, list[Any]] = {}
        tensors: dict[str, dict[str, Any]] = {}
        for role, runner in self._runners.items():
            results = runner.run(feeds[role])
            own = [info.name for info in runner.outputs]
            outputs[role] = results[: len(own)]
            tensors[role] = {**feeds[role], **dict(zip((*own, *runner.taps), results, strict=True))}
        found = [
            compare(layer, tensors["reference"][layer.reference], tensors["candidate"][layer.candidate])
            for layer in self._layers
        ]
        return outputs, collect(self._layers, found)


def collect(layers: Sequence[Layer], found: Sequence[Mapping[str, Any]]) -> Figures:
    """What ``compare`` says of each layer as the figures of a batch."""
    figures = empty_figures(layers)
    offsets, rows = channel_offsets(layers), sampled_places(layers)
    for place, of_layer in enumerate(found):
        for column, name in enumerate(COLUMNS):
            if name in of_layer:
                figures.values[place, column] = of_layer[name]
        if "channels" in of_layer:
            figures.channels[:, offsets[place] : offsets[place + 1]] = of_layer["channels"]
    for row, place in enumerate(rows):
        figures.sketches[:, row] = [found[place][name] for name in SKETCHES]
    over_channels(figures, offsets)
    return figures


def compare(layer: Layer, reference: NDArray[Any], candidate: NDArray[Any]) -> dict[str, Any]:
    """The figures of one layer, as ``comparison`` has them written into a graph; ``channels`` those of each channel.

    Args:
        layer: The layer.
        reference: The reference's tensor, any shape.
        candidate: The candidate's codes or values, of as many elements.

    Raises:
        LayersError: The tensors have different sizes.
    """
    a, b = np.ascontiguousarray(reference).reshape(-1), np.ascontiguousarray(candidate).reshape(-1)
    if a.size != b.size or not a.size:
        raise LayersError(f"{layer.reference!r} holds {a.size} values and {layer.candidate!r} {b.size}")
    found: dict[str, Any] = dict.fromkeys(statistics_of(layer), 0.0) | {"n": float(a.size)}
    extremes = {**dict.fromkeys(GREATEST, -np.inf), **dict.fromkeys(LEAST, np.inf)}
    with np.errstate(all="ignore"):
        for start in range(0, a.size, BLOCK):
            _add(layer, a[start : start + BLOCK], b[start : start + BLOCK], found, extremes)
        found |= {name: each for name, each in extremes.items() if name in found}
        if layer.sampled and not layer.moved:
            places = (sketch_positions() * a.size).astype(np.int64)
            found |= dict(
                zip(SKETCHES, (a[places].astype(np.float32), _numbers(layer, b[places])), strict=True)
            )
        if layer.channels:
            found["channels"] = _by_channel(layer, np.asarray(reference), np.asarray(candidate))
    return found


def _by_channel(layer: Layer, reference: NDArray[Any], candidate: NDArray[Any]) -> NDArray[np.float64]:
    """``BY_CHANNEL`` of each channel."""
    axis = layer.channel
    if axis is None:
        raise AssertionError("a layer without channels")
    if any(
        each.ndim != len(layer.shape) or each.shape[axis] != layer.channels for each in (reference, candidate)
    ):
        raise LayersError(f"{layer.reference!r} has another shape than its file declares")
    axes = tuple(each for each in range(reference.ndim) if each != axis)
    sides = {"a": reference, "b": candidate}
    extremes = [
        getattr(sides[name[0]], name[2:])(axis=axes).astype(np.float32, copy=False)
        if name[0] == "a"
        else _numbers(layer, getattr(sides["b"], name[2:])(axis=axes))
        for name in BY_CHANNEL
    ]
    return np.stack(extremes).astype(np.float64)


def _numbers(layer: Layer, values: NDArray[Any]) -> NDArray[np.float32]:
    if layer.kind != CODES:
        return values.astype(np.float32)
    least, greatest = _CODE_RANGE[layer.dtype]
    scale = (layer.high - layer.low) / (greatest - least)
    zero = np.rint(least - layer.low / scale)
    return ((values.astype(np.float32) - np.float32(zero)) * np.float32(scale)).astype(np.float32)


def _add(
    layer: Layer, a: NDArray[Any], b: NDArray[Any], found: dict[str, Any], extremes: dict[str, float]
) -> None:
    ours = a.astype(np.float32, copy=False)
    found["aa"] += float(ours.dot(ours))
    extremes["a_max"] = max(extremes["a_max"], float(ours.max()))
    extremes["a_min"] = min(extremes["a_min"], float(ours.min()))
    if "ee" in found:
        slack = SLACK * (layer.high - layer.low)
        if extremes["a_max"] > layer.high + slack or extremes["a_min"] < layer.low - slack:
            lost = ours - np.clip(ours, np.float32(layer.low - slack), np.float32(layer.high + slack))
            found["ee"] += float(lost.dot(lost))
            found["outside"] += float(np.count_nonzero(lost))
    if "dd" not in found:
        return
    theirs = _numbers(layer, b)
    difference = ours - theirs
    extremes["b_max"] = max(extremes["b_max"], float(theirs.max()))
    extremes["b_min"] = min(extremes["b_min"], float(theirs.min()))
    found["bb"] += float(theirs.dot(theirs))
    found["dd"] += float(difference.dot(difference))
    extremes["d_max"] = max(extremes["d_max"], float(difference.max()))
    extremes["d_min"] = min(extremes["d_min"], float(difference.min()))
