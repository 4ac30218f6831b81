"""A virtual environment that is thrown away, for the tools that qgate is compared with and never imports."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

POLYGRAPHY = "polygraphy==0.53.6"
ONNXSLIM = "onnxslim==0.1.98"


def environment(folder: Path, *requirements: str) -> Path | None:
    """The Python of an environment with these packages, and with the runtime that qgate has.

    Args:
        folder: Where it is made; used again where it is there already.
        requirements: What pip installs.

    Returns:
        None, with a word on standard error, where it cannot be made.
    """
    home = folder / "peers"
    python = home / "bin" / "python"
    same = [f"{name}=={version(name)}" for name in ("onnx", "onnxruntime", "numpy")]
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, capture_output=True)
        subprocess.run([*install, *same, *requirements], check=True, capture_output=True, timeout=900)
    except (OSError, subprocess.SubprocessError) as error:
        detail = getattr(error, "stderr", b"") or b""
        last = detail.decode("utf-8", "replace").strip().splitlines()[-1:]
        print(f"without {', '.join(requirements)}: {error} {' '.join(last)}", file=sys.stderr)
        return None
    return python
