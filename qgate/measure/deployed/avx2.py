"""ONNX Runtime as it answers on processors with AVX2 and no VNNI where nobody asks it for exact products.

This processor does where it is such a one; others emulate it, which takes ``sandbox: reduced``: see ``sandbox.emulation``.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from qgate.runtimes.processor import saturates
from qgate.sandbox.emulation import CPU, QEMU, emulator
from qgate.sandbox.limits import Limits
from qgate.sandbox.staging import unreadable_part


def avx2_limits(limits: Limits) -> Limits:
    """What the process may use: the same as others where this processor saturates by itself."""
    return limits if saturates() else replace(limits, emulated=True)


def unavailable(limits: Limits) -> str:
    """Why it cannot be run here; empty where it can."""
    if saturates():
        return ""
    if emulator() is None:
        return f"this processor does not saturate, and there is no {QEMU} to emulate one that does (Debian: qemu-user)"
    if not limits.reduced:
        return (
            "this processor does not saturate, and an emulated one cannot be confined: it takes `sandbox: reduced` "
            "(one pair: --sandbox reduced)"
        )
    hidden = next(filter(None, map(unreadable_part, (Path(sys.executable), Path(__file__)))), None)
    if hidden is not None:
        return (
            f"this processor does not saturate, and the process on an emulated one gives up root before it starts and cannot "
            f"read {hidden}: install qgate where every user can read it, or run it as an ordinary user"
        )
    return ""


def about(limits: Limits) -> dict[str, Any]:
    """How it was run, for the report."""
    emulated = avx2_limits(limits).emulated
    return {"processor": f"{CPU}, emulated by {QEMU}" if emulated else "this one", "confined": not emulated}
