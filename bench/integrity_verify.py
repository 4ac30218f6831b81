"""``qgate verify`` in a process of its own, and what its report says."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

QGATE = Path(sys.executable).parent / "qgate"
TIMEOUT = 300
TRACEBACK = "Traceback (most recent call last)"


@dataclass(frozen=True)
class Said:
    """What one run said.

    Args:
        verdict: Of the report; HUNG, or CRASH where there is no report or a traceback.
        code: Exit status.
        rules: Rules of the errors that block.
        output: Standard output and error.
        folder: Where the report is.
        report: The report.
    """

    verdict: str
    code: int
    rules: frozenset[str]
    output: str
    folder: Path
    report: dict[str, Any] = field(default_factory=dict)


def verify(
    reference: Path, candidate: Path, folder: Path, *arguments: str, inputs: Path | None = None
) -> Said:
    """One run, with the report below ``folder``."""
    line = [str(QGATE), "verify", "--reference", str(reference), "--candidate", str(candidate), *arguments]
    line += ["--inputs", str(inputs)] if inputs else []
    folder.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(
            [*line, "--report", str(folder)], capture_output=True, timeout=TIMEOUT, cwd=folder, check=False
        )
    except subprocess.TimeoutExpired:
        return Said("HUNG", -1, frozenset(), "", folder)
    output = (done.stdout + done.stderr).decode("utf-8", "replace")
    stored = folder / "report.json"
    if not stored.exists() or TRACEBACK in output:
        return Said("CRASH", done.returncode, frozenset(), output, folder)
    report = json.loads(stored.read_text())
    found = [*report.get("findings", ()), *(f for target in report["targets"] for f in target["findings"])]
    rules = frozenset(f["rule"] for f in found if f["severity"] == "error" and f.get("waived") is None)
    return Said(report["verdict"], done.returncode, rules, output, folder, report)
