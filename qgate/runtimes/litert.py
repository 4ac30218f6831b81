"""LiteRT (TensorFlow Lite) on the CPU, with its default kernels (XNNPACK)."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import MeasureError
from qgate.runtimes.base import Dim, ModelRefusedError, TensorInfo
from qgate.sandbox.quoting import one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MODULE = "ai_edge_litert"
_NO_MEMORY = ("bad_alloc", "Cannot allocate memory", "memory allocation")


def require_litert(where: str) -> None:
    """Says what to install where LiteRT is not.

    Raises:
        MeasureError: It is not installed.
    """
    if find_spec(_MODULE) is None:
        raise MeasureError(
            "LiteRT is not installed, and this model is run by it",
            where=where,
            remedy="Install the extra `litert`: pip install 'qgate[litert]'",
        )


def import_library() -> Any:
    """Imports LiteRT; no thread is started by that."""
    return import_module(f"{_MODULE}.interpreter")


class LiteRtRunner:
    """An interpreter of a ``.tflite`` file; one run at a time, whoever asks.

    Args:
        path: The model.
        threads: Threads within one run.

    Raises:
        ModelRefusedError: LiteRT does not load it.
    """

    reduced = False
    taps: tuple[str, ...] = ()

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        self._lock = threading.Lock()
        try:
            self._interpreter = import_library().Interpreter(str(path), num_threads=threads)
            self._takes = self._interpreter.get_input_details()
            self._gives = self._interpreter.get_output_details()
            self.inputs = tuple(_info(each) for each in self._takes)
            self.outputs = tuple(_info(each) for each in self._gives)
            self._shapes = [tuple(each["shape"]) for each in self._takes]
            self._interpreter.allocate_tensors()
        except MemoryError as error:
            raise ModelRefusedError("not enough memory to load the model", "memory") from error
        except Exception as error:  # its wrapper raises ValueError, RuntimeError and what pybind likes
            raise _refusal(error, path) from error

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[Any]:
        """Runs once; see ``Runner.run``."""
        with self._lock:
            try:
                return self._run(feeds)
            except MemoryError as error:
                raise ModelRefusedError("not enough memory to run the model", "memory") from error
            except Exception as error:  # as above
                raise _refusal(error) from error

    def _run(self, feeds: Mapping[str, NDArray[Any]]) -> list[Any]:
        values = [np.ascontiguousarray(feeds[info.name]) for info in self.inputs]
        shapes = [each.shape for each in values]
        if shapes != self._shapes:
            for each, shape in zip(self._takes, shapes, strict=True):
                self._interpreter.resize_tensor_input(each["index"], list(shape), strict=True)
            self._interpreter.allocate_tensors()
            self._shapes = shapes
        for each, value in zip(self._takes, values, strict=True):
            self._interpreter.set_tensor(each["index"], value)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(each["index"]) for each in self._gives]


def _refusal(error: Exception, path: Path | None = None) -> ModelRefusedError:
    text = str(error) if path is None else str(error).replace(str(path), path.name)
    short = any(sign in text for sign in _NO_MEMORY)
    message = one_line(text, 400).rstrip(". ") or type(error).__name__
    return ModelRefusedError(message, "memory" if short else "refused")


def _info(detail: Mapping[str, Any]) -> TensorInfo:
    sizes = detail["shape"] if not len(detail["shape_signature"]) else detail["shape_signature"]
    return TensorInfo(str(detail["name"]), np.dtype(detail["dtype"]).name, tuple(_dim(int(n)) for n in sizes))


def _dim(size: int) -> Dim:
    return size if size >= 0 else None


def loaded(path: Path, threads: int, taps: Sequence[str] = ()) -> LiteRtRunner:
    """A loaded model; inner tensors cannot be had of it.

    Raises:
        ModelRefusedError: LiteRT does not load it, or inner tensors are asked for.
    """
    if taps:
        raise ModelRefusedError("LiteRT hands no inner tensors back")
    return LiteRtRunner(path, threads=threads)
