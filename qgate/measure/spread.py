"""What the kept values of both sides say about their distributions and their differences, as plain numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from qgate.stats.distributions import distances
from qgate.stats.sketch import PairSketch

ERROR_QUANTILES = (0.5, 0.99, 0.999)
"""Which quantiles of the absolute error are told; each is a value that occurred, the next above."""


def spread_state(sketch: PairSketch, resolution: float | None = None) -> dict[str, Any] | None:
    """Distances of both sides' distributions and quantiles of the absolute difference; None without values.

    Args:
        sketch: The values.
        resolution: See ``stats.distributions.distances``.
    """
    left, right = sketch.values()
    if not len(left):
        return None
    with np.errstate(all="ignore"):
        found = distances(left, right, resolution)
        errors = np.quantile(np.abs(left - right), ERROR_QUANTILES, method="higher")
    return {
        "n": found.n,
        "seen": sketch.seen,
        "ks": found.ks,
        "js": found.js,
        "wasserstein": found.wasserstein,
        "psi": found.psi,
        "deviation": found.deviation,
        "errors": [float(each) for each in errors],
    }
