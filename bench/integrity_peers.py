"""picklescan and modelscan on the same files in the same run, from a virtual environment that is thrown away."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

REQUIREMENTS = ("picklescan>=1.0,<2", "modelscan[h5py]>=0.8,<1")
SCRIPT = Path(__file__).resolve().parent / "peers" / "scan.py"
BLOCKING = ("flagged", "error")
"""What stops a pipeline: both tools end with another exit status than 0 then."""


@dataclass(frozen=True)
class Peer:
    """What one tool said: by file ``flagged``, ``error``, ``clean`` or ``skipped``."""

    name: str
    version: str
    files: Mapping[str, str]

    def blocked(self, paths: Iterable[Path]) -> int:
        """How many of these files it stops."""
        return sum(self.files[str(path)] in BLOCKING for path in paths)

    @property
    def label(self) -> str:
        """Name and version."""
        return f"{self.name} {self.version}"


def scan(paths: list[Path], folder: Path) -> list[Peer]:
    """Both tools over all files; empty, with a word on standard error, where they cannot be installed."""
    home = folder / "venv"
    try:
        subprocess.run([sys.executable, "-m", "venv", home], check=True, capture_output=True)
        python = home / "bin" / "python"
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *REQUIREMENTS]
        subprocess.run(install, check=True, capture_output=True, timeout=600)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"without picklescan and modelscan, which cannot be installed: {error}", file=sys.stderr)
        return []
    listed = json.dumps([str(path) for path in paths])
    # They scan what does harm when it is loaded; they only parse it, and their folder holds nothing else.
    done = subprocess.run(
        [python, "-I", SCRIPT],
        input=listed,
        capture_output=True,
        text=True,
        cwd=folder,
        check=True,
        timeout=3600,
    )
    answered = json.loads(done.stdout.splitlines()[-1])
    return [Peer(name, said["version"], said["files"]) for name, said in answered.items()]
