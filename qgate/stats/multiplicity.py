"""P-values of many groups judged together: one of twenty good groups looks bad by chance."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from statistics import NormalDist

ALPHA = 0.05


def tarone_holm(p: Sequence[float], smallest: Sequence[float], *, alpha: float = ALPHA) -> list[float]:
    """Adjusted p-values that keep the chance of any false alarm at ``alpha``.

    Groups whose test could not have become significant whatever it showed are not counted, so that a class
    that is lost whole is seen among a thousand that are not; then Holm's method.

    Args:
        p: P-value of each group.
        smallest: The smallest p-value that each group's test could have given.

    Source: R. E. Tarone, "A Modified Bonferroni Method for Discrete Data", Biometrics 46 (1990); S. Holm, "A
    Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 6 (1979).
    """
    ordered = sorted(smallest)
    factor = next(m for m in range(1, len(ordered) + 2) if bisect_right(ordered, alpha / m) <= m)
    tested = [i for i, each in enumerate(smallest) if each <= alpha / factor]
    adjusted = [1.0] * len(p)
    running = 0.0
    for rank, i in enumerate(sorted(tested, key=lambda i: p[i])):
        running = max(running, min(1.0, (factor - rank) * p[i]))
        adjusted[i] = running
    return adjusted


def sign_test(lost: int, gained: int) -> tuple[float, float]:
    """One-sided p-value that the discordant pairs fall both ways alike, and the smallest it could have been.

    Exact binomial; of more than 1,000 pairs its normal approximation with continuity correction.
    """
    pairs = lost + gained
    if pairs == 0:
        return 1.0, 1.0
    if pairs > 1000:
        z = (lost - gained - 1) / math.sqrt(pairs)
        return 1 - NormalDist().cdf(z), 0.0
    tail = sum(math.comb(pairs, k) for k in range(lost, pairs + 1))
    return tail / 2**pairs, 0.5**pairs
