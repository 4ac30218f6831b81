"""Tensors of a checkpoint as constants: mapped views of its storages, with what their codes stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from qgate.formats.elements import Mapped, Span, in_memory, spanned
from qgate.formats.model import Constant, StoredQuantization
from qgate.formats.torch.names import NUMPY
from qgate.formats.torch.torchao import parts
from qgate.formats.torch.values import NumpyArray, Tensor, Wrapped


@dataclass(frozen=True)
class Place:
    """Where a storage lies: first byte in the file, and number of bytes."""

    offset: int
    size: int


def constants_of(
    tensors: Mapping[str, Tensor | Wrapped | NumpyArray],
    places: Mapping[str, Place],
    file: Mapped,
    where: str,
) -> dict[str, Constant]:
    """A constant for each tensor, under its own name.

    Raises:
        FormatError: A tensor reaches beyond its storage.
    """
    found: dict[str, Constant] = {}
    for name, tensor in tensors.items():
        if isinstance(tensor, NumpyArray):
            found[name] = _from_numpy(name, tensor)
        elif isinstance(tensor, Wrapped):
            found.update(_from_parts(name, tensor, places, file, where))
        else:
            found[name] = _constant(name, tensor, places, file, where)
    return found


def _constant(name: str, tensor: Tensor, places: Mapping[str, Place], file: Mapped, where: str) -> Constant:
    place = places[tensor.storage.key]
    span = Span(file, place.offset, tensor.dtype, tensor.shape, tensor.strides, tensor.start)
    constant = spanned(name, span, place.size, where)
    quantizer = tensor.quantizer
    if quantizer is None:
        return constant
    channels = "per_channel_" if quantizer.axis is not None else ""
    names = (f"{name}.q_{channels}scale", f"{name}.q_{channels}zero_point")
    scale, zero = quantizer.scale, quantizer.zero_point
    if isinstance(scale, Tensor) and isinstance(zero, Tensor):
        held = tuple(
            _constant(n + "s", t, places, file, where) for n, t in zip(names, (scale, zero), strict=True)
        )
    else:
        held = (_number(names[0], "double", scale), _number(names[1], "int64", zero))
    return replace(constant, quantization=StoredQuantization(held[0], held[1], quantizer.axis))


def _number(name: str, dtype: str, value: object) -> Constant:
    """A number that stands in the file by itself."""
    kind = np.float64 if dtype == "double" else np.int64
    return in_memory(name, dtype, lambda: np.array(value, kind), ())


def _from_parts(
    name: str, tensor: Wrapped, places: Mapping[str, Place], file: Mapped, where: str
) -> dict[str, Constant]:
    held = {
        key: _constant(f"{name}.{key}", part, places, file, where) for key, part in _inner(tensor).items()
    }
    return parts(name, tensor, held, where)


def _inner(tensor: Wrapped) -> dict[str, Tensor]:
    """The tensors inside a subclass, those of a subclass within it among them."""
    found: dict[str, Tensor] = {}
    waiting = [("", tensor, 0)]
    while waiting:
        prefix, outer, depth = waiting.pop()
        for key, value in outer.state.items():
            if isinstance(value, Tensor):
                found[prefix + key] = value
            elif isinstance(value, Wrapped) and depth < 4:
                waiting.append((f"{prefix}{key}.", value, depth + 1))
    return found


def _from_numpy(name: str, array: NumpyArray) -> Constant:
    values = np.frombuffer(array.data, "<" + array.code).reshape(array.shape)
    return in_memory(name, NUMPY[array.code], lambda: values, array.shape)
