"""All hostile cases: the modules that add them, and the list."""

from __future__ import annotations

from tests.corpus.hostile import pickles
from tests.corpus.hostile.case import CASES

SOURCES = (pickles,)

__all__ = ["CASES", "SOURCES"]
