"""Runs one pair of models in the sandbox and returns measurements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from qgate.measure.request import DEFAULT_SAMPLES, PairRequest, Tap
from qgate.records import Measurement
from qgate.report.schema import DataUsed
from qgate.sandbox.limits import Limits

__all__ = ["DEFAULT_SAMPLES", "Limits", "PairRequest", "PairResult", "Progress", "Tap", "measure_pair"]

Progress = Callable[[int, int], None]
"""Called with the samples done and the samples in all."""


@dataclass(frozen=True)
class PairResult:
    """What running a pair showed.

    Args:
        measurements: In a fixed order; the same request gives the same values bit for bit.
        data: The inputs that were used.
        problems: Kind and one-line message of what the reader must know: ``data``, ``interface``,
            ``batch``, ``taps``, ``nondeterministic``, ``task``.
        timings: Seconds by step; not deterministic.
    """

    measurements: tuple[Measurement, ...]
    data: DataUsed
    problems: tuple[tuple[str, str], ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)


def measure_pair(request: PairRequest, progress: Progress | None = None) -> PairResult:
    """Runs the pair in a sandboxed child and turns what it returns into measurements.

    Args:
        request: What to run on which inputs.
        progress: Told how many samples are done.

    Raises:
        DataError: The inputs do not fit the model, or none could be generated.
        MeasureError: A model was refused, or the child crashed or ran out of time or memory.
    """
    raise NotImplementedError
