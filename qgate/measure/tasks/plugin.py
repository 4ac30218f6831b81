"""Tasks of the trusted side's own: a function that scores samples, or one that decodes outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.measure.plugin import PluginError
from qgate.measure.tasks.base import Columns, Figure, changed, figure, share_figure
from qgate.stats.differences import of_counts, of_means

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]

METRICS = ("python", "decoded")


class Scored:
    """One number a sample from ``score(outputs, labels)``.

    Args:
        score: The function; ``outputs`` are arrays by the reference's names of them, samples first (lists of arrays
            where shapes differ), ``labels`` those samples' labels or None.
        lower: Whether lower numbers are better.
        label: What messages call the function.
    """

    metric = "python"

    def __init__(self, score: Callable[..., Any], label: str, *, lower: bool) -> None:
        self._score = score
        self._label = label
        self._lower = lower
        self._one_at_a_time = Lock()

    def records(self, reference: Any, candidate: Any, truth: Any) -> tuple[Columns, NDArray[np.bool_]]:
        """See ``base.Task``; outputs come by name."""
        count = _count(reference)
        sides = {
            short: self._scores(side, truth, count) for short, side in (("r", reference), ("c", candidate))
        }
        fine = np.asarray(np.isfinite(sides["r"]) & np.isfinite(sides["c"]))
        return {f"score_{short}": values[fine] for short, values in sides.items()}, fine

    def _scores(self, outputs: Mapping[str, Any], truth: Any, count: int) -> Doubles:
        with self._one_at_a_time:
            told = self._score(dict(outputs), truth)
        try:
            values = np.asarray(told, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise PluginError("it returned no numbers", where=self._label) from error
        if values.shape != (count,):
            raise PluginError(
                f"it returned shape {list(values.shape)[:6]} for {count} samples",
                where=self._label,
                remedy="Return one number for each sample",
            )
        return values

    def figures(self, columns: Columns) -> Sequence[Figure]:
        """The mean of the scores; a share where all are 0 or 1."""
        return [self.figure(columns)]

    def figure(self, columns: Columns) -> Figure:
        """The same of a group."""
        a, b = columns["score_r"], columns["score_c"]
        if not self._lower and np.isin(a, (0.0, 1.0)).all() and np.isin(b, (0.0, 1.0)).all():
            return share_figure("score", a == 1.0, b == 1.0)
        worse, n = (b - a if self._lower else a - b), len(a)
        name = "error" if self._lower else "score"
        return figure(name, n, (a.mean(), b.mean()), of_means(worse), changed(worse))


class Decoded:
    """Whether both models say the same after the task's own decoding, ``decode(outputs)``: one answer a sample.

    Args:
        decode: The function; it returns a sequence of anything that can be compared, one for each sample.
        label: What messages call the function.
    """

    metric = "decoded"

    def __init__(self, decode: Callable[..., Any], label: str) -> None:
        self._decode = decode
        self._label = label
        self._one_at_a_time = Lock()

    def records(self, reference: Any, candidate: Any, _truth: Any) -> tuple[Columns, NDArray[np.bool_]]:
        """See ``base.Task``; outputs come by name."""
        count = _count(reference)
        ours, theirs = (self._answers(side, count) for side in (reference, candidate))
        same = np.fromiter((_equal(a, b) for a, b in zip(ours, theirs, strict=True)), dtype=bool, count=count)
        return {"same": same}, np.ones(count, dtype=bool)

    def _answers(self, outputs: Mapping[str, Any], count: int) -> list[Any]:
        with self._one_at_a_time:
            told = self._decode(dict(outputs))
        try:
            answers = list(told)
        except TypeError as error:
            raise PluginError("it returned no sequence", where=self._label) from error
        if len(answers) != count:
            raise PluginError(f"it returned {len(answers)} answers for {count} samples", where=self._label)
        return answers

    def figures(self, columns: Columns) -> Sequence[Figure]:
        """The share of samples with the same answer; the reference agrees with itself."""
        return [self.figure(columns)]

    def figure(self, columns: Columns) -> Figure:
        """The same of a group."""
        same = columns["same"]
        n, lost = len(same), int(np.count_nonzero(~same))
        share = 1 - lost / max(n, 1)
        return figure("decoded", n, (1.0, share), of_counts(lost, 0, n), (lost, 0), counted=True)

    def right(self, columns: Columns) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Whether each sample has the reference's answer."""
        return np.ones(len(columns["same"]), dtype=bool), columns["same"]


def _count(outputs: Mapping[str, Any]) -> int:
    return len(next(iter(outputs.values()), ()))


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(np.asarray(a), np.asarray(b))
    return bool(a == b)
