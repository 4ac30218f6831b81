"""Repository mode: policy, plan, every target, its baseline, one report. Fails closed at every step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from qgate.baseline.choice import Circumstances, Locate
from qgate.errors import QgateError
from qgate.events import Activity
from qgate.gate.target import Verifier, judge_target, printable
from qgate.git.changes import Change
from qgate.git.repository import Repository, open_repository
from qgate.plan.approval import Grants, no_approvals
from qgate.plan.authority import Ruling, decide_authority
from qgate.plan.code import code_paths
from qgate.plan.digests import related_paths
from qgate.plan.sides import Sides, decide_sides
from qgate.plan.targets import Plan, Planned, TargetRun, make_plan
from qgate.records import Finding, Place, Severity, Verdict
from qgate.report.compose import compose_report
from qgate.report.provenance import build_provenance
from qgate.report.schema import Provenance, Report, Skipped, TargetReport
from qgate.rules.traceability import trace_finding
from qgate.settings import Settings

Verify = Callable[[TargetRun], TargetReport]
"""Measures and judges one target. What it raises becomes an ERROR of that target."""

JudgeAgain = Callable[[TargetReport, TargetRun], TargetReport]
"""Judges measurements that were made already by another run's lines."""


@dataclass(frozen=True)
class _Scene:
    """What was decided before the first target is run."""

    repo: Repository
    sides: Sides
    changes: tuple[Change, ...] | None
    ruling: Ruling
    plan: Plan
    provenance: Provenance


def run_gate(
    settings: Settings,
    activity: Activity,
    *,
    verify: Verify,
    judge_again: JudgeAgain | None = None,
    locate: Locate | None = None,
    approvals: Callable[[str], Grants] = no_approvals,
    progress: Callable[[str], None] | None = None,
    now: datetime | None = None,
) -> Report:
    """Judges what an activity proposes.

    Args:
        settings: Inputs and environment.
        activity: What happened.
        verify: Measures and judges one target.
        judge_again: Judges existing measurements by other lines; without it they are measured again.
        locate: Says where in its tensors a candidate differs from the accepted one.
        approvals: Asks who set a label on the pull request; called at most once, only if needed.
        progress: Takes one line for each step.
        now: The time of this run.

    Returns:
        The report. What keeps the run from starting (no policy, a shallow clone, a wrong input) is a
        report with the verdict ERROR; no QgateError leaves this function.
    """
    at = now or datetime.now(UTC)
    say = progress or _silent
    try:
        scene = _set_scene(settings, activity, approvals, at)
        return _play(scene, settings, activity, Verifier(verify, judge_again, say, locate), at)
    except QgateError as error:
        return failed_report(error, settings, activity, now=at)


def failed_report(
    error: QgateError, settings: Settings, activity: Activity | None = None, *, now: datetime | None = None
) -> Report:
    """The report of a run that could not start: verdict ERROR with what happened and what to do."""
    where = printable(error.where)
    finding = Finding(
        rule="TRC112",
        severity=Severity.ERROR,
        effect=Verdict.ERROR,
        at=Place(file=where) if where else Place(),
        message=printable(f"{where}: {error.what}" if where else error.what),
        remedy=printable(error.remedy),
    )
    sha = activity.head_sha if activity else settings.sha
    provenance = _provenance(settings, activity, None, sha, now or datetime.now(UTC))
    return compose_report(targets=(), findings=(finding,), provenance=provenance)


def _set_scene(
    settings: Settings, activity: Activity, approvals: Callable[[str], Grants], at: datetime
) -> _Scene:
    repo = open_repository(settings.workspace)
    sides = decide_sides(repo, activity, base=settings.base, sha=settings.sha)
    changes = None if sides.changes_from is None else repo.changes(sides.changes_from, sides.judged)
    ruling = decide_authority(repo, settings.config, activity, sides, changes, fetch=approvals)
    trusted, judged = ruling.authority.trusted, ruling.authority.judged
    plan = make_plan(
        trusted,
        judged,
        changes,
        related=_related(repo, sides, ruling, changes or ()),
        only=settings.targets,
    )
    return _Scene(repo, sides, changes, ruling, plan, _provenance(settings, activity, sides, sides.head, at))


def _related(
    repo: Repository, sides: Sides, ruling: Ruling, changes: Iterable[Change]
) -> dict[str, frozenset[str]]:
    changed = frozenset(change.path for change in changes)
    found: dict[str, frozenset[str]] = {}
    for policy in (ruling.authority.trusted, ruling.authority.judged) if changed else ():
        for target in policy.targets if policy is not None else ():
            paths = related_paths(
                repo, {sides.judged, sides.trusted}, (target.candidate, target.reference), changed
            )
            found[target.name] = found.get(target.name, frozenset()) | paths
        code = code_paths(repo, {sides.judged, sides.trusted}, policy.targets if policy is not None else ())
        for name, paths in code.items():
            found[name] = found.get(name, frozenset()) | (paths & changed)
    return found


def _play(scene: _Scene, settings: Settings, activity: Activity, verifier: Verifier, at: datetime) -> Report:
    sides, ruling, plan = scene.sides, scene.ruling, scene.plan
    around = Circumstances(
        repo=scene.repo,
        sides=sides,
        changed=frozenset(change.path for change in scene.changes or ()),
        provenance=scene.provenance,
        consent=ruling.consent,
        verify=verifier.verify,
        report_dir=settings.report_dir,
        today=at.astimezone(UTC).date(),
        locate=verifier.locate,
    )
    judged, skipped = [], [Skipped(name=name, reason=_UNTOUCHED) for name in plan.untouched]
    for position, planned in enumerate(plan.run, start=1):
        verifier.say(f"{planned.name} ({position}/{len(plan.run)}): {planned.reasons[0]}")
        result = judge_target(planned, ruling.authority, verifier, around, (position, len(plan.run)))
        if isinstance(result, Skipped):
            skipped.append(result)
        else:
            verifier.say(f"{planned.name}: {result.verdict.value}: {result.reason}")
            judged.append(result)
    skipped += [
        Skipped(name=left.name, reason="`targets` (--target) leaves it out") for left in plan.left_out
    ]
    used = ruling.used.model_copy(update={"approved_by": ruling.consent.used})
    return compose_report(
        targets=judged,
        skipped=skipped,
        findings=(*ruling.findings, *map(_left_out, plan.left_out)),
        notices=(
            *_who_judged(scene),
            *sides.notices,
            *ruling.notices,
            *_about(activity),
            *ruling.consent.notices,
        ),
        policy=used,
        provenance=scene.provenance,
        nothing_to_judge="" if judged else _nothing_to_judge(scene, skipped),
    )


_UNTOUCHED = "the change does not touch it"


def _left_out(planned: Planned) -> Finding:
    return trace_finding(
        "TRC107",
        f"The change touches target {planned.name} ({planned.reasons[0]}), and it was not run",
        effect=Verdict.INCONCLUSIVE,
        evidence={"target": planned.name, "reasons": list(planned.reasons[:10])},
    )


def _nothing_to_judge(scene: _Scene, skipped: list[Skipped]) -> str:
    if scene.plan.left_out:
        return ""
    if scene.plan.run:
        return f"No target is left to judge: {skipped[-1].name}: {skipped[-1].reason}"
    if scene.changes is None:
        return ""
    return (
        f"The change touches no target: {len(scene.changes)} changed files, none of them a candidate, "
        f"reference, data set or baseline of the policy's {len(scene.plan.untouched)} targets"
    )


def _who_judged(scene: _Scene) -> Iterator[str]:
    """Which commits were used; a local run without a base says so by itself."""
    sides = scene.sides
    if not sides.own_policy:
        yield f"Judged: {sides.judged or 'the work tree'}. Trusted: {sides.trusted or 'the work tree'}."
    elif sides.judged is not None:
        yield f"Judged: {sides.judged}, by its own policy."


def _about(activity: Activity) -> Iterator[str]:
    if activity.fork:
        yield (
            "The change comes from a fork: its workflow file is the fork's own, so what this run says can be "
            "forged. A trusted job must judge again where that matters."
        )


def _provenance(
    settings: Settings, activity: Activity | None, sides: Sides | None, head: str | None, at: datetime
) -> Provenance:
    return build_provenance(
        repository=activity.repository if activity else settings.repository,
        event=activity.event if activity else settings.event_name or None,
        pull_request=activity.number if activity else None,
        base_sha=sides.trusted if sides else activity.base_sha if activity else None,
        head_sha=head,
        merge_sha=sides.merge if sides else None,
        run_url=settings.run_url,
        now=at,
    )


def _silent(_: str) -> None:
    return None
