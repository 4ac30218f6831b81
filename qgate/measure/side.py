"""One of the two models while it is being run: in batches where it takes them, else one by one."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import DataError, MeasureError
from qgate.measure.feed import FeedPlan
from qgate.runtimes.base import ModelRefusedError, Runner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Chunk = Mapping[str, NDArray[Any]]
    TapReader = Callable[[str, NDArray[Any]], None]

# What ONNX Runtime's Gather and PyTorch's Embedding say. A reference is trusted, so that the ids are at fault; a
# candidate that fails where its reference does not has lost a part of its table.
_BEYOND_TABLE = re.compile(
    r"out of data bounds, idx=(?P<id>-?\d+) must be within the inclusive range (?P<range>\[-?\d+, ?-?\d+\])"
    r"|index out of range in self"
)

PerSample = Any
"""One output of a chunk: an array [samples, ...]; a list of arrays where their shapes differ; or None
where it is not made of numbers."""


class SideError(MeasureError):
    """A model failed while it was run.

    Args:
        role: ``reference`` or ``candidate``.
        error: What the runtime said.
    """

    def __init__(self, role: str, error: ModelRefusedError) -> None:
        super().__init__(error.what)
        self.role = role
        self.cause = error.cause


@dataclass
class Side:
    """A loaded model and how it is fed.

    Args:
        role: ``reference`` or ``candidate``.
        runner: The loaded model.
        plan: How it is fed.
        single: It must see one sample at a time.
        watched: Tensors whose values are handed to the reader of taps.
        fell_back: A batch was refused, and its samples were run one by one.
    """

    role: str
    runner: Runner
    plan: FeedPlan
    single: bool = False
    watched: frozenset[str] = frozenset()
    fell_back: bool = False

    @property
    def batched(self) -> bool:
        """Whether it is given several samples at once."""
        return not self.single and self.plan.batch != 1

    def run(self, chunk: Chunk, count: int, on_tap: TapReader | None = None) -> tuple[list[PerSample], float]:
        """Runs a chunk; returns each output by sample, and the seconds spent in the runtime.

        Args:
            chunk: Arrays of ``count`` samples.
            count: Samples in the chunk.
            on_tap: Given each watched tensor's name and values, [samples, ...] where it has such an axis.

        Raises:
            SideError: The model fails on these samples.
        """
        if self.batched and self.plan.batch is None:
            try:
                return self._run(chunk, count, count, on_tap)
            except (ModelRefusedError, NoBatchError):
                self.fell_back = count > 1
        try:
            return self._run(chunk, count, self.plan.batch or 1, on_tap)
        except ModelRefusedError as error:
            outside = _BEYOND_TABLE.search(error.what) if self.role == "reference" else None
            if outside is not None:
                told = f": {outside['id']}, and it holds {outside['range']}" if outside["id"] else ""
                raise DataError(
                    f"the inputs hold ids beyond the model's table{told}",
                    where="inputs",
                    remedy="Give inputs (--inputs, or `data`) whose ids are of this model's own vocabulary",
                ) from error
            raise SideError(self.role, error) from error
        except NoBatchError as error:
            reason = f"takes {self.plan.batch} samples at once and an output has no axis of samples"
            raise SideError(self.role, ModelRefusedError(reason)) from error

    def _run(
        self, chunk: Chunk, count: int, step: int, on_tap: TapReader | None
    ) -> tuple[list[PerSample], float]:
        outputs = len(self.runner.outputs)
        pieces: list[list[PerSample]] = [[] for _ in range(outputs)]
        seconds = 0.0
        for start in range(0, count, step):
            real = min(step, count - start)
            feeds = self.plan.feeds(chunk, start, real)
            began = time.perf_counter()
            results = self.runner.run(feeds)
            seconds += time.perf_counter() - began
            for into, value in zip(pieces, results, strict=False):
                into.append(piece_of(value, step, real))
            if on_tap is not None:
                self._give_taps(feeds, results, (real, step), on_tap)
        return [put_together(each, step) for each in pieces], seconds

    def _give_taps(
        self, feeds: Chunk, results: Sequence[Any], filled: tuple[int, int], on_tap: TapReader
    ) -> None:
        """Hands watched tensors over, without the samples that only fill up a fixed batch."""
        real, step = filled
        named = zip((*(info.name for info in self.runner.outputs), *self.runner.taps), results, strict=True)
        for name, value in (*named, *feeds.items()):
            if (
                name not in self.watched
                or not isinstance(value, np.ndarray)
                or value.dtype.kind not in "biuf"
            ):
                continue
            padded = real < step and value.ndim > 0 and len(value) == step
            on_tap(name, value[:real] if padded else value)


class NoBatchError(Exception):
    """An output has no axis of samples, so that a batch cannot be taken apart."""


def piece_of(value: Any, step: int, real: int) -> PerSample:
    """What one run of ``step`` samples says about the ``real`` ones; the others only fill it up.

    Raises:
        NoBatchError: The output has no axis of samples.
    """
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        return None
    if step == 1:
        return value[0] if value.ndim and len(value) == 1 else value
    if not value.ndim or len(value) != step:
        raise NoBatchError
    return value[:real]


def put_together(pieces: list[PerSample], step: int) -> PerSample:
    """One output of several runs, as if it came from one."""
    if any(piece is None for piece in pieces):
        return None
    if step > 1:
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    if len({piece.shape for piece in pieces}) == 1:
        return np.stack(pieces) if len(pieces) > 1 else pieces[0][np.newaxis]
    return pieces


def same_bits(left: Sequence[PerSample], right: Sequence[PerSample]) -> bool:
    """Whether two runs of one sample gave the same bits in every output."""
    for a, b in zip(left, right, strict=True):
        if a is None or b is None:
            continue
        first, second = np.asarray(a[0]), np.asarray(b[0])
        if first.shape != second.shape or first.tobytes() != second.tobytes():
            return False
    return True


def identical(left: Sequence[PerSample], right: Sequence[PerSample]) -> bool:
    """Whether two runs of some samples gave the same bits in every output."""
    return all(_same_array(a, b) for a, b in zip(left, right, strict=True))


def _same_array(a: PerSample, b: PerSample) -> bool:
    if a is None or b is None:
        return a is b
    if isinstance(a, list) or isinstance(b, list):
        return len(a) == len(b) and all(_same_array(x, y) for x, y in zip(a, b, strict=True))
    return bool(a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes())
