"""Vectors that a quantizer divided by the scales of channels: a normalisation's weight, and biases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from qgate.measure.judged import Judged, reference_values
from qgate.measure.moved_doubts import DOUBT, FRACTION, MOVED
from qgate.quant.channel_scales import Fit, Member, storage_error, type_error
from qgate.quant.constants import Array, numbers
from qgate.quant.derivation import MAX_LISTED, Derivation, Outsider

SEVERAL, SHARE = 2, 0.05
"""Elements of a divided vector that may be off before it was not divided at all."""


@dataclass(frozen=True)
class Division:
    """Scales that were found, and who multiplies by them.

    Args:
        found: The scales.
        readers: The matrices whose inputs they are.
        slack: Relative rounding of normal numbers of the source's type.
        doubts: Why the pairing is doubted.
    """

    found: Fit
    readers: Sequence[Judged]
    slack: float
    doubts: tuple[str, ...] = ()

    @property
    def evidence(self) -> dict[str, Any]:
        """What a derivation says of it."""
        named: dict[str, Any] = {MOVED: [reader.pair.candidate.name for reader in self.readers]}
        return {**named, DOUBT: list(self.doubts)} if self.doubts else named

    def fine(self) -> Array:
        """Relative error of each channel that moves none of the readers' codes by more than a part of a step."""
        largest = np.zeros(self.found.scale.size)
        for reader in self.readers:
            reference = reference_values(reader.pair)
            if reference is not None:
                largest = np.maximum(largest, Member(reference, reader.pair.candidate).largest(0))
        with np.errstate(divide="ignore"):
            # Where all codes are zero nothing but the vector tells the scale, so that it gets no more than its type.
            return np.where(largest > 0, FRACTION / largest, 0.0)


def excuse_vector(entry: Judged, division: Division) -> None:
    """A vector must be the reference's divided by the scales, element by element."""
    reference, found = reference_values(entry.pair), division.found
    candidate = entry.pair.candidate
    if reference is None or reference.size != found.scale.size:
        return
    ours, theirs = (numbers(v).reshape(-1) for v in (reference, candidate.values()))
    step = float(np.max(candidate.scales())) if candidate.is_quantized else 0.0
    types = entry.pair.reference.dtype, candidate.dtype
    normal = max(division.slack, type_error(*types))
    # A subnormal number is rounded coarsely. That excuses only what its readers' codes would not show either.
    own = np.minimum(storage_error(*types, theirs), np.maximum(division.fine(), normal))
    with np.errstate(all="ignore"):
        wanted = ours / found.scale
        wide = np.where(np.isfinite(found.error), found.error, 0.0)
        allowed = (np.maximum(own, normal) + wide) * np.abs(wanted) * 1.01 + 0.5 * step
        off = np.flatnonzero(~(np.abs(theirs - wanted) <= allowed))
    base, first = entry.derivation, division.readers[0].pair.candidate.name
    verdict, listed = "outsiders" if off.size else "equalised", off[:MAX_LISTED]
    reason = f"{'but for these, it was ' if off.size else ''}divided by the scales that {first!r} was multiplied by"
    if off.size > max(SEVERAL, SHARE * ours.size):
        verdict, listed = "not-derived", off[:0]
        reason = f"it was not divided by the scales that {first!r} was multiplied by"
    outsiders = tuple(
        Outsider((int(i),), float(theirs[i]), float(wanted[i]), float(abs(theirs[i] - wanted[i])), None)
        for i in listed
    )
    entry.derivation = replace(
        Derivation(verdict, "float", base.elements, count=int(off.size), outsiders=outsiders, reason=reason),
        evidence=division.evidence,
    )
