"""``qgate audit``: whether a stored report is as it was written, and follows from its own numbers."""

from __future__ import annotations

from pathlib import Path

import click


def audit(path: Path) -> int:
    """Audits a stored report; 0 where all of it follows, 1 where something does not."""
    from qgate.gate.audit import audit_report
    from qgate.report.escape import visible
    from qgate.report.schema import read_report

    report = read_report(path / "report.json" if path.is_dir() else path)
    problems = audit_report(report)
    for problem in problems:
        click.echo(f"  {visible(problem)}")
    measured = sum(len(target.measurements) for target in report.targets)
    waived = sum(f.waived is not None for t in report.targets for f in t.findings)
    if problems:
        click.echo(
            f"The report contradicts itself in {len(problems)} places; its verdict {report.verdict} counts for nothing."
        )
        return 1
    click.echo(f"{report.verdict} follows from {measured} measurements of {len(report.targets)} targets.")
    if waived:
        click.echo(f"{waived} findings are waived; whether the policy says so is not looked at.")
    click.echo(
        f"Digest {report.digest}. Who measured is not shown by it: compare it with the run's, or run again."
    )
    return 0
