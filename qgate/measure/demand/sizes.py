"""Sizes that are known, or known to be at least so much, and tensors made of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from qgate.formats.model import Constant, TensorType

CEILING = 2**62
MAX_RANK = 16
MAX_VALUES = 128
_BITS = {
    "double": 64, "int64": 64, "uint64": 64, "complex64": 64, "complex128": 128, "float": 32, "int32": 32,
    "uint32": 32, "float16": 16, "bfloat16": 16, "int16": 16, "uint16": 16,
}  # fmt: skip


class Size(NamedTuple):
    """A whole number that is known, or a bound that it is not below.

    Args:
        low: The number, or the bound.
        exact: Whether it is the number.
    """

    low: int
    exact: bool = True


ANY = Size(1, False)
"""A size that the file leaves open: of a batch, of a picture. None is empty where work is done."""

Shape = tuple[Size, ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """What is known of a tensor.

    Args:
        shape: Its sizes; None where not even their number is known.
        bits: Bits of an element, 8 where the type is not known.
        values: The elements of a small tensor of whole numbers, in C order, None for those not known.
    """

    shape: Shape | None = None
    bits: int = 8
    values: tuple[Size | None, ...] | None = None

    @property
    def elements(self) -> int:
        """Elements that it has at the least."""
        return product(self.shape or ())

    @property
    def bytes(self) -> int:
        """Bytes that it takes at the least."""
        return self.elements * self.bits // 8 if self.shape is not None else 0


UNKNOWN = Tensor()


def bits_of(dtype: str) -> int:
    """Bits of one element in a runtime's memory; types below a byte may be held packed."""
    return 4 if dtype in ("int4", "uint4", "float4e2m1", "int2", "uint2") else _BITS.get(dtype, 8)


def exact(number: int) -> Size:
    """A number that is known."""
    return Size(max(-CEILING, min(int(number), CEILING)))


def shape_of(sizes: Iterable[int]) -> Shape:
    """A shape that is known."""
    return tuple(exact(size) for size in sizes)


def floor(number: float) -> Size | None:
    """A number, or the bound that the whole number below it is; None of what is no number."""
    return Size(math.floor(number), number.is_integer()) if abs(number) < CEILING else None


def product(sizes: Iterable[Size]) -> int:
    """The product at the least, and no more than the ceiling."""
    found = 1
    for size in sizes:
        if size.low <= 0:
            return 0
        found = min(found * size.low, CEILING)
    return found


def times(one: Size, two: Size) -> Size:
    """A product; of bounds a bound."""
    if not (one.exact and two.exact) and (one.low < 0 or two.low < 0):
        return Size(-CEILING, False)
    return Size(max(-CEILING, min(one.low * two.low, CEILING)), one.exact and two.exact)


def plus(one: Size, two: Size) -> Size:
    """A sum; of bounds a bound."""
    return Size(max(-CEILING, min(one.low + two.low, CEILING)), one.exact and two.exact)


def over(one: Size, by: int) -> Size:
    """A quotient, rounded down."""
    return Size(one.low // by, one.exact)


def widest(one: Size, two: Size) -> Size:
    """One axis of two tensors that are broadcast."""
    for size, other in ((one, two), (two, one)):
        if size.exact and size.low == 1:
            return other
    for size in (one, two):
        if size.exact:
            return size  # the other is the same, or one
    return Size(max(one.low, two.low), False)


def broadcast(shapes: Sequence[Shape | None]) -> Shape | None:
    """The shape of an operation element by element; what is not known only adds to it."""
    known = [shape for shape in shapes if shape is not None]
    rank = max((len(shape) for shape in known), default=0)
    if not known:
        return None
    out = []
    for axis in range(-rank, 0):
        size = Size(1) if len(known) == len(shapes) else ANY
        for shape in known:
            if len(shape) >= -axis:
                size = widest(size, shape[axis])
        out.append(size)
    return tuple(out)


def of_constant(constant: Constant) -> Tensor:
    """A constant of the file; whole numbers are loaded where there are few of them."""
    shape = shape_of(constant.shape)
    values: tuple[Size | None, ...] | None = None
    if len(shape) > MAX_RANK:
        return UNKNOWN
    if constant.dtype in ("int64", "int32") and math.prod(constant.shape) <= MAX_VALUES:
        values = tuple(exact(int(v)) for v in np.asarray(constant.load()).reshape(-1))
    elif constant.dtype == "float" and math.prod(constant.shape) <= MAX_RANK:
        # Factors of Resize and of sizes that are computed with fractions: a bound where they are none.
        values = tuple(floor(float(v)) for v in np.asarray(constant.load()).reshape(-1))
    elif constant.dtype == "bool" and math.prod(constant.shape) == 1:
        values = (exact(int(np.asarray(constant.load()).reshape(-1)[0])),)
    return Tensor(shape, bits_of(constant.dtype), values)


def of_type(declared: TensorType) -> Tensor:
    """An input as it is declared; sizes that it leaves open are one at the least."""
    if declared.shape is None or len(declared.shape) > MAX_RANK:
        return Tensor(None, bits_of(declared.dtype))
    sizes = (Size(min(d, CEILING)) if isinstance(d, int) else ANY for d in declared.shape)
    return Tensor(tuple(sizes), bits_of(declared.dtype))


def of_values(values: Sequence[Size | None], shape: Shape | None = None, bits: int = 64) -> Tensor:
    """A small tensor of whole numbers; one axis, unless a shape is given."""
    sizes = shape if shape is not None else (Size(len(values)),)
    return Tensor(sizes, bits, tuple(values) if len(values) <= MAX_VALUES else None)


def attribute(value: Any, default: Any) -> Any:
    """An attribute if it is of the default's kind; files may hold others."""
    return value if isinstance(value, type(default)) and not isinstance(value, bool) else default
