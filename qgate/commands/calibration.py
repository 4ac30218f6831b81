"""``qgate calibrate``: thresholds for a target from its own data, each with the reason why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from qgate.calibrate.measuring import Calibration
    from qgate.calibrate.proposal import Proposal
    from qgate.records import Finding


def calibrate_target(name: str, config: str | None, repeats: int, *, write: bool) -> int:
    """Measures a target of the work tree's policy and prints thresholds for it, or writes them; the exit code."""
    from qgate.baseline.acceptance import work_tree_run
    from qgate.calibrate.measuring import measure_again
    from qgate.calibrate.proposal import propose
    from qgate.calibrate.verdict import held_against
    from qgate.git.repository import open_repository
    from qgate.policy.thresholds import resolve
    from qgate.sandbox.protect import protect_parent
    from qgate.sandbox.staging import staging_directory
    from qgate.settings import read_settings, repository_path
    from qgate.verifier.targets import target_pair

    protect_parent()
    settings = read_settings()
    if config:
        settings = replace(settings, config=repository_path(config, "--config"))
    repository = open_repository(settings.workspace)
    run = work_tree_run(repository, settings, name)
    with staging_directory() as staging:
        found = measure_again(target_pair(run, settings), staging, _tell, repeats=repeats)
    limits = resolve(run.policy, run.target, run.profile, found.scheme)
    declared = {
        "scheme": run.target.scheme,
        "derivation": run.target.derivation,
        "data": "given" if run.data is not None else "generated",
        "ran": True,
    }
    proposals = held_against(found, propose(found), limits, declared)
    click.echo("\n".join(_lines(name, found, proposals)))
    if write:
        _write(repository.root / settings.config, name, [each for each, _ in proposals])
        click.echo(
            f"Wrote {settings.config}. Read it, and commit it: a threshold that becomes looser needs an approval."
        )
    return 0


def _write(path: Path, name: str, proposals: Sequence[Proposal]) -> None:
    from qgate.files import replacing
    from qgate.policy.edit import with_thresholds

    entries = [(each.rule, each.param, each.value, each.why) for each in proposals]
    text = with_thresholds(path.read_bytes(), name, entries, path.name)
    with replacing(path, mode=0o644) as file:
        file.write(text)


def _tell(text: str) -> None:
    from qgate.report.escape import visible

    click.echo(f"  measures {visible(text)} ...", err=True)


def _lines(
    name: str, found: Calibration, proposals: Sequence[tuple[Proposal, Finding | None]]
) -> Iterator[str]:
    """A piece of YAML for the target, its reasons as comments; and what the candidate itself does not hold of it."""
    from qgate.report.escape import visible

    yield f"# Proposed by `qgate calibrate --target {name}` on {found.samples:,} samples; put it under the target."
    for yardstick in found.yardsticks:
        if yardstick.reason:
            yield f"# no yardstick ({visible(yardstick.recipe)}): {visible(yardstick.reason)}"
    for each, error in proposals:
        if error is not None:
            place = f"{error.at}: " if str(error.at) else ""
            yield f"# Your candidate would FAIL with {each.rule}.{each.param}: {visible(place + error.message, 300)}"
    yield "thresholds:"
    rule = ""
    for each, _ in proposals:
        if each.rule != rule:
            rule = each.rule
            yield f"  {rule}:"
        yield f"    # {visible(each.why, 400)}"
        yield f"    {each.param}: {each.value:g}"
