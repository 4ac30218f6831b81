"""Intervals and paired tests on counts and sums. Standard library only, so that the parent stays light.

All intervals are two-sided at 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

Z95 = NormalDist().inv_cdf(0.975)
EXACT_BELOW = 25
"""McNemar's test is exact with fewer discordant pairs than this, continuity corrected otherwise."""

_T975 = {1: 12.706205, 2: 4.302653, 3: 3.182446, 4: 2.776445, 5: 2.570582, 6: 2.446912}


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Wilson's score interval of a proportion; (0, 1) where there are no samples.

    Source: E. B. Wilson, "Probable Inference", JASA 22 (1927).
    """
    if n <= 0:
        return 0.0, 1.0
    p, z2 = successes / n, Z95 * Z95
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    high = 1.0 if successes == n else min(1.0, middle + half)
    return low, high


def paired_difference(lost: int, gained: int, n: int) -> tuple[float, float]:
    """Tango's score interval of (lost - gained) / n, two proportions on the same ``n`` samples.

    Args:
        lost: Samples that only the first of the pair gets right.
        gained: Samples that only the second gets right.
        n: All samples.

    Source: T. Tango, "Equivalence test and confidence interval for the difference in proportions for
    the paired-sample design", Statistics in Medicine 17 (1998).
    """
    if n <= 0:
        return -1.0, 1.0
    estimate = (lost - gained) / n
    low = _score_root(lost, gained, n, target=Z95, low=-1.0, high=estimate)
    high = _score_root(lost, gained, n, target=-Z95, low=estimate, high=1.0)
    return low, high


def _score_root(lost: int, gained: int, n: int, *, target: float, low: float, high: float) -> float:
    """Where Tango's statistic, which falls as the difference grows, equals ``target``."""
    for _ in range(80):
        middle = (low + high) / 2
        if _score(lost, gained, n, middle) > target:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _score(lost: int, gained: int, n: int, delta: float) -> float:
    a = 2.0 * n
    b = -lost - gained + (2.0 * n - lost + gained) * delta
    c = -gained * delta * (1.0 - delta)
    nuisance = (math.sqrt(max(b * b - 4.0 * a * c, 0.0)) - b) / (2.0 * a)
    variance = n * (2.0 * nuisance + delta * (1.0 - delta))
    numerator = lost - gained - n * delta
    if variance <= 0.0:
        return 0.0 if numerator == 0.0 else math.copysign(math.inf, numerator)
    return numerator / math.sqrt(variance)


def mcnemar(lost: int, gained: int) -> float:
    """Two-sided p-value that the discordant pairs fall both ways alike; 1 where there are none.

    Exact binomial below ``EXACT_BELOW`` discordant pairs, else chi-squared with continuity correction.
    """
    discordant = lost + gained
    if discordant == 0:
        return 1.0
    if discordant < EXACT_BELOW:
        tail = sum(math.comb(discordant, k) for k in range(min(lost, gained) + 1))
        return min(1.0, 2.0 * tail / 2.0**discordant)
    statistic = max(abs(lost - gained) - 1, 0) ** 2 / discordant
    return math.erfc(math.sqrt(statistic / 2.0))


def student_quantile(degrees: int) -> float:
    """The 97.5 % quantile of Student's t: tabled up to 6 degrees of freedom, then expanded.

    Source: Abramowitz and Stegun 26.7.5; the error is below 1e-3.
    """
    if degrees < 1:
        return math.inf
    if degrees in _T975:
        return _T975[degrees]
    z, v = Z95, float(degrees)
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    )


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The median with its 95 % interval from the ordered values, whatever their distribution.

    Infinite ends where there are too few values.

    Raises:
        ValueError: There are no values.
    """
    if not values:
        raise ValueError("no values")
    ordered, n = sorted(values), len(values)
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    # The k-th smallest lies below the median unless fewer than k of n fair coins fall that way.
    total, k = 0.0, 0
    while k < n // 2 and (total := total + math.comb(n, k) / 2**n) <= 0.025:
        k += 1
    if not k:
        return middle, -math.inf, math.inf
    return middle, ordered[k - 1], ordered[n - k]
