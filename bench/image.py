"""What the container image weighs and how quickly it starts.

    python bench/image.py [IMAGE]      # default: builds the Dockerfile as qgate:bench

Needs a Docker engine. Sizes are uncompressed, as the engine counts them.
"""

from __future__ import annotations

import json
import os
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYTHON = "/opt/qgate/venv/bin/python"
STARTS = {
    "qgate --help": ["--help"],
    "import onnxruntime, onnx, numpy": ["--entrypoint", "-c", "import onnxruntime, onnx, numpy"],
    "import torch": ["--entrypoint", "-c", "import torch"],
}


def docker(*arguments: str) -> str:
    """Runs docker and returns what it printed."""
    return subprocess.run(["docker", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def seconds(image: str, arguments: list[str]) -> float:
    """Median of three cold container starts."""
    run = ["run", "--rm", "--network", "none"]
    if arguments[0] == "--entrypoint":
        command = [*run, "--entrypoint", PYTHON, image, "-I", *arguments[1:]]
    else:
        command = [*run, image, *arguments]
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        docker(*command)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def main() -> int:
    """Prints sizes by layer and the starting times."""
    image = sys.argv[1] if len(sys.argv) > 1 else "qgate:bench"
    if len(sys.argv) == 1:
        flags = shlex.split(os.environ.get("QGATE_DOCKER_BUILD_FLAGS", ""))
        subprocess.run(["docker", "build", "--quiet", *flags, "-t", image, str(ROOT)], check=True)
    size = json.loads(docker("image", "inspect", image))[0]["Size"]
    print(f"image {size / 1e6:.0f} MB, of which")
    for line in docker("history", "--no-trunc", "--format", "{{.Size}}\t{{.CreatedBy}}", image).splitlines():
        weight, made_by = line.split("\t", 1)
        if not weight.startswith("0B"):
            print(f"  {weight:>8}  {made_by.replace('/bin/sh -c', '').replace('#(nop)', '').strip()[:80]}")
    for name, arguments in STARTS.items():
        print(f"{name}: {seconds(image, arguments):.2f} s from docker run to its end")
    return 0


if __name__ == "__main__":
    sys.exit(main())
