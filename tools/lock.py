"""Writes requirements/*.txt: the exact versions that the image and the tests use.

``image.txt`` is what the image installs, torch apart (it has an index of its own). ``dev.txt`` adds
the tests' and linters' tools, ``build.txt`` the build backend. Run it by ``make lock``, read the diff,
and let the whole test suite judge it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

from install_torch import REQUIREMENT as TORCH

ROOT = Path(__file__).parent.parent
HEADER = "# Written by tools/lock.py (make lock); do not edit.\n"
CUDA = ("nvidia-", "cuda-", "triton")  # what torch asks for where only its CUDA build is offered


def resolve(requirements: list[str]) -> dict[str, str]:
    """What pip would install into an empty environment, as name to version."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "-qq"]
    report = subprocess.run([*command, "--report", "-", *requirements], check=True, stdout=subprocess.PIPE)
    installed = [item["metadata"] for item in json.loads(report.stdout)["install"]]
    return {item["name"].lower(): item["version"] for item in installed}


def write(name: str, versions: dict[str, str]) -> None:
    """Writes one file of pins, sorted by name."""
    pinned = [key for key in sorted(versions) if key != "torch" and not key.startswith(CUDA)]
    lines = [f"{key}=={versions[key]}\n" for key in pinned]
    (ROOT / "requirements" / name).write_text(HEADER + "".join(lines), encoding="utf-8")


def main() -> int:
    """Resolves the three sets of requirements and writes them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    chosen = [each for name in ("hub", "signing", "tasks", "images") for each in extras[name]]
    runtime = [*project["project"]["dependencies"], *chosen, TORCH]
    image = resolve(runtime)
    everything = resolve(
        [f"{name}=={version}" for name, version in image.items()]
        + extras["test"]
        + extras["e2e"]
        + extras["lint"]
    )
    write("image.txt", image)
    write("dev.txt", {name: version for name, version in everything.items() if name not in image})
    write("build.txt", resolve(project["build-system"]["requires"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
