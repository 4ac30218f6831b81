"""What a pickle may do with the names that are on the list: each call judged, none made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from qgate.formats.torch.names import (
    FUNCTIONS,
    NUMPY,
    RECORDS,
    SCHEMES,
    SUBCLASSES,
    TYPES,
    element_type,
    full_name,
    storage_class,
)  # fmt: skip
from qgate.formats.torch.values import (
    ElementType,
    Global,
    NumpyArray,
    NumpyType,
    Ordered,
    Quantizer,
    Record,
    RefusedError,
    Storage,
    Tensor,
    Wrapped,
)  # fmt: skip

_KNOWN = FUNCTIONS | TYPES | SUBCLASSES | RECORDS | SCHEMES
_UTILS = "torch._utils._rebuild_"


class Store(Protocol):
    """What persistent ids name."""

    def resolve(self, name: Any) -> Storage:
        """The storage of an id.

        Raises:
            RefusedError: It is no storage, or not one of this file's.
        """


def lookup(module: str, name: str) -> Global | ElementType:
    """A name that is on the list.

    Raises:
        RefusedError: It is not.
    """
    full = full_name(module, name)
    found = element_type(full)
    if found is not None:
        return found
    if full in _KNOWN or storage_class(full) is not None:
        return Global(full)
    shown = full.encode("ascii", "backslashreplace").decode()[:160]
    raise RefusedError(f"the pickle names {shown}, which a loader would import and run", code=True)


def call(name: str, arguments: tuple[Any, ...], store: Store) -> Any:
    """What a call on the list stands for.

    Raises:
        RefusedError: The function is none, or the arguments are not those that PyTorch's writer gives it.
    """
    judge = _CALLS.get(name)
    if judge is not None:
        return judge(arguments)
    if name in RECORDS:
        return construct(name, arguments)
    raise RefusedError(f"it calls {name}", code=True)


def construct(name: str, arguments: tuple[Any, ...]) -> Record:
    """An object of a class of settings; its values must be settings themselves."""
    _need(name in RECORDS, f"it makes an object of {name}", code=True)
    _need(all(_is_setting(a) for a in arguments), f"it gives {name} something that is no setting")
    return Record(name, arguments)


def attach(target: Any, state: Any) -> Any:
    """What stands on the stack after attributes were given to what stood there."""
    if type(target) is Ordered:
        # state_dict() notes the modules' versions in an attribute of its dictionary.
        _need(type(state) is dict and set(state) <= {"_metadata"}, "it gives a dictionary attributes")
        return target
    if type(target) is Record and not target.state:
        _need(type(state) is dict and all(type(k) is str and _is_setting(v) for k, v in state.items()),
              f"it gives {target.kind} something that is no setting")  # fmt: skip
        target.state = state
        return target
    if type(target) is NumpyType and not target.ready:
        _need(type(state) is tuple and len(state) == 8 and state[0] == 3 and state[1] in ("<", "|")
              and state[2:5] == (None, None, None), "it makes a numpy type of several")  # fmt: skip
        target.ready = True
        return target
    if type(target) is NumpyArray and not target.code:
        _numpy_state(target, state)
        return target
    raise RefusedError(f"it gives attributes to {type(target).__name__.lower()}", code=True)


def _need(holds: bool, what: str, *, code: bool = False) -> None:
    if not holds:
        raise RefusedError(what, code=code)


def _is_setting(value: Any) -> bool:
    return type(value) in (int, float, str, bool, type(None), Record, ElementType) or (
        type(value) is tuple and len(value) < 64 and all(type(v) in (int, float, str, bool) for v in value)
    )


def _sizes(value: Any, what: str) -> tuple[int, ...]:
    _need(
        type(value) is tuple and len(value) <= 32 and all(type(n) is int and 0 <= n < 2**48 for n in value),
        f"the {what} of a tensor are no plain numbers",
    )
    return tuple(value)


def _plain(arguments: tuple[Any, ...], dtype: str | None = None) -> Tensor:
    """(storage, offset, size, stride) as a tensor."""
    storage, start, size, stride = arguments
    _need(type(storage) is Storage, "a tensor has no storage")
    _need(type(start) is int and 0 <= start < 2**48, "a tensor begins nowhere")
    shape, strides = _sizes(size, "sizes"), _sizes(stride, "strides")
    _need(len(shape) == len(strides), "a tensor has other sizes than strides")
    return Tensor(storage, start, shape, strides, dtype or storage.dtype)


def _flags(requires_grad: Any, hooks: Any, metadata: Any = None) -> None:
    _need(type(requires_grad) is bool, "requires_grad of a tensor is no truth value")
    _need(type(hooks) is Ordered and not hooks, "a tensor comes with hooks", code=True)
    _need(metadata is None or (type(metadata) is dict and not any(metadata.values())),
          "a tensor is to be conjugated or negated when it is read")  # fmt: skip


def _tensor(arguments: tuple[Any, ...]) -> Tensor:
    _need(len(arguments) == 4, "_rebuild_tensor is given other arguments")
    return _unquantized(_plain(arguments))


def _tensor_v2(arguments: tuple[Any, ...]) -> Tensor:
    _need(len(arguments) in (6, 7), "_rebuild_tensor_v2 is given other arguments")
    _flags(*arguments[4:])
    return _unquantized(_plain(arguments[:4]))


def _tensor_v3(arguments: tuple[Any, ...]) -> Tensor:
    _need(len(arguments) in (7, 8), "_rebuild_tensor_v3 is given other arguments")
    _flags(*arguments[4:6], *arguments[7:])
    dtype = arguments[6]
    _need(type(dtype) is ElementType and bool(dtype.name), "a tensor's type is not one that is stored")
    _need(type(arguments[0]) is Storage and arguments[0].kind == "UntypedStorage",
          "a tensor reads a storage as another type")  # fmt: skip
    return _plain(arguments[:4], dtype.name)


def _unquantized(tensor: Tensor) -> Tensor:
    _need(not tensor.storage.kind.startswith("Q"), "a tensor reads codes without their scale")
    return tensor


def _quantized(arguments: tuple[Any, ...]) -> Tensor:
    _need(len(arguments) == 7, "_rebuild_qtensor is given other arguments")
    _flags(*arguments[5:])
    plain, given = _plain(arguments[:4]), arguments[4]
    _need(plain.storage.kind.startswith("Q"), "a quantized tensor has a storage that is not")
    _need(type(given) is tuple and len(given) in (3, 4) and type(given[0]) is Global and given[0].name in SCHEMES,
          "a quantized tensor is of an unknown scheme")  # fmt: skip
    if given[0].name == "torch.per_tensor_affine":
        _need(len(given) == 3 and type(given[1]) is float and type(given[2]) is int and abs(given[2]) < 2**31,
              "a quantized tensor has no scale")  # fmt: skip
        quantizer = Quantizer(given[1], given[2], None)
    else:
        _need(len(given) == 4 and type(given[1]) is Tensor and type(given[2]) is Tensor and type(given[3]) is int
              and 0 <= given[3] < len(plain.shape), "a quantized tensor has no scales")  # fmt: skip
        channels = (plain.shape[given[3]],)
        _need(
            given[1].shape == given[2].shape == channels, "a quantized tensor has other scales than channels"
        )
        _need(given[1].quantizer is None and given[2].quantizer is None, "a scale has a scale")
        quantizer = Quantizer(given[1], given[2], given[3])
    return Tensor(plain.storage, plain.start, plain.shape, plain.strides, plain.dtype, quantizer)


def _parameter(arguments: tuple[Any, ...]) -> Tensor | Wrapped:
    _need(len(arguments) == 3 and type(arguments[0]) in (Tensor, Wrapped), "a parameter has no tensor")
    _flags(*arguments[1:])
    tensor: Tensor | Wrapped = arguments[0]
    return tensor


def _parameter_with_state(arguments: tuple[Any, ...]) -> Tensor | Wrapped:
    _need(len(arguments) == 4 and not arguments[3] and type(arguments[3]) in (dict, type(None)),
          "a parameter is given attributes, which could stand for other values than its own")  # fmt: skip
    return _parameter(arguments[:3])


def _from_type(arguments: tuple[Any, ...]) -> Tensor | Wrapped:
    _need(len(arguments) == 4 and type(arguments[0]) is Global and type(arguments[1]) is Global
          and type(arguments[2]) is tuple, "_rebuild_from_type_v2 is given other arguments")  # fmt: skip
    function, kind, inner, state = arguments
    if function.name != _UTILS + "wrapper_subclass":
        # torch.export marks the sizes of sample inputs in attributes of theirs.
        marks = state if type(state) is dict else {}
        _need(
            kind.name in TYPES - {"numpy.ndarray"}
            and type(state) in (dict, type(None))
            and all(str(key).startswith(("_dynamo_", "_specialize_on")) for key in marks),
            f"a tensor is given attributes, which could stand for other values than its own ({kind.name})",
        )
        tensor = call(function.name, inner, _NoStore())
        _need(type(tensor) is Tensor, "a tensor's type is given to something else")
        made: Tensor = tensor
        return made
    _need(
        kind.name in SUBCLASSES and len(inner) == 8 and inner[0] == kind,
        f"it makes a tensor of {kind.name}",
        code=True,
    )
    _need(type(inner[1]) is ElementType and bool(inner[1].name), "a tensor's type is not one that is stored")
    _need(type(state) is dict and all(type(k) is str for k in state), f"a tensor of {kind.name} has no parts")
    _sizes(inner[3], "strides")
    _need(inner[4] in (0, None) and type(inner[7]) is bool, f"a tensor of {kind.name} is only a part of one")
    return Wrapped(kind.name, inner[1].name, _sizes(inner[2], "sizes"), state)


class _NoStore:
    def resolve(self, name: Any) -> Storage:
        raise RefusedError("a storage is named where none can be")


def _ordered(arguments: tuple[Any, ...]) -> Ordered:
    _need(not arguments, "collections.OrderedDict is given entries")
    return Ordered()


def _counter(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    _need(len(arguments) == 1 and type(arguments[0]) is dict, "collections.Counter is given no dictionary")
    counted: dict[Any, Any] = arguments[0]
    return counted


def _size(arguments: tuple[Any, ...]) -> tuple[int, ...]:
    _need(len(arguments) == 1, "torch.Size is given other arguments")
    return _sizes(arguments[0], "sizes")


def _words(name: str) -> Callable[[tuple[Any, ...]], Record]:
    """A call with plain words and numbers, kept as it stands."""

    def judge(arguments: tuple[Any, ...]) -> Record:
        _need(
            len(arguments) in (1, 2) and all(type(a) in (str, int) for a in arguments),
            f"{name} is given no words",
        )
        return Record(name, arguments)

    return judge


def _encode(arguments: tuple[Any, ...]) -> bytes:
    _need(
        len(arguments) == 2 and type(arguments[0]) is str and arguments[1] == "latin1",
        "_codecs.encode is given no text",
    )
    return str(arguments[0]).encode("latin-1")


def _set(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    _need(len(arguments) == 1 and type(arguments[0]) is list
          and all(type(v) in (int, float, str, bool, bytes) for v in arguments[0]), "a set holds more than words")  # fmt: skip
    return tuple(arguments[0])


def _complex(arguments: tuple[Any, ...]) -> complex:
    _need(len(arguments) == 2 and all(type(v) is float for v in arguments), "a complex number is none")
    return complex(*arguments)


def _bytearray(arguments: tuple[Any, ...]) -> bytes:
    _need(len(arguments) == 1 and type(arguments[0]) is bytes, "a bytearray is given no bytes")
    return bytes(arguments[0])


def _no_bytes(arguments: tuple[Any, ...]) -> bytes:
    _need(not arguments, "bytes are made of something")
    return b""


def _numpy_type(arguments: tuple[Any, ...]) -> NumpyType:
    _need(
        len(arguments) == 3 and type(arguments[0]) is str and arguments[0] in NUMPY,
        "it names a numpy type that is no number",
    )
    return NumpyType(arguments[0])


def _numpy_scalar(arguments: tuple[Any, ...]) -> Any:
    _need(
        len(arguments) == 2 and type(arguments[0]) is NumpyType and type(arguments[1]) is bytes,
        "a numpy number is none",
    )
    value = np.frombuffer(arguments[1], "<" + arguments[0].code)
    _need(value.size == 1, "a numpy number is several")
    return value[0].item()


def _numpy_array(arguments: tuple[Any, ...]) -> NumpyArray:
    _need(len(arguments) == 3 and arguments[0] == Global("numpy.ndarray"), "a numpy array is none", code=True)
    return NumpyArray()


def _numpy_state(array: NumpyArray, state: Any) -> None:
    _need(type(state) is tuple and len(state) == 5 and state[0] == 1 and type(state[2]) is NumpyType
          and state[3] is False and type(state[4]) is bytes, "a numpy array holds no plain numbers")  # fmt: skip
    shape = _sizes(state[1], "sizes")
    elements = 1
    for size in shape:
        elements *= size
    _need(elements * int(state[2].code[1:]) == len(state[4]), "a numpy array has other sizes than bytes")
    array.code, array.shape, array.data = state[2].code, shape, state[4]


_CALLS: Mapping[str, Callable[[tuple[Any, ...]], Any]] = {
    _UTILS + "tensor": _tensor, _UTILS + "tensor_v2": _tensor_v2, _UTILS + "tensor_v3": _tensor_v3,
    _UTILS + "qtensor": _quantized, _UTILS + "parameter": _parameter,
    _UTILS + "parameter_with_state": _parameter_with_state, "torch._tensor._rebuild_from_type_v2": _from_type,
    "collections.OrderedDict": _ordered, "collections.Counter": _counter, "torch.Size": _size,
    "torch.device": _words("torch.device"), "torch.serialization._get_layout": _words("torch.layout"),
    "_codecs.encode": _encode, "builtins.set": _set, "builtins.complex": _complex, "builtins.bytearray": _bytearray,
    "builtins.bytes": _no_bytes,
    "numpy.dtype": _numpy_type, "numpy.core.multiarray.scalar": _numpy_scalar,
    "numpy.core.multiarray._reconstruct": _numpy_array,
}  # fmt: skip
