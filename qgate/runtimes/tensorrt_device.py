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

from qgate.runtimes.base import Dim, ModelRefusedError, TensorInfo
from qgate.sandbox.quoting import one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONTROL = Path("/dev/nvidiactl")
"""The driver's device file: without it there is no GPU for this process."""

REPEATS = 20
_TO_DEVICE, _TO_HOST = 1, 2


def unavailable() -> str:
    """Why TensorRT cannot be run on a device here; empty where it can."""
    if not CONTROL.exists():
        return "there is no NVIDIA GPU here"
    lacking = [name for name in ("tensorrt", "cuda") if find_spec(name) is None]
    names = {"tensorrt": "tensorrt", "cuda": "cuda-python"}
    return f"the package {' and '.join(names[each] for each in lacking)} is not installed" if lacking else ""


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
        ModelRefusedError: NVIDIA's parser refuses the model, or an inner tensor is none of its network.
    """

    reduced = False

    def __init__(
        self, path: Path, *, threads: int = 1, taps: Sequence[str] = (), workspace_mb: int = 1024
    ) -> None:
        del threads
        self._trt = import_library()
        self._cuda = import_module("cuda.bindings.runtime")
        self._words: list[str] = []
        self._logger = self._trt.Logger(self._trt.Logger.ERROR)
        self._builder = self._trt.Builder(self._logger)
        self._network = self._builder.create_network(0)
        parser = self._trt.OnnxParser(self._network, self._logger)
        if not parser.parse_from_file(str(path)):
            told = "; ".join(
                one_line(parser.get_error(i).desc(), 200) for i in range(min(parser.num_errors, 4))
            )
            raise ModelRefusedError(told or "the parser gives no reason")
        self.inputs = tuple(self._info(self._network.get_input(i)) for i in range(self._network.num_inputs))
        self.outputs = tuple(
            self._info(self._network.get_output(i)) for i in range(self._network.num_outputs)
        )
        self.taps = self._mark(taps)
        self._workspace = workspace_mb << 20
        self._timings = b""
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

    def _mark(self, taps: Sequence[str]) -> tuple[str, ...]:
        known = {info.name for info in (*self.inputs, *self.outputs)}
        found = {}
        for position in range(self._network.num_layers):
            layer = self._network.get_layer(position)
            for number in range(layer.num_outputs):
                found[layer.get_output(number).name] = layer.get_output(number)
        marked = tuple(name for name in taps if name in found and name not in known)
        for name in marked:
            self._network.mark_output(found[name])
        return marked

    def _engine(self, feeds: Mapping[str, NDArray[Any]]) -> tuple[Any, Any]:
        shapes = tuple(feeds[info.name].shape for info in self.inputs)
        if shapes not in self._engines:
            self._engines[shapes] = self._build(dict(zip((i.name for i in self.inputs), shapes, strict=True)))
        return self._engines[shapes]

    def _build(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Any, Any]:
        config = self._builder.create_builder_config()
        config.set_memory_pool_limit(self._trt.MemoryPoolType.WORKSPACE, self._workspace)
        cache = config.create_timing_cache(self._timings)
        config.set_timing_cache(cache, False)
        if any(not isinstance(size, int) for info in self.inputs for size in info.shape):
            profile = self._builder.create_optimization_profile()
            for name, shape in shapes.items():
                profile.set_shape(name, shape, shape, shape)
            config.add_optimization_profile(profile)
        plan = self._builder.build_serialized_network(self._network, config)
        if plan is None:
            raise ModelRefusedError("the engine builder refuses the model")
        self._timings = bytes(config.get_timing_cache().serialize())
        # Our own engine of a moment ago, not a file: the only one that is ever deserialised.
        engine = self._trt.Runtime(self._logger).deserialize_cuda_engine(plan)
        if engine is None:
            raise ModelRefusedError("the engine that was built cannot be loaded on this device")
        return engine, engine.create_execution_context()

    def _bind(
        self, context: Any, feeds: Mapping[str, NDArray[Any]]
    ) -> tuple[list[int], list[tuple[NDArray[Any], int]]]:
        """Copies inputs to the device and makes room for what comes back."""
        held: list[int] = []
        results = []
        try:
            for info in self.inputs:
                values = np.ascontiguousarray(feeds[info.name], dtype=info.dtype)
                context.set_input_shape(info.name, values.shape)
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
        except (ValueError, TypeError, RuntimeError, MemoryError) as error:
            self._free(held)
            raise ModelRefusedError(one_line(str(error), 300)) from error
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
        """The value of a call, whose first part is its status."""
        if int(answer[0]) != 0:
            raise ModelRefusedError(
                f"CUDA: {answer[0]}", "memory" if "Memory" in str(answer[0]) else "refused"
            )
        return answer[1] if len(answer) > 1 else None

    def _info(self, tensor: Any) -> TensorInfo:
        dtype = np.dtype(self._trt.nptype(tensor.dtype)).name
        return TensorInfo(str(tensor.name), dtype, tuple(_dim(int(size)) for size in tensor.shape))


def _dim(size: int) -> Dim:
    return size if size >= 0 else None
