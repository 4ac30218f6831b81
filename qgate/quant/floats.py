"""Float constants against the reference's: equal, rounded to a shorter type, shifted or altered."""

from __future__ import annotations

from typing import Any

import numpy as np

from qgate.quant.constants import Array, ConstantValue
from qgate.quant.derivation import MAX_LISTED, Derivation, Outsider, sqnr_db

# Spacing of the type relative to a value, and its least normal number.
_PRECISION = {
    "float16": (2.0**-10, 2.0**-14), "bfloat16": (2.0**-7, 2.0**-126), "float": (2.0**-23, 2.0**-126),
    "double": (2.0**-23, 2.0**-126), "float8e4m3fn": (2.0**-3, 2.0**-6), "float8e5m2": (2.0**-2, 2.0**-14),
    "float8e4m3fnuz": (2.0**-3, 2.0**-7), "float8e5m2fnuz": (2.0**-2, 2.0**-15),
}  # fmt: skip
_FINITE = {"float16": 65504.0, "float8e4m3fn": 448.0, "float8e5m2": 57344.0, "float8e4m3fnuz": 240.0,
           "float8e5m2fnuz": 57344.0}  # fmt: skip
# Converters to fp16 lift tiny values to this and cut large ones to that (onnxconverter-common).
CLAMP_LOW, CLAMP_HIGH = 1e-7, 1e4


def derive_float(reference: Array, candidate: ConstantValue) -> Derivation:
    """Judges a float constant: it must be the reference's value, rounded to its storage type.

    Args:
        reference: Float values in the candidate's layout.
        candidate: A constant of a float type, or float8 codes with a scale.
    """
    values = candidate.values().astype(np.float64)
    target = reference.astype(np.float64)
    spacing, least = _PRECISION.get(candidate.dtype, (2.0**-23, 2.0**-126))
    unit = np.abs(candidate.scales()) if candidate.is_quantized else np.float64(1)
    finite = np.isfinite(values) | ~np.isfinite(target)
    with np.errstate(all="ignore"):
        magnitude = np.maximum(np.abs(target) / unit, least)
        binade = 2.0 ** np.floor(np.log2(magnitude))
        computed = (
            2.0**-19 if candidate.factor is not None or candidate.dtype in ("float", "double") else 2.0**-22
        )
        allowed = (0.501 * spacing * binade) * unit + computed * np.abs(target) + 1e-12
        if candidate.dtype in ("float", "double"):
            # A folded constant was computed in another order: an error of the sum, not of each element.
            allowed = allowed + 2.0**-21 * float(np.max(np.abs(target[np.isfinite(target)]), initial=0.0))
        off = ~(np.abs(values - target) <= allowed) & ~(
            (values == target) | (np.isnan(values) & np.isnan(target))
        )
        off &= ~_clamped(values, target, candidate.dtype)
    count = int(np.count_nonzero(off))
    base: dict[str, Any] = {"sqnr_db": sqnr_db(target, values), "nonnearest": count / max(candidate.size, 1)}
    if not finite.all():
        return _altered(values, target, ~finite, candidate, base, "not finite where the reference is")
    if count == 0:
        return Derivation("derived", "float", candidate.size, **base)
    if count <= max(2, 0.02 * candidate.size):
        return _altered(values, target, off, candidate, base, "altered")
    return Derivation(
        "not-derived",
        "float",
        candidate.size,
        count=count,
        reason="its values are not the reference's",
        evidence=_shift(values, target),
        **base,
    )


def _clamped(values: Array, target: Array, dtype: str) -> Array:
    """Known clamps of converters: tiny values lifted, large ones cut to the type's or to 1e4."""
    if dtype not in _FINITE:
        return np.zeros(values.shape, bool)
    same_sign = np.sign(values) == np.sign(target)
    low = (np.abs(target) < CLAMP_LOW * 1.5) & (np.abs(values) <= 1.3 * CLAMP_LOW)
    high = (np.abs(target) >= CLAMP_HIGH * 0.99) & (np.abs(np.abs(values) - CLAMP_HIGH) < 8) & same_sign
    top = (np.abs(target) >= _FINITE[dtype]) & (np.abs(values) == _FINITE[dtype]) & same_sign
    return np.asarray(low | high | top)


def _shift(values: Array, target: Array) -> dict[str, Any]:
    """How the values moved: a common factor, a common offset, a correction of each channel."""
    difference = values - target
    scale = float(np.sqrt(np.mean(np.square(target)))) or 1.0
    with np.errstate(all="ignore"):
        factor = (
            float(np.sum(values * target) / np.sum(np.square(target))) if np.any(target) else float("nan")
        )
    return {
        "relative_shift": float(np.sqrt(np.mean(np.square(difference)))) / scale,
        "largest_shift": float(np.max(np.abs(difference))),
        "factor": factor,
    }


def _altered(
    values: Array, target: Array, off: Array, candidate: ConstantValue, base: dict[str, Any], reason: str
) -> Derivation:
    flat = np.flatnonzero(off.reshape(-1))
    with np.errstate(all="ignore"):
        size = np.nan_to_num(np.abs(values - target).reshape(-1)[flat], nan=np.inf, posinf=np.inf)
    listed = []
    stored = candidate.codes().reshape(-1)
    for position in flat[np.argsort(-size, kind="stable")][:MAX_LISTED]:
        held, wanted = float(values.reshape(-1)[position]), float(target.reshape(-1)[position])
        listed.append(
            Outsider(
                index=candidate.stored_index(int(position)),
                stored=held,
                expected=wanted,
                steps=abs(held - wanted),
                xor=_xor(stored[position], wanted, candidate),
            )
        )
    return Derivation(
        "outsiders",
        "float",
        candidate.size,
        count=int(flat.size),
        outsiders=tuple(listed),
        reason=reason,
        **base,
    )


def _xor(stored: Any, wanted: float, candidate: ConstantValue) -> int | None:
    kinds = {"float16": (np.float16, np.uint16), "float": (np.float32, np.uint32)}
    if candidate.dtype not in kinds or candidate.factor is not None or candidate.is_quantized:
        return None
    kind, code = kinds[candidate.dtype]
    with np.errstate(all="ignore"):
        one, two = np.asarray(stored, kind).view(code), np.asarray(wanted, kind).view(code)
    return int(one) ^ int(two)
