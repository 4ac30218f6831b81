"""Writes docs/rules.md from the catalogue of rules."""

from __future__ import annotations

from pathlib import Path

from qgate.rules.catalogue import catalogue
from qgate.rules.document import document

if __name__ == "__main__":
    Path(__file__).parents[1].joinpath("docs", "rules.md").write_text(document(catalogue().values()), "utf-8")
