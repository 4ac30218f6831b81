"""``qgate accept``: a target's numbers become its baseline."""

from __future__ import annotations

from dataclasses import replace

import click

_SHOWN = 10


def accept(target: str, reason: str, config: str | None, *, despite_findings: bool = False) -> int:
    """Measures a target and writes its baseline file; the exit code."""
    from qgate.baseline.acceptance import accept_target, failing
    from qgate.report import figures
    from qgate.report.content import described, headline
    from qgate.report.escape import visible
    from qgate.sandbox.protect import protect_parent
    from qgate.settings import read_settings, repository_path
    from qgate.verifier.targets import target_verifier

    protect_parent()
    settings = read_settings()
    if config:
        settings = replace(settings, config=repository_path(config, "--config"))
    accepted = accept_target(
        settings, target, reason, target_verifier(settings), despite_findings=despite_findings
    )
    click.echo(f"{accepted.report.verdict}: {accepted.report.reason}")
    broken = failing(accepted.report)
    for finding in broken[:_SHOWN]:
        click.echo(f"  still fails: {finding.rule}: {visible(finding.message)}")
    if len(broken) > _SHOWN:
        click.echo(f"  and {len(broken) - _SHOWN} more that still fail")
    worse = [delta for delta in accepted.deltas if delta.worse]
    for delta in worse[:_SHOWN]:
        before, after = (figures.value(v, delta.unit) for v in (delta.baseline, delta.current))
        place = f" at {delta.at}" if delta.at else ""
        click.echo(f"  worse: {visible(f'{delta.name}{place}')}: {before} before, {after} now")
    gone = sum(delta.gone for delta in accepted.deltas)
    more = len(worse) - _SHOWN
    if more > 0:
        click.echo(f"  and {more} more that are worse")
    if gone:
        click.echo(f"  {gone} measurements of the old baseline are no longer made")
    if accepted.content is not None:
        text = headline(accepted.content)
        click.echo(f"  {visible(text[:1].upper() + text[1:])}")
        for tensor in accepted.content.tensors[:_SHOWN]:
            click.echo(f"    {visible(described(tensor))}")
    click.echo(f"Wrote {accepted.path}. Commit it with the model.")
    if broken:
        click.echo(
            f"It accepts numbers, not broken rules: `qgate verify` goes on failing {visible(target)}.",
            err=True,
        )
    return 0
