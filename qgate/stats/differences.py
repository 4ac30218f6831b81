"""Differences of two models on the same samples, positive where the candidate is worse, with 95 % intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from qgate.stats.bootstrap import percentile_interval
from qgate.stats.intervals import Z95, paired_difference, student_quantile, wilson
from qgate.stats.multiplicity import sign_test

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """A difference and how well it is known.

    Args:
        drop: How much worse the candidate is.
        low: Lower end of its 95 % interval; ``high`` the upper one.
        error: Its standard error; infinite where it cannot be known.
        p: One-sided p-value that the candidate is no worse.
        p_min: The smallest that this p-value could have been.
    """

    drop: float
    low: float
    high: float
    error: float
    p: float = 1.0
    p_min: float = 0.0


def of_counts(lost: int, gained: int, n: int) -> Difference:
    """Of a share of samples: Tango's interval, and never more than the share of samples that changed can be.

    Args:
        lost: Samples that only the reference gets right; ``gained`` only the candidate.
        n: All samples.
    """
    if n <= 0:
        return Difference(0.0, -1.0, 1.0, math.inf)
    drop = (lost - gained) / n
    low, high = paired_difference(lost, gained, n)
    low, high = max(low, -wilson(gained, n)[1]), min(high, wilson(lost, n)[1])
    p, p_min = sign_test(lost, gained)
    # None seen does not mean that none exist: one pair stands for the share of pairs that differ.
    error = math.sqrt(max(lost + gained, 1) / n / n)
    return Difference(drop, min(low, drop), max(high, drop), error, p, p_min)


def of_means(worse: Doubles) -> Difference:
    """Of a mean of the samples: the paired t interval.

    Args:
        worse: How much worse the candidate is on each sample.
    """
    n = len(worse)
    drop = float(worse.mean()) if n else 0.0
    if n < 2:
        return Difference(drop, -math.inf, math.inf, math.inf)
    return _of_error(drop, float(worse.std(ddof=1)) / math.sqrt(n), n)


def of_ratio(worse: Doubles, size: Doubles) -> Difference:
    """Of a ratio of two sums over the samples, by the delta method.

    Args:
        worse: How much the candidate adds to the sum above on each sample.
        size: What each sample adds to the sum below.
    """
    n, total = len(worse), float(size.sum())
    drop = float(worse.sum()) / total if total > 0 else 0.0
    if n < 2 or total <= 0:
        return Difference(drop, -math.inf, math.inf, math.inf)
    rest = (worse - drop * size) * (n / total)
    return _of_error(drop, float(rest.std(ddof=1)) / math.sqrt(n), n)


def of_roots(reference: Doubles, candidate: Doubles) -> Difference:
    """Of roots of means of squares, by the delta method.

    Args:
        reference: Mean squared error of each sample; ``candidate`` likewise.
    """
    n = len(reference)
    if not n:
        return Difference(0.0, -math.inf, math.inf, math.inf)
    r, c = float(reference.mean()), float(candidate.mean())
    drop = math.sqrt(c) - math.sqrt(r)
    if n < 2:
        return Difference(drop, -math.inf, math.inf, math.inf)
    if r == 0.0 or c == 0.0:
        if drop == 0.0:
            return Difference(0.0, 0.0, 0.0, 0.0)
        return Difference(drop, -math.inf, math.inf, math.inf)
    rest = candidate / (2 * math.sqrt(c)) - reference / (2 * math.sqrt(r))
    return _of_error(drop, float(rest.std(ddof=1)) / math.sqrt(n), n)


def of_draws(
    drop: float, draws: Doubles, changed: tuple[int, int], n: int, extent: float = 1.0
) -> Difference:
    """Of any metric between 0 and 1, by its draws; at least as uncertain as the share of samples that changed.

    A bootstrap of samples none of which changed would be sure of what it has not seen.

    Args:
        drop: The difference.
        draws: It drawn again and again.
        changed: Samples that are worse and better by themselves.
        n: All samples.
        extent: How far those that changed did so (``extent_of_changes``); 1 where a sample is right or wrong.
    """
    low, high = percentile_interval(draws, n)
    if n < 2:
        return Difference(drop, -1.0, 1.0, math.inf)
    floor = of_counts(*changed, n)
    low = min(low, drop - extent * (floor.drop - floor.low))
    high = max(high, drop + extent * (floor.high - floor.drop))
    low, high = min(low, drop), max(high, drop)
    error = (high - low) / (2 * Z95)
    p = 1 - NormalDist().cdf(drop / error) if error > 0 else float(drop <= 0)
    return Difference(drop, low, high, error, p)


def extent_of_changes(changes: Doubles) -> float:
    """How far samples change that do, as a root mean square: what scales an interval of their share to one of their mean.

    Samples that did not change say nothing of how far they could: while there are such, they stand for one change from
    wholly right to wholly wrong, in proportion to their share.

    Args:
        changes: The difference of each sample by itself, from -1 to 1.
    """
    count, n = int(np.count_nonzero(changes)), len(changes)
    unseen = 1.0 - count / n if n else 1.0
    total = float(np.square(changes).sum()) + unseen
    return math.sqrt(total / (count + unseen))


def _of_error(drop: float, error: float, n: int) -> Difference:
    if not math.isfinite(error):
        return Difference(drop, -math.inf, math.inf, math.inf)
    half = student_quantile(n - 1) * error
    p = 1 - NormalDist().cdf(drop / error) if error > 0 else float(drop <= 0)
    return Difference(drop, drop - half, drop + half, error, p)
