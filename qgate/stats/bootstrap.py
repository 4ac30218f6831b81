"""Paired bootstrap with a fixed seed: samples are drawn with both models' answers to them.

For metrics that are no mean of the samples (macro-F1, mean IoU, calibration error). The same records give the
same interval bit for bit, on any machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.stats.intervals import student_quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]
    Statistic = Callable[[Doubles], Doubles]

RESAMPLES = 1000
_FEWEST = 200
_DRAWS = 50_000_000
_BLOCK = 1 << 21
_SEED = 20240229


def resample_cells(counts: NDArray[Any], statistic: Statistic) -> Doubles:
    """Draws a statistic of samples that fall into few kinds; a draw of the kinds is a draw of the samples.

    Args:
        counts: How many samples are of each kind, [kinds].
        statistic: From weights of the kinds, [draws, kinds], to values, [draws].
    """
    n = int(counts.sum())
    generator = np.random.Generator(np.random.PCG64(_SEED))
    step = max(1, _BLOCK // max(len(counts), 1))
    found = []
    for start in range(0, RESAMPLES, step):
        size = min(step, RESAMPLES - start)
        found.append(statistic(generator.multinomial(n, counts / n, size=size).astype(np.float64)))
    return np.concatenate(found)


def resample_rows(n: int, statistic: Statistic, *, work: int = 0) -> Doubles:
    """Draws a statistic of ``n`` samples.

    Args:
        n: Samples.
        statistic: From weights of the samples, [draws, samples], to values, [draws, ...].
        work: Numbers that a draw goes through, where they are more than the samples.
    """
    draws = max(_FEWEST, min(RESAMPLES, _DRAWS // max(n, work, 1)))
    generator = np.random.Generator(np.random.PCG64(_SEED))
    step = max(1, _BLOCK // max(n, 1))
    found = []
    for start in range(0, draws, step):
        size = min(step, draws - start)
        chosen = generator.integers(0, n, (size, n)) + np.arange(size)[:, np.newaxis] * n
        weights = np.bincount(chosen.reshape(-1), minlength=size * n).reshape(size, n)
        found.append(statistic(weights.astype(np.float64)))
    return np.concatenate(found)


def percentile_interval(draws: Doubles, n: int) -> tuple[float, float]:
    """The expanded percentile interval at 95 %: wide enough for few samples, as Student's t is.

    Source: T. Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 69 (2015).

    Args:
        draws: Values of the statistic, without NaN.
        n: Samples that were drawn from.
    """
    if n < 2 or not len(draws):
        return -math.inf, math.inf
    level = NormalDist().cdf(-math.sqrt(n / (n - 1)) * student_quantile(n - 1))
    low, high = np.quantile(draws, (level, 1 - level))
    return float(low), float(high)
