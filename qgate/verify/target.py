"""One pair, end to end: acquire, inspect, measure, judge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qgate.judge import conclude, judge, order
from qgate.records import Finding, Limit
from qgate.report.schema import Artifact, TargetReport
from qgate.rules.catalogue import catalogue
from qgate.verify.acquisition import acquire_data, acquire_models
from qgate.verify.again import waived
from qgate.verify.code import acquire_codes
from qgate.verify.contents import digest_models
from qgate.verify.deploying import run_elsewhere
from qgate.verify.measuring import inspect, run
from qgate.verify.pair import Pair, Progress
from qgate.verify.signature import signed_enough_to_run
from qgate.verify.state import State

if TYPE_CHECKING:
    from qgate.sandbox.launch import Child


def verify(
    pair: Pair, *, staging: Path, progress: Progress | None = None, child: Child | None = None
) -> TargetReport:
    """Verifies one pair. Whatever goes wrong with it becomes a finding of its report.

    Args:
        pair: What to verify.
        staging: An empty folder that the sandboxed child can read; see ``sandbox.staging``.
        progress: Told how many samples are done.
        child: A child that waits for this pair to be run, see ``sandbox.launch.waiting_child``; it is not
            ended here.
    """
    state = State()
    models = acquire_models(pair, state, staging)
    if models is not None:
        digest_models(state, *models, pair.leaves)
        data = acquire_data(pair, state, staging)
        inspection = inspect(pair, state, *models)
        code = acquire_codes(pair, state, staging)
        if (
            inspection is not None
            and data is not False
            and code is not None
            and signed_enough_to_run(pair, state)
        ):
            run(pair, state, inspection, models, data or None, progress, child, code)
            run_elsewhere(pair, state, inspection, models, data or None, staging, code)
    return _report(pair, state)


def _report(pair: Pair, state: State) -> TargetReport:
    declared: dict[str, Any] = {
        "scheme": pair.scheme,
        "derivation": pair.derivation,
        "data": state.data.origin,
        "runtimes": list(pair.runtimes),
        "deploy": pair.deploy,
        "ran": state.ran,
        "sandbox": pair.sandbox,
        "unconfined": {} if state.sandbox is None else state.sandbox.lacking,
        "require_signature": pair.signature is not None and pair.signature.required,
    }
    if pair.policy is None and pair.interface is not None and pair.interface.options():
        declared["io"] = [list(each) for each in pair.interface.options()]
    limits = _limits(pair, state.scheme)
    found = judge(state.measurements, limits, scheme=state.scheme, declared=declared)
    findings = order((*found, *state.findings))
    if pair.policy is None:
        findings = tuple(map(_for_a_pair, findings))
    findings = waived(findings, pair.waivers, pair.name, pair.today, limits)
    verdict, reason = conclude(findings, state.measurements)
    unknown = Artifact(locator=pair.candidate_locator)
    return TargetReport(
        name=pair.name,
        verdict=verdict,
        reason=reason,
        profile=_profile_name(pair),
        scheme=state.scheme,
        proposed=pair.proposed,
        candidate=state.artifacts.get("candidate", unknown),
        reference=state.artifacts.get("reference"),
        content=state.content,
        data=state.data,
        code=tuple(state.code),
        sandbox=state.sandbox,
        measurements=tuple(state.measurements),
        outcomes=state.outcomes,
        findings=findings,
        thresholds=limits,
        declared=declared,
        timings=state.timings,
    )


def _for_a_pair(finding: Finding) -> Finding:
    """The same with the rule's remedy in the words of the command line: there is no policy to look into."""
    rule = catalogue().get(finding.rule)
    if rule is None or not rule.pair_remedy or finding.remedy != rule.remedy:
        return finding
    return finding.model_copy(update={"remedy": rule.pair_remedy})


def _limits(pair: Pair, scheme: str | None) -> dict[str, dict[str, Limit]]:
    from qgate.policy.thresholds import resolve

    # What is declared decides; int4 content behind an int8 declaration gets no int4 kindness.
    judged_as = scheme if pair.scheme == "auto" else pair.scheme
    return resolve(pair.policy, pair.target, pair.profile, judged_as, rules=catalogue())


def _profile_name(pair: Pair) -> str:
    if pair.profile:
        return pair.profile
    if pair.target is not None and pair.target.profile:
        return pair.target.profile
    return pair.policy.profile if pair.policy is not None else "balanced"
