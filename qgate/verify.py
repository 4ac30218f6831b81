"""One target, end to end: acquire, inspect, measure, judge."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qgate.errors import DataError, FormatError, MeasureError, QgateError, SourceError
from qgate.judge import conclude, judge, order
from qgate.records import DataUsed, Finding, Limit, Measurement, Place, Severity, Verdict
from qgate.report.schema import Artifact, TargetReport
from qgate.rules.catalogue import catalogue

if TYPE_CHECKING:
    from qgate.formats.model import StaticModel
    from qgate.measure.interface import Interface
    from qgate.measure.static import Inspection
    from qgate.policy.schema import Policy, Target, Waiver
    from qgate.sandbox.launch import Child
    from qgate.sandbox.limits import Limits
    from qgate.sources.acquire import Acquired

Acquire = Callable[[Path], "Acquired"]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Pair:
    """One pair to verify.

    Args:
        name: Name of the target.
        candidate: Copies the candidate into a folder; likewise reference and data.
        labels: Array of labels in the data; ``slices`` likewise.
        scheme: Declared scheme; ``auto`` must be quantized, somehow.
        derivation: Declared derivation.
        interface: Declared differences of the interface.
        profile: Replaces the policy's profile.
        task: Declared task metric, and the output that it scores.
        policy: Where thresholds come from, None for an ad-hoc pair; ``target`` likewise.
        allowed_operators: Operators that the policy adds.
        limits: Resources of the child.
        needs_reference: Whether a missing reference is an error.
    """

    name: str
    candidate: Acquire
    candidate_locator: str
    reference: Acquire | None = None
    reference_locator: str | None = None
    data: Acquire | None = None
    data_locator: str | None = None
    labels: str | None = None
    slices: str | None = None
    scheme: str = "auto"
    derivation: str = "auto"
    interface: Interface | None = None
    profile: str | None = None
    task: str | None = None
    task_output: str | None = None
    policy: Policy | None = None
    target: Target | None = None
    waivers: tuple[Waiver, ...] = ()
    allowed_operators: frozenset[str] = frozenset()
    limits: Limits | None = None
    seed: int = 0
    samples: int | None = None
    proposed: bool = False
    today: date | None = None


@dataclass
class _State:
    """What has been found so far; a step that fails leaves the rest as it is."""

    measurements: list[Measurement] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    data: DataUsed = field(default_factory=lambda: DataUsed(origin="none"))
    scheme: str | None = None
    ran: bool = False
    timings: dict[str, float] = field(default_factory=dict)
    artifacts: dict[str, Artifact] = field(default_factory=dict)


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
    state = _State()
    models = _models(pair, state, staging)
    if models is not None:
        data = _data(pair, state, staging)
        inspection = _inspect(pair, state, *models)
        if inspection is not None and data is not False:
            _run(pair, state, inspection, models, data or None, progress, child)
    return _report(pair, state)


def error_finding(error: QgateError, rule: str, side: str = "") -> Finding:
    """An error as a finding that says what happened, where, and what to do."""
    tensor = getattr(error, "tensor", None)
    prefix = f"{side}: " if side else ""
    return Finding(
        rule=rule,
        severity=Severity.ERROR,
        effect=Verdict.ERROR,
        at=Place(file=error.where or None, tensor=tensor),
        message=prefix + error.what,
        remedy=error.remedy,
    )


def _timed(state: _State, step: str, since: float) -> None:
    state.timings[step] = state.timings.get(step, 0.0) + time.perf_counter() - since


def _models(pair: Pair, state: _State, staging: Path) -> tuple[StaticModel, StaticModel | None] | None:
    """Acquires and reads both models; None where one cannot be had or read."""
    candidate = _model(pair.candidate, "candidate", pair.candidate_locator, state, staging)
    if pair.reference is None:
        state.findings.append(
            error_finding(
                QgateError(
                    "there is no reference to compare the candidate with",
                    remedy="Name the full-precision model with --reference, or under `reference` in the policy",
                ),
                "ART101",
            )
        )
        return None
    reference = _model(pair.reference, "reference", pair.reference_locator or "", state, staging)
    return (candidate, reference) if candidate is not None and reference is not None else None


def _model(acquire: Acquire, side: str, locator: str, state: _State, staging: Path) -> StaticModel | None:
    from qgate.formats.read import read_model

    started = time.perf_counter()
    state.artifacts[side] = Artifact(locator=locator)
    try:
        acquired = acquire(staging / side)
        state.artifacts[side] = _artifact(acquired, locator)
        model = read_model(acquired.main)
    except FormatError as error:
        state.findings.append(error_finding(error, error.rule, side))
        return None
    except SourceError as error:
        state.findings.append(error_finding(error, _source_rule(error), side))
        return None
    finally:
        _timed(state, "acquire", started)
    state.artifacts[side] = state.artifacts[side].model_copy(update={"format": model.format})
    return model


def _source_rule(error: SourceError) -> str:
    text = error.what.lower()
    if "lfs" in text:
        return "ART102"
    return "ART108" if "sha256" in text or "digest" in text else "ART101"


def _artifact(acquired: Acquired, locator: str) -> Artifact:
    return Artifact(
        locator=locator,
        sha256=acquired.sha256,
        bytes=acquired.bytes,
        files=dict(sorted(acquired.files.items())),
    )


def _data(pair: Pair, state: _State, staging: Path) -> Path | bool | None:
    """The data's copy, None where there are none, False where they cannot be had."""
    if pair.data is None:
        return None
    try:
        acquired = pair.data(staging / "data")
    except (SourceError, FormatError) as error:
        state.findings.append(error_finding(error, "ART113", "data"))
        return False
    state.data = DataUsed(origin="given", locator=pair.data_locator, sha256=acquired.sha256)
    return acquired.main


def _inspect(
    pair: Pair, state: _State, candidate: StaticModel, reference: StaticModel | None
) -> Inspection | None:
    from qgate.measure.interface import Interface
    from qgate.measure.static import inspect_pair

    started = time.perf_counter()
    try:
        inspection = inspect_pair(
            reference, candidate, pair.interface or Interface(), allowed_operators=pair.allowed_operators
        )
    except FormatError as error:
        state.findings.append(error_finding(error, error.rule))
        return None
    finally:
        _timed(state, "inspect", started)
    state.scheme = inspection.scheme.name
    state.measurements += inspection.measurements
    return inspection


def _run(
    pair: Pair,
    state: _State,
    inspection: Inspection,
    models: tuple[StaticModel, StaticModel | None],
    data: Path | bool | None,
    progress: Progress | None,
    child: Child | None,
) -> None:
    from qgate.measure.pair import measure_pair
    from qgate.measure.request import DEFAULT_SAMPLES, PairRequest
    from qgate.sandbox.limits import Limits

    if not inspection.runnable:
        return
    candidate, reference = models
    interface = pair.interface
    request = PairRequest(
        candidate=candidate.path,
        reference=reference.path if reference is not None else None,
        inputs=data if isinstance(data, Path) else None,
        labels=pair.labels,
        slices=pair.slices,
        task=pair.task,
        task_output=pair.task_output,
        io_map=dict(interface.map) if interface else {},
        io_optional=interface.optional if interface else (),
        io_types={**_halved(candidate, reference), **(interface.types if interface else {})},
        scheme=inspection.scheme.name,
        dynamic=inspection.dynamic,
        taps=inspection.taps,
        seed=pair.seed,
        samples=pair.samples or DEFAULT_SAMPLES,
        limits=pair.limits or Limits(),
        reference_label=pair.reference_locator or "",
        candidate_label=pair.candidate_locator,
        inputs_label=pair.data_locator or "",
    )
    started = time.perf_counter()
    try:
        result = measure_pair(request, progress, child)
    except MeasureError as error:
        state.findings.append(error_finding(error, "ART112"))
        return
    except DataError as error:
        state.findings.append(error_finding(error, "ART113"))
        return
    finally:
        _timed(state, "run", started)
    state.ran = True
    state.measurements += result.measurements
    state.data = result.data.model_copy(
        update={"locator": state.data.locator, "sha256": state.data.sha256 or result.data.sha256}
    )
    state.timings.update({f"run.{step}": seconds for step, seconds in result.timings.items()})
    depends = [m for k, m in result.problems if k == "batch" and "the candidate" in m]
    if (
        depends
        and not inspection.dynamic
        and not any("the reference" in m for k, m in result.problems if k == "batch")
    ):
        state.measurements.append(
            Measurement(name="output.batch_dependence", value=True, detail={"message": depends[0]})
        )
    for kind, message in result.problems:
        state.findings.append(
            Finding(rule="ART113", severity=Severity.NOTE, message=message, evidence={"kind": kind})
        )


def _halved(candidate: StaticModel, reference: StaticModel | None) -> dict[str, str]:
    """Inputs that a converter to fp16 made half; a caller's data are cast, and the interface rule says so."""
    ours = {t.name: t.dtype for t in reference.graph.inputs} if reference is not None else {}
    return {
        t.name: "float16"
        for t in candidate.graph.inputs
        if t.dtype == "float16" and ours.get(t.name) == "float"
    }


def _report(pair: Pair, state: _State) -> TargetReport:
    declared: dict[str, Any] = {
        "scheme": pair.scheme,
        "derivation": pair.derivation,
        "data": state.data.origin,
        "ran": state.ran,
    }
    limits = _limits(pair, state.scheme)
    found = judge(state.measurements, limits, scheme=state.scheme, declared=declared)
    findings = order((*found, *state.findings))
    findings = _waived(findings, pair.waivers, pair.name, pair.today, limits)
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
        data=state.data,
        measurements=tuple(state.measurements),
        findings=findings,
        thresholds=limits,
        timings=state.timings,
    )


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


def judge_again(
    report: TargetReport,
    *,
    target: Target,
    policy: Policy,
    profile: str | None,
    today: date | None = None,
) -> TargetReport:
    """Judges stored measurements by other lines of policy, opening no file.

    Findings that come from no measurement (a file that cannot be read, a crash) stay as they are, but for
    the waivers that covered them: only those of ``policy`` count.

    Args:
        report: What was measured.
        target: The lines to judge by.
        policy: The policy that they stand in.
        profile: Replaces the target's and the policy's profile.
        today: The day that waivers are held against; this one in UTC if it is None.
    """
    judged_as = report.scheme if target.scheme == "auto" else target.scheme
    from qgate.policy.thresholds import resolve

    limits = resolve(policy, target, profile, judged_as, rules=catalogue())
    kept = [f for f in report.findings if f.effect is Verdict.ERROR and f.rule in _FACTS]
    declared: Mapping[str, Any] = {
        "scheme": target.scheme,
        "derivation": target.derivation,
        "data": report.data.origin,
        # Where nothing is told that kept the models from running, outputs must have been measured.
        "ran": not kept and not any(m.name == "artifact.operator" for m in report.measurements),
    }
    kept += [f for f in report.findings if f.rule == "ART113" and f.severity is Severity.NOTE]
    kept = [f.model_copy(update={"waived": None}) for f in kept]
    found = order((*judge(report.measurements, limits, scheme=report.scheme, declared=declared), *kept))
    found = _waived(found, policy.waivers, report.name, today, limits)
    verdict, reason = conclude(found, report.measurements)
    return report.model_copy(
        update={"findings": found, "verdict": verdict, "reason": reason, "thresholds": limits}
    )


def _waived(
    findings: tuple[Finding, ...],
    waivers: tuple[Waiver, ...],
    name: str,
    today: date | None,
    limits: Mapping[str, Mapping[str, Limit]],
) -> tuple[Finding, ...]:
    if not waivers:
        return findings
    from qgate.policy.waivers import apply_waivers

    return apply_waivers(findings, waivers, name, today or datetime.now(UTC).date(), limits=limits)


_FACTS = {"ART101", "ART102", "ART103", "ART104", "ART105", "ART107", "ART108", "ART112", "ART113"}
