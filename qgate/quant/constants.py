"""A constant of a graph seen as the float tensor that it stands for.

Quantized codes, their scale and zero point stay apart and keep their names, so that a finding can name
the element in the file's own tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qgate.formats.model import Constant

Array = NDArray[Any]
INTEGER_RANGES = {
    "int2": (-2, 1), "uint2": (0, 3), "int4": (-8, 7), "uint4": (0, 15), "int8": (-128, 127),
    "uint8": (0, 255), "int16": (-32768, 32767), "uint16": (0, 65535), "int32": (-(2**31), 2**31 - 1),
}  # fmt: skip
FLOATS = {
    "float",
    "double",
    "float16",
    "bfloat16",
    "float8e4m3fn",
    "float8e4m3fnuz",
    "float8e5m2",
    "float8e5m2fnuz",
}


def code_range(dtype: str, codes: Array) -> tuple[int, int]:
    """Least and greatest code of an integer type; of what stores others, as only a wider array can, those that it can hold.

    A file may call bytes int4. What lies beyond is then no code that was cut off at an end.

    Args:
        dtype: One of ``INTEGER_RANGES``.
        codes: The codes as they are stored.
    """
    least, greatest = INTEGER_RANGES[dtype]
    if codes.dtype.kind not in "iu" or not codes.size:
        return least, greatest
    held = np.iinfo(codes.dtype)
    wider = held.min < least or held.max > greatest
    if wider and (int(codes.min()) < least or int(codes.max()) > greatest):
        return int(held.min), int(held.max)
    return least, greatest


@dataclass(frozen=True)
class View:
    """A change of layout between the file's tensor and its canonical form: transpose or reshape."""

    perm: tuple[int, ...] | None = None
    shape: tuple[int, ...] | None = None

    def apply(self, values: Array) -> Array:
        """The array in the new layout."""
        return values.transpose(self.perm) if self.perm is not None else values.reshape(self.shape)


@dataclass(frozen=True)
class Quantized:
    """Codes with the affine map ``value = (code - zero_point) * scale`` (ONNX DequantizeLinear).

    Args:
        dtype: Integer or float8 type of the codes.
        scale: Scales, of any shape that ``axis`` and ``block`` explain.
        zero_point: Zero points of the scale's shape, or None for 0.
        axis: Per-channel axis of the codes; None for per tensor.
        block: Elements along ``axis`` that share a scale; 0 for per channel.
        scale_name: The scale's own name in the file.
        zero_name: The zero point's own name, empty where there is none.
        scale_dtype: Storage type of the scale.
    """

    dtype: str
    scale: Array
    zero_point: Array | None
    axis: int | None
    block: int
    scale_name: str
    zero_name: str
    scale_dtype: str

    def spread(self, values: Array, shape: tuple[int, ...]) -> Array:
        """Scale or zero point brought to a shape that broadcasts against the codes.

        Raises:
            ValueError: They do not fit the codes.
        """
        if values.size == 1:
            return values.reshape((1,) * len(shape))
        if self.block:
            axis = (self.axis or 0) % max(len(shape), 1)
            fitting = tuple(-(-n // self.block) if i == axis else n for i, n in enumerate(shape))
            if values.shape != fitting or self.block < 0:
                raise ValueError(
                    f"scales of shape {list(values.shape)} do not fit blocks of {self.block} in {list(shape)}"
                )
            spread = np.repeat(values, min(self.block, shape[axis]), axis=axis)
            return spread[tuple(slice(0, n) for n in shape)]
        if values.ndim == len(shape):
            return values
        axis = self.channel_axis(values.size, shape)
        return values.reshape(tuple(-1 if i == axis else 1 for i in range(len(shape))))

    def channel_axis(self, channels: int, shape: tuple[int, ...]) -> int:
        """The axis of the codes that the scale runs along.

        Raises:
            ValueError: No axis of the codes has as many entries as the scale.
        """
        axis = (self.axis or 0) % max(len(shape), 1)
        if axis < len(shape) and shape[axis] == channels:
            return axis
        raise ValueError(f"{channels} scales do not fit axis {axis} of shape {list(shape)}")


def numbers(values: Array) -> Array:
    """An array as float64; NaN in the place of text and whatever else is no number."""
    if values.dtype.kind in "fiub" or _is_short_float(values):
        with np.errstate(invalid="ignore"):  # widening a signalling NaN
            return values.astype(np.float64)
    return np.full(values.shape, np.nan)


def _is_short_float(values: Array) -> bool:
    """Types of ml_dtypes, bfloat16 and float8 and four bits, have no kind of their own."""
    return values.dtype.kind == "V" and values.dtype.type.__module__.startswith("ml_dtypes")


@dataclass(frozen=True)
class ConstantValue:
    """A constant of the float view.

    Args:
        name: The file's own name of the tensor that holds the codes or the values.
        dtype: Its storage type.
        stored: Loads the stored values (codes or floats), in the file's layout.
        bits: Storage bits of one element.
        quantized: How codes become floats; None for a plain constant.
        views: Layout changes from the file's tensor to this constant, in order.
        on_load: The file holds floats, and the graph itself quantizes them when it is loaded.
        factor: Factor folded in (Gemm's alpha, a BatchNorm's scale); broadcasts against this layout.
        folded: Computed from other constants, so that its last bits hang on the order of the sums.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    stored: Callable[[], Array]
    bits: int
    quantized: Quantized | None = None
    views: tuple[View, ...] = ()
    factor: float | Array | None = None
    on_load: bool = False
    folded: bool = False

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64)) if self.shape else 1

    @property
    def is_quantized(self) -> bool:
        """Whether it is stored as codes with a scale."""
        return self.quantized is not None

    def viewed(self, view: View, shape: tuple[int, ...]) -> ConstantValue:
        """The same constant in another layout; a folded factor that varies is laid out with it."""
        if isinstance(self.factor, np.ndarray) and self.factor.size > 1:
            factor = view.apply(np.broadcast_to(self.factor, self.shape))
            return replace(self, views=(*self.views, view), shape=shape, factor=factor)
        return replace(self, views=(*self.views, view), shape=shape)

    def lay_out(self, stored: Array) -> Array:
        """Brings an array in the file's layout to this constant's."""
        for view in self.views:
            stored = view.apply(stored)
        return stored

    def as_stored(self, values: Array, stored_shape: tuple[int, ...]) -> Array:
        """Brings an array in this constant's layout to the file's: the opposite of ``lay_out``."""
        shapes = [stored_shape]
        for view in self.views:
            before = shapes[-1]
            shapes.append(tuple(before[i] for i in view.perm) if view.perm is not None else view.shape or ())
        for view, shape in zip(reversed(self.views), reversed(shapes[:-1]), strict=True):
            values = (
                values.transpose(np.argsort(view.perm)) if view.perm is not None else values.reshape(shape)
            )
        return values

    def codes(self) -> Array:
        """The stored values in this constant's layout."""
        return self.lay_out(self.stored())

    def misfit(self) -> str:
        """Why scale and zero point do not fit the codes; empty where they do, or where there are none."""
        if self.quantized is None:
            return ""
        shape = self.stored().shape
        try:
            self._spread(self.quantized.scale, shape)
            if self.quantized.zero_point is not None:
                self._spread(self.quantized.zero_point, shape)
        except ValueError as error:
            return str(error)
        return ""

    def _spread(self, values: Array, shape: tuple[int, ...]) -> Array:
        spread = self._quantized().spread(numbers(values), shape)
        if spread.ndim != len(shape) or any(
            n not in (1, of) for n, of in zip(spread.shape, shape, strict=True)
        ):
            raise ValueError(f"scales of shape {list(values.shape)} do not fit {list(shape)}")
        return np.broadcast_to(spread, shape)

    def _for_each(self, values: Array) -> Array:
        """One for each element, in this constant's layout; NaN throughout where they do not fit the codes."""
        shape = self.stored().shape
        try:
            return self.lay_out(self._spread(values, shape))
        except ValueError:
            return self.lay_out(np.broadcast_to(np.float64("nan"), shape))

    def scales(self) -> Array:
        """float64 scale for every element, in this constant's layout (broadcast, read-only).

        NaN throughout where the scale does not fit the codes: ``misfit`` tells.
        """
        laid_out = self._for_each(self._quantized().scale)
        return laid_out if self.factor is None else laid_out * self.factor

    def zero_points(self) -> Array:
        """float64 zero point for every element, in this constant's layout (broadcast, read-only)."""
        zero = self._quantized().zero_point
        return self._for_each(np.zeros(1) if zero is None else zero)

    def values(self) -> Array:
        """The float values that the constant stands for, float32 (float64 for doubles); NaN for what is no number."""
        if self.quantized is None:
            raw = self.codes()
            if raw.dtype.kind not in "fiub" and not _is_short_float(raw):
                return np.full(self.shape, np.nan, np.float32)  # text and the like are no numbers
            # Widening a signalling NaN is reported by some processors, and is no fault of this reader's.
            with np.errstate(invalid="ignore"):
                plain = raw.astype(np.float32) if raw.dtype == np.float16 else raw
            return plain * np.asarray(self.factor, plain.dtype) if self.factor is not None else plain
        with np.errstate(invalid="ignore", over="ignore"):
            return ((numbers(self.codes()) - self.zero_points()) * self.scales()).astype(np.float32)

    def times(self, factor: float | Array) -> ConstantValue:
        """The same constant multiplied by a factor that broadcasts against it."""
        return replace(self, factor=factor if self.factor is None else self.factor * factor)

    def stored_index(self, flat: int) -> tuple[int, ...]:
        """The index in the file's own tensor of an element given by its flat index here."""
        stored_shape = self.stored().shape
        positions = np.arange(int(np.prod(stored_shape, dtype=np.int64))).reshape(stored_shape)
        source = int(self.lay_out(positions).reshape(-1)[flat])
        return tuple(int(i) for i in np.unravel_index(source, stored_shape)) if stored_shape else ()

    def _quantized(self) -> Quantized:
        if self.quantized is None:
            raise ValueError(f"{self.name} is not quantized")
        return self.quantized


def plain(constant: Constant) -> ConstantValue:
    """A constant of the file as it stands."""
    return ConstantValue(constant.name, constant.dtype, constant.shape, constant.load, constant.bits)


def computed(name: str, values: Array) -> ConstantValue:
    """A constant that was folded from others, under the name of what it replaces."""
    dtype = {"f4": "float", "f8": "double", "f2": "float16"}.get(values.dtype.str[1:], values.dtype.name)
    bits = values.dtype.itemsize * 8
    return ConstantValue(name, dtype, values.shape, lambda: values, bits, folded=True)


def transposed(value: ConstantValue) -> ConstantValue:
    """A matrix transposed, or a stack of matrices each transposed.

    Raises:
        ValueError: It has fewer than two axes.
    """
    rank = len(value.shape)
    if rank < 2:
        raise ValueError(f"{value.name} has {rank} axes, and a matrix has two")
    perm = (*range(rank - 2), rank - 1, rank - 2)
    return value.viewed(View(perm=perm), tuple(value.shape[i] for i in perm))
