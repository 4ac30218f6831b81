"""Text: edit distance and exact match of what is read out of the models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.measure.tasks.base import Columns, Figure, Options, changed, figure, share_figure
from qgate.stats.differences import of_counts, of_ratio

if TYPE_CHECKING:
    from numpy.typing import NDArray

METRICS = ("cer", "exact_match")


class Written:
    """Texts as whole numbers: outputs are ids, [positions], or scores, [positions, symbols].

    Args:
        metric: ``cer``, the edits as a share of the symbols that are right, or ``exact_match``.
        options: How outputs are read; labels are ids with negative numbers, and ``ignore``, as padding.
    """

    def __init__(self, metric: str, options: Options) -> None:
        self.metric = metric
        self._options = options

    def records(self, reference: Any, candidate: Any, truth: Any) -> tuple[Columns, NDArray[np.bool_]]:
        """See ``base.Task``."""
        from rapidfuzz.distance import Levenshtein

        count = len(truth)
        columns: dict[str, Any] = {name: np.zeros(count) for name in ("edits_r", "edits_c", "length")}
        columns |= {name: np.empty(count, dtype=object) for name in ("told", "right")}
        fine = np.zeros(count, dtype=bool)
        for row in range(count):
            right = self._kept(truth[row].astype(np.int64))
            ours, theirs = (self._read(np.asarray(side[row])) for side in (reference, candidate))
            if ours is None or theirs is None:
                continue
            fine[row] = True
            columns["told"][row], columns["right"][row] = ours, right
            columns["length"][row] = len(right)
            columns["edits_r"][row] = Levenshtein.distance(ours, right)
            columns["edits_c"][row] = Levenshtein.distance(theirs, right)
        return {name: values[fine] for name, values in columns.items()}, fine

    def figures(self, columns: Columns) -> Sequence[Figure]:
        """The judged metric first."""
        return [self._one(each, columns) for each in dict.fromkeys((self.metric, *METRICS))]

    def figure(self, columns: Columns) -> Figure:
        """The judged metric of a group."""
        return self._one(self.metric, columns)

    def right(self, columns: Columns) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Whether each model reads each text without a fault."""
        return columns["edits_r"] == 0, columns["edits_c"] == 0

    def chance(self, columns: Columns) -> Figure | None:
        """The reference against what its texts have in common with another sample's; None without another."""
        from rapidfuzz.distance import Levenshtein

        if len(columns["told"]) < 2:
            return None
        others = zip(columns["told"], np.roll(columns["right"], 1), strict=True)
        edits = np.array([float(Levenshtein.distance(ours, right)) for ours, right in others])
        return self._one(self.metric, {**columns, "edits_c": edits})

    def _one(self, metric: str, columns: Columns) -> Figure:
        if metric == "exact_match":
            return share_figure("exact_match", *self.right(columns))
        a, b, length = columns["edits_r"], columns["edits_c"], columns["length"]
        n, total = len(a), max(float(length.sum()), 1.0)
        found, flips = of_ratio(b - a, length), changed(b - a)
        if flips == (0, 0) and n:
            found = of_counts(0, 0, n)  # none seen does not mean that none exist
        return figure("cer", n, (float(a.sum()) / total, float(b.sum()) / total), found, flips)

    def _kept(self, ids: NDArray[np.int64]) -> list[int]:
        kept = ids[(ids >= 0) & (ids != (-1 if self._options.ignore is None else self._options.ignore))]
        return [int(each) for each in kept]

    def _read(self, output: NDArray[Any]) -> list[int] | None:
        if self._options.text == "ids":
            return (
                self._kept(output.astype(np.int64))
                if output.ndim == 1 and output.dtype.kind in "iu"
                else None
            )
        if output.ndim != 2 or not output.shape[1] or not np.isfinite(output).all():
            return None
        best = output.argmax(axis=1).astype(np.int64)
        if self._options.text == "ctc":
            repeated = np.concatenate([[False], best[1:] == best[:-1]])
            best = best[~repeated & (best != self._options.blank)]
        return self._kept(best)
