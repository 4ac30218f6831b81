"""Whether the static lint of saturation (DEP301) and a run that saturates (DEP302) agree, on the example models.

    python bench/avx2.py [--examples DIR] [--samples N] [--docs]

Each int8 candidate is run with and without ``session.x64quantprecision``: on this processor where it has AVX2 and no VNNI,
else on one that QEMU emulates. With --docs the table goes into ``docs/runtimes.md``, between its markers.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from evaluate import write_between
from evaluate_cases import Case, example_cases

from qgate.verifier.adhoc import AdHoc, verify_ad_hoc

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs" / "runtimes.md"


def verified(case: Case, samples: int) -> Any:
    """The report of a candidate that is served where products saturate."""
    return verify_ad_hoc(
        AdHoc(case.candidate, case.reference, samples=samples, runtimes=("onnxruntime", "avx2"), deploy="avx2",
              sandbox="reduced")
    )  # fmt: skip


def row(case: Case, report: Any) -> str:
    """One line of the table: of several outputs the one that differs most."""
    held = {name: [m for m in report.measurements if m.name == name] for name in
            ("deploy.avx2.saturating", "runtime.ran", "runtime.lsb", "runtime.sqnr_db")}  # fmt: skip
    lint = [f"{m.number:.0f}" for m in held["deploy.avx2.saturating"]] or ["none"]
    if not any(m.value is True for m in held["runtime.ran"]):
        reason = next((m.not_measured for m in held["runtime.ran"]), report.reason)
        return f"| `{case.id}` | {lint[0]} | not run: {reason} | | | |"
    worst = max(held["runtime.lsb"], key=lambda m: m.number)
    kept = {str(m.at.output): m for m in held["runtime.sqnr_db"]}.get(str(worst.at.output))
    exact, saturated = (
        (f"{kept.detail['onnxruntime_db']:.1f} dB", f"{kept.number:.1f} dB")
        if kept is not None and kept.value is not None
        else ("-", "-")
    )
    ran = "error" if any(f.rule == "DEP302" for f in report.findings) else "silent"
    return f"| `{case.id}` | {lint[0]} | {exact} | {saturated} | {worst.number:.3g} | {ran} |"


def table(examples: Path, samples: int) -> Iterator[str]:
    """The lines of the table."""
    yield "| candidate | layers that can saturate (DEP301) | exact | by default | steps | DEP302 |"
    yield "|---|--:|--:|--:|--:|---|"
    with tempfile.TemporaryDirectory() as scratch:
        for case in example_cases(examples, Path(scratch)):
            if case.kind == "honest" and case.candidate.suffix == ".onnx" and "16" not in case.candidate.stem:
                yield row(case, verified(case, samples))


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=Path, default=ROOT / "examples")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--docs", action="store_true")
    asked = parser.parse_args()
    lines = []
    for line in table(asked.examples, asked.samples):
        print(line, flush=True)
        lines.append(line)
    if asked.docs:
        write_between(DOCS, "avx2", "\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
