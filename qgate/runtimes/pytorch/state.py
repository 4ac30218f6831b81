"""Modules of a factory with a checkpoint's tensors in them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qgate.runtimes.base import ModelRefusedError

_HOLDERS = ("state_dict", "model_state_dict", "model", "module", "net", "ema", "params")
_PREFIXES = ("module.", "_orig_mod.", "model.")
_SHOWN = 4


def built_module(
    path: Path, form: str, factory: Callable[[], Any] | None
) -> tuple[Any, tuple[Any, ...] | Mapping[str, Any] | None]:
    """A module that holds a file's tensors, in evaluation mode; and example inputs where the factory gives some.

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
    made = factory()
    module, examples = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, torch.nn.Module):
        raise ModelRefusedError(
            f"the factory returns {type(made).__name__} and no torch.nn.Module (or a module and example inputs)"
        )
    state = _tensors(path) if form == "safetensors" else _state(path)
    fill(module, state)
    return module.eval(), _examples(examples)


def _examples(found: Any) -> tuple[Any, ...] | Mapping[str, Any] | None:
    import torch

    if found is None or isinstance(found, Mapping):
        return found
    several = (found,) if isinstance(found, torch.Tensor) else found
    if not isinstance(several, tuple | list) or not all(isinstance(each, torch.Tensor) for each in several):
        raise ModelRefusedError("the factory's example inputs are no tensors")
    return tuple(several)


def _state(path: Path) -> Mapping[str, Any]:
    """The state_dict of a checkpoint: the file's own dictionary, or the one in it that holds tensors."""
    import torch

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:
        raise ModelRefusedError(f"torch.load(weights_only=True) refuses it: {error}") from error
    if isinstance(found, Mapping) and not _holds_tensors(found):
        inner = [found[key] for key in _HOLDERS if isinstance(found.get(key), Mapping)]
        inner += [each for each in found.values() if isinstance(each, Mapping)]
        found = next((each for each in inner if _holds_tensors(each)), found)
    if not isinstance(found, Mapping) or not _holds_tensors(found):
        raise ModelRefusedError("it holds no state_dict")
    return found


def _holds_tensors(found: Mapping[Any, Any]) -> bool:
    import torch

    return any(isinstance(each, torch.Tensor) for each in found.values()) and all(
        isinstance(key, str) for key in found
    )


def _tensors(path: Path) -> Mapping[str, Any]:
    """The tensors of a safetensors file, by our own reader."""
    import numpy as np
    import torch

    from qgate.formats.elements import Mapped
    from qgate.formats.safetensors import read_safetensors

    types = {
        "float": torch.float32, "double": torch.float64, "float16": torch.float16, "bfloat16": torch.bfloat16,
        "bool": torch.bool, "float8e4m3fn": torch.float8_e4m3fn, "float8e5m2": torch.float8_e5m2,
        **{name: getattr(torch, name) for name in ("int8", "int16", "int32", "int64", "uint8")},
    }  # fmt: skip
    found = {}
    for name, constant in read_safetensors(path, Mapped(path)).graph.constants.items():
        if constant.dtype not in types:
            raise ModelRefusedError(
                f"the tensor {name!r} is {constant.dtype}, which is not put into a module"
            )
        raw = (
            constant.raw()
            if constant.raw is not None
            else np.ascontiguousarray(constant.load()).view(np.uint8)
        )
        flat = torch.frombuffer(bytearray(raw.tobytes()), dtype=types[constant.dtype]) if raw.size else None
        empty = torch.empty(constant.shape, dtype=types[constant.dtype])
        found[name] = empty if flat is None else flat.reshape(constant.shape)
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
        raise ModelRefusedError(f"its tensors do not fit the factory's module: {error}") from error
    if missing or unexpected:
        told = []
        if missing:
            told.append(f"the file lacks {_listed(missing)}")
        if unexpected:
            told.append(f"the module lacks {_listed(unexpected)}")
        raise ModelRefusedError(f"its tensors do not fit the factory's module: {'; '.join(told)}")


def _renamed(state: Mapping[str, Any], own: set[str]) -> Mapping[str, Any]:
    """The state without a wrapper's prefix, where that is all that keeps it from fitting."""
    for prefix in _PREFIXES:
        if own & set(state) or not all(name.startswith(prefix) for name in state):
            continue
        found: OrderedDict[str, Any] = OrderedDict(
            (n.removeprefix(prefix), value) for n, value in state.items()
        )
        # Quantized modules go by the versions in there.
        versions = getattr(state, "_metadata", None) or {}
        kept = {name.removeprefix(prefix.rstrip(".")).lstrip("."): value for name, value in versions.items()}
        found._metadata = kept  # type: ignore[attr-defined]
        state = found
    return state


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more
