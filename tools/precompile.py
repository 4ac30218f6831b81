"""Imports what qgate may import and compiles that ahead of time.

An environment made too slim fails here. Of the largest packages only the modules that were imported are
compiled, for the rest of them would be a tenth of the image; of all others everything. Compiled files
carry no time stamp to compare, so they stay valid whatever copies them.
"""

import compileall
import importlib
import py_compile
import sys
from pathlib import Path

PARTLY = ("networkx", "setuptools", "sympy", "torch", "torchgen")
MODE = py_compile.PycInvalidationMode.UNCHECKED_HASH

MODULES = (
    "click",
    "huggingface_hub",
    "jinja2",
    "model_signing.verifying",
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
    "OpenSSL",
    "github",
    "requests",
    "rich.console",
    "ruamel.yaml",
    "sigstore.verify",
    "torch",
    "torch.ao.quantization",
    "torch.export",
    "torch.fx",
    "torch.jit",
)


def works() -> bool:
    """Whether everything imports and torch computes."""
    for name in MODULES:
        importlib.import_module(name)
    torch = sys.modules["torch"]
    return bool(torch.ones(2, 2).matmul(torch.ones(2, 2)).sum().item() == 8.0)


def precompile(packages: Path) -> int:
    """Compiles and returns how many modules of the largest packages that were."""
    chosen = set()
    for module in list(sys.modules.values()):
        path = Path(getattr(module, "__file__", None) or "")
        if path.suffix == ".py" and path.is_relative_to(packages):
            chosen.add(path)
    for path in sorted(chosen):
        py_compile.compile(str(path), doraise=True, invalidation_mode=MODE)
    for folder in sorted(path for path in packages.iterdir() if path.is_dir() and path.name not in PARTLY):
        compileall.compile_dir(folder, quiet=2, invalidation_mode=MODE)
    return len(chosen)


def main() -> int:
    """Works on the environment that runs it."""
    if not works():
        print("torch does not compute", file=sys.stderr)
        return 1
    packages = Path(sys.modules["torch"].__file__ or "").parent.parent
    print(f"compiled {precompile(packages)} imported modules, and all of the smaller packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
