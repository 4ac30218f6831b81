"""Modules of a factory with a checkpoint's tensors in them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qgate.runtimes.base import ModelRefusedError
from qgate.runtimes.pytorch.state_file import read_state

_PREFIXES = ("module.", "_orig_mod.", "model.")
_SHOWN = 4
_SAID = 1000
_BUILDING = threading.Lock()


def built_module(
    path: Path, form: str, factory: Callable[[], Any] | None
) -> tuple[Any, tuple[Any, ...] | Mapping[str, Any] | None, str]:
    """A module that holds a file's tensors, in evaluation mode; example inputs where the factory gives some; and the
    record of the tensors.

    Args:
        path: A checkpoint or a safetensors file that the static reader has accepted.
        form: Its format.
        factory: Returns the module, or the module and example inputs (one tensor, several, or by name).

    Raises:
        ModelRefusedError: The factory returns no module, or one that the tensors do not fit.
    """
    import torch

    if factory is None:
        raise ModelRefusedError("a checkpoint holds tensors and no model, and no factory builds one")
    # One at a time: a factory that keeps what it builds must not seem to build two.
    with _BUILDING:
        made = factory()
    module, examples = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, torch.nn.Module):
        raise ModelRefusedError(
            f"the factory returns {type(made).__name__} and no torch.nn.Module (or a module and example inputs)"
        )
    state, record = read_state(path, form)
    fill(module, state)
    return module.eval(), _examples(examples), record


def _examples(found: Any) -> tuple[Any, ...] | Mapping[str, Any] | None:
    import torch

    if found is None or isinstance(found, Mapping):
        return found
    several = (found,) if isinstance(found, torch.Tensor) else found
    if not isinstance(several, tuple | list) or not all(isinstance(each, torch.Tensor) for each in several):
        raise ModelRefusedError("the factory's example inputs are no tensors")
    return tuple(several)


def require_apart(one: Any, other: Any) -> None:
    """Refuses two modules of a pair that are one, or that keep tensors in the same memory.

    A factory that keeps what it built and returns it again has the tensors of the file that was loaded last on both
    sides: the candidate would be compared with itself.

    Args:
        one: The reference's module, filled.
        other: The candidate's.

    Raises:
        ModelRefusedError: They share something that a file fills.
    """
    shared = "" if one is not other else "the module itself"
    if not shared:
        held = _places(one)
        shared = next((repr(name) for place, name in _places(other).items() if place in held), "")
    if shared:
        raise ModelRefusedError(
            f"the factories return what the other side has as well ({shared}), so that the candidate would be compared "
            "with itself"
        )


def _places(module: Any) -> dict[Any, str]:
    """Where a module keeps the tensors of its state_dict; parts of tensor subclasses by themselves."""
    import torch

    found: dict[Any, str] = {}

    def add(name: str, value: Any) -> None:
        if isinstance(value, tuple | list):
            for each in value:
                add(name, each)
        elif isinstance(value, Mapping):
            for each in value.values():
                add(name, each)
        elif isinstance(value, torch.Tensor):
            inner, _ = value.__tensor_flatten__() if hasattr(value, "__tensor_flatten__") else ((), None)
            for part in inner:
                add(name, getattr(value, part))
            if not inner and value.numel() and value.device.type != "meta":
                found[value.untyped_storage().data_ptr()] = name

    for name, value in module.state_dict().items():
        add(name, value)
    return found


def fill(module: Any, state: Mapping[str, Any]) -> None:
    """Loads a state_dict into a module; every tensor of both must find its place.

    Raises:
        ModelRefusedError: They do not fit.
    """
    own = set(module.state_dict())
    state = _renamed(state, own)
    # Quantized tensor classes of torchao take the place of plain parameters; others keep the module's own type.
    replaced = any(type(each).__module__.startswith("torchao") for each in state.values())
    try:
        missing, unexpected = module.load_state_dict(state, strict=False, assign=replaced)
    except MemoryError:
        raise
    except Exception as error:
        raise ModelRefusedError(f"its tensors do not fit the factory's module: {_unfit(error)}") from error
    if missing or unexpected:
        told = []
        if missing:
            told.append(f"the file lacks {_listed(missing)}")
        if unexpected:
            told.append(f"the module lacks {_listed(unexpected)}")
        raise ModelRefusedError(f"its tensors do not fit the factory's module: {'; '.join(told)}")


def _unfit(error: Exception) -> str:
    """Why they do not fit, where PyTorch tells it by what its kernels are registered for."""
    said = str(error)
    if "Copying from quantized Tensor to non-quantized" in said:
        return "the file holds quantized tensors, and the module is a float one"
    if "quantized::" in said and "backend" in said:
        return "the file holds float tensors, and the module is a quantized one"
    return said[:_SAID]


def _renamed(state: Mapping[str, Any], own: set[str]) -> Mapping[str, Any]:
    """The state without a wrapper's prefix, where that is all that keeps it from fitting."""
    for prefix in _PREFIXES:
        if own & set(state) or not all(name.startswith(prefix) for name in state):
            continue
        # ``load_state_dict`` reads an attribute of the dictionary itself, which no type of it has.
        found: Any = OrderedDict((n.removeprefix(prefix), value) for n, value in state.items())
        # Quantized modules go by the versions in there.
        versions = getattr(state, "_metadata", None) or {}
        kept = {name.removeprefix(prefix.rstrip(".")).lstrip("."): value for name, value in versions.items()}
        found._metadata = kept
        state = found
    return state


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more
