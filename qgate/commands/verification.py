"""``qgate verify``: one pair, or a repository's targets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qgate.errors import UsageError

if TYPE_CHECKING:
    from qgate.report.schema import Report
    from qgate.sandbox.launch import Child
    from qgate.verifier.adhoc import AdHoc


def verify_pair(asked: AdHoc, folder: Path | None, child: Child | None) -> int:
    """Verifies one pair; its exit code."""
    from qgate.measure.progress import show_progress
    from qgate.report.compose import compose_report
    from qgate.report.provenance import build_provenance
    from qgate.report.write import prepare_folder
    from qgate.verifier.adhoc import verify_ad_hoc

    if folder is not None:
        prepare_folder(folder)
    with show_progress(asked.candidate.name, sys.stderr) as progress:
        result = verify_ad_hoc(asked, progress, child)
    return _finish(compose_report(targets=(result,), provenance=build_provenance(seed=asked.seed)), folder)


def verify_repository(
    config: str | None,
    targets: tuple[str, ...],
    base: str | None,
    profile: str | None,
    folder: Path | None,
    leaves: Path | None = None,
) -> int:
    """Verifies the targets of the policy in the working folder; the exit code."""
    from dataclasses import replace

    from qgate.events import Activity, Kind
    from qgate.gate.run import run_gate
    from qgate.report.write import prepare_folder
    from qgate.settings import read_settings, repository_path
    from qgate.verifier.targets import content_locator, rejudge_target, target_verifier

    settings = read_settings()
    settings = replace(
        settings,
        config=repository_path(config, "--config") if config else settings.config,
        targets=targets or settings.targets,
        base=base,
        report_dir=folder or settings.report_dir,
        leaves_dir=leaves or settings.leaves_dir,
    )
    if profile is not None:
        raise UsageError(
            "--profile is for one pair; a repository's policy names its own", remedy="Set `profile` there"
        )
    _expect_clone(settings.workspace)
    prepare_folder(settings.report_dir)
    report = run_gate(
        settings,
        Activity(Kind.LOCAL, repository=settings.repository),
        verify=target_verifier(settings, leaves=settings.report_dir),
        judge_again=rejudge_target,
        locate=content_locator(settings),
        progress=lambda line: click.echo(line, err=True),
    )
    return _finish(report, settings.report_dir)


def _expect_clone(workspace: Path) -> None:
    """Nothing is judged, and no report left behind, where there are neither models nor a repository."""
    from qgate.errors import QgateError
    from qgate.git.repository import open_repository

    try:
        open_repository(workspace)
    except QgateError as error:
        raise UsageError(
            f"there is nothing to verify: no pair is named, and this is no git repository ({error.what})",
            where=str(workspace),
            remedy="Give --reference and --candidate, or run inside a clone that has a policy (qgate.yml)",
        ) from error


def _finish(report: Report, folder: Path | None) -> int:
    from rich.console import Console

    from qgate.report.terminal import print_report
    from qgate.report.write import write_report

    if folder is not None:
        write_report(report, folder)
    print_report(report, Console(), directory=str(folder) if folder is not None else None)
    return report.verdict.exit_code
