"""A loaded PyTorch model behind the protocol of all runtimes."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qgate.runtimes.base import Dim, ModelRefusedError, TensorInfo
from qgate.sandbox.quoting import one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

POSITIVE = " (positive part)"
"""Behind the name of an inner tensor: what a ReLU makes of it."""

_OF_SCRIPT, _HERE = "The following operation failed in the TorchScript interpreter", "<--- HERE"

_NO_MEMORY = ("can't allocate memory", "not enough memory", "bad_alloc", "std::bad_alloc")


class TorchRunner:
    """A module, an exported program or a script on the CPU, in inference mode.

    Inputs are given by position, outputs numbered in the order in which PyTorch flattens what is returned. What
    PyTorch does not declare (names, shapes, how many outputs) is learned by ``settle``.

    Args:
        model: What is called: a module, or an interpreter of a program.
        inputs: What it takes; a shape of None in the first place of ``unknown`` is told by ``settle``.
        unknown: Whether shapes of inputs are not known yet.
        observe: Makes named inner tensors be handed over while the model runs; see ``observed_modules``.

    Attributes:
        inputs: What it takes.
        outputs: What it returns; empty until ``settle``.
        taps: Inner tensors that ``run`` returns after the outputs.
        module: The module that a factory built, and ``loaded`` the record of the tensors that were put into it, see
            ``formats.torch.root.state_record``; None and empty where the file brings its own.
    """

    reduced = False

    def __init__(
        self,
        model: Callable[..., Any],
        inputs: Sequence[TensorInfo],
        *,
        unknown: bool,
        observe: Callable[[Sequence[str], dict[str, Any]], Any],
        fused: Callable[[str], bool] = lambda name: False,
        dtype: Any = None,
    ) -> None:
        self._model = model
        self._observe = observe
        self._dtype = dtype
        self._lock = threading.Lock()
        self.fused = fused
        self.rectified: frozenset[str] = frozenset()
        self.inputs: tuple[TensorInfo, ...] = tuple(inputs)
        self.outputs: tuple[TensorInfo, ...] = ()
        self.taps: tuple[str, ...] = ()
        self.unknown = unknown
        self.module: Any = None
        self.loaded = ""

    def tapped(self, taps: Sequence[str], rectified: frozenset[str] = frozenset()) -> TorchRunner:
        """The same model, returning inner tensors as well; of ``rectified`` ones their positive part."""
        import copy

        other = copy.copy(self)
        other.taps, other.rectified = tuple(taps), rectified
        return other

    def rename(self, inputs: Sequence[str] | None = None, outputs: Sequence[str] | None = None) -> None:
        """Takes over another model's names, by position; PyTorch has none of its own that matter."""
        if inputs is not None:
            self.inputs = tuple(
                replace(own, name=name) for own, name in zip(self.inputs, inputs, strict=True)
            )
        if outputs is not None:
            self.outputs = tuple(
                replace(own, name=name) for own, name in zip(self.outputs, outputs, strict=True)
            )

    def settle(self, shapes: Sequence[TensorInfo] | None = None) -> None:
        """Runs once on zeros to learn the outputs.

        Args:
            shapes: Types and shapes of the inputs by position, where they were not known.

        Raises:
            ModelRefusedError: It does not take such inputs.
        """
        import numpy as np

        if shapes is not None and self.unknown:
            self.inputs = tuple(
                TensorInfo(own.name, found.dtype, found.shape)
                for own, found in zip(self.inputs, shapes, strict=True)
            )
            self.unknown = False
        feeds = {
            info.name: np.zeros([d if isinstance(d, int) else 1 for d in info.shape], info.dtype)
            for info in self.inputs
        }
        self.outputs = ()
        found = self.run(feeds)
        names = ["output"] if len(found) == 1 else [f"output_{number}" for number in range(len(found))]
        free = any(not isinstance(info.shape[0], int) for info in self.inputs if info.shape)
        self.outputs = tuple(
            TensorInfo(name, str(value.dtype), _free(value.shape, free))
            for name, value in zip(names, found, strict=True)
        )

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[Any]:
        """Runs once; see ``Runner.run``. Calls from several threads wait for one another."""
        import torch

        arguments = [self._tensor(feeds[info.name]) for info in self.inputs]
        seen: dict[str, Any] = {}
        try:
            inner = list(dict.fromkeys(name.removesuffix(POSITIVE) for name in self.taps))
            with self._lock, torch.inference_mode(), self._observe(inner, seen):
                results = list(flattened(self._model(*arguments)))
            found = [_array(each) for each in results]
            for name in self.taps:
                bare = name.removesuffix(POSITIVE)
                if bare not in seen:
                    raise ModelRefusedError(f"{bare!r} is not computed")
                value = _array(seen[bare])
                found.append(value.clip(min=0) if name in self.rectified or name != bare else value)
        except ModelRefusedError:
            raise
        except MemoryError as error:
            raise ModelRefusedError("not enough memory to run the model", "memory") from error
        except Exception as error:
            raise refusal(error) from error
        return found

    def _tensor(self, values: NDArray[Any]) -> Any:
        import numpy as np
        import torch

        # A copy: samples may be read-only views, and modules may work in place.
        tensor = torch.from_numpy(np.array(values))
        return tensor.to(self._dtype) if self._dtype is not None and tensor.is_floating_point() else tensor


def refusal(error: Exception) -> ModelRefusedError:
    """PyTorch's error in its own words."""
    text = one_line(str(error).partition("\n\n")[0]).rstrip(". ")
    if str(error).startswith(_OF_SCRIPT):
        # What went wrong stands behind the script's own trace of it.
        text = f"the script failed: {one_line(str(error).rstrip().rpartition(_HERE)[2])}"
    short = any(sign in str(error) for sign in _NO_MEMORY)
    return ModelRefusedError(text or type(error).__name__, "memory" if short else "refused")


def flattened(found: Any) -> Iterator[Any]:
    """The tensors of what a model returned, in PyTorch's own order.

    Raises:
        ModelRefusedError: It returned something else.
    """
    import torch
    from torch.utils._pytree import tree_leaves

    leaves = [each for each in tree_leaves(found) if each is not None]
    if hasattr(found, "to_tuple"):  # outputs of Hugging Face models
        leaves = [each for each in tree_leaves(found.to_tuple()) if each is not None]
    for each in leaves:
        if not isinstance(each, torch.Tensor):
            raise ModelRefusedError(f"it returns {type(each).__name__}, which is no tensor")
        yield each


def _array(tensor: Any) -> Any:
    """A tensor as an array: codes dequantized, short floats that numpy lacks as float32."""
    import torch

    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.dtype in (torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2):
        tensor = tensor.float()
    return tensor.detach().cpu().contiguous().numpy()


def _free(shape: tuple[int, ...], free: bool) -> tuple[Dim, ...]:
    return ("N", *shape[1:]) if free and shape else tuple(shape)


def observed_modules(module: Any) -> Callable[[Sequence[str], dict[str, Any]], Any]:
    """Hands over what submodules return, by forward hooks that are there for one run only."""

    @contextmanager
    def observe(names: Sequence[str], seen: dict[str, Any]) -> Iterator[None]:
        import torch

        held = dict(module.named_modules())
        hooks = []
        try:
            for name in names:
                if name not in held:
                    raise ModelRefusedError(f"there is no module {name!r}")

                def keep(_module: Any, _inputs: Any, output: Any, *, name: str = name) -> None:
                    if isinstance(output, torch.Tensor):
                        seen[name] = output

                hooks.append(held[name].register_forward_hook(keep))
            yield
        finally:
            for hook in hooks:
                hook.remove()

    return observe


def module_inputs(module: Any) -> list[TensorInfo]:
    """The inputs of a module's ``forward`` that have no default, of unknown shape."""
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError) as error:
        raise ModelRefusedError(f"its forward cannot be looked at: {error}") from error
    taken = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [
        TensorInfo(each.name, "float32", ())
        for each in parameters
        if each.kind in taken and each.default is inspect.Parameter.empty
    ]


def described(name: str, tensor: Any) -> TensorInfo:
    """An example input as what the model takes: any number of samples, else its shape."""
    import torch

    floating = tensor.is_floating_point()
    dtype = (
        "float32" if floating and tensor.dtype != torch.float64 else str(tensor.dtype).removeprefix("torch.")
    )
    return TensorInfo(name, dtype, _free(tuple(tensor.shape), True))


def is_fused(module: Any) -> Callable[[str], bool]:
    """Whether a submodule by that name computes a ReLU behind its own operation."""
    held = {name: type(each).__name__ for name, each in module.named_modules()}
    return lambda name: "relu" in held.get(name, "").lower() and held.get(name, "").lower() != "relu"


def float_type(module: Any) -> Any:
    """The type that floating inputs are cast to: that of the module's first floating parameter, if it is short."""
    import torch

    for each in module.parameters():
        if each.dtype in (torch.float16, torch.bfloat16):
            return each.dtype
        if each.is_floating_point():
            return None
    return None


def use_threads(count: int) -> None:
    """Threads of one run; runs wait for one another."""
    import torch

    torch.set_num_threads(max(1, count))


def existing(path: Path | None) -> Path:
    """The path of a side that is there."""
    if path is None:
        raise ModelRefusedError("there is no such file")
    return path
