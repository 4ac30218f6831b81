"""ExecuTorch programs (.pte), by ExecuTorch's own interpreter with the kernels and delegates of its wheel (XNNPACK).

Only its compiled interpreter is imported: its Python packages, with which programs are made, bring much else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from qgate.runtimes.base import ModelRefusedError, TensorInfo
from qgate.runtimes.pytorch.runner import TorchRunner, refusal

FORM = "executorch"
_INTERPRETER = "executorch.extension.pybindings._C"
_METHOD = "forward"
_TYPES = {
    0: "uint8", 1: "int8", 2: "int16", 3: "int32", 4: "int64", 5: "float16", 6: "float32", 7: "float64", 11: "bool",
}  # fmt: skip
"""Element types by PyTorch's numbers (c10/core/ScalarType.h)."""


def import_interpreter() -> Any:
    """Imports the interpreter, which loads its kernels; in the child, before it is confined."""
    return import_module(_INTERPRETER)


def load_program(path: Path) -> TorchRunner:
    """A program's ``forward`` as a runner: types and shapes as the program declares them, a size that is free at its most.

    Raises:
        ModelRefusedError: ExecuTorch does not load it, or it takes something else than tensors.
    """
    try:
        data = path.read_bytes()
        module = import_interpreter()._load_for_executorch_from_buffer(data)
        meta = module.method_meta(_METHOD)
        inputs = [
            _declared(number, meta.input_tensor_meta(number)) for number in range(int(meta.num_inputs()))
        ]
    except ModelRefusedError:
        raise
    except MemoryError:
        raise
    except Exception as error:
        raise refusal(error) from error

    return TorchRunner(_Method(module, data), inputs, unknown=False, observe=_unobserved)


class _Method:
    """A program's ``forward``, called with its inputs.

    Args:
        module: The loaded program.
        data: Its file's content, which the interpreter reads from for as long as it runs and does not keep itself.
    """

    def __init__(self, module: Any, data: bytes) -> None:
        self._module = module
        self._data = data

    def __call__(self, *inputs: Any) -> Any:
        return self._module.run_method(_METHOD, inputs)


def _declared(number: int, info: Any) -> TensorInfo:
    kind = _TYPES.get(int(info.dtype()))
    if kind is None:
        raise ModelRefusedError(f"its input {number} is of a type that is not fed")
    return TensorInfo(f"input_{number}", kind, tuple(int(size) for size in info.sizes()))


@contextmanager
def _unobserved(names: Sequence[str], seen: dict[str, Any]) -> Iterator[None]:
    """An interpreter that hands no inner tensors out."""
    if names:
        raise ModelRefusedError("ExecuTorch hands no inner tensors out")
    yield
