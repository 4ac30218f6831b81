"""Embeddings: whether the same neighbours are found, and whether they are of the right class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.measure.tasks.base import Columns, Figure, matched, share_figure

if TYPE_CHECKING:
    from numpy.typing import NDArray

METRICS = ("recall_at_k", "neighbours")
GALLERY = 5000
"""So many samples, the first ones, are what every sample is looked up among."""

TIE = 1e-3
"""Another neighbour is no other where the reference holds the two this equally near, in cosine."""

MAX_VECTOR_BYTES = 2 << 30
"""What the vectors of both models may take together; all of them are held, because each is looked up among others."""

_ROWS = 512
_SEED = 20240229


class Embedding:
    """Vectors, [samples, elements], compared by cosine, each model's with its own.

    Args:
        metric: One of ``METRICS``; ``neighbours`` needs no labels.
        k: How many of the nearest are looked at for ``recall_at_k``.
    """

    def __init__(self, metric: str, k: int) -> None:
        self.metric = metric
        self._k = k

    def records(self, reference: Any, candidate: Any, truth: Any) -> tuple[Columns, NDArray[np.bool_]]:
        """See ``base.Task``; a vector without a direction is compared as the zero vector."""
        sides = matched(reference, candidate)
        if sides is None:
            return {}, np.zeros(len(reference), dtype=bool)
        a, b = sides
        fine = np.asarray(np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1))
        columns: dict[str, Any] = {"vector_r": _unit(a[fine]), "vector_c": _unit(b[fine])}
        if truth is not None:
            columns["truth"] = truth[fine]
        return columns, fine

    def figures(self, columns: Columns) -> Sequence[Figure]:
        """The judged metric first."""
        found = self.outcomes(columns)
        names = [self.metric, *(each for each in METRICS if each != self.metric and each in found)]
        return [share_figure(self._label(each), *found[each]) for each in names]

    def figure(self, columns: Columns) -> Figure:
        """The judged metric of a group, of what was found among all samples."""
        return share_figure(self._label(self.metric), columns["right_r"], columns["right_c"])

    def grouped(self, columns: Columns) -> Columns:
        """Records that can be taken apart into groups: neighbours were sought among all."""
        right = self.outcomes(columns)[self.metric]
        return {"right_r": right[0], "right_c": right[1]}

    def chance(self, columns: Columns) -> Figure | None:
        """The reference against its own vectors dealt out to the samples anyhow; None without labels."""
        if "truth" not in columns or self.metric == "neighbours":
            return None
        vectors = columns["vector_r"]
        dealt = np.random.Generator(np.random.PCG64(_SEED)).permutation(len(vectors))
        return self.figure(self.grouped({**columns, "vector_c": vectors[dealt]}))

    def right(self, columns: Columns) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Whether each model finds the right neighbours."""
        return self.outcomes(columns)[self.metric]

    def outcomes(self, columns: Columns) -> dict[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
        """By metric: whether each sample is right, on both sides."""
        n = len(columns["vector_r"])
        truth = columns.get("truth")
        hits = {side: np.zeros(n, dtype=bool) for side in "rc"}
        same = np.ones(n, dtype=bool)
        gallery = {side: columns[f"vector_{side}"][:GALLERY] for side in "rc"}
        for start in range(0, n, _ROWS):
            rows = np.arange(start, min(start + _ROWS, n))
            near = {side: _similar(columns[f"vector_{side}"][rows], gallery[side], rows) for side in "rc"}
            best = {side: near[side].argmax(axis=1) for side in "rc"}
            at = np.arange(len(rows))
            gap = near["r"][at, best["r"]] - near["r"][at, best["c"]]
            same[rows] = (best["r"] == best["c"]) | (gap <= TIE)
            if truth is not None:
                for side in "rc":
                    k = min(self._k, near[side].shape[1] - 1) or 1
                    highest = np.argpartition(-near[side], k - 1, axis=1)[:, :k]
                    hits[side][rows] = (truth[highest] == truth[rows][:, np.newaxis]).any(axis=1)
        found = {"neighbours": (np.ones(n, dtype=bool), same)}
        if truth is not None:
            found["recall_at_k"] = (hits["r"], hits["c"])
        return found

    def _label(self, metric: str) -> str:
        return metric if metric == "neighbours" else f"recall_at_{self._k}"


def vector_bytes(samples: int, elements: int) -> int:
    """What the vectors of both models take while they are held, single precision."""
    return 2 * 4 * samples * elements


def _unit(values: NDArray[np.float64]) -> NDArray[np.float32]:
    length = np.sqrt((values * values).sum(axis=1, keepdims=True))
    return np.asarray(values / np.where(length > 0, length, 1.0), dtype=np.float32)


def _similar(some: Any, gallery: Any, rows: NDArray[Any]) -> NDArray[np.float32]:
    """Cosines of some samples with the gallery, the sample itself left out."""
    found: NDArray[np.float32] = some @ gallery.T
    inside = rows < len(gallery)
    found[np.flatnonzero(inside), rows[inside]] = -2.0
    return found
