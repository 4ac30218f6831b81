"""Removes from an installed environment what running never reads.

Every pattern says what it is; the image's build imports everything afterwards, so that a pattern that
takes too much breaks the build and not a user's run.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

UNUSED = {
    "torch/include": "headers for extensions compiled on the spot",
    "torch/share": "CMake files for C++ projects",
    "torch/test": "C++ test programs",
    "torch/bin/test_*": "C++ test programs",
    "torch/bin/*Test": "C++ test programs",
    "torch/bin/protoc*": "a compiler of protocol buffers",
    "torch/testing/_internal/py3*.py": "tests in the syntax of newer Pythons",
    "torch/lib/*.a": "static libraries",
    "torch/lib/*_test.so": "libraries of the tests",
    "torch/lib/libbackend_with_compiler.so": "a library of the tests",
    "onnx/backend/test": "models and data of the conformance tests",
    "onnx/test": "tests",
    "onnxruntime/backend/test": "tests",
    "numpy/**/tests": "tests",
    "numpy/_core/include": "headers",
    "numpy/_core/lib/*.a": "static libraries",
    "numpy/random/lib/*.a": "static libraries",
    "scipy/**/tests": "tests",
    "sympy/**/tests": "tests",
    "networkx/**/tests": "tests",
    "mpmath/tests": "tests",
    "**/*.pyi": "type stubs",
    "**/*.pxd": "Cython declarations",
}


def size(path: Path) -> int:
    """Bytes of a file or a folder."""
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.lstat().st_size for file in files if not file.is_dir())


def slim(packages: Path) -> int:
    """Deletes what ``UNUSED`` names and returns how many bytes that frees."""
    freed = 0
    for pattern in UNUSED:
        for path in sorted(packages.glob(pattern)):
            freed += size(path)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    return freed


def main() -> int:
    """Slims the site-packages of a virtual environment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("environment", type=Path)
    environment = parser.parse_args().environment
    folders = sorted(environment.glob("lib/python*/site-packages"))
    if len(folders) != 1:
        print(f"{environment}: expected one site-packages, found {len(folders)}", file=sys.stderr)
        return 1
    print(f"removed {slim(folders[0]) / 1e6:.0f} MB that running never reads")
    return 0


if __name__ == "__main__":
    sys.exit(main())
