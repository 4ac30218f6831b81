"""Was this tensor made from that one by a rounding rule?

Every code q of a quantized weight w with scale s and zero point z must lie where rounding w/s + z could
put it. The rounding family is recognised first, then its exact rule is applied; elements that the rule
does not allow are outsiders, each with its place, its stored and its expected code.

Sources: nearest rounding after Jacob et al. 2018 (arXiv:1712.05877); AdaRound, Nagel et al. 2020
(arXiv:2004.10568): floor or ceiling; GPTQ, Frantar et al. 2022 (arXiv:2210.17323): within a few steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qgate.quant.constants import INTEGER_RANGES, Array, ConstantValue

ULP = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float8e8m0": 2.0**-2}
MAX_LISTED = 16
MIN_ELEMENTS = 32
# Distances in steps that a rule may leave, and the shares of codes that tell one from damage.
REACH = {"nearest": 0.5, "adaptive": 1.0, "compensated": 4.0}
ADAPTIVE_SHARE = 0.008
MIN_MOVED = 12
COMPENSATED_LEAST = 0.05
COMPENSATED_SHARE = 0.35
COMPENSATED_BEYOND_ONE = 0.05
# One code this far off is an outsider that must not keep the others from being recognised.
MAX_STRAY = 300.0


@dataclass(frozen=True)
class Outsider:
    """One element that the rounding rule does not allow.

    ``xor`` is the mask between the stored and the expected code, None where there is no one expected code.
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
        verdict: ``derived``, ``outsiders``, ``other-rounding``, ``equalised``, ``not-derived``, ``unknown``.
        family: ``nearest``, ``adaptive`` (floor or ceiling), ``compensated`` (GPTQ-like), ``float`` or empty.
        outsiders: The first outsiders, worst first.
        count: How many outsiders there are.
        elements: How many elements were compared.
        max_steps: Largest distance from the reference, in quantization steps.
        rmse_steps: Root mean square distance in steps; 0.289 is healthy rounding.
        nonnearest: Share of codes that are not the nearest.
        beyond_one: Share of codes beyond floor and ceiling.
        bias_steps: Mean signed distance in steps.
        shrink_steps: Mean distance in the direction of the weight's sign, in steps.
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
    beyond_one: float = 0.0
    bias_steps: float = 0.0
    shrink_steps: float = 0.0
    sqnr_db: float = float("inf")
    reason: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Residual:
    """Codes against the exact quotient, in float64 and the constant's layout.

    Args:
        quotient: w / s + z, unclipped.
        codes: Stored codes.
        slack: Uncertainty of the quotient, in steps.
        least: Least code of the type; ``greatest`` likewise.
    """

    quotient: Array
    codes: Array
    slack: Array
    least: float
    greatest: float

    def distance(self) -> Array:
        """Code minus clipped quotient, in steps."""
        return np.asarray(self.codes - np.clip(self.quotient, self.least, self.greatest))

    def outside(self, reach: float) -> Array:
        """Codes further than ``reach`` steps from the quotient, saturation allowed for."""
        low = np.clip(np.ceil(self.quotient - reach - self.slack), self.least, self.greatest)
        high = np.clip(np.floor(self.quotient + reach + self.slack), self.least, self.greatest)
        return (self.codes < low) | (self.codes > high)


def residual(reference: Array, candidate: ConstantValue, *, ratio: Array | None = None) -> Residual | None:
    """The residual of a quantized constant against a reference of the same shape.

    Args:
        reference: Float values, any shape that the candidate's equals.
        candidate: The quantized constant.
        ratio: Multiplies the reference first (equalisation), broadcasts against it.

    Returns:
        None where the scale is zero, not finite, or does not fit the codes.
    """
    quantized = candidate.quantized
    if quantized is None or candidate.dtype not in INTEGER_RANGES:
        return None
    least, greatest = INTEGER_RANGES[candidate.dtype]
    try:
        scale, zero = candidate.scales(), candidate.zero_points()
    except ValueError:
        return None
    codes = candidate.codes().astype(np.float64)
    target = reference.astype(np.float64)
    if ratio is not None:
        target = target * ratio
    with np.errstate(all="ignore"):
        # A scale of zero stands for zeros whatever the codes are; of anything else it is no rounding.
        quotient = np.where((scale == 0) & (target == 0), codes, target / scale + zero)
        if not np.isfinite(quotient).all():
            return None
        storage = ULP.get(quantized.scale_dtype, 0.0)
        relative = max(4 * 2.0**-23, storage, 16 * 2.0**-23 if candidate.factor is not None else 0.0)
        slack = np.maximum(1e-4, relative * np.abs(quotient - zero))
    return Residual(quotient, codes, slack, _least_used(codes, zero, least, greatest), float(greatest))


def _least_used(codes: Array, zero: Array, least: int, greatest: int) -> float:
    """The lower end of the code range in use: symmetric quantizers leave the least code out."""
    symmetric = bool(np.all(zero == (least + greatest + 1) // 2))
    return float(least + 1) if symmetric and codes.size and np.min(codes) > least else float(least)


def derive(reference: Array, candidate: ConstantValue, *, rounding: str = "nearest") -> Derivation:
    """Judges one quantized tensor against its reference.

    Args:
        reference: Float values in the candidate's layout.
        candidate: The quantized constant.
        rounding: The rule that the model as a whole was rounded by, ``nearest``, ``adaptive`` or
            ``compensated``: one tensor alone cannot tell a few learned roundings from a few flipped bits.
    """
    held = residual(reference, candidate)
    if held is None:
        return Derivation(
            "unknown", "", candidate.size, reason="its scale does not let the codes be compared"
        )
    distance = held.distance()
    outside = held.outside(0.5)
    count = int(np.count_nonzero(outside))
    beyond = int(np.count_nonzero(held.outside(1.0 - 1e-9)))
    base = _statistics(reference, candidate, held, distance, count)
    base["beyond_one"] = beyond / max(candidate.size, 1)
    if count == 0:
        return Derivation("derived", "nearest", candidate.size, **base)
    reach = REACH[rounding]
    far = outside if reach == 0.5 else held.outside(reach - 1e-9)
    strays = int(np.count_nonzero(far))
    excessive = rounding == "compensated" and beyond > max(3, 3 * COMPENSATED_BEYOND_ONE * candidate.size)
    if strays == 0 and not excessive:
        return Derivation("other-rounding", rounding, candidate.size, count=count, **base)
    if 0 < strays <= max(2, 0.3 * candidate.size) and not excessive:
        return _outsiders(rounding, held, far, distance, candidate, base)
    reason = "no rounding rule leads from the reference to it"
    return Derivation("not-derived", "", candidate.size, count=count, reason=reason, **base)


def family_of(judged: Iterable[Derivation]) -> str:
    """The rule that a model's weights were rounded by, told from all of them together.

    Nearest leaves no code away from the nearest. Learned rounding moves several percent of the codes, but
    none beyond floor and ceiling. GPTQ moves more, a few of them beyond, and does so in most tensors.
    """
    seen = [d for d in judged if d.verdict != "unknown" and d.elements >= MIN_ELEMENTS]
    total = sum(d.elements for d in seen)
    if not total:
        return "nearest"
    off = sum(d.nonnearest * d.elements for d in seen) / total
    beyond = sum(d.beyond_one * d.elements for d in seen) / total
    moved = sum(d.nonnearest > ADAPTIVE_SHARE / 2 for d in seen) / len(seen)
    if (
        off < ADAPTIVE_SHARE
        or off * total < MIN_MOVED
        or moved < 0.5
        or max(d.max_steps for d in seen) > MAX_STRAY
    ):
        return "nearest"
    if beyond < 0.001:
        return "adaptive"
    fits = COMPENSATED_LEAST <= off <= COMPENSATED_SHARE and beyond <= COMPENSATED_BEYOND_ONE
    return "compensated" if fits else "nearest"


def _statistics(
    reference: Array, candidate: ConstantValue, held: Residual, distance: Array, count: int
) -> dict[str, Any]:
    inside = np.abs(held.quotient - np.clip(held.quotient, held.least, held.greatest)) == 0
    interior = distance[inside] if inside.any() else distance.reshape(-1)
    sign = np.sign(reference)[inside] if inside.any() else np.sign(reference).reshape(-1)
    # Codes at zero shrink by being rounded to nearest; only those beyond one step tell a truncation.
    far = np.abs(held.quotient - candidate.zero_points())
    beyond = (far[inside] if inside.any() else far.reshape(-1)) >= 1.0
    return {
        "max_steps": float(np.max(np.abs(distance))) if distance.size else 0.0,
        "rmse_steps": float(np.sqrt(np.mean(np.square(held.codes - held.quotient))))
        if distance.size
        else 0.0,
        "nonnearest": count / max(candidate.size, 1),
        "bias_steps": float(np.mean(interior)) if interior.size else 0.0,
        "shrink_steps": float(np.mean((interior * sign)[beyond])) if beyond.any() else 0.0,
        "sqnr_db": sqnr_db(reference, candidate.values()),
    }


def _outsiders(
    family: str,
    held: Residual,
    outside: Array,
    distance: Array,
    candidate: ConstantValue,
    base: dict[str, Any],
) -> Derivation:
    flat = np.flatnonzero(outside.reshape(-1))
    worst = flat[np.argsort(-np.abs(distance.reshape(-1)[flat]), kind="stable")][:MAX_LISTED]
    codes, quotient = held.codes.reshape(-1), held.quotient.reshape(-1)
    listed = []
    bits = {"int4": 4, "uint4": 4, "int2": 2, "uint2": 2}.get(candidate.dtype, candidate.bits)
    for position in worst:
        stored = int(codes[position])
        expected = int(np.clip(np.rint(quotient[position]), held.least, held.greatest))
        listed.append(
            Outsider(
                index=candidate.stored_index(int(position)),
                stored=stored,
                expected=expected,
                steps=float(distance.reshape(-1)[position]),
                xor=(stored ^ expected) & ((1 << bits) - 1),
            )
        )
    return Derivation(
        "outsiders", family, candidate.size, count=int(flat.size), outsiders=tuple(listed), **base
    )


def sqnr_db(reference: Array, candidate: Array) -> float:
    """20 log10(|x| / |x - y|) with float64 sums; inf where equal, NaN where either is not finite."""
    x, y = reference.astype(np.float64).reshape(-1), candidate.astype(np.float64).reshape(-1)
    with np.errstate(all="ignore"):
        noise, signal = float(np.sum(np.square(x - y))), float(np.sum(np.square(x)))
        if not np.isfinite(noise) or not np.isfinite(signal):
            return float("nan")
        if noise == 0:
            return float("inf")
        return float(10 * np.log10(max(signal, 1e-300) / noise))
