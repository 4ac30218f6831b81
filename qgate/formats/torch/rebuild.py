"""What a pickle may do with the names that are on the list: each call judged, none made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from qgate.formats.torch.names import (
    FUNCTIONS,
    RECORDS,
    SCHEMES,
    SUBCLASSES,
    TYPES,
    element_type,
    full_name,
    storage_class,
)  # fmt: skip
from qgate.formats.torch.plain import PLAIN_CALLS, need, numpy_state, sizes
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
    need(name in RECORDS, f"it makes an object of {name}", code=True)
    need(all(_is_setting(a) for a in arguments), f"it gives {name} something that is no setting")
    return Record(name, arguments)


def attach(target: Any, state: Any) -> Any:
    """What stands on the stack after attributes were given to what stood there."""
    if type(target) is Ordered:
        # state_dict() notes the modules' versions in an attribute of its dictionary.
        need(type(state) is dict and set(state) <= {"_metadata"}, "it gives a dictionary attributes")
        return target
    if type(target) is Record and not target.state:
        need(type(state) is dict and all(type(k) is str and _is_setting(v) for k, v in state.items()),
              f"it gives {target.kind} something that is no setting")  # fmt: skip
        target.state = state
        return target
    if type(target) is NumpyType and not target.ready:
        need(type(state) is tuple and len(state) == 8 and state[0] == 3 and state[1] in ("<", "|")
              and state[2:5] == (None, None, None), "it makes a numpy type of several")  # fmt: skip
        target.ready = True
        return target
    if type(target) is NumpyArray and not target.code:
        numpy_state(target, state)
        return target
    raise RefusedError(f"it gives attributes to {type(target).__name__.lower()}", code=True)


def _is_setting(value: Any) -> bool:
    return type(value) in (int, float, str, bool, type(None), Record, ElementType) or (
        type(value) is tuple and len(value) < 64 and all(type(v) in (int, float, str, bool) for v in value)
    )


def _plain(arguments: tuple[Any, ...], dtype: str | None = None) -> Tensor:
    """(storage, offset, size, stride) as a tensor."""
    storage, start, size, stride = arguments
    need(type(storage) is Storage, "a tensor has no storage")
    need(type(start) is int and 0 <= start < 2**48, "a tensor begins nowhere")
    shape, strides = sizes(size, "sizes"), sizes(stride, "strides")
    need(len(shape) == len(strides), "a tensor has other sizes than strides")
    return Tensor(storage, start, shape, strides, dtype or storage.dtype)


def _flags(requires_grad: Any, hooks: Any, metadata: Any = None) -> None:
    need(type(requires_grad) is bool, "requires_grad of a tensor is no truth value")
    need(type(hooks) is Ordered and not hooks, "a tensor comes with hooks", code=True)
    need(metadata is None or (type(metadata) is dict and not any(metadata.values())),
          "a tensor is to be conjugated or negated when it is read")  # fmt: skip


def _tensor(arguments: tuple[Any, ...]) -> Tensor:
    need(len(arguments) == 4, "_rebuild_tensor is given other arguments")
    return _unquantized(_plain(arguments))


def _tensor_v2(arguments: tuple[Any, ...]) -> Tensor:
    need(len(arguments) in (6, 7), "_rebuild_tensor_v2 is given other arguments")
    _flags(*arguments[4:])
    return _unquantized(_plain(arguments[:4]))


def _tensor_v3(arguments: tuple[Any, ...]) -> Tensor:
    need(len(arguments) in (7, 8), "_rebuild_tensor_v3 is given other arguments")
    _flags(*arguments[4:6], *arguments[7:])
    dtype = arguments[6]
    need(type(dtype) is ElementType and bool(dtype.name), "a tensor's type is not one that is stored")
    need(type(arguments[0]) is Storage and arguments[0].kind == "UntypedStorage",
          "a tensor reads a storage as another type")  # fmt: skip
    return _plain(arguments[:4], dtype.name)


def _unquantized(tensor: Tensor) -> Tensor:
    need(not tensor.storage.kind.startswith("Q"), "a tensor reads codes without their scale")
    return tensor


def _quantized(arguments: tuple[Any, ...]) -> Tensor:
    need(len(arguments) == 7, "_rebuild_qtensor is given other arguments")
    _flags(*arguments[5:])
    plain, given = _plain(arguments[:4]), arguments[4]
    need(plain.storage.kind.startswith("Q"), "a quantized tensor has a storage that is not")
    need(type(given) is tuple and len(given) in (3, 4) and type(given[0]) is Global and given[0].name in SCHEMES,
          "a quantized tensor is of an unknown scheme")  # fmt: skip
    if given[0].name == "torch.per_tensor_affine":
        need(len(given) == 3 and type(given[1]) is float and type(given[2]) is int and abs(given[2]) < 2**31,
              "a quantized tensor has no scale")  # fmt: skip
        quantizer = Quantizer(given[1], given[2], None)
    else:
        need(len(given) == 4 and type(given[1]) is Tensor and type(given[2]) is Tensor and type(given[3]) is int
              and 0 <= given[3] < len(plain.shape), "a quantized tensor has no scales")  # fmt: skip
        channels = (plain.shape[given[3]],)
        need(
            given[1].shape == given[2].shape == channels, "a quantized tensor has other scales than channels"
        )
        need(given[1].quantizer is None and given[2].quantizer is None, "a scale has a scale")
        quantizer = Quantizer(given[1], given[2], given[3])
    return Tensor(plain.storage, plain.start, plain.shape, plain.strides, plain.dtype, quantizer)


def _parameter(arguments: tuple[Any, ...]) -> Tensor | Wrapped:
    need(len(arguments) == 3 and type(arguments[0]) in (Tensor, Wrapped), "a parameter has no tensor")
    _flags(*arguments[1:])
    tensor: Tensor | Wrapped = arguments[0]
    return tensor


def _parameter_with_state(arguments: tuple[Any, ...]) -> Tensor | Wrapped:
    need(len(arguments) == 4 and not arguments[3] and type(arguments[3]) in (dict, type(None)),
          "a parameter is given attributes, which could stand for other values than its own")  # fmt: skip
    return _parameter(arguments[:3])


def _from_type(arguments: tuple[Any, ...]) -> Tensor | Wrapped:
    need(len(arguments) == 4 and type(arguments[0]) is Global and type(arguments[1]) is Global
          and type(arguments[2]) is tuple, "_rebuild_from_type_v2 is given other arguments")  # fmt: skip
    function, kind, inner, state = arguments
    if function.name != _UTILS + "wrapper_subclass":
        # torch.export marks the sizes of sample inputs in attributes of theirs.
        marks = state if type(state) is dict else {}
        need(
            kind.name in TYPES - {"numpy.ndarray"}
            and type(state) in (dict, type(None))
            and all(str(key).startswith(("_dynamo_", "_specialize_on")) for key in marks),
            f"a tensor is given attributes, which could stand for other values than its own ({kind.name})",
        )
        tensor = call(function.name, inner, _NoStore())
        need(type(tensor) is Tensor, "a tensor's type is given to something else")
        made: Tensor = tensor
        return made
    need(
        kind.name in SUBCLASSES and len(inner) == 8 and inner[0] == kind,
        f"it makes a tensor of {kind.name}",
        code=True,
    )
    need(type(inner[1]) is ElementType and bool(inner[1].name), "a tensor's type is not one that is stored")
    need(type(state) is dict and all(type(k) is str for k in state), f"a tensor of {kind.name} has no parts")
    sizes(inner[3], "strides")
    need(inner[4] in (0, None) and type(inner[7]) is bool, f"a tensor of {kind.name} is only a part of one")
    return Wrapped(kind.name, inner[1].name, sizes(inner[2], "sizes"), state)


class _NoStore:
    def resolve(self, name: Any) -> Storage:
        raise RefusedError("a storage is named where none can be")


_CALLS: Mapping[str, Callable[[tuple[Any, ...]], Any]] = {
    **PLAIN_CALLS,
    _UTILS + "tensor": _tensor,
    _UTILS + "tensor_v2": _tensor_v2,
    _UTILS + "tensor_v3": _tensor_v3,
    _UTILS + "qtensor": _quantized,
    _UTILS + "parameter": _parameter,
    _UTILS + "parameter_with_state": _parameter_with_state,
    "torch._tensor._rebuild_from_type_v2": _from_type,
}
