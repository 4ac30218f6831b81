"""TensorRT on a real GPU, through NVIDIA's Python API and CUDA bindings.

It needs the packages ``tensorrt`` and ``cuda-python``, a driver and a device. Engines are built here from the ONNX file and
thrown away; none is ever read from a file.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.runtimes.base import ModelRefusedError
from qgate.runtimes.tensorrt_network import Network
from qgate.sandbox.quoting import one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONTROL = Path("/dev/nvidiactl")
"""The driver's device file: without it there is no GPU for this process."""

_PACKAGES = {"tensorrt": "tensorrt", "cuda.bindings": "cuda-python"}
"""Modules, and what they are installed as; ``cuda`` alone says nothing, for other packages have parts of it."""

REPEATS = 20
_TO_DEVICE, _TO_HOST = 1, 2
_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation


def unavailable() -> str:
    """Why TensorRT cannot be run on a device here; empty where it can."""
    if not CONTROL.exists():
        return "there is no NVIDIA GPU here"
    lacking = [package for module, package in _PACKAGES.items() if not _found(module)]
    return f"the package {' and '.join(lacking)} is not installed" if lacking else ""


def _found(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False  # of the package that it is a part of


def import_library() -> Any:
    """Imports TensorRT and the CUDA bindings; the device is first touched by the first runner."""
    import_module("cuda.bindings.runtime")
    return import_module("tensorrt")


class TensorRtRunner:
    """A model on the first GPU: an engine for each set of input shapes that occurs, kept with its timing cache.

    Args:
        path: An ONNX model; side files are looked for beside it.
        threads: Not used: the device schedules itself.
        taps: Inner tensors to return as well.
        workspace_mb: Memory that the builder may plan for intermediate results, MiB.

    Raises:
        ModelRefusedError: NVIDIA's parser refuses the model.
        RuntimeError: TensorRT is older than version 10, or the driver too old for it.
    """

    reduced = False

    def __init__(
        self, path: Path, *, threads: int = 1, taps: Sequence[str] = (), workspace_mb: int = 1024
    ) -> None:
        del threads
        self._trt = import_library()
        self._cuda = import_module("cuda.bindings.runtime")
        self._network = Network(self._trt, path, taps=taps, workspace_mb=workspace_mb, keep_timings=True)
        self.inputs, self.outputs, self.taps = self._network.inputs, self._network.outputs, self._network.taps
        self._runtime = self._trt.Runtime(self._network.logger)
        self._engines: dict[tuple[tuple[int, ...], ...], tuple[Any, Any]] = {}
        self._stream = self._check(self._cuda.cudaStreamCreate())

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[Any]:
        """Runs once; see ``Runner.run``."""
        _, context = self._engine(feeds)
        held, results = self._bind(context, feeds)
        try:
            self._execute(context)
            for host, device in results:
                self._copy(host.ctypes.data, device, host.nbytes, _TO_HOST)
        finally:
            self._free(held)
        return [host for host, _ in results]

    def seconds(self, feeds: Mapping[str, NDArray[Any]]) -> float:
        """Median time of one execution on the device, copies aside, in seconds."""
        _, context = self._engine(feeds)
        held, _ = self._bind(context, feeds)
        try:
            self._execute(context)
            spent = []
            for _ in range(REPEATS):
                began = time.perf_counter()
                self._execute(context)
                spent.append(time.perf_counter() - began)
        finally:
            self._free(held)
        return statistics.median(spent)

    def _engine(self, feeds: Mapping[str, NDArray[Any]]) -> tuple[Any, Any]:
        shapes = tuple(feeds[info.name].shape for info in self.inputs)
        if shapes not in self._engines:
            self._engines[shapes] = self._build(dict(zip((i.name for i in self.inputs), shapes, strict=True)))
        return self._engines[shapes]

    def _build(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Any, Any]:
        # Our own engine of a moment ago, not a file: the only one that is ever deserialised.
        engine = self._runtime.deserialize_cuda_engine(self._network.build(shapes))
        context = None if engine is None else engine.create_execution_context()
        if context is None:
            raise ModelRefusedError("the engine that was built cannot be loaded on this device")
        return engine, context

    def _bind(
        self, context: Any, feeds: Mapping[str, NDArray[Any]]
    ) -> tuple[list[int], list[tuple[NDArray[Any], int]]]:
        """Copies inputs to the device and makes room for what comes back."""
        held: list[int] = []
        results = []
        try:
            for info in self.inputs:
                values = np.ascontiguousarray(feeds[info.name], dtype=info.dtype)
                # A shape that is refused would leave the one before, and the device would read beyond what it is given.
                if not context.set_input_shape(info.name, values.shape):
                    raise ValueError(f"its input {info.name} is not of shape {values.shape}")
                held.append(self._check(self._cuda.cudaMalloc(max(values.nbytes, 1))))
                context.set_tensor_address(info.name, held[-1])
                self._copy(held[-1], values.ctypes.data, values.nbytes, _TO_DEVICE)
            engine = context.engine
            for name in (*(info.name for info in self.outputs), *self.taps):
                dtype = np.dtype(self._trt.nptype(engine.get_tensor_dtype(name)))
                host = np.empty(tuple(context.get_tensor_shape(name)), dtype)
                held.append(self._check(self._cuda.cudaMalloc(max(host.nbytes, 1))))
                context.set_tensor_address(name, held[-1])
                results.append((host, held[-1]))
        except BaseException as error:
            self._free(held)
            if isinstance(error, ValueError | TypeError | MemoryError):
                raise ModelRefusedError(one_line(str(error), 300)) from error
            raise
        return held, results

    def _execute(self, context: Any) -> None:
        if not context.execute_async_v3(int(self._stream)):
            raise ModelRefusedError("the engine fails on these inputs")
        self._check(self._cuda.cudaStreamSynchronize(self._stream))

    def _copy(self, target: int, source: int, size: int, way: int) -> None:
        kind = self._cuda.cudaMemcpyKind(way)
        self._check(self._cuda.cudaMemcpyAsync(target, source, size, kind, self._stream))
        self._check(self._cuda.cudaStreamSynchronize(self._stream))

    def _free(self, held: Sequence[int]) -> None:
        for address in held:
            self._cuda.cudaFree(address)

    def _check(self, answer: tuple[Any, ...]) -> Any:
        """The value of a call, whose first part is its status.

        Raises:
            ModelRefusedError: There is too little memory on the device.
            RuntimeError: Anything else is the driver's or the device's fault, and says nothing of the model.
        """
        status = int(answer[0])
        if status == 0:
            return answer[1] if len(answer) > 1 else None
        told = f"CUDA: {getattr(answer[0], 'name', status)}"
        raise ModelRefusedError(told, "memory") if status == _OUT_OF_MEMORY else RuntimeError(told)
