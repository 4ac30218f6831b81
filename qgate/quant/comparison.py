"""Codes against the exact quotient of their reference, piece by piece, with what a verdict needs of them.

For a code q of weight w with scale s and zero point z the quotient is x = w/s + z in float64. Most codes
are told to be the nearest in float32 already: with A the largest ``|q - z|`` possible plus one, rounding
1/s, the product with w and the difference to float32 moves ``q - x`` by less than A * 2^-22 wherever it is
within a step, so what lies closer than 1/2 + 1e-4 - A * 2^-22 needs no second look. Every other element is
computed again in float64, so that verdicts, counts and outsiders do not depend on the short cut.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from qgate.quant.blocks import Piece, in_parallel, scratch, squares, start_of, total
from qgate.quant.constants import INTEGER_RANGES, Array, ConstantValue
from qgate.quant.side_by_side import MARGIN, Layout, half_ulp

NEAR_TIE = 0.6
"""Distance up to which a code that is not the nearest is one of two nearly equal choices."""
LISTED = 64
_SIGN, _NOTHING = np.uint32(0x80000000), np.float32(0)
MAX_ROW = 8192
"""Elements of a row whose squares are added in float32."""


@dataclass(frozen=True)
class Element:
    """One code that is not the nearest.

    Args:
        position: Flat position in the file's layout.
        code: What is stored.
        quotient: w/s + z.
        distance: Code minus quotient, saturation allowed for, in steps.
        slack: Uncertainty of the quotient, in steps.
    """

    position: int
    code: int
    quotient: float
    distance: float
    slack: float


@dataclass(frozen=True)
class Comparison:
    """What is known of a tensor's codes against its reference.

    Args:
        size: Elements.
        shape: The file's layout.
        least: Least code in use; ``greatest`` likewise.
        off: Codes that are not the nearest; ``near`` of them lie within 0.6 steps, ``beyond`` beyond floor
            and ceiling, ``well_beyond`` by more than another half, ``far`` beyond four steps.
        max_steps: Largest distance, saturation allowed for.
        square: Mean square of code minus quotient, unsaturated.
        bias: Mean of code minus quotient over codes that do not saturate.
        signal: Sum of the squared reference; ``noise`` that of the error.
        worst: The worst codes that are not the nearest, worst first.
        sample: w/s of up to a million elements, evenly spread, float32 in steps; NaN where the code was cut off
            at an end of its range.
        telling: How many of the sample tell a direction: codes at zero shrink by being rounded to nearest, only
            those beyond one step tell a truncation.
        inward: Sum of the errors of these, in steps, each with the sign of its weight.
    """

    size: int
    shape: tuple[int, ...]
    least: float
    greatest: float
    off: int
    near: int
    beyond: int
    well_beyond: int
    far: int
    max_steps: float
    square: float
    bias: float
    signal: float
    noise: float
    worst: tuple[Element, ...]
    sample: Array
    telling: int
    inward: float


def compare(
    reference: Array, candidate: ConstantValue, *, short: bool = True, slack: float = 0.0
) -> Comparison | None:
    """Compares a quantized constant with its reference.

    Args:
        reference: Float values in the candidate's layout, of the candidate's size.
        candidate: The quantized constant.
        short: Let float32 tell the codes that are the nearest beyond doubt.
        slack: Relative uncertainty of the reference.

    Returns:
        None where the scale is zero, not finite, or does not fit the codes.
    """
    quantized = candidate.quantized
    if quantized is None or candidate.dtype not in INTEGER_RANGES:
        return None
    try:
        job = Layout(reference, candidate, short=short, slack=slack)
    except ValueError:
        return None
    with np.errstate(all="ignore"):
        parts = in_parallel(lambda piece: _part(job, piece), job.codes.shape)
    if not all(part.finite for part in parts):
        return None
    size = max(job.codes.size, 1)
    inside = sum(part.inside for part in parts)
    worst = sorted((e for part in parts for e in part.worst), key=lambda e: (-abs(e.distance), e.position))
    return Comparison(
        size=job.codes.size,
        shape=job.codes.shape,
        least=job.least,
        greatest=job.greatest,
        off=sum(part.off for part in parts),
        near=sum(part.near for part in parts),
        beyond=sum(part.beyond for part in parts),
        well_beyond=sum(part.well_beyond for part in parts),
        far=sum(part.far for part in parts),
        max_steps=max((part.max_steps for part in parts), default=0.0),
        square=sum(part.square for part in parts) / size,
        bias=sum(part.bias for part in parts) / max(inside, 1),
        signal=sum(part.signal for part in parts),
        noise=sum(part.noise for part in parts),
        worst=tuple(worst[:LISTED]),
        sample=np.concatenate([np.zeros(0, np.float32), *(part.sample for part in parts)]),
        telling=sum(part.telling for part in parts),
        inward=sum(part.inward for part in parts),
    )


@dataclass
class _Part:
    """The sums of one piece."""

    sample: Array
    finite: bool = True
    off: int = 0
    near: int = 0
    beyond: int = 0
    well_beyond: int = 0
    far: int = 0
    max_steps: float = 0.0
    square: float = 0.0
    bias: float = 0.0
    inside: int = 0
    signal: float = 0.0
    noise: float = 0.0
    telling: int = 0
    inward: float = 0.0
    worst: tuple[Element, ...] = ()


def _part(job: Layout, piece: Piece) -> _Part:
    """Compares one piece."""
    with np.errstate(all="ignore"):
        return _compared(job, piece)


def _compared(job: Layout, piece: Piece) -> _Part:
    codes, weights = job.codes[piece], job.reference[piece]
    scale32, zero = job.short_steps(piece), job.offsets(piece)
    quotient, error = scratch("quotient", codes.shape), scratch("error", codes.shape)
    np.multiply(weights, job.inverses(piece), out=quotient, casting="same_kind")
    error[...] = codes
    if zero is not None:
        error -= zero
    error -= quotient
    flat = error.reshape(-1)
    largest = max(float(np.maximum.reduce(flat)), -float(np.minimum.reduce(flat)))
    first = start_of(piece, job.codes.shape)
    chosen = slice(-first % job.stride, None, job.stride)
    part = _Part(quotient.reshape(-1)[chosen].copy())
    _direction(job, part, codes.reshape(-1)[chosen], np.ascontiguousarray(flat[chosen]))
    part.signal = squares(weights)
    if largest <= job.limit:
        part.max_steps = largest
    else:
        apart = np.abs(flat)
        places = np.flatnonzero(~(apart <= job.limit))
        apart[places] = 0.0
        part.max_steps = float(np.maximum.reduce(apart))
        _exact(job, part, places, piece)
        flat[places] = 0
        part.inside -= places.size
    part.bias += total(flat)
    part.inside += flat.size
    if scale32.size > 1 and error.shape[-1] * scale32.size == error.size <= MAX_ROW * scale32.size:
        rows = np.vecdot(error, error).reshape(-1).astype(np.float64)
        part.square += float(np.sum(rows))
        part.noise += float(rows @ np.square(scale32.reshape(-1).astype(np.float64)))
        return part
    square = squares(error)
    part.square += square
    if scale32.size == 1:
        part.noise += square * float(scale32.reshape(-1)[0]) ** 2
        return part
    error *= scale32
    part.noise += squares(error)
    return part


def _direction(job: Layout, part: _Part, codes: Array, error: Array) -> None:
    """Adds up the errors of a sample in the direction of their weights."""
    far = (np.abs(error) > 0.5).nonzero()[0]
    if far.size:
        ends = codes[far]
        part.sample[far[(ends <= int(job.least)) | (ends >= int(job.greatest))]] = np.nan
    telling = np.abs(part.sample) >= 1.0
    # The sign bit alone: what is not finite must not reach the sum of the others.
    inward = (error.view(np.uint32) ^ (part.sample.view(np.uint32) & _SIGN)).view(np.float32)
    part.telling = int(np.count_nonzero(telling))
    part.inward = total(np.where(telling, inward, _NOTHING))


def _exact(job: Layout, part: _Part, places: Array, piece: Piece) -> None:
    """Looks again in float64 at some elements, by their flat places in the piece."""
    first, offsets = start_of(piece, job.codes.shape), job.offsets(piece)
    shape = job.codes[piece].shape
    index = None if places.size == math.prod(shape) else np.unravel_index(places, shape)

    def chosen(values: Array) -> Array:
        laid = np.broadcast_to(values, shape)
        return laid.reshape(-1) if index is None else np.asarray(laid[index])

    code, target = (chosen(side[piece]).astype(np.float64) for side in (job.codes, job.reference))
    step = chosen(job.steps(piece))
    offset: Any = 0.0 if offsets is None else chosen(offsets).astype(np.float64)
    # A scale of zero stands for zeros whatever the codes are; of anything else it is no rounding.
    plain = np.where((step == 0) & (target == 0), code - offset, target / step)
    quotient = plain + offset
    if not np.isfinite(quotient).all():
        part.finite = False
        return
    relative = np.maximum(job.relative, half_ulp(step, job.scale_dtype)) + job.slack
    slack = np.maximum(MARGIN, relative * np.abs(quotient - offset))
    error = code - quotient
    clipped = np.clip(quotient, job.least, job.greatest)
    distance = code - clipped
    # A code at an end of the range is right for everything further out.
    held_back = ((error < 0) & (code >= job.greatest)) | ((error > 0) & (code <= job.least))
    wide = np.where(held_back, 0.0, np.abs(error) - slack)
    off = wide > 0.5
    part.off = int(np.count_nonzero(off))
    part.near = int(np.count_nonzero(off & (wide <= NEAR_TIE)))
    part.beyond = int(np.count_nonzero(wide > 1.0 - 1e-9))
    part.well_beyond = int(np.count_nonzero(wide > 1.5))
    part.far = int(np.count_nonzero(wide > 4.0 - 1e-9))
    part.max_steps = max(part.max_steps, float(np.max(np.abs(distance), initial=0.0)))
    inside = clipped == quotient
    part.bias, part.inside = float(np.sum(error[inside])), int(np.count_nonzero(inside))
    part.square = float(np.sum(np.square(error)))
    part.noise = float(np.sum(np.square(error * step)))
    if part.off:
        wrong = np.flatnonzero(off)
        worst = wrong[np.argsort(-np.abs(distance[wrong]), kind="stable")][:LISTED]
        positions = first + places[worst]
        part.worst = tuple(
            Element(int(p), int(code[i]), float(quotient[i]), float(distance[i]), float(slack[i]))
            for p, i in zip(positions, worst, strict=True)
        )
