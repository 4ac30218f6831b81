"""From a file of PyTorch's to a runner."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qgate.runtimes.base import Dim, ModelRefusedError, TensorInfo
from qgate.runtimes.pytorch.executorch import FORM as EXECUTORCH
from qgate.runtimes.pytorch.executorch import load_program
from qgate.runtimes.pytorch.runner import (
    TorchRunner,
    described,
    float_type,
    is_fused,
    module_inputs,
    observed_modules,
    refusal,
    use_threads,
)
from qgate.runtimes.pytorch.state import built_module

_LOADING = threading.Lock()
"""PyTorch keeps the program that it is reading in a variable of its module."""


def load_torch(path: Path, form: str, factory: Callable[[], Any] | None, *, threads: int) -> TorchRunner:
    """Loads a file for running.

    Args:
        path: The private copy.
        form: Its format, see ``libraries.TORCH_FORMS``. Exported programs and scripts run code of theirs when they
            are loaded: only where the policy trusts them, and in the sandbox.
        factory: Builds the module of a checkpoint.
        threads: Threads of one run.

    Raises:
        ModelRefusedError: PyTorch does not load it.
        PluginError: The factory failed.
    """
    use_threads(threads)
    if form == "torch-export":
        return _program(path)
    if form == "torchscript":
        return _script(path)
    if form == EXECUTORCH:
        return load_program(path)
    module, examples, record = built_module(path, form, factory)
    runner = module_runner(module, examples)
    runner.module, runner.loaded = module, record
    return runner


def module_runner(module: Any, examples: tuple[Any, ...] | Mapping[str, Any] | None) -> TorchRunner:
    """A module in evaluation mode as a runner; example inputs tell names, types and shapes.

    Raises:
        ModelRefusedError: The examples do not fit its ``forward``.
    """
    inputs = module_inputs(module)
    if isinstance(examples, Mapping):
        inputs = [described(str(name), tensor) for name, tensor in examples.items()]
    elif examples is not None:
        names = [info.name for info in inputs][: len(examples)]
        if len(names) != len(examples):
            raise ModelRefusedError(f"{len(examples)} example inputs for a forward that takes {len(inputs)}")
        inputs = [described(name, tensor) for name, tensor in zip(names, examples, strict=True)]
    names = [info.name for info in inputs]
    by_name = isinstance(examples, Mapping)

    def call(*arguments: Any) -> Any:
        return module(**dict(zip(names, arguments, strict=True))) if by_name else module(*arguments)

    return TorchRunner(
        call, inputs, unknown=examples is None, observe=observed_modules(module), fused=is_fused(module),
        dtype=float_type(module),
    )  # fmt: skip


def _script(path: Path) -> TorchRunner:
    import torch

    try:
        load: Any = torch.jit.load  # torch gives it no types
        module = load(str(path), map_location="cpu").eval()
        names = [each.name for each in module.forward.schema.arguments][1:]
    except MemoryError:
        raise
    except Exception as error:
        raise refusal(error) from error
    inputs = [TensorInfo(name, "float32", ()) for name in names]
    return TorchRunner(module, inputs, unknown=True, observe=observed_modules(module))


def _program(path: Path) -> TorchRunner:
    import torch

    try:
        with _LOADING:
            program = torch.export.load(path)
            module = program.module()
    except MemoryError:
        raise
    except Exception as error:
        raise refusal(error) from error
    values = {
        node.name: node.meta.get("val")
        for node in program.graph_module.graph.nodes
        if node.op == "placeholder"
    }
    inputs = [_declared(name, values.get(name)) for name in program.graph_signature.user_inputs]
    program_run = _Observed(module)
    return TorchRunner(program_run.run, inputs, unknown=False, observe=program_run.observe)


def _declared(name: Any, value: Any) -> TensorInfo:
    if not isinstance(name, str) or not hasattr(value, "shape"):
        raise ModelRefusedError("the program takes inputs that are no tensors")
    shape: list[Dim] = [each if type(each) is int else str(each) for each in value.shape]
    return TensorInfo(name, str(value.dtype).removeprefix("torch."), tuple(shape))


class _Observed:
    """A program run node by node where inner tensors are wanted, as a whole where they are not."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._wanted: frozenset[str] = frozenset()
        self._seen: dict[str, Any] = {}

    def run(self, *arguments: Any) -> Any:
        if not self._wanted:
            return self._module(*arguments)
        return _interpreter(self._module, self._wanted, self._seen).run(*arguments)

    @contextmanager
    def observe(self, names: Sequence[str], seen: dict[str, Any]) -> Iterator[None]:
        self._wanted, self._seen = frozenset(names), seen
        try:
            yield
        finally:
            self._wanted, self._seen = frozenset(), {}


def _interpreter(module: Any, wanted: frozenset[str], seen: dict[str, Any]) -> Any:
    import torch

    class Interpreter(torch.fx.Interpreter):
        def run_node(self, node: Any) -> Any:
            found = super().run_node(node)
            if node.name in wanted and isinstance(found, torch.Tensor):
                seen[node.name] = found
            return found

    return Interpreter(module)
