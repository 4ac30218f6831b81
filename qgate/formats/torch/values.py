"""What a checkpoint's pickle stands for, as data: nothing here is ever called or built for real."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class RefusedError(Exception):
    """What a pickle asks for is not proven to be data.

    Args:
        what: What it asks for.
        code: It names something that a loader would run or build.
    """

    def __init__(self, what: str, *, code: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.code = code


@dataclass(frozen=True, slots=True)
class Global:
    """A name that is on the list, not yet used for anything."""

    name: str


@dataclass(frozen=True, slots=True)
class ElementType:
    """A torch dtype, by ONNX's name; empty where no tensor of it can be stored."""

    torch: str
    name: str


@dataclass(frozen=True, slots=True)
class Storage:
    """Bytes that tensors look at.

    Args:
        key: The archive's name of it, or the key of a legacy stream.
        kind: Name of the storage class.
        dtype: Element type; ``uint8`` for bytes without one.
        elements: Number of elements.
    """

    key: str
    kind: str
    dtype: str
    elements: int


@dataclass(frozen=True, slots=True)
class Quantizer:
    """How a quantized tensor's codes become numbers: one scale, or one for each slice along ``axis``."""

    scale: float | Tensor
    zero_point: int | Tensor
    axis: int | None


@dataclass(frozen=True, slots=True)
class Tensor:
    """A view of a storage; ``strides`` and ``start`` count elements."""

    storage: Storage
    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str
    quantizer: Quantizer | None = None


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A tensor subclass that is several tensors and settings: its class, outer type and attributes."""

    kind: str
    dtype: str
    shape: tuple[int, ...]
    state: Mapping[str, Any]


@dataclass(slots=True)
class Record:
    """An object of a class that only holds settings."""

    kind: str
    values: tuple[Any, ...] = ()
    state: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class NumpyType:
    """A numpy dtype, by its code without byte order (``f8``)."""

    code: str
    ready: bool = False


@dataclass(slots=True)
class NumpyArray:
    """A numpy array: type, shape and bytes in C order."""

    code: str = ""
    shape: tuple[int, ...] = ()
    data: bytes = b""


class Ordered(dict[Any, Any]):
    """A collections.OrderedDict."""
