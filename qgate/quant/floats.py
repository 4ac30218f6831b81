"""Float constants against the reference's: equal, rounded to a shorter type, shifted or altered."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from qgate.quant.blocks import Piece, Spread, in_parallel, laid, scratch, squares, start_of
from qgate.quant.constants import Array, ConstantValue
from qgate.quant.derivation import MAX_LISTED, Derivation, Outsider, decibels
from qgate.quant.side_by_side import half_ulp
from qgate.quant.storage import FLOAT_TYPES, SINGLE, changed_bits, half_spacing, widened

# Converters to fp16 lift tiny values to this, or to the least subnormal, and cut large ones to that
# (onnxconverter-common, onnxruntime.transformers).
CLAMP_LOW, CLAMP_HIGH = 1e-7, 1e4
ALTERED_SHARE = 0.02
LEAST_COPIED = 8
"""Elements of a tensor of which one may be told from the others by its last bits."""
_WIDE = ("float", "double")


def derive_float(reference: Array, candidate: ConstantValue, *, copied: bool = False) -> Derivation:
    """Judges a float constant: it must be the reference's value, rounded to its storage type.

    Args:
        reference: Float values in the candidate's layout.
        candidate: A constant of a float type, or codes of a short float type with a scale.
        copied: Both files hold it as it is: where nearly all of it is the same to the bit, all of it must be.
    """
    try:
        job = _Job(reference, candidate)
    except ValueError:
        return Derivation(
            "unknown", "", candidate.size, reason="its scale does not let the values be compared"
        )
    parts = in_parallel(job.part, job.stored.shape)
    lost, off = sum(p.lost for p in parts), sum(p.off for p in parts)
    signal, noise = sum(p.signal for p in parts), sum(p.noise for p in parts)
    base: dict[str, Any] = {
        "sqnr_db": decibels(signal, noise if not lost else float("nan")),
        "nonnearest": off / max(candidate.size, 1),
    }
    if lost:
        return _altered(job, parts, lost, "not finite where the reference is", base, lost_only=True)
    if off == 0:
        changed = _last_bits(job) if copied and noise > 0 else ()
        if changed:
            return Derivation(
                "outsiders", "float", candidate.size, count=len(changed), outsiders=changed[:MAX_LISTED],
                reason="all other values are the reference's to the bit", **base,
            )  # fmt: skip
        return Derivation("derived", "float", candidate.size, **base)
    if off <= max(2, ALTERED_SHARE * candidate.size):
        return _altered(job, parts, off, "altered", base)
    product = sum(p.product for p in parts)
    shift = {
        "relative_shift": float(np.sqrt(noise / signal)) if signal > 0 else float("inf"),
        "largest_shift": max(p.largest for p in parts),
        "factor": product / signal if signal > 0 else float("nan"),
    }
    reason = (
        f"its values are not the reference's: {off / candidate.size:.1%} of them differ, by {shift['relative_shift']:.2%} "
        "of the reference's size"
    )
    return Derivation(
        "not-derived", "float", candidate.size, count=off, reason=reason, evidence=shift, **base
    )


def _last_bits(job: _Job) -> tuple[Outsider, ...]:
    """The few values of a copied tensor that are not the reference's to the bit; none where they are many."""
    one, two = job.reference, job.stored
    if one.dtype != two.dtype or two.dtype.kind != "f" or two.size < LEAST_COPIED:
        return ()
    places = np.flatnonzero((one != two) & ~(np.isnan(one) & np.isnan(two)))
    if places.size > max(1, ALTERED_SHARE * two.size):
        return ()
    held, wanted = two.reshape(-1)[places].astype(float), one.reshape(-1)[places].astype(float)
    return tuple(
        Outsider(
            index=tuple(int(i) for i in np.unravel_index(int(place), two.shape)),
            stored=float(code),
            expected=float(target),
            steps=float(abs(code - target)),
            xor=changed_bits(job.at(int(place)), float(target), job.dtype),
        )
        for place, code, target in zip(places, held, wanted, strict=True)
    )


def _altered(
    job: _Job, parts: list[_Part], count: int, reason: str, base: dict[str, Any], *, lost_only: bool = False
) -> Derivation:
    held = [e for part in parts for e in part.worst if not lost_only or not np.isfinite(e.held)]
    held.sort(key=lambda e: (-e.size, e.position))
    outsiders = tuple(
        Outsider(
            index=tuple(int(i) for i in np.unravel_index(e.position, job.stored.shape)) if job.stored.shape else (),
            stored=e.held,
            expected=e.wanted,
            steps=abs(e.held - e.wanted),
            xor=None if job.moved or not e.unit else changed_bits(job.at(e.position), e.wanted / e.unit, job.dtype),
        )
        for e in held[:MAX_LISTED]
    )  # fmt: skip
    return Derivation(
        "outsiders", "float", job.stored.size, count=count, outsiders=outsiders, reason=reason, **base
    )


@dataclass(frozen=True)
class _Element:
    position: int
    code: float
    held: float
    wanted: float
    unit: float
    size: float


@dataclass
class _Part:
    lost: int = 0
    off: int = 0
    signal: float = 0.0
    noise: float = 0.0
    product: float = 0.0
    largest: float = 0.0
    worst: tuple[_Element, ...] = ()


class _Job:
    """A float constant beside its reference, in the file's layout."""

    def __init__(self, reference: Array, candidate: ConstantValue) -> None:
        self.dtype = candidate.dtype
        self.kind = FLOAT_TYPES.get(candidate.dtype, SINGLE)
        # As plain arrays: every step on a memory map runs Python of its own, piece by piece.
        self.stored = np.asarray(candidate.stored())
        shape = self.stored.shape
        self.reference = np.asarray(candidate.as_stored(reference, shape))
        self.scale: Spread | None = None
        if candidate.quantized is not None:
            self.scale = laid(candidate, candidate.quantized.scale.astype(np.float64), shape)
        self.factor: Spread | None = None
        if candidate.factor is not None:
            wide = np.broadcast_to(np.asarray(candidate.factor, np.float64), candidate.shape)
            self.factor = Spread(candidate.as_stored(wide, shape))
        self.moved = candidate.factor is not None
        self._plain = self.scale is None and self.factor is None
        self.scale_dtype = candidate.quantized.scale_dtype if candidate.quantized else ""
        wide_type = self.moved or candidate.dtype in _WIDE
        self.computed = 2.0**-19 if wide_type else 2.0**-22

    def at(self, position: int) -> Any:
        """One stored value as it is: as a Python float a signalling NaN would lose a bit."""
        return (
            self.stored[np.unravel_index(position, self.stored.shape)]
            if self.stored.shape
            else self.stored[()]
        )

    @cached_property
    def largest(self) -> float:
        """Largest finite magnitude of the whole reference."""

        def peak(piece: Piece) -> float:
            values = np.abs(self.reference[piece]).astype(np.float64)
            return float(np.max(values[np.isfinite(values)], initial=0.0))

        return max(in_parallel(peak, self.stored.shape), default=0.0)

    def part(self, piece: Piece) -> _Part:
        """Compares one piece."""
        with np.errstate(all="ignore"):
            return self._part(piece)

    def _part(self, piece: Piece) -> _Part:
        # A piece of a scalar would be no array.
        codes, reference = np.atleast_1d(self.stored[piece]), np.atleast_1d(self.reference[piece])
        part = _Part()
        unsure: Array | None = None
        values32 = widened(codes, self.dtype) if self._plain else None
        if values32 is not None and reference.dtype == np.float32:
            moved = np.subtract(values32, reference, out=scratch("moved", codes.shape))
            size_of = np.abs(moved, out=scratch("size", codes.shape))
            unsure = ~(size_of <= half_spacing(reference, self.dtype))
            if not unsure.any():
                part.signal, part.noise = squares(reference), squares(moved)
                part.product = part.signal
                return part
        wide = reference.astype(np.float64)
        values = codes.astype(np.float64)
        unit = self._unit(piece, codes.shape)
        values = values * unit
        size = np.abs(unit)
        known = np.isfinite(wide)
        part.signal = float(np.sum(np.square(wide, where=known, out=np.zeros_like(wide))))
        difference = np.where(np.isfinite(values) & known, values - wide, 0.0)
        part.noise = float(np.sum(np.square(difference)))
        part.product = part.signal + float(np.sum(difference * np.where(known, wide, 0.0)))
        part.largest = float(np.max(np.abs(difference), initial=0.0))
        if unsure is None:
            unsure = np.ones(codes.shape, bool)
        if unsure.any():
            self._exact(part, unsure, (codes, values, wide, size, unit), start_of(piece, self.stored.shape))
        return part

    def _unit(self, piece: Piece, shape: tuple[int, ...]) -> Array:
        """What a code of one stands for, by element."""
        unit = np.ones(shape) if self.scale is None else np.broadcast_to(self.scale.cut(piece), shape)
        return unit if self.factor is None else unit * self.factor.cut(piece)

    def _exact(
        self, part: _Part, unsure: Array, held: tuple[Array, Array, Array, Array, Array], first: int
    ) -> None:
        codes, values, target, size, unit = (v[unsure] for v in held)
        codes = codes.astype(np.float64)
        code = target / size
        magnitude = np.maximum(np.abs(code), self.kind.least)
        # The distance to the next value is that of the binade; half of it is rounding.
        binade = np.ldexp(1.0, np.frexp(magnitude)[1] - 1)
        inexact = self.computed + half_ulp(size, self.scale_dtype)
        allowed = 0.501 * self.kind.spacing * binade * size + inexact * np.abs(target) + 1e-12
        if self.dtype in _WIDE:
            # A folded constant was computed in another order: an error of the sum, not of each element.
            allowed = allowed + 2.0**-21 * self.largest
        same = (values == target) | (np.isnan(values) & np.isnan(target))
        off = ~(np.abs(values - target) <= allowed) & ~same & ~self._clamped(codes, target / unit)
        lost = ~np.isfinite(values) & np.isfinite(target)
        part.off, part.lost = int(np.count_nonzero(off)), int(np.count_nonzero(lost))
        places = np.flatnonzero(off | lost)
        if places.size:
            far = np.nan_to_num(np.abs(values - target)[places], nan=np.inf, posinf=np.inf)
            worst = places[np.argsort(-far, kind="stable")][:MAX_LISTED]
            size_of = np.nan_to_num(np.abs(values - target)[worst], nan=np.inf, posinf=np.inf)
            positions = first + np.flatnonzero(unsure.reshape(-1))[worst]
            part.worst = tuple(
                _Element(int(p), float(codes[i]), float(values[i]), float(target[i]), float(unit[i]), float(s))
                for p, i, s in zip(positions, worst, size_of, strict=True)
            )  # fmt: skip

    def _clamped(self, codes: Array, target: Array) -> Array:
        """Known clamps of converters: tiny values lifted, large ones cut to the type's end or to 1e4."""
        if not np.isfinite(self.kind.greatest):
            return np.zeros(codes.shape, bool)
        same_sign = np.sign(codes) == np.sign(target)
        top = (np.abs(target) >= self.kind.greatest) & (np.abs(codes) == self.kind.greatest)
        if self.dtype != "float16":
            return np.asarray(top & same_sign)
        low = (np.abs(target) <= CLAMP_LOW * 1.01) & (np.abs(codes) <= CLAMP_LOW * 1.3)
        high = (np.abs(target) >= CLAMP_HIGH * 0.99) & (np.abs(np.abs(codes) - CLAMP_HIGH) < 8)
        return np.asarray((low | high | top) & same_sign)
