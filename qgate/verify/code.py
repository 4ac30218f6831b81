"""Copies of the trusted side's code that a pair names, hashed and told in the report."""

from __future__ import annotations

from pathlib import Path

from qgate.errors import SourceError, UsageError
from qgate.measure.plugin import Plugin
from qgate.report.schema import CodeUsed
from qgate.verify.pair import Pair
from qgate.verify.state import State, error_finding


def acquire_codes(pair: Pair, state: State, staging: Path) -> dict[str, Plugin] | None:
    """A plugin for each role of the pair's code; None where one cannot be had, which is then a finding."""
    found: dict[str, Plugin] = {}
    for role, acquire in pair.code.items():
        try:
            copied = acquire(staging / "code")
        except (SourceError, UsageError) as error:
            state.findings.append(error_finding(error, "ART101", role))
            return None
        found[role] = Plugin(copied.root, copied.module, copied.function, copied.packaged, copied.label)
        state.code.append(CodeUsed(role=role, locator=copied.label, files=dict(sorted(copied.files.items()))))
    return found
