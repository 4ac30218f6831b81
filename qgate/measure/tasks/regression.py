"""Regression: mean absolute error, root mean square error, R²."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.measure.tasks.base import Columns, Figure, changed, figure, matched
from qgate.stats.differences import of_means, of_ratio, of_roots

if TYPE_CHECKING:
    from numpy.typing import NDArray

METRICS = ("mae", "rmse", "r2")


class Regression:
    """Values, [samples, ...], against targets of the same size.

    Args:
        metric: One of ``METRICS``.
        centre: Mean target of each element, for R².
    """

    def __init__(self, metric: str, centre: NDArray[np.float64]) -> None:
        self.metric = metric
        self._centre = centre

    def records(self, reference: Any, candidate: Any, truth: Any) -> tuple[Columns, NDArray[np.bool_]]:
        """See ``base.Task``."""
        nothing = np.zeros(len(truth), dtype=bool)
        sides = matched(reference, candidate)
        if sides is None or sides[0].shape != truth.shape:
            return {}, nothing
        apart = np.abs(truth - self._centre)
        columns: dict[str, Any] = {"spread": (apart**2).mean(axis=1), "apart": apart.mean(axis=1)}
        with np.errstate(over="ignore", invalid="ignore"):
            for short, values in zip("rc", sides, strict=True):
                error = np.abs(values - truth)
                columns[f"abs_{short}"] = error.mean(axis=1)
                columns[f"squared_{short}"] = (error**2).mean(axis=1)
        fine = np.isfinite(np.stack(list(columns.values()))).all(axis=0)
        return {name: values[fine] for name, values in columns.items()}, fine

    def figures(self, columns: Columns) -> Sequence[Figure]:
        """The judged metric first; R² only where the targets differ."""
        names = [each for each in METRICS if each != "r2" or columns["spread"].sum() > 0]
        return [self._one(each, columns) for each in dict.fromkeys((self.metric, *names))]

    def figure(self, columns: Columns) -> Figure:
        """The judged metric of a group."""
        return self._one(self.metric, columns)

    def chance(self, columns: Columns) -> Figure:
        """The reference against always answering the mean target."""
        blind = {**columns, "abs_c": columns["apart"], "squared_c": columns["spread"]}
        return self._one(self.metric, blind)

    def _one(self, metric: str, columns: Columns) -> Figure:
        n = len(columns["abs_r"])
        with np.errstate(over="ignore", invalid="ignore"):
            if metric == "mae":
                a, b = columns["abs_r"], columns["abs_c"]
                return figure(metric, n, (a.mean(), b.mean()), of_means(b - a), changed(b - a))
            a, b = columns["squared_r"], columns["squared_c"]
            if metric == "rmse":
                sides = math.sqrt(a.mean()), math.sqrt(b.mean())
                return figure(metric, n, sides, of_roots(a, b), changed(b - a))
            spread = float(columns["spread"].sum())
            sides = (1 - a.sum() / spread, 1 - b.sum() / spread) if spread > 0 else (0.0, 0.0)
            return figure("r2", n, sides, of_ratio(b - a, columns["spread"]), changed(b - a))
