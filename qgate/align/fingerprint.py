"""Matches by their values the weights that the walk through the graphs did not reach.

An optimiser that fuses operators changes the graph and keeps the weights: a weight is the same tensor
where shape (up to a transposition) and direction agree.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from qgate.quant.alignment import Alignment, ConstantPair
from qgate.quant.constants import Array, ConstantValue, transposed
from qgate.quant.floatgraph import FloatGraph, FloatNode
from qgate.quant.scheme import weights

MIN_COSINE = 0.9
MIN_ELEMENTS = 16


def match_by_values(alignment: Alignment, reference: FloatGraph, candidate: FloatGraph) -> None:
    """Adds pairs of weights with the method ``values`` to an alignment.

    Each reference weight serves once; the candidate takes the most similar that is left.
    """
    theirs = {pair.candidate.name for pair in alignment.constants}
    ours = {pair.reference.name for pair in alignment.constants}
    free: dict[int, list[tuple[FloatNode, int, ConstantValue]]] = defaultdict(list)
    for node, position, value in weights(reference):
        if value.name not in ours and value.size >= MIN_ELEMENTS:
            free[value.size].append((node, position, value))
    for node, position, value in weights(candidate):
        if value.name in theirs or not free.get(value.size):
            continue
        best = max(
            (
                (cosine, entry, laid)
                for entry in free[value.size]
                for cosine, laid in _similar(entry[2], value)
            ),
            key=lambda found: found[0],
            default=None,
        )
        if best is None or best[0] < MIN_COSINE:
            continue
        _, entry, laid = best
        free[value.size].remove(entry)
        alignment.constants.append(ConstantPair(laid, value, entry[0], node, position, "values"))


def _similar(reference: ConstantValue, candidate: ConstantValue) -> Iterator[tuple[float, ConstantValue]]:
    """Cosine of two weights for each layout of the reference's that has the candidate's shape."""
    wanted = unit(candidate)
    layouts = [reference]
    if len(reference.shape) == 2:
        layouts.append(transposed(reference))
    for laid in layouts:
        squeezed = tuple(d for d in laid.shape if d != 1)
        if squeezed == tuple(d for d in candidate.shape if d != 1):
            yield float(unit(laid) @ wanted), laid


def unit(value: ConstantValue) -> Array:
    """The float64 values of a constant in a row, of length one."""
    flat = np.clip(np.nan_to_num(value.values().astype(np.float64)), -1e100, 1e100).reshape(-1)
    return flat / max(float(np.linalg.norm(flat)), 1e-300)
