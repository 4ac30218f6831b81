"""Was this tensor made from that one by a rounding rule?

Every code q of a quantized weight w with scale s and zero point z must lie where rounding w/s + z could
put it. The rounding family is recognised first, then its exact rule is applied; elements that the rule
does not allow are outsiders, each with its place, its stored and its expected code.

Sources: nearest rounding after Jacob et al. 2018 (arXiv:1712.05877); AdaRound, Nagel et al. 2020
(arXiv:2004.10568): floor or ceiling; GPTQ, Frantar et al. 2022 (arXiv:2210.17323): within a few steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qgate.quant.comparison import Comparison, Element, compare
from qgate.quant.constants import Array, ConstantValue
from qgate.quant.families import BEYOND_OF_COMPENSATED, Family

MAX_LISTED = 16
REACH = {Family.NEAREST: 0.5, Family.ADAPTIVE: 1.0, Family.COMPENSATED: 4.0}
"""Distances in steps that a rule may leave."""
MAX_APART = 4
GAP = 1.0
"""Steps that lie between GPTQ's largest errors and a code that something else moved."""
_BITS = {"int4": 4, "uint4": 4, "int2": 2, "uint2": 2}


@dataclass(frozen=True)
class Outsider:
    """One element that the rounding rule does not allow.

    Args:
        index: Its place in the file's own layout.
        stored: Code or value in the file.
        expected: What the reference's element rounds to.
        steps: How far off it is, in quantization steps; for floats the plain difference.
        xor: The mask between the stored and the expected bits, None where there is no one expected code.
    """

    index: tuple[int, ...]
    stored: float
    expected: float
    steps: float
    xor: int | None


@dataclass(frozen=True)
class Derivation:
    """The verdict on one tensor.

    Args:
        verdict: ``derived``, ``outsiders``, ``other-rounding``, ``equalised``, ``bias-corrected``,
            ``not-derived``, ``unknown``.
        family: A ``Family`` of integer codes, ``float``, or empty.
        outsiders: The first outsiders, worst first.
        count: How many outsiders there are; of another rounding, how many codes are not the nearest.
        elements: How many elements were compared.
        max_steps: Largest distance from the reference, in quantization steps.
        rmse_steps: Root mean square distance in steps; 0.289 is healthy rounding.
        nonnearest: Share of codes that are not the nearest.
        near_tie: Share of codes that are not the nearest by at most a tenth of a step.
        beyond_one: Share of codes beyond floor and ceiling; ``beyond_more`` by more than another half step.
        bias_steps: Mean signed distance in steps.
        shrink_steps: Mean distance in the direction of the weight's sign, in steps.
        sampled: How many elements ``shrink_steps`` is the mean of.
        sqnr_db: Of the dequantized tensor against the reference.
        reason: Why, where the verdict needs a word.
    """

    verdict: str
    family: str
    elements: int
    count: int = 0
    outsiders: tuple[Outsider, ...] = ()
    max_steps: float = 0.0
    rmse_steps: float = 0.0
    nonnearest: float = 0.0
    near_tie: float = 0.0
    beyond_one: float = 0.0
    beyond_more: float = 0.0
    bias_steps: float = 0.0
    shrink_steps: float = 0.0
    sampled: int = 0
    sqnr_db: float = float("inf")
    reason: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)


def derive(reference: Array, candidate: ConstantValue, *, rounding: str = Family.NEAREST) -> Derivation:
    """Judges one quantized tensor against its reference.

    Args:
        reference: Float values in the candidate's layout.
        candidate: The quantized constant.
        rounding: The family that the model as a whole was rounded by: one tensor alone cannot tell a few
            learned roundings from a few flipped bits.
    """
    return conclude(compare(reference, candidate), candidate, rounding=rounding)


def conclude(
    found: Comparison | None, candidate: ConstantValue, *, rounding: str = Family.NEAREST
) -> Derivation:
    """The verdict that a comparison gives under a family's rule.

    Args:
        found: The comparison; None where scale and codes allow none.
        candidate: The constant that was compared.
        rounding: The family of the model as a whole.
    """
    if found is None:
        return Derivation(
            "unknown", "", candidate.size, reason="its scale does not let the codes be compared"
        )
    base = _statistics(found)
    if found.off == 0:
        return Derivation("derived", Family.NEAREST, found.size, **base)
    strays = {Family.NEAREST: found.off, Family.ADAPTIVE: found.beyond}.get(Family(rounding), found.far)
    apart = _apart(found) if rounding == Family.COMPENSATED and not strays else 0
    strays = strays or apart
    excessive = rounding == Family.COMPENSATED and found.beyond > max(3, BEYOND_OF_COMPENSATED * found.size)
    if strays == 0 and not excessive:
        return Derivation("other-rounding", rounding, found.size, count=found.off, **base)
    if 0 < strays <= max(2, 0.3 * found.size) and not excessive:
        reach = REACH[Family(rounding)]
        listed = [e for e in found.worst if abs(e.distance) - e.slack > reach - 1e-9][:MAX_LISTED]
        listed = listed or list(found.worst[:apart])
        outsiders = tuple(_outsider(element, found, candidate) for element in listed)
        return Derivation("outsiders", rounding, found.size, count=strays, outsiders=outsiders, **base)
    reason = (
        f"no rounding rule leads from the reference to it: {found.off / found.size:.1%} of the codes are not the "
        f"nearest, {base['rmse_steps']:.3g} steps off on average and {found.max_steps:.3g} at most"
    )
    return Derivation("not-derived", "", found.size, count=found.off, reason=reason, **base)


def _apart(found: Comparison) -> int:
    """How many of the worst codes stand apart from the rest, whose errors fade out."""
    steps = [abs(e.distance) for e in found.worst[: MAX_APART + 1]]
    for count in range(len(steps) - 1, 0, -1):
        if steps[count - 1] - steps[count] > GAP:
            return count
    return 0


def _statistics(found: Comparison) -> dict[str, Any]:
    size = max(found.size, 1)
    return {
        "max_steps": found.max_steps,
        "rmse_steps": float(np.sqrt(found.square)),
        "nonnearest": found.off / size,
        "near_tie": found.near / size,
        "beyond_one": found.beyond / size,
        "beyond_more": found.well_beyond / size,
        "bias_steps": found.bias,
        "shrink_steps": found.inward / max(found.telling, 1),
        "sampled": found.telling,
        "sqnr_db": decibels(found.signal, found.noise),
    }


def _outsider(element: Element, found: Comparison, candidate: ConstantValue) -> Outsider:
    mask = (1 << _BITS.get(candidate.dtype, candidate.bits)) - 1
    # Of the two codes of a tie the one that fewer changed bits lead from: what was stored was one of both.
    nearest = np.rint(
        np.array([element.quotient, element.quotient - element.slack, element.quotient + element.slack])
    )
    possible = [int(code) for code in np.clip(nearest, found.least, found.greatest)]
    expected = min(possible, key=lambda code: ((element.code ^ code) & mask).bit_count())
    return Outsider(
        index=tuple(int(i) for i in np.unravel_index(element.position, found.shape)) if found.shape else (),
        stored=element.code,
        expected=expected,
        steps=element.distance,
        xor=(element.code ^ expected) & mask,
    )


def decibels(signal: float, noise: float) -> float:
    """10 log10 of two sums of squares; inf without noise, NaN where either is not finite."""
    if not np.isfinite(noise) or not np.isfinite(signal):
        return float("nan")
    if noise == 0:
        return float("inf")
    return float(10 * np.log10(max(signal, 1e-300) / noise))


def sqnr_db(reference: Array, candidate: Array) -> float:
    """20 log10(|x| / |x - y|) with float64 sums; inf where equal, NaN where either is not finite."""
    x, y = reference.astype(np.float64).reshape(-1), candidate.astype(np.float64).reshape(-1)
    with np.errstate(all="ignore"):
        return decibels(float(np.sum(np.square(x))), float(np.sum(np.square(x - y))))
