"""Token logits: perplexity, divergence, and whether the likeliest token stays the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.measure.classes import PROBABILITY_FLOOR
from qgate.measure.tasks.base import Columns, Figure, changed, figure
from qgate.stats.differences import Difference, of_ratio

if TYPE_CHECKING:
    from numpy.typing import NDArray

METRICS = ("perplexity",)


class Tokens:
    """Logits, [samples, positions, tokens], against the token that follows at each position.

    Args:
        metric: ``perplexity``.
        form: What the scores are, see ``classes.score_form``.
        ignore: Label of positions that are not judged; negative labels never are.
    """

    def __init__(self, metric: str, form: str, ignore: int | None) -> None:
        self.metric = metric
        self._form = form
        self._ignore = ignore

    def records(self, reference: Any, candidate: Any, truth: Any) -> tuple[Columns, NDArray[np.bool_]]:
        """See ``base.Task``; sums over the judged positions of each sample."""
        count = len(truth)
        columns = {
            name: np.zeros(count) for name in ("nll_r", "nll_c", "tokens", "same", "divergence", "uniform")
        }
        fine = np.zeros(count, dtype=bool)
        for row in range(count):
            told = self._sample(reference[row], candidate[row], truth[row])
            if told is not None:
                fine[row] = True
                for name, value in told.items():
                    columns[name][row] = value
        return {name: values[fine] for name, values in columns.items()}, fine

    def _sample(self, reference: Any, candidate: Any, truth: Any) -> dict[str, float] | None:
        a, b = np.asarray(reference), np.asarray(candidate)
        if a.shape != b.shape or a.ndim != 2 or len(a) != len(truth):
            return None
        judged = (truth >= 0) & (truth < a.shape[1])
        if self._ignore is not None:
            judged &= truth != self._ignore
        a, b = a[judged].astype(np.float64), b[judged].astype(np.float64)
        if not np.isfinite(b).all() or not np.isfinite(a).all():
            return None
        p, q = _logs(a, self._form), _logs(b, self._form)
        at = np.arange(len(a)), truth[judged]
        floor = math.log(PROBABILITY_FLOOR)
        weight = np.exp(p)
        terms = np.where(weight > 0, weight * (np.where(weight > 0, p, 0.0) - np.maximum(q, floor)), 0.0)
        return {
            "nll_r": -float(np.maximum(p[at], floor).sum()),
            "nll_c": -float(np.maximum(q[at], floor).sum()),
            "tokens": float(len(a)),
            "same": float(np.count_nonzero(a.argmax(axis=1) == b.argmax(axis=1))) if len(a) else 0.0,
            "divergence": float(np.maximum(terms.sum(axis=1), 0.0).sum()),
            "uniform": len(a) * math.log(a.shape[1]),
        }

    def figures(self, columns: Columns) -> Sequence[Figure]:
        """Perplexity, the share of tokens with the same favourite, and the mean divergence in nats."""
        n, tokens = len(columns["tokens"]), columns["tokens"]
        total = max(float(tokens.sum()), 1.0)
        other = tokens - columns["same"]
        same = 1 - float(other.sum()) / total
        spread = float(columns["divergence"].sum()) / total
        return [
            self.figure(columns),
            figure("same_top", n, (1.0, same), of_ratio(other, tokens), changed(other)),
            figure("divergence", n, (0.0, spread), of_ratio(columns["divergence"], tokens), changed(other)),
        ]

    def figure(self, columns: Columns) -> Figure:
        """Perplexity of a group; its interval is that of the mean logarithm, which a sample is one draw of."""
        tokens = columns["tokens"]
        n, total = len(tokens), max(float(tokens.sum()), 1.0)
        worse = columns["nll_c"] - columns["nll_r"]
        sides = tuple(math.exp(float(columns[name].sum()) / total) for name in ("nll_r", "nll_c"))
        found = of_ratio(worse, tokens)
        low, high = (_grown(sides[0], each) for each in (found.low, found.high))
        grown = Difference(sides[1] - sides[0], low, high, sides[0] * found.error, found.p)
        return figure("perplexity", n, (sides[0], sides[1]), grown, changed(worse))

    def chance(self, columns: Columns) -> Figure:
        """The reference against holding every token for as likely as any other."""
        return self.figure({**columns, "nll_c": columns["uniform"]})


def _grown(perplexity: float, by: float) -> float:
    return perplexity * math.expm1(by) if by < 700 else math.inf


def _logs(values: NDArray[np.float64], form: str) -> NDArray[np.float64]:
    with np.errstate(divide="ignore"):
        if form == "probabilities":
            clipped = np.maximum(values, 0.0)
            total = clipped.sum(axis=1, keepdims=True)
            return np.asarray(np.log(clipped / np.where(total > 0, total, 1.0)))
        if not len(values):
            return values
        shifted = values - values.max(axis=1, keepdims=True)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
