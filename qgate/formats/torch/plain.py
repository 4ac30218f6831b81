"""Calls of a pickle that make plain values: containers, words, numbers and arrays of numpy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from qgate.formats.torch.names import NUMPY
from qgate.formats.torch.values import (
    Global,
    NumpyArray,
    NumpyType,
    Ordered,
    Record,
    RefusedError,
)


def need(holds: bool, what: str, *, code: bool = False) -> None:
    """Goes on if something holds.

    Raises:
        RefusedError: It does not.
    """
    if not holds:
        raise RefusedError(what, code=code)


def sizes(value: Any, what: str) -> tuple[int, ...]:
    """A tuple of plain numbers, as sizes and strides are.

    Raises:
        RefusedError: It is another thing.
    """
    need(
        type(value) is tuple and len(value) <= 32 and all(type(n) is int and 0 <= n < 2**48 for n in value),
        f"the {what} of a tensor are no plain numbers",
    )
    return tuple(value)


def _ordered(arguments: tuple[Any, ...]) -> Ordered:
    need(not arguments, "collections.OrderedDict is given entries")
    return Ordered()


def _counter(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    need(len(arguments) == 1 and type(arguments[0]) is dict, "collections.Counter is given no dictionary")
    counted: dict[Any, Any] = arguments[0]
    return counted


def _size(arguments: tuple[Any, ...]) -> tuple[int, ...]:
    need(len(arguments) == 1, "torch.Size is given other arguments")
    return sizes(arguments[0], "sizes")


def _words(name: str) -> Callable[[tuple[Any, ...]], Record]:
    """A call with plain words and numbers, kept as it stands."""

    def judge(arguments: tuple[Any, ...]) -> Record:
        need(
            len(arguments) in (1, 2) and all(type(a) in (str, int) for a in arguments),
            f"{name} is given no words",
        )
        return Record(name, arguments)

    return judge


def _encode(arguments: tuple[Any, ...]) -> bytes:
    need(
        len(arguments) == 2 and type(arguments[0]) is str and arguments[1] == "latin1",
        "_codecs.encode is given no text",
    )
    return str(arguments[0]).encode("latin-1")


def _set(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    need(len(arguments) == 1 and type(arguments[0]) is list
          and all(type(v) in (int, float, str, bool, bytes) for v in arguments[0]), "a set holds more than words")  # fmt: skip
    return tuple(arguments[0])


def _complex(arguments: tuple[Any, ...]) -> complex:
    need(len(arguments) == 2 and all(type(v) is float for v in arguments), "a complex number is none")
    return complex(*arguments)


def _bytearray(arguments: tuple[Any, ...]) -> bytes:
    need(len(arguments) == 1 and type(arguments[0]) is bytes, "a bytearray is given no bytes")
    return bytes(arguments[0])


def _no_bytes(arguments: tuple[Any, ...]) -> bytes:
    need(not arguments, "bytes are made of something")
    return b""


def _numpy_type(arguments: tuple[Any, ...]) -> NumpyType:
    need(
        len(arguments) == 3 and type(arguments[0]) is str and arguments[0] in NUMPY,
        "it names a numpy type that is no number",
    )
    return NumpyType(arguments[0])


def _numpy_scalar(arguments: tuple[Any, ...]) -> Any:
    need(
        len(arguments) == 2 and type(arguments[0]) is NumpyType and type(arguments[1]) is bytes,
        "a numpy number is none",
    )
    value = np.frombuffer(arguments[1], "<" + arguments[0].code)
    need(value.size == 1, "a numpy number is several")
    return value[0].item()


def _numpy_array(arguments: tuple[Any, ...]) -> NumpyArray:
    need(len(arguments) == 3 and arguments[0] == Global("numpy.ndarray"), "a numpy array is none", code=True)
    return NumpyArray()


def numpy_state(array: NumpyArray, state: Any) -> None:
    """Type, shape and bytes of an array.

    Raises:
        RefusedError: They do not fit each other.
    """
    need(type(state) is tuple and len(state) == 5 and state[0] == 1 and type(state[2]) is NumpyType
          and state[3] is False and type(state[4]) is bytes, "a numpy array holds no plain numbers")  # fmt: skip
    shape = sizes(state[1], "sizes")
    elements = 1
    for size in shape:
        elements *= size
    need(elements * int(state[2].code[1:]) == len(state[4]), "a numpy array has other sizes than bytes")
    array.code, array.shape, array.data = state[2].code, shape, state[4]


PLAIN_CALLS: Mapping[str, Callable[[tuple[Any, ...]], Any]] = {
    "collections.OrderedDict": _ordered,
    "collections.Counter": _counter,
    "torch.Size": _size,
    "torch.device": _words("torch.device"),
    "torch.serialization._get_layout": _words("torch.layout"),
    "_codecs.encode": _encode,
    "builtins.set": _set,
    "builtins.complex": _complex,
    "builtins.bytearray": _bytearray,
    "builtins.bytes": _no_bytes,
    "numpy.dtype": _numpy_type,
    "numpy.core.multiarray.scalar": _numpy_scalar,
    "numpy.core.multiarray._reconstruct": _numpy_array,
}
"""What each function on the list makes of its arguments."""
