"""Reasons to doubt that scales were moved as AWQ and SmoothQuant move them, though the numbers fit."""

from __future__ import annotations

import numpy as np

from qgate.measure.judged import Judged
from qgate.quant.channel_scales import Fit

MOVED = "moved_scale"
"""Evidence of a derivation: what the scale was moved between."""
DOUBT = "moved_doubt"
"""Evidence of a derivation: why that is doubted."""
FRACTION = 0.25
"""Share of a reader's step up to which rounding of what was divided may excuse anything."""
_BAND, _APART = float(np.log(1.1)), float(np.log(8.0))
_REST = 0.9
_LISTED = 5


def module_of(entry: Judged) -> str:
    """Dotted path of the module that holds a tensor; the reference's, but where an exporter made its name up."""
    names = entry.pair.reference.name, entry.pair.candidate.name
    return (names[0] if "." in names[0] and "::" not in names[0] else names[1]).rpartition(".")[0]


def are_strangers(source: str, reader: str) -> bool:
    """Whether two modules lie in different blocks, so that neither is known to read the other.

    A block is what the last numbered parent of the source holds (``b.1`` of ``b.1.ln``); without one, what its
    parent holds outside of numbered modules.
    """
    parents = source.split(".")[:-1]
    numbered = [place for place, part in enumerate(parents) if part.isdigit()]
    block = parents[: numbered[-1] + 1] if numbered else parents
    others = reader.split(".")[:-1]
    if others[: len(block)] != block:
        return True
    return not numbered and any(part.isdigit() for part in others)


def of_blocks(source: Judged, reader: Judged) -> str:
    """Why a pair is doubted that lies in different blocks; empty where it does not."""
    if not are_strangers(module_of(source), module_of(reader)):
        return ""
    return (
        f"{source.pair.candidate.name!r} was divided and {reader.pair.candidate.name!r} multiplied, but they lie "
        "in different blocks: nothing says that the one reads the other"
    )


def of_channels(source: Judged, found: Fit) -> str:
    """Why single channels are doubted: scaled far more than the rest, which hardly was; empty where none is."""
    told = np.flatnonzero(np.isfinite(found.error))
    if told.size < 2:
        return ""
    logs = np.log(found.scale[told])
    apart = np.abs(logs - np.median(logs))
    # Activation-aware scales follow activations, which spread: one of a kind among equals is somebody's choice.
    if not np.quantile(apart, _REST, method="lower") <= _BAND or not apart.max() > _APART:
        return ""
    odd = told[apart > _APART]
    listed = ", ".join(str(int(i)) for i in odd[:_LISTED]) + (", …" if odd.size > _LISTED else "")
    return (
        f"channels {listed} of {source.pair.candidate.name!r} ({odd.size} of {found.scale.size}) have scales that "
        f"lie up to {float(np.exp(apart.max())):.3g} times from the others', which lie within 10 % of each other"
    )


def of_rounding(steps: float) -> str:
    """Why codes are doubted that a coarse type leaves open; empty where it leaves next to nothing."""
    if steps <= FRACTION:
        return ""
    return f"its scaled weights were rounded to a type that leaves up to {steps:.2g} steps of its largest codes open"
