"""How small a difference a data set of this size can show."""

from __future__ import annotations

import math
from statistics import NormalDist


def minimum_detectable_effect(discordant: int, n: int, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest drop of a proportion that ``n`` paired samples show with the given power.

    (z_{1-alpha/2} + z_{power}) * sqrt(discordant share / n). With no discordant pair at all the share is
    taken as one pair, because none seen does not mean none exist.

    Args:
        discordant: Samples on which the two models differ in being right.
        n: Samples compared.
        alpha: Two-sided significance level.
        power: Probability of seeing a true effect of the returned size.
    """
    if n <= 0:
        return math.inf
    z = NormalDist()
    share = max(discordant, 1) / n
    return (z.inv_cdf(1 - alpha / 2) + z.inv_cdf(power)) * math.sqrt(share / n)


def detectable_mean(deviation: float, n: int, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """The same for the mean of paired differences with the given standard deviation."""
    if n <= 1:
        return math.inf
    z = NormalDist()
    return (z.inv_cdf(1 - alpha / 2) + z.inv_cdf(power)) * deviation / math.sqrt(n)
