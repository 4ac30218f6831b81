"""A model as a network of TensorRT's, and the engine that is built of it.

TensorRT and TensorRT-RTX have this part of their Python API in common. With TensorRT-RTX it needs neither a device nor a
driver; no engine is loaded here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qgate.runtimes.base import Dim, ModelRefusedError, TensorInfo
from qgate.sandbox.quoting import one_line

MOST_WORDS = 32
_TEXT = 400


class Network:
    """A parsed model, of which engines are built.

    Args:
        library: ``tensorrt`` or ``tensorrt_rtx``.
        path: An ONNX model; side files are looked for beside it.
        taps: Inner tensors to return as well; those that the network does not have are left out.
        workspace_mb: Memory that the builder may plan for intermediate results, MiB.
        keep_timings: Whether what one build has timed serves the next; TensorRT-RTX, which times nothing, has no such cache.

    Raises:
        ModelRefusedError: The parser refuses the model.
        RuntimeError: The library is too old.
    """

    def __init__(
        self,
        library: Any,
        path: Path,
        *,
        taps: Sequence[str] = (),
        workspace_mb: int = 1024,
        keep_timings: bool = False,
    ) -> None:
        self._library, self._workspace = library, workspace_mb << 20
        self._words: list[str] = []
        self.logger = logger_into(library, self._words)
        self._builder = library.Builder(self.logger)
        self._network = create_network(library, self._builder)
        # It owns the weights that the network points to, so that it must live for as long as engines are built.
        self._parser = library.OnnxParser(self._network, self.logger)
        if not self._parser.parse_from_file(str(path)):
            errors = [self._parser.get_error(i) for i in range(min(self._parser.num_errors, 4))]
            told = "; ".join(one_line(error.desc() or "", 200) for error in errors)
            raise ModelRefusedError(told or "the parser gives no reason")
        network = self._network
        self.inputs = tuple(self._info(network.get_input(i)) for i in range(network.num_inputs))
        self.outputs = tuple(self._info(network.get_output(i)) for i in range(network.num_outputs))
        self.taps = self._mark(taps)
        self._timings = b"" if keep_timings else None

    def build(self, shapes: Mapping[str, tuple[int, ...]]) -> Any:
        """An engine for inputs of these shapes, serialized: a buffer of the library's.

        Raises:
            ModelRefusedError: The builder refuses the network, or it has no such shapes.
        """
        config = self._builder.create_builder_config()
        config.set_memory_pool_limit(self._library.MemoryPoolType.WORKSPACE, self._workspace)
        if self._timings is not None:
            config.set_timing_cache(config.create_timing_cache(self._timings), False)
        unknown = fix_sizes(self._builder, config, self._network, shapes)
        if unknown:
            raise ModelRefusedError(f"its inputs {', '.join(unknown)} do not take what they are given")
        self._words.clear()
        plan = self._builder.build_serialized_network(self._network, config)
        if plan is None:
            raise ModelRefusedError(f"the engine builder refuses the model: {'; '.join(self._words[:4])}")
        if self._timings is not None:
            self._timings = bytes(config.get_timing_cache().serialize())
        return plan

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

    def _info(self, tensor: Any) -> TensorInfo:
        dtype = np.dtype(self._library.nptype(tensor.dtype)).name
        return TensorInfo(str(tensor.name), dtype, tuple(_dim(int(size)) for size in tensor.shape))


def create_network(library: Any, builder: Any) -> Any:
    """An empty network that computes in the types that the file says, QuantizeLinear's among them.

    A network of TensorRT 10 is weakly typed unless it is told otherwise, and takes codes of 8 bits only with a flag of the
    builder's (NVIDIA/TensorRT issue 4021). TensorRT 11 knows strongly typed ones alone: it has lost that flag of the
    builder's, and keeps the network's for old callers.

    Raises:
        RuntimeError: The library is too old.
    """
    typed = getattr(library.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    if typed is not None:
        return builder.create_network(1 << int(typed))
    if hasattr(library.BuilderFlag, "INT8"):
        raise RuntimeError(
            f"TensorRT {library.__version__} has no strongly typed networks; qgate takes version 10 and later ones"
        )
    return builder.create_network(0)


def fix_sizes(
    builder: Any, config: Any, network: Any, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[str, ...]:
    """Fixes free sizes to the ones that occur; returns inputs of which none is known."""
    profile, unknown, free = builder.create_optimization_profile(), [], False
    for position in range(network.num_inputs):
        tensor = network.get_input(position)
        declared = tuple(int(size) for size in tensor.shape)
        if all(size >= 0 for size in declared):
            continue
        free = True
        shape = shapes.get(tensor.name)
        if shape is None or len(shape) != len(declared):
            unknown.append(one_line(tensor.name, 120))
            continue
        fitted = tuple(have if size < 0 else size for size, have in zip(declared, shape, strict=True))
        profile.set_shape(tensor.name, fitted, fitted, fitted)
    if free and not unknown:
        config.add_optimization_profile(profile)
    return tuple(unknown)


def logger_into(library: Any, words: list[str]) -> Any:
    """A logger that keeps errors in ``words``; the library's own would write them to the standard streams."""

    # The library is optional and has no types, so that mypy takes its classes for Any; a logger must be a subclass.
    class Logger(library.ILogger):  # type: ignore[misc]
        """Keeps errors."""

        def __init__(self) -> None:
            library.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            """One message of the library's."""
            if (
                severity in (library.ILogger.ERROR, library.ILogger.INTERNAL_ERROR)
                and len(words) < MOST_WORDS
            ):
                words.append(one_line(message, _TEXT))

    return Logger()


def _dim(size: int) -> Dim:
    return size if size >= 0 else None
