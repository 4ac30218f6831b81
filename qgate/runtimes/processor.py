"""Whether integer products saturate on this processor: the same file then gives other answers than elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

_INFO = Path("/proc/cpuinfo")
_FLAGS = re.compile(r"^flags\s*:\s*(.*)$", re.MULTILINE)
_VNNI = {"avx512_vnni", "avx_vnni"}


def saturates(text: str | None = None) -> bool:
    """Whether the processor multiplies bytes in pairs that saturate in 16 bits: x86 without VNNI.

    ONNX Runtime is told to be exact there; OpenVINO (oneDNN) cannot be.

    Args:
        text: What ``/proc/cpuinfo`` says; read where it is None, and nothing is claimed where that fails.
    """
    if text is None:
        try:
            text = _INFO.read_text("utf-8", "replace")
        except OSError:
            return False
    found = _FLAGS.search(text)
    flags = set(found[1].split()) if found else set()
    return "ssse3" in flags and not flags & _VNNI
