"""Imports what qgate may import, so that an environment made too slim fails here."""

import importlib
import sys

MODULES = (
    "click",
    "huggingface_hub",
    "jinja2",
    "numpy",
    "numpy.random",
    "onnx",
    "onnx.checker",
    "onnx.helper",
    "onnx.numpy_helper",
    "onnx.reference",
    "onnx.shape_inference",
    "onnxruntime",
    "onnxruntime.quantization",
    "pydantic",
    "github",
    "requests",
    "rich.console",
    "ruamel.yaml",
    "scipy.stats",
    "torch",
    "torch.ao.quantization",
    "torch.export",
    "torch.fx",
    "torch.jit",
)


def main() -> int:
    """Imports everything and runs one operation of each numeric library."""
    for name in MODULES:
        importlib.import_module(name)
    torch = sys.modules["torch"]
    total = torch.ones(2, 2).matmul(torch.ones(2, 2)).sum().item()
    return 0 if total == 8.0 else 1


if __name__ == "__main__":
    sys.exit(main())
