"""``qgate bisect``: which layers cost the signal, and what leaving them in float would give."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qgate.errors import UsageError

if TYPE_CHECKING:
    from qgate.bisect.search import Bisection, Quality
    from qgate.verifier.adhoc import AdHoc
    from qgate.verify.pair import Pair

_LISTED = 10


def bisect_pair(asked: AdHoc, most: int, write: Path | None) -> int:
    """Looks into one pair; the exit code."""
    from qgate.verifier.adhoc import ad_hoc_pair

    return _bisect(ad_hoc_pair(asked), most, write)


def bisect_target(name: str, config: str | None, most: int, write: Path | None) -> int:
    """Looks into a target of the work tree's policy; the exit code."""
    from qgate.baseline.acceptance import work_tree_run
    from qgate.git.repository import open_repository
    from qgate.settings import read_settings, repository_path
    from qgate.verifier.targets import target_pair

    settings = read_settings()
    if config:
        settings = replace(settings, config=repository_path(config, "--config"))
    run = work_tree_run(open_repository(settings.workspace), settings, name)
    return _bisect(target_pair(run, settings), most, write)


def _bisect(pair: Pair, most: int, write: Path | None) -> int:
    from qgate.bisect.search import bisect
    from qgate.sandbox.staging import staging_directory

    if write is not None and write.exists():
        raise UsageError(
            "the file is there already", where=str(write), remedy="Name another file, or remove it"
        )
    with staging_directory() as staging:
        found = bisect(pair, staging, most=most, write=write, told=_tell)
    click.echo("\n".join(_lines(found)))
    if write is not None:
        wrote = (
            f"Wrote {write}: `qgate verify` says whether it may be shipped"
            if found.advice is not None
            else "Wrote nothing, for no layer is worth it"
        )
        click.echo(f"{wrote}.")
    return 0


def _tell(text: str) -> None:
    """What is being done, for somebody who waits at a terminal; a log and a pipe get the result."""
    import sys

    from qgate.report.escape import visible

    if not sys.stderr.isatty():
        return
    click.echo(f"  {visible(text)} ...", err=True)


def _lines(found: Bisection) -> Iterator[str]:
    from qgate.bisect.repair import What

    yield f"As it is: {_said(found.quality)}, on {found.quality.samples:,} samples."
    if found.first is not None:
        before = "" if found.first.before_db is None else f" from {found.first.before_db:.1f} dB"
        fall = f"the signal falls{before} to {found.first.sqnr_db:.1f} dB"
        yield f"First to drift: {_name(found.first.node)} ({found.first.op}), {fall}."
    yield from _cause(found)
    yield ""
    yield f"{'layer':<34}{'operation':<14}{'keeps':>9}{'in float':>10}{'weights':>10}{'inputs':>10}{'output':>10}{'costs':>12}"
    for trial in found.trials:
        parts = (
            trial.restored,
            *(trial.parts.get(what) for what in (What.WEIGHTS, What.INPUTS, What.OUTPUT)),
        )
        gains = [_gain(part, found.quality) for part in parts]
        yield (
            f"{_name(trial.suspect.node):<34}{_name(trial.suspect.op, 12):<14}{trial.suspect.sqnr_db:>6.1f} dB"
            + "".join(f"{gain:>10}" for gain in gains)
            + f"{trial.bytes:>10,} B"
        )
        for problem in trial.problems:
            yield f"    {_name(problem, 120)}"
    tried = {trial.suspect.node for trial in found.trials}
    others = [s for s in found.layers if s.node not in tried and s.added > 0][: _LISTED - len(tried)]
    for suspect in others:
        yield f"{_name(suspect.node):<34}{_name(suspect.op, 12):<14}{suspect.sqnr_db:>6.1f} dB{'not tried':>10}"
    yield ""
    if found.untried:
        yield f"No layer was tried in float: {found.untried}. The table says where the signal is lost."
        return
    badly = bool(found.clipping.clipped) or (found.first is not None and found.first.op == "Input")
    if found.advice is None:
        yield (
            "Leaving single layers in float does not help: calibrate again."
            if badly
            else "Leaving single layers in float does not help: look at the calibration data, or at the scheme itself."
        )
        return
    count = len(found.advice.nodes)
    layers = "this layer" if count == 1 else f"these {count} layers"
    yield (
        f"{f'Calibrate again first. Until then, leave {layers}' if badly else f'Leave {layers}'} unquantized: "
        f"{_said(found.advice.quality)} ({_gain(found.advice.quality, found.quality)}), for {found.advice.bytes:,} bytes more."
    )
    yield from _why_another(found)
    yield "    nodes_to_exclude=[" + ", ".join(json.dumps(each) for each in found.advice.names) + "]"


def _cause(found: Bisection) -> Iterator[str]:
    """What explains the whole of it, where something does: then single layers are no remedy but a stopgap."""
    from qgate.bisect.ranking import CLIPPED_ENERGY

    if found.first is not None and found.first.op == "Input":
        yield (
            "The model's own input does not come through its quantizer: calibrate again on data like those that the "
            "model will see, prepared as they will be. A layer in float helps as far as it reads the input itself."
        )
    ranges = found.clipping
    if ranges.clipped:
        worst = ", ".join(f"{_name(name, 60)} {share:.0%}" for name, share in ranges.clipped[:3])
        more = ", ..." if len(ranges.clipped) > 3 else ""
        yield (
            f"{len(ranges.clipped)} of {ranges.ranges} activation ranges cut off more than "
            f"{CLIPPED_ENERGY:.0%} of the reference's energy ({worst}{more}): calibrated on other data, or changed since."
        )


def _why_another(found: Bisection) -> Iterator[str]:
    """Why what helps is not where the drift begins, where the two part."""
    first, advice = found.first, found.advice
    if first is None or advice is None or first.op == "Input" or first.node in advice.nodes:
        return
    own = next((trial.restored for trial in found.trials if trial.suspect.node == first.node), None)
    if own is None:
        yield f"The drift begins at {_name(first.node)}, which was not tried in float."
        return
    yield (
        f"The drift begins at {_name(first.node)}, but that layer alone in float gives {_gain(own, found.quality)}: what "
        "follows is held to ranges that are as bad."
    )


def _name(text: str, limit: int = 32) -> str:
    """A name as a terminal may show it, its middle left out where it is long."""
    from qgate.report.escape import visible

    shown = visible(text, 10_000)
    half = (limit - 1) // 2
    return shown if len(shown) <= limit else f"{shown[:half]}…{shown[-half:]}"


def _said(quality: Quality) -> str:
    agreement = "" if quality.agreement is None else f" and {quality.agreement:.2%} of the top classes"
    return f"outputs keep {quality.sqnr_db:.1f} dB{agreement}"


def _gain(after: Quality | None, before: Quality) -> str:
    return "-" if after is None else f"{after.sqnr_db - before.sqnr_db:+.1f} dB"
