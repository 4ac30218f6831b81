"""Accepting new numbers: ``qgate accept`` writes them, a later run measures again and compares."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from qgate.baseline.compare import compare, direction_of
from qgate.baseline.content import compare_contents
from qgate.baseline.outcomes import agreeing_outcomes
from qgate.baseline.record import (
    MAX_BASELINE_BYTES,
    Acceptance,
    Baseline,
    Entry,
    entries_of,
    make_baseline,
    read_baseline,
    unbound,
    write_baseline,
)
from qgate.errors import BaselineError, UsageError
from qgate.git.repository import Repository, open_repository
from qgate.plan.targets import TargetRun
from qgate.plan.touch import baseline_path
from qgate.policy.load import load_policy
from qgate.policy.yaml_reader import MAX_BYTES
from qgate.records import Finding, Limit, Severity, Verdict
from qgate.report.provenance import build_provenance
from qgate.report.schema import ContentDelta, Delta, TargetReport
from qgate.rules.traceability import default_limits, trace_finding
from qgate.settings import Settings

_SAMPLES = 2.0
_LISTED = 10
_NAMED = 3


@dataclass(frozen=True)
class Accepted:
    """What ``qgate accept`` did.

    Args:
        path: The file that it wrote.
        baseline: Its content.
        deltas: Against the file that was there; empty where there was none.
        content: What the candidate holds against what that file's held; None where there was none.
        report: The measurements and their verdict, which may be FAIL: accepting waives no threshold.
    """

    path: Path
    baseline: Baseline
    deltas: tuple[Delta, ...]
    content: ContentDelta | None
    report: TargetReport


def accept_target(
    settings: Settings,
    name: str,
    reason: str,
    verify: Callable[[TargetRun], TargetReport],
    *,
    despite_findings: bool = False,
) -> Accepted:
    """Measures a target of the work tree and writes its baseline file.

    Args:
        settings: What was asked for.
        name: The target.
        reason: Why its numbers are accepted.
        verify: Measures and judges it.
        despite_findings: Accept the numbers of a candidate that breaks rules, which it goes on doing.

    Raises:
        UsageError: There is no policy or no such target, or the reason says nothing.
        BaselineError: The target could not be measured or fails, or the file not be written; nothing was changed.
        QgateError: The policy or the repository cannot be read.
    """
    why = " ".join(reason.split())
    if not why or len(why) > 500 or not why.isprintable():
        raise UsageError(
            "a reason of 1 to 500 characters is needed", where="--reason", remedy="Say why this is accepted"
        )
    repo = open_repository(settings.workspace)
    run = work_tree_run(repo, settings, name)
    report = verify(run)
    if report.verdict is Verdict.ERROR:
        raise BaselineError(
            f"target {name} could not be measured: {report.reason}", remedy="Fix that first; nothing changed"
        )
    unsigned = next((f for f in report.findings if f.rule == "ART119" and f.severity is Severity.ERROR), None)
    if unsigned is not None:
        # Such a candidate was not run, so its numbers have holes.
        raise BaselineError(f"target {name}: {unsigned.message}", remedy=unsigned.remedy)
    broken = failing(report)
    if broken and not despite_findings:
        told = "; ".join(f"{f.rule}: {f.message}" for f in broken[:_NAMED])
        more = f"; and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
        raise BaselineError(
            f"target {name} fails, so nothing was accepted: {told}{more}",
            remedy="Mend the candidate or waive the rule in the policy; --despite-findings accepts its numbers as they are, "
            "and it goes on failing",
        )
    path = baseline_path(name)
    old = read_baseline(repo.read(None, path, MAX_BASELINE_BYTES), name)
    provenance = build_provenance(seed=run.seed)
    baseline = make_baseline(report, provenance, acceptance=Acceptance(reason=why, previous=old.sha256))
    target = repo.root / path
    if not target.parent.resolve().is_relative_to(repo.root):
        raise BaselineError("the folder leads out of the repository", where=path, remedy="Remove the link")
    write_baseline(baseline, target)
    limits = report.thresholds.get("TRC102") or default_limits("TRC102")
    entries = old.baseline.measurements if old.baseline else ()
    deltas = compare(entries, report.measurements, limits) if old.baseline else ()
    content = None
    if old.baseline is not None:
        before = old.baseline.candidate, old.baseline.content
        content = compare_contents(before, (report.candidate, report.content))
    return Accepted(target, baseline, deltas, content, report)


def failing(report: TargetReport) -> tuple[Finding, ...]:
    """The broken rules of a candidate, those that a waiver covers aside."""
    return tuple(f for f in report.findings if f.severity is Severity.ERROR)


def work_tree_run(repo: Repository, settings: Settings, name: str) -> TargetRun:
    """A target of the work tree's own policy, ready to be measured.

    Raises:
        UsageError: There is no policy, or no such target.
        QgateError: The policy cannot be read.
    """
    content = repo.read(None, settings.config, MAX_BYTES)
    if content is None:
        raise UsageError(
            "there is no policy", where=settings.config, remedy="Write one, or name it: --config"
        )
    policy = load_policy(content, settings.config)
    target = policy.target(name)
    if target is None:
        known = ", ".join(t.name for t in policy.targets)
        raise UsageError(
            f"there is no target {name!r}", where=settings.config, remedy=f"It has {known}"[:300]
        )
    return TargetRun(
        name,
        target,
        policy,
        repo.root,
        candidate=target.candidate,
        reference=target.reference,
        data=target.data,
        signature=target.signature,
    )


def disagreements(
    carried: Baseline, report: TargetReport, *, isa: str, limits: Mapping[str, Mapping[str, Limit]]
) -> tuple[Finding, ...]:
    """Where a baseline file that a change carries is not what this run measures; empty if it is.

    Args:
        carried: The file on the judged side.
        report: What this run measured of the judged candidate.
        isa: ISA class of this machine; across classes more disagreement is allowed.
        limits: Thresholds in force, by rule.
    """
    if (
        carried.candidate.sha256 != report.candidate.sha256
        or carried.candidate.files != report.candidate.files
    ):
        return (_mismatch("it was written for other candidate files than the change has", {}, limits),)
    told = _other_content(carried, report)
    if told:
        return (_mismatch(told, {}, limits),)
    bound = unbound(carried, report, isa=None)
    if bound:
        return (_mismatch("; ".join(bound), {}, limits),)
    if not agreeing_outcomes(
        carried.outcomes, report.outcomes, most=0 if carried.isa == isa else int(_SAMPLES)
    ):
        return (_mismatch("its outcomes of the samples are not those of this run", {}, limits),)
    own = limits.get("TRC110") or default_limits("TRC110")
    found = list(_different(carried.measurements, entries_of(report.measurements), carried.isa != isa, own))
    if not found:
        return ()
    evidence = {"count": len(found), "first": found[:_LISTED], "written_on": carried.isa, "measured_on": isa}
    return (_mismatch(f"{len(found)} measurements differ: {found[0]}", evidence, limits),)


def _other_content(carried: Baseline, report: TargetReport) -> str:
    """What the file says of the content that this run does not find; empty if both say the same."""
    if (carried.content is None) != (report.content is None):
        return f"the content is digested {'here' if carried.content is None else 'in the file'} only"
    if (carried.candidate.content, carried.content) == (report.candidate.content, report.content):
        return ""
    delta = compare_contents((carried.candidate, carried.content), (report.candidate, report.content))
    named = ", ".join(tensor.name for tensor in delta.tensors[:3])
    return f"its digests of the content are not those of the candidate{f' ({named})' if named else ''}"


def _mismatch(what: str, evidence: dict[str, object], limits: Mapping[str, Mapping[str, Limit]]) -> Finding:
    return trace_finding(
        "TRC110",
        f"The change carries a baseline that this run does not confirm: {what}",
        limits=limits,
        evidence=evidence,
    )


def _different(
    old: tuple[Entry, ...], new: tuple[Entry, ...], across: bool, limits: Mapping[str, Limit]
) -> Iterator[str]:
    before, after = ({entry.key: entry for entry in side} for side in (old, new))
    for key in sorted({*before, *after}):
        place = " at ".join(part for part in key if part)
        if key not in after:
            yield f"{place} is in the file only"
        elif key not in before:
            yield f"{place} is measured only"
        elif not _agree(before[key], after[key], across, limits):
            yield f"{place} is {before[key].value} in the file and {after[key].value} here"


def _agree(old: Entry, new: Entry, across: bool, limits: Mapping[str, Limit]) -> bool:
    if isinstance(old.value, str) or isinstance(new.value, str):
        return old.value == new.value
    one, other = float(old.value), float(new.value)
    if one == other or (math.isnan(one) and math.isnan(other)):
        return True
    relative = float(limits["relative_across_isa" if across else "relative"].value)
    allowed = max(float(limits["absolute"].value), relative * abs(one))
    direction = direction_of(old.name)
    if across and direction is not None and (direction.counted or direction.of_samples):
        allowed = max(allowed, _SAMPLES if direction.counted else _SAMPLES / (new.n or 1))
    return math.isfinite(one) and math.isfinite(other) and abs(one - other) <= allowed
