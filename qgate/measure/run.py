"""Runs a loaded pair over all samples: two models, several workers, statistics merged in order.

Each chunk of samples is run and compared by one worker, and the records are merged in the order of the
samples, so the result does not depend on how many workers there are or which of them is faster.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.measure.activations import RangeUse
from qgate.measure.behaviour import TaskPlan, TaskRecord
from qgate.measure.classes import ClassErrors
from qgate.measure.layers.layer import Layer
from qgate.measure.layers.session import LayerSession
from qgate.measure.layers.statistics import LayerRecord, LayersError
from qgate.measure.load import Pair
from qgate.measure.outputs import OutputErrors
from qgate.measure.request import Tap
from qgate.measure.side import PerSample, Side, identical, same_bits
from qgate.stats.sketch import PairSketch, sketch_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Chunk = Mapping[str, NDArray[Any]]

MAX_BATCH = 64
CHUNKS = 8
"""A data set is cut into at least this many chunks, so that workers share it evenly."""

CHUNK_BYTES = 1 << 20
"""Inputs and outputs of one chunk; a single larger sample is a chunk by itself."""

TAP_BYTES = 48 << 20
"""Tapped activations of one chunk, likewise: fewer samples cost more in calls than their memory saves."""

SAME_DB = 30.0
"""A batch changes the answer where its first sample agrees with the sample alone by less than this."""


@dataclass
class Record:
    """What a run of some samples showed; records of consecutive samples merge."""

    samples: int = 0
    outputs: dict[int, OutputErrors] = field(default_factory=dict)
    taps: dict[int, RangeUse] = field(default_factory=dict)
    task: TaskRecord | None = None
    layers: LayerRecord | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def merge(self, other: Record) -> None:
        """Adds the record of the samples that follow."""
        self.samples += other.samples
        for position, output in other.outputs.items():
            self.outputs[position].merge(output)
        for position, tap in other.taps.items():
            self.taps[position].merge(tap)
        if self.task is not None and other.task is not None:
            self.task.merge(other.task)
        if self.layers is not None and other.layers is not None:
            self.layers.merge(other.layers)
        for role, spent in other.seconds.items():
            self.seconds[role] = self.seconds.get(role, 0.0) + spent


@dataclass
class Comparison:
    """What is compared, decided once before the run.

    Args:
        outputs: Position in the leading model to the position in the candidate; None where it has none.
        names: Names of the leading model's outputs.
        forms: Position to the form of class scores, see ``classes.ClassErrors``.
        taps: Ranges to watch.
        task: The task, if there is one.
        layers: Layers to compare.
        sketched: Positions whose values' distributions are compared.
        boxes: Positions whose rows are boxes, any number of them in any order: the task compares them, not row by row.
    """

    outputs: Mapping[int, int | None]
    names: tuple[str, ...]
    forms: Mapping[int, str] = field(default_factory=dict)
    taps: tuple[Tap, ...] = ()
    task: TaskPlan | None = None
    layers: Sequence[Layer] = ()
    sketched: frozenset[int] = frozenset()
    boxes: frozenset[int] = frozenset()

    @cached_property
    def by_tensor(self) -> dict[str, list[int]]:
        """Positions of the taps of each watched tensor."""
        found: dict[str, list[int]] = {}
        for position, tap in enumerate(self.taps):
            found.setdefault(tap.tensor, []).append(position)
        return found

    def start(self) -> Record:
        """An empty record."""
        outputs = {}
        for ours, theirs in self.outputs.items():
            if theirs is not None and ours not in self.boxes:
                form = self.forms.get(ours)
                outputs[ours] = OutputErrors(
                    self.names[ours],
                    sketch=PairSketch(sketch_size(len(self.sketched))) if ours in self.sketched else None,
                    classes=ClassErrors(form) if form else None,
                )
        taps = {i: RangeUse(tap.low, tap.high) for i, tap in enumerate(self.taps)}
        return Record(
            outputs=outputs,
            taps=taps,
            task=None if self.task is None else self.task.start(),
            layers=LayerRecord(self.layers) if self.layers else None,
        )


@dataclass
class PairRun:
    """A run in progress.

    Args:
        pair: The loaded models and samples.
        comparison: What is compared.
        probes: What each model said about the first sample alone.
        workers: Chunks that are run at once.
        session: Both models in one, where layers are compared.

    Attributes:
        opening: The first chunk and each model's answers to it, once it was run.
    """

    pair: Pair
    comparison: Comparison
    probes: Mapping[str, list[PerSample]]
    workers: int
    session: LayerSession | None = None
    opening: tuple[Chunk, Mapping[str, list[PerSample]]] | None = None

    def run(self, size: int, progress: Callable[[int, int], None]) -> Record:
        """Runs all samples in chunks of ``size``.

        Raises:
            SideError: A model failed.
            DataError: The data are damaged, or hold NaN.
            LayersError: The layers cannot be compared; without them the pair can be run all the same.
        """
        chunks = _numbered(self.pair.samples.chunks(size))
        total = self.comparison.start()
        if total.layers is not None:
            total.layers.require_ranges(self.comparison.taps)
        with ThreadPoolExecutor(max(self.workers, len(self.pair.sides))) as pool:
            start, chunk = next(chunks)
            self._merge(total, self._first(pool, chunk), progress)
            waiting: deque[Future[Record]] = deque()
            for start, chunk in chunks:
                waiting.append(pool.submit(self._work, chunk, start))
                if len(waiting) > self.workers:
                    self._merge(total, waiting.popleft().result(), progress)
            while waiting:
                self._merge(total, waiting.popleft().result(), progress)
        if total.layers is not None:
            total.taps = total.layers.range_uses(self.comparison.taps)
        return total

    def _merge(self, total: Record, part: Record, progress: Callable[[int, int], None]) -> None:
        total.merge(part)
        progress(total.samples, self.pair.samples.count)

    def _work(self, chunk: Chunk, start: int) -> Record:
        record = self.comparison.start()
        if self.session is not None:
            results = self._run_session(self.session, chunk, start, record)
        else:
            results = {role: self._run_side(side, chunk, record) for role, side in self.pair.sides.items()}
        self._compare(results, record, start, _length(chunk))
        return record

    def _first(self, pool: ThreadPoolExecutor, chunk: Chunk) -> Record:
        """Runs the first chunk, both models at once, and checks that batches may be trusted."""
        record = self.comparison.start()
        pending = {
            role: pool.submit(self._run_checked, side, chunk, record)
            for role, side in self.pair.sides.items()
        }
        results = {role: future.result() for role, future in pending.items()}
        if self.session is not None:
            observed = self._run_session(self.session, chunk, 0, record)
            if not identical(observed["candidate"], results["candidate"]):
                raise LayersError("observing its layers changes what the candidate answers")
            results = observed
        self.opening = chunk, results
        self._compare(results, record, 0, _length(chunk))
        return record

    def _run_session(
        self, session: LayerSession, chunk: Chunk, start: int, record: Record
    ) -> dict[str, list[PerSample]]:
        if record.layers is None:
            raise AssertionError("a session belongs to layers")
        began = time.perf_counter()
        results = session.run(chunk, _length(chunk), record.layers, start)
        record.seconds["pair"] = record.seconds.get("pair", 0.0) + time.perf_counter() - began
        return results

    def _run_checked(self, side: Side, chunk: Chunk, record: Record) -> list[PerSample]:
        probe, remarks = self.probes[side.role], self.pair.problems
        results = self._run_side(side, chunk, record)
        free = side.batched and side.plan.batch is None and _length(chunk) > 1
        if free and (side.fell_back or not _agrees(results, probe)):
            side.single = True
            remarks.append(
                ("batch", f"the {side.role} answers differently in a batch, so it was run one by one")
            )
            if side.role == "reference":
                record.taps = self.comparison.start().taps
            results = self._run_side(side, chunk, record)
        if not side.batched and not same_bits(results, probe):
            remarks.append(
                ("nondeterministic", f"the {side.role} answers the same sample differently each time")
            )
        return results

    def _run_side(self, side: Side, chunk: Chunk, record: Record) -> list[PerSample]:
        def on_tap(name: str, values: NDArray[Any]) -> None:
            for position in self.comparison.by_tensor[name]:
                record.taps[position].add(values)

        results, seconds = side.run(chunk, _length(chunk), on_tap if side.watched else None)
        record.seconds[side.role] = record.seconds.get(side.role, 0.0) + seconds
        return results

    def _compare(
        self, results: Mapping[str, list[PerSample]], record: Record, start: int, count: int
    ) -> None:
        record.samples += count
        leading = results.get("reference", results.get("candidate", []))
        candidate = results.get("candidate", [])
        for ours, theirs in self.comparison.outputs.items():
            if theirs is not None and ours not in self.comparison.boxes:
                record.outputs[ours].add(leading[ours], candidate[theirs], start)
        if record.task is not None and record.task.plan.output is None:
            record.task.add(*self._by_name(leading, candidate), start)
        elif record.task is not None and record.task.plan.output is not None:
            theirs = self.comparison.outputs[record.task.plan.output]
            if theirs is not None:
                record.task.add(leading[record.task.plan.output], candidate[theirs], start)

    def _by_name(
        self, leading: list[PerSample], candidate: list[PerSample]
    ) -> tuple[dict[str, PerSample], dict[str, PerSample]]:
        """The outputs that both models have and that are numbers, by the leading model's names."""
        there = {
            self.comparison.names[ours]: (leading[ours], candidate[theirs])
            for ours, theirs in self.comparison.outputs.items()
            if theirs is not None and leading[ours] is not None and candidate[theirs] is not None
        }
        return {name: pair[0] for name, pair in there.items()}, {
            name: pair[1] for name, pair in there.items()
        }


def _numbered(chunks: Iterator[Chunk]) -> Iterator[tuple[int, Chunk]]:
    start = 0
    for chunk in chunks:
        yield start, chunk
        start += _length(chunk)


def _length(chunk: Chunk) -> int:
    return max(len(values) for values in chunk.values() if values.ndim)


def _agrees(results: list[PerSample], probe: list[PerSample]) -> bool:
    """Whether the first sample of a batch is what the sample alone was, rounding apart."""
    for batch, alone in zip(results, probe, strict=True):
        if batch is None or alone is None:
            continue
        first, second = np.asarray(batch[0]), np.asarray(alone[0])
        if first.shape != second.shape:
            return False
        if first.dtype.kind != "f":
            continue
        a, b = second.astype(np.float64), first.astype(np.float64)
        fine = np.isfinite(a) & np.isfinite(b)
        noise, signal = float(((a - b)[fine] ** 2).sum()), float((a[fine] ** 2).sum())
        if noise > signal * 10 ** (-SAME_DB / 10):
            return False
    return True


def chunk_size(pair: Pair, probes: Mapping[str, list[PerSample]], tap_bytes: int) -> int:
    """Samples to a chunk: few enough for memory and for sharing the work, a whole number of fixed batches.

    Depends on the models and the data alone, never on the machine.
    """
    sample = sum(spec.sample_bytes for spec in pair.samples.arrays.values() if spec.shape)
    for outputs in probes.values():
        sample += sum(np.asarray(value[0]).nbytes for value in outputs if value is not None)
    size = min(MAX_BATCH, max(1, -(-pair.samples.count // CHUNKS)))
    size = min(size, max(1, CHUNK_BYTES // max(sample, 1)))
    size = min(size, max(1, TAP_BYTES // max(tap_bytes, 1)))
    fixed = [side.plan.batch for side in pair.sides.values() if side.plan.batch]
    step = max(fixed, default=1)
    return max(step, size // step * step)
