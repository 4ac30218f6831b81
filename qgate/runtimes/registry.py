"""Which runtimes there are, what each reads, and how it is installed. Imports none of them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True)
class Runtime:
    """A runtime that a target can declare.

    Args:
        name: Its name in a policy.
        title: Its name in messages.
        module: The Python package that it comes in.
        extra: The extra of this package that installs it; empty where it is always there.
        formats: Model formats that it reads.
        runs: It executes models on the CPU; otherwise it only says whether it would take them.
    """

    name: str
    title: str
    module: str
    extra: str
    formats: tuple[str, ...]
    runs: bool = True

    @property
    def installed(self) -> bool:
        """Whether its package can be imported; nothing is."""
        try:
            return find_spec(self.module) is not None
        except (ImportError, ValueError):
            return False


AVX2 = "avx2"
"""ONNX Runtime as it answers where products of bytes saturate and nobody asks it for exact ones."""

TORCH = ("torch-checkpoint", "torch-legacy", "safetensors", "torch-export", "torchscript", "executorch")
"""Formats that PyTorch runs, and nothing else does."""

RUNTIMES = {
    each.name: each
    for each in (
        Runtime("onnxruntime", "ONNX Runtime", "onnxruntime", "", ("onnx",)),
        Runtime(AVX2, "ONNX Runtime on AVX2 without VNNI", "onnxruntime", "", ("onnx",)),
        Runtime("openvino", "OpenVINO", "openvino", "openvino", ("onnx",)),
        Runtime("tensorrt", "TensorRT", "tensorrt_rtx", "tensorrt", ("onnx",), runs=False),
        Runtime("torch", "PyTorch", "torch", "torch", TORCH),
    )
}
"""By name, in the order in which they are told."""

DEVICE = Runtime("tensorrt-device", "TensorRT on the GPU", "tensorrt", "", ("onnx",))
"""What ``tensorrt`` means besides, where there is a GPU."""


def known(name: str) -> Runtime:
    """A runtime by its name, the device among them."""
    return DEVICE if name == DEVICE.name else RUNTIMES[name]
