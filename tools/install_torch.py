"""Installs the CPU build of PyTorch without pulling the CUDA one by accident.

The package that pip finds on ordinary Linux is the CUDA build (several GB). The vendor publishes the
CPU build on an index of its own, so that is the default here, as long as it answers: behind a proxy or
a mirror it often does not, and then pip's own configuration decides.

Only torch itself comes from that index. What torch depends on is left to the installation that
follows, so that the extra index can supply nothing else.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

VENDOR_INDEX = "https://download.pytorch.org/whl/cpu"
REQUIREMENT = "torch==2.13.0"
PROBE_SECONDS = 5

PROBE = """
import sys, urllib.request
with urllib.request.urlopen(sys.argv[1] + "/torch/", timeout=4) as answer:
    sys.exit(0 if answer.status == 200 and b"torch-" in answer.read(1 << 20) else 1)
"""


def answers(index: str) -> bool:
    """Whether an index lists torch within a few seconds; a hanging name server counts as no."""
    command = [sys.executable, "-I", "-c", PROBE, index]
    try:
        return (
            subprocess.run(command, check=False, timeout=PROBE_SECONDS, capture_output=True).returncode == 0
        )
    except subprocess.TimeoutExpired:
        return False


def chosen_index(setting: str) -> str | None:
    """The index to install from; None leaves it to pip's own configuration."""
    if setting == "pip":
        return None
    if setting not in ("", "auto"):
        return setting
    if answers(VENDOR_INDEX):
        return VENDOR_INDEX
    print(f"PyTorch's CPU index does not answer within {PROBE_SECONDS} s: pip's configuration decides")
    return None


def main() -> int:
    """Runs pip and passes its exit code on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="interpreter to install for")
    parser.add_argument("--index", default="auto", help="auto, pip, or the address of an index")
    parser.add_argument("--requirement", default="", help=f"default {REQUIREMENT}")
    arguments = parser.parse_args()
    command = [sys.executable, "-m", "pip", "--python", arguments.python, "install", "--quiet"]
    command += ["--no-cache-dir", "--no-compile", "--no-deps", "--only-binary", "torch"]
    if (index := chosen_index(arguments.index)) is not None:
        command += ["--index-url", index]
    return subprocess.run([*command, arguments.requirement or REQUIREMENT], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
