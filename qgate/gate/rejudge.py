"""Judges a stored report again by the trusted policy, for the job that publishes what another measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from qgate.errors import PolicyError
from qgate.git.repository import Repository, open_repository
from qgate.plan.code import code_paths
from qgate.plan.digests import related_paths
from qgate.plan.proposed import Proposed
from qgate.plan.targets import Plan, make_plan
from qgate.policy.load import load_policy
from qgate.policy.schema import Policy
from qgate.policy.yaml_reader import MAX_BYTES
from qgate.records import Finding, Severity, Verdict, worst
from qgate.report.compose import compose_report
from qgate.report.schema import Report, Skipped, TargetReport
from qgate.rules.traceability import trace_finding
from qgate.settings import Settings
from qgate.verify.again import judge_again

_UNTOUCHED = "the change does not touch it"
_RECOMPUTED = "TRC104"
"""Waivers that have run out are told by the judgement that is made here."""


@dataclass(frozen=True)
class _Trusted:
    """The trusted side: the policy, and the commit that it stands in."""

    policy: Policy
    revision: str


def rejudge_report(stored: Report, base_ref: str, proposed: Proposed, settings: Settings) -> Report:
    """Judges the measurements of a stored report by the policy of the branch that the change goes into.

    The verdict of a target is the worse of the stored one and the one reached here: what is measured in a
    fork can be forged, so a stored FAIL is believed and a stored PASS is judged again. Which targets the
    change touches is worked out here, from what GitHub says of its files. A target that the trusted policy
    does not have has nothing trusted to be judged by, and is at best INCONCLUSIVE.

    Args:
        stored: The report, already validated against its schema.
        base_ref: The branch that the pull request goes into, as GitHub tells it.
        proposed: Which files the pull request changes, as GitHub tells it.
        settings: Where the trusted repository is checked out, and the policy's path in it.

    Raises:
        PolicyError: That branch is not here, or has no policy.
        SourceError: The trusted side cannot be read.
    """
    repo = open_repository(settings.workspace)
    trusted = _trusted_policy(repo, base_ref, settings.config)
    plan = _plan(repo, trusted, proposed, settings.config)
    judged = tuple(_target(target, trusted.policy) for target in stored.targets)
    measured = {target.name for target in stored.targets}
    untouched = [name for name in (plan.untouched if plan else ()) if name not in measured]
    return compose_report(
        targets=judged,
        findings=(*stored.findings, *_missing(stored, trusted.policy, plan, proposed)),
        skipped=[Skipped(name=name, reason=_UNTOUCHED) for name in untouched],
        notices=(f"Judged again by the policy of {base_ref} ({trusted.revision[:12]})", *stored.notices),
        policy=stored.policy.model_copy(update={"revision": trusted.revision}),
        provenance=stored.provenance,
        nothing_to_judge=_nothing_to_judge(plan, proposed),
    )


def _trusted_policy(repo: Repository, base_ref: str, config: str) -> _Trusted:
    for name in (f"refs/remotes/origin/{base_ref}", f"refs/heads/{base_ref}"):
        revision = repo.resolve(name)
        if revision is None:
            continue
        content = repo.read(revision, config, MAX_BYTES)
        if content is None:
            break
        return _Trusted(load_policy(content, config), revision)
    raise PolicyError(
        f"the branch {base_ref!r} is not checked out here, or has no policy",
        where=config,
        remedy="Check out the base branch in the trusted job",
    )


def _plan(repo: Repository, trusted: _Trusted, proposed: Proposed, config: str) -> Plan | None:
    """Which targets the change touches, on this side's evidence; None where that is unknown."""
    if proposed.changes is None:
        return None
    changed = frozenset(change.path for change in proposed.changes)
    related = {
        target.name: related_paths(repo, {trusted.revision}, (target.candidate, target.reference), changed)
        for target in trusted.policy.targets
    }
    for name, paths in code_paths(repo, {trusted.revision}, trusted.policy.targets).items():
        related[name] |= paths & changed
    judged = _proposed_policy(proposed, config) if config in changed else trusted.policy
    return make_plan(trusted.policy, judged, proposed.changes, related=related)


def _proposed_policy(proposed: Proposed, config: str) -> Policy | None:
    """The policy as the change would have it. One that cannot be read touches every target, as a deletion does."""
    try:
        return load_policy(proposed.policy, config) if proposed.policy is not None else None
    except PolicyError:
        return None


def _nothing_to_judge(plan: Plan | None, proposed: Proposed) -> str:
    if plan is None or plan.run or proposed.changes is None:
        return ""
    return f"The change touches no target: {len(proposed.changes)} changed files, as GitHub lists them"


def _target(stored: TargetReport, policy: Policy) -> TargetReport:
    lines = policy.target(stored.name)
    if lines is None:
        return _unknown(stored)
    again = judge_again(stored, target=lines, policy=policy, profile=None)
    verdict = worst((stored.verdict, again.verdict))
    # Findings about baseline and policy rest on more than measurements; they stay as they were stored.
    traced = tuple(f for f in stored.findings if f.rule.startswith("TRC") and f.rule != _RECOMPUTED)
    findings = (*again.findings, *traced)
    reason = again.reason if verdict is again.verdict else stored.reason
    if verdict is not again.verdict and worst(f.effect for f in findings) is not verdict:
        findings = (*findings, _stored_verdict(stored))
    return again.model_copy(update={"verdict": verdict, "reason": reason, "findings": findings})


def _unknown(stored: TargetReport) -> TargetReport:
    """A target of the change's own: whatever its run found, nobody here can judge it."""
    finding = trace_finding(
        "TRC113",
        f"The trusted policy has no target {stored.name}: the run that measured it also wrote what judged it",
        severity=Severity.ERROR,
        effect=Verdict.INCONCLUSIVE,
        remedy="A maintainer measures the branch (`qgate verify --base`), or adds the target first",
    )
    verdict = worst((stored.verdict, Verdict.INCONCLUSIVE))
    reason = finding.message if verdict is Verdict.INCONCLUSIVE else stored.reason
    return stored.model_copy(
        update={"verdict": verdict, "reason": reason, "findings": (*stored.findings, finding)}
    )


def _stored_verdict(stored: TargetReport) -> Finding:
    return Finding(
        rule="TRC112",
        severity=Severity.ERROR,
        effect=stored.verdict,
        message=f"the run that measured this target found it {stored.verdict}: {stored.reason}"[:500],
        remedy="See the measuring run",
    )


def _missing(stored: Report, policy: Policy, plan: Plan | None, proposed: Proposed) -> Iterator[Finding]:
    """Targets that the change touches, or may touch, and that the report has no measurement of."""
    if any(finding.effect is not Verdict.PASS for finding in stored.findings):
        return
    measured = {target.name for target in stored.targets}
    if plan is None:
        touched = {
            target.name: f"whether the change touches it is not known ({proposed.unknown})"
            for target in policy.targets
        }
    else:
        touched = {planned.name: planned.reasons[0] for planned in plan.run}
    for name, why in touched.items():
        if name not in measured:
            yield trace_finding(
                "TRC107",
                f"The report has no measurement of the target {name}: {why}",
                effect=Verdict.INCONCLUSIVE,
                evidence={"target": name},
                remedy="Run the gate on every target that the change touches",
            )
