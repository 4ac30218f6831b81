"""Which layers add error: told from one run, before anything is tried."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from qgate.records import Measurement

SHARE_OF_WORST = 0.25
"""A layer drifts where it adds at least this share of what the worst one adds."""


@dataclass(frozen=True)
class Suspect:
    """A layer and the error that it adds.

    Args:
        node: The candidate's operation, as the file names it.
        op: What it does.
        tensor: The candidate's tensor that was compared.
        sqnr_db: What is left of the signal after it; ``before_db`` before it, None at the beginning.
        added: Noise to signal after it, less the most of what it reads.
        place: Its position among the layers.
    """

    node: str
    op: str
    tensor: str
    sqnr_db: float
    before_db: float | None
    added: float
    place: int


def rank(measurements: Iterable[Measurement]) -> tuple[Suspect, ...]:
    """The layers by the error that they add, the worst first.

    The noise of a layer's inputs reaches its output scaled as the signal is, to first order, so that the
    difference of the noise-to-signal ratios, 10^(-SQNR/10), is what the layer itself adds.
    """
    found = []
    for place, each in enumerate(m for m in measurements if m.name == "layer.sqnr_db"):
        if each.value is None or each.at.node is None:
            continue
        before = each.detail.get("before_db")
        known = float(before) if isinstance(before, int | float) else None
        added = _noise(each.number) - (0.0 if known is None else _noise(known))
        operator, tensor = str(each.detail.get("operator", "")), each.at.tensor or ""
        found.append(Suspect(each.at.node, operator, tensor, each.number, known, max(added, 0.0), place))
    return tuple(sorted(found, key=lambda suspect: (-suspect.added, suspect.place)))


def first_to_drift(ranked: Sequence[Suspect]) -> Suspect | None:
    """The first layer in the order of computing that adds a fair share of what the worst one adds."""
    if not ranked or ranked[0].added <= 0:
        return None
    least = SHARE_OF_WORST * ranked[0].added
    return min((s for s in ranked if s.added >= least), key=lambda suspect: suspect.place)


@dataclass(frozen=True)
class Clipping:
    """What the ranges of activations cut off of the reference's, over all quantizers that were watched.

    Args:
        ranges: How many there are.
        clipped: Those that cost more than a fiftieth of the energy, the worst first: quantizer and share of the energy.
    """

    ranges: int
    clipped: tuple[tuple[str, float], ...]


CLIPPED_ENERGY = 0.02
"""What the profile `balanced` lets a range cut off (RNG104)."""


def clipping(measurements: Iterable[Measurement]) -> Clipping:
    """What the candidate's ranges cut off; a share that is no number counts as all."""
    found = []
    for each in measurements:
        if each.name == "activation.clipped_share" and each.value is not None:
            energy = each.detail.get("clipped_energy")
            share = float(energy) if isinstance(energy, int | float) and math.isfinite(energy) else 1.0
            found.append((each.at.node or each.at.tensor or "", share))
    worst = sorted((pair for pair in found if pair[1] > CLIPPED_ENERGY), key=lambda pair: (-pair[1], pair[0]))
    return Clipping(len(found), tuple(worst))


def _noise(sqnr_db: float) -> float:
    return float(10 ** (-sqnr_db / 10))
