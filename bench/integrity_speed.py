"""How fast codes are compared with their reference, beside a plain copy of the same bytes in memory.

A section of its own, for these figures mean something on a quiet machine alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from derivation_speed import speeds
from integrity_rows import Row


def run(scale: float) -> Iterator[Row]:
    """The rows of this section."""
    yield from speeds(scale)
