"""Inputs at the edge of what a model may be given: each alone, after the main run, by the reference and the candidate.

Made of the first sample, so that shapes, masks and indices are those of real inputs. Whole numbers that index or
choose are left as they are; bytes count as numbers, because images come as such.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import DataError
from qgate.measure.feed import Form
from qgate.measure.load import Pair
from qgate.measure.outputs import OutputErrors
from qgate.measure.request import EDGES, Tap
from qgate.measure.side import Side, SideError
from qgate.stats.errors import PairErrors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Chunk = Mapping[str, NDArray[Any]]
    Ranges = Mapping[str, tuple[float, float]]

SMALL = (1, 8, 16, 32)
"""Sizes of free dimensions that are tried in turn as the smallest, until the reference takes one."""

MOST_ELEMENTS = 1 << 22
"""The largest input has free dimensions twice as long, where no array then has more elements than this or four times
as many as before."""

_CHANNELS = range(2, 5)


@dataclass(frozen=True)
class Edge:
    """One input and what became of it.

    Attributes:
        kind: One of ``request.EDGES``.
        reason: Why it was not run by the reference, or what the candidate said; empty where both ran it.
        refused: The candidate refuses what the reference takes.
        outside: Its values lie outside of the range that the candidate was calibrated for.
        nonfinite: Values that are not finite in the candidate and are in the reference.
        mismatched: Outputs of another shape.
        output: Position of the output with the lowest ratio of ``signal`` to ``noise``, -1 without any.
    """

    kind: str
    reason: str = ""
    refused: bool = False
    outside: bool = False
    nonfinite: int = 0
    mismatched: int = 0
    output: int = -1
    signal: float = 0.0
    noise: float = 0.0


@dataclass
class EdgeRun:
    """Runs the edges.

    Args:
        pair: Both models; the samples lend the first one.
        taps: Ranges that the candidate was calibrated for.
        outputs: Position in the reference to position in the candidate, of outputs that are compared as numbers.
        usual: Mean square of each of these outputs over the main run: what its signal at least is at the edge.
    """

    pair: Pair
    taps: Sequence[Tap]
    outputs: Mapping[int, int]
    usual: Mapping[int, float]
    _first: dict[str, NDArray[Any]] = field(default_factory=dict)

    def run(self) -> list[Edge]:
        """Every edge, in the order of ``request.EDGES``."""
        self._first = dict(self.pair.samples.first())
        return [self._edge(kind) for kind in EDGES]

    def _edge(self, kind: str) -> Edge:
        reason = "no input is of that kind"
        for chunk in self._inputs(kind):
            try:
                expected, _ = self.pair.sides["reference"].run(chunk, 1)
            except (SideError, DataError) as error:
                reason = f"the reference does not take it: {error.what}"
                continue
            outside = self._is_outside(chunk)
            try:
                answered, _ = self.pair.sides["candidate"].run(chunk, 1)
            except DataError as error:  # its own type cannot hold the values
                reason = error.what
                continue
            except SideError as error:
                return Edge(kind, error.what, refused=True, outside=outside)
            return self._compared(kind, expected, answered, outside=outside)
        return Edge(kind, reason)

    def _compared(self, kind: str, expected: list[Any], answered: list[Any], *, outside: bool) -> Edge:
        nonfinite, mismatched = 0, 0
        worst = (-1, 0.0, 0.0)
        for ours, theirs in self.outputs.items():
            output = OutputErrors("")
            output.add(expected[ours], answered[theirs], 0)
            errors: PairErrors = output.errors
            nonfinite += errors.nonfinite_candidate
            mismatched += output.mismatched
            signal = max(errors.rr, self.usual[ours] * errors.elements)
            if errors.elements and _ratio(errors.dd, signal) >= _ratio(worst[2], worst[1]):
                worst = (ours, signal, errors.dd)
        return Edge(kind, "", False, outside, nonfinite, mismatched, *worst)

    def _inputs(self, kind: str) -> Iterator[Chunk]:
        if kind in ("smallest", "largest"):
            yield from self._sized(kind)
            return
        make = _MAKERS[kind]
        changed = {
            name: made
            for name, values in self._first.items()
            if _is_number(values) and (made := make(values, *self._range(name))) is not None
        }
        if changed:
            yield {**self._first, **changed}

    def _range(self, name: str) -> tuple[float, float]:
        """The range that the candidate's quantizer gives an input, or else that of the first sample."""
        for tap in self.taps:
            if tap.tensor == name:
                return tap.low, tap.high
        values = self._first[name]
        return float(np.min(values, initial=0.0)), float(np.max(values, initial=0.0))

    def _is_outside(self, chunk: Chunk) -> bool:
        """Whether a value lies outside of a declared range by more than half a percent of it: a rounded end is not."""
        for tap in self.taps:
            values = chunk.get(tap.tensor)
            if values is not None and values.size:
                slack = 0.005 * (tap.high - tap.low)
                if float(values.min()) < tap.low - slack or float(values.max()) > tap.high + slack:
                    return True
        return False

    def _sized(self, kind: str) -> Iterator[Chunk]:
        """Chunks with other sizes of the dimensions that both models leave free."""
        ours, theirs = (_free_axes(self.pair.sides[role]) for role in ("reference", "candidate"))
        axes = {
            name: [axis for axis in found if axis in theirs.get(name, found)] for name, found in ours.items()
        }
        sizes = {self._first[name].shape[axis] for name, found in axes.items() for axis in found}
        if not sizes or 0 in sizes:
            return
        if kind == "smallest":
            for size in SMALL:
                if size < max(sizes):
                    yield self._resized(axes, {old: min(old, size) for old in sizes})
            return
        chunk = self._resized(axes, {old: 2 * old for old in sizes})
        if all(v.size <= min(MOST_ELEMENTS, 4 * self._first[n].size) for n, v in chunk.items() if n in axes):
            yield chunk

    def _resized(self, axes: Mapping[str, Sequence[int]], new: Mapping[int, int]) -> Chunk:
        chunk = dict(self._first)
        for name, found in axes.items():
            values = chunk[name]
            for axis in found:
                old = values.shape[axis]
                values = np.take(values, np.arange(new[old]) % old, axis=axis)
            chunk[name] = values
        return chunk


def _free_axes(side: Side) -> dict[str, list[int]]:
    """Axes of each array, but for the samples', whose size the model leaves open."""
    inputs = {info.name: info for info in side.runner.inputs}
    batch = {
        inputs[feed.name].shape[0]
        for feed in side.plan.inputs
        if feed.form is Form.BATCH and isinstance(inputs[feed.name].shape[0], str)
    }
    found: dict[str, list[int]] = {}
    for feed in side.plan.inputs:
        shape = inputs[feed.name].shape
        if feed.form is Form.CONSTANT:
            continue
        skipped, shift = (1, 0) if feed.form is Form.BATCH else (0, 1)
        found[feed.array] = [
            axis + shift
            for axis, size in enumerate(shape)
            if axis >= skipped and not isinstance(size, int) and (size is None or size not in batch)
        ]
    return found


def _is_number(values: NDArray[Any]) -> bool:
    return values.size > 0 and (values.dtype.kind == "f" or values.dtype == np.uint8)


def _ratio(noise: float, signal: float) -> float:
    return 0.0 if noise == 0 else noise / signal if signal > 0 else float("inf")


def _filled(values: NDArray[Any], number: float) -> NDArray[Any]:
    limits = np.finfo(values.dtype) if values.dtype.kind == "f" else np.iinfo(values.dtype)
    kept = min(max(number, float(limits.min)), float(limits.max))
    return np.full_like(values, np.rint(kept) if values.dtype.kind != "f" else kept)


def _one_channel(values: NDArray[Any], low: float, high: float) -> NDArray[Any] | None:
    """The first of two to four channels, which stand first or last in a sample; the others zero."""
    if values.ndim < 4:
        return None
    made = np.zeros_like(values)
    if values.shape[1] in _CHANNELS:
        made[:, 0] = values[:, 0]
    elif values.shape[-1] in _CHANNELS:
        made[..., 0] = values[..., 0]
    else:
        return None
    return made


_MAKERS: dict[str, Callable[[NDArray[Any], float, float], NDArray[Any] | None]] = {
    "zeros": lambda values, low, high: _filled(values, 0.0),
    "ones": lambda values, low, high: _filled(values, 1.0),
    "lowest": lambda values, low, high: _filled(values, low),
    "highest": lambda values, low, high: _filled(values, high),
    "constant": lambda values, low, high: _filled(values, low / 2 + high / 2),
    "one channel": _one_channel,
}


def batch_effect(side: Side, chunk: Chunk, alone: list[Any]) -> dict[int, tuple[float, float]]:
    """What a batch changes in the answers of a model that quantizes its activations as it runs.

    Args:
        side: The model.
        chunk: Some samples.
        alone: Its answers to them one by one.

    Returns:
        Energy of the answers one by one and of the difference, by the output's position; empty where there is one sample
        or the model takes no batch.
    """
    count = max(len(values) for values in chunk.values() if values.ndim)
    if count < 2 or side.plan.batch is not None:
        return {}
    together = Side(side.role, side.runner, side.plan)
    try:
        answers, _ = together.run(chunk, count)
    except (SideError, DataError):
        return {}
    if together.fell_back:
        return {}
    found = {}
    for position, (one, all_at_once) in enumerate(zip(alone, answers, strict=True)):
        output = OutputErrors("")
        output.add(one, all_at_once, 0)
        if output.errors.elements and not output.mismatched:
            found[position] = (output.errors.rr, output.errors.dd)
    return found
