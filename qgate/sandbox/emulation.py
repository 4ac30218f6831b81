"""A child on an emulated processor: QEMU's user mode, where it is installed.

QEMU hands a program's system calls to the kernel one by one and knows neither Landlock nor seccomp's filters, has a thread
of its own, and shares its memory with the program. So such a child is not confined: it only loses its user's privileges
before QEMU starts, and keeps the limits on time and files.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from typing import Any

from qgate.errors import SandboxError
from qgate.sandbox.confine import NOBODY

QEMU = "qemu-x86_64"
CPU = "Haswell-noTSX"
"""AVX2 and no VNNI."""


def emulator() -> str | None:
    """The emulator's path; None where it is not installed."""
    return shutil.which(QEMU)


def emulating(command: Sequence[str]) -> list[str]:
    """The same command on the emulated processor.

    Raises:
        SandboxError: There is no emulator.
    """
    path = emulator()
    if path is None:
        raise SandboxError(f"{QEMU} is not installed", remedy="Install QEMU's user mode (Debian: qemu-user)")
    return [path, "-cpu", CPU, *command]


def unprivileged() -> dict[str, Any]:
    """What ``subprocess.Popen`` is told besides: the user is changed before QEMU starts, for all of its threads."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": ()} if os.geteuid() == 0 else {}
