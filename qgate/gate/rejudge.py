"""Judges a stored report again by the trusted policy, for the job that publishes what another measured."""

from __future__ import annotations

from qgate.errors import PolicyError
from qgate.git.repository import Repository, open_repository
from qgate.policy.load import load_policy
from qgate.policy.schema import Policy
from qgate.policy.yaml_reader import MAX_BYTES
from qgate.records import Finding, Place, Severity, Verdict, worst
from qgate.report.compose import compose_report
from qgate.report.schema import Report, TargetReport
from qgate.settings import Settings
from qgate.verify.again import judge_again


def rejudge_report(stored: Report, base_ref: str, settings: Settings) -> Report:
    """Judges the measurements of a stored report by the policy of the branch that the change goes into.

    The verdict of a target is the worse of the stored one and the one reached here: what is measured in a
    fork can be forged, so a stored FAIL is believed and a stored PASS is judged again.

    Args:
        stored: The report, already validated against its schema.
        base_ref: The branch that the pull request goes into, as GitHub tells it.
        settings: Where the trusted repository is checked out, and the policy's path in it.

    Raises:
        PolicyError: That branch is not here, or has no policy.
    """
    repo = open_repository(settings.workspace)
    policy, revision = _trusted_policy(repo, base_ref, settings.config)
    judged = tuple(_target(target, policy) for target in stored.targets)
    return compose_report(
        targets=judged,
        findings=(*stored.findings, *_absent(stored, policy)),
        skipped=stored.skipped,
        notices=(f"Judged again by the policy of {base_ref} ({revision[:12]})", *stored.notices),
        policy=stored.policy.model_copy(update={"revision": revision}),
        provenance=stored.provenance,
        nothing_to_judge=stored.summary.headline if stored.skipped and stored.verdict is Verdict.PASS else "",
    )


def _trusted_policy(repo: Repository, base_ref: str, config: str) -> tuple[Policy, str]:
    for name in (f"refs/remotes/origin/{base_ref}", f"refs/heads/{base_ref}"):
        revision = repo.resolve(name)
        if revision is None:
            continue
        content = repo.read(revision, config, MAX_BYTES)
        if content is None:
            break
        return load_policy(content, config), revision
    raise PolicyError(
        f"the branch {base_ref!r} is not checked out here, or has no policy",
        where=config,
        remedy="Check out the base branch in the trusted job",
    )


def _target(stored: TargetReport, policy: Policy) -> TargetReport:
    lines = policy.target(stored.name)
    if lines is None:
        # The change itself adds the target; there is no trusted line to judge it by.
        return stored
    again = judge_again(stored, target=lines, policy=policy, profile=None)
    verdict = worst((stored.verdict, again.verdict))
    # Findings about baseline and policy rest on more than measurements; they stay as they were stored.
    traced = tuple(f for f in stored.findings if f.rule.startswith("TRC"))
    findings = (*again.findings, *traced)
    reason = again.reason if verdict is again.verdict else stored.reason
    if verdict is not again.verdict and worst(f.effect for f in findings) is not verdict:
        findings = (*findings, _stored_verdict(stored))
    return again.model_copy(update={"verdict": verdict, "reason": reason, "findings": findings})


def _stored_verdict(stored: TargetReport) -> Finding:
    return Finding(
        rule="TRC112",
        severity=Severity.ERROR,
        effect=stored.verdict,
        message=f"the run that measured this target found it {stored.verdict}: {stored.reason}"[:500],
        remedy="See the measuring run",
    )


def _absent(stored: Report, policy: Policy) -> tuple[Finding, ...]:
    """Targets of the trusted policy that the report does not mention at all."""
    known = {target.name for target in stored.targets} | {skipped.name for skipped in stored.skipped}
    if any(finding.effect is not Verdict.PASS for finding in stored.findings):
        return ()
    return tuple(
        Finding(
            rule="TRC107",
            severity=Severity.ERROR,
            effect=Verdict.INCONCLUSIVE,
            at=Place(),
            message=f"the report says nothing of the target {target.name}",
            remedy="Run the gate on every target that the change touches",
        )
        for target in policy.targets
        if target.name not in known
    )
