"""Loads a model in a runtime by name; each is imported only where it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from qgate.runtimes.base import Runner
from qgate.runtimes.registry import AVX2, known

_LIBRARIES = {
    "openvino": "qgate.runtimes.openvino",
    "tensorrt": "qgate.runtimes.tensorrt_rtx",
    "tensorrt-device": "qgate.runtimes.tensorrt_device",
}


def import_runtime(name: str) -> None:
    """Imports what a runtime needs, because afterwards nothing may be readable any more."""
    if name in _LIBRARIES:
        import_module(_LIBRARIES[name]).import_library()
    else:
        import_module("onnxruntime")


def version_of(name: str) -> str:
    """The version of a runtime that is imported."""
    return str(getattr(import_module(known(name).module), "__version__", ""))[:100]


def load_runner(name: str, path: Path, *, threads: int = 1, taps: Sequence[str] = ()) -> Runner:
    """A loaded model.

    Args:
        name: ``onnxruntime``, ``avx2``, ``openvino`` or ``tensorrt-device``.
        path: The model.
        threads: Threads within one run.
        taps: Inner tensors to return as well.

    Raises:
        ModelRefusedError: The runtime does not load it.
    """
    if name == "openvino":
        from qgate.runtimes.openvino import OpenVinoRunner

        return OpenVinoRunner(path, threads=threads, taps=taps)
    if name == "tensorrt-device":
        from qgate.runtimes.tensorrt_device import TensorRtRunner

        return TensorRtRunner(path, threads=threads, taps=taps)
    from qgate.runtimes.onnxruntime import OnnxRuntimeRunner

    return OnnxRuntimeRunner(path, threads=threads, taps=taps, exact=name != AVX2)
