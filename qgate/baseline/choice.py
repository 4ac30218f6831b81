"""Which baseline a target is compared with: the stored one, or the trusted candidate measured again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from qgate.baseline.content import Side
from qgate.baseline.outcomes import bound_outcomes
from qgate.baseline.record import (
    MAX_BASELINE_BYTES,
    Baseline,
    Entry,
    Stored,
    check_bound,
    entries_of,
    make_baseline,
    read_baseline,
    write_baseline,
)
from qgate.errors import QgateError, SourceError
from qgate.plan.approval import Consent
from qgate.plan.digests import describes
from qgate.plan.orders import baseline_run
from qgate.plan.targets import Planned, TargetRun
from qgate.plan.touch import baseline_path
from qgate.records import Finding, Limit, Outcomes, Severity, Verdict
from qgate.report.schema import BaselineUsed, ContentDelta, Provenance, TargetReport
from qgate.rules.traceability import trace_finding

if TYPE_CHECKING:
    from qgate.git.repository import Repository
    from qgate.plan.sides import Sides


Locate = Callable[[TargetRun, TargetRun | None, ContentDelta, Side], ContentDelta]
"""From the judged run, the run of the accepted candidate where the trusted side has it, what differs, and the
accepted model: the difference with its places, or with the reason why they are not known. Never raises."""


@dataclass(frozen=True)
class Circumstances:
    """What comparing needs beside the target itself.

    Args:
        repo: The repository.
        sides: The commits of the run.
        changed: Paths that the change touches.
        provenance: Of this run; its ISA class is what baselines are bound to.
        consent: Asks for an approval where one is needed.
        verify: Measures the trusted candidate where the stored baseline does not serve.
        report_dir: Where refreshed baseline files go; None to write none.
        today: The day of this run in UTC, for waivers.
        locate: Says where in its tensors a candidate differs from the accepted one; see ``Locate``.
    """

    repo: Repository
    sides: Sides
    changed: frozenset[str]
    provenance: Provenance
    consent: Consent
    verify: Callable[[TargetRun], TargetReport]
    report_dir: Path | None
    today: date
    locate: Locate | None = None


@dataclass(frozen=True)
class Case:
    """One target that is to be compared.

    Args:
        report: What this run measured and found of the judged candidate.
        planned: The target on both sides.
        run: The run that measured it, by the trusted lines where there are any.
        around: The rest.
        limits: Thresholds in force, by rule.
    """

    report: TargetReport
    planned: Planned
    run: TargetRun
    around: Circumstances
    limits: Mapping[str, Mapping[str, Limit]]

    @property
    def path(self) -> str:
        """Where the baseline lies."""
        return baseline_path(self.planned.name)


@dataclass(frozen=True)
class Against:
    """What the target is compared with, and what there is to say about that.

    Args:
        used: For the report, still without deltas.
        entries: The baseline's measurements; empty where there is no baseline.
        findings: About the baseline itself.
        carried: The baseline file that the change brings, if it can be read.
        model: The accepted model's artifact and content; None where there is no baseline.
        outcomes: What became of each sample then; None where that is not known, or was with other data.
    """

    used: BaselineUsed
    entries: tuple[Entry, ...] = ()
    findings: tuple[Finding, ...] = ()
    carried: Baseline | None = None
    model: Side | None = None
    outcomes: Outcomes | None = None


def choose_baseline(case: Case) -> Against:
    """The baseline of a target, with what is wrong with it; never raises for a bad file."""
    sides = case.around.sides
    stored = _read(case, sides.trusted)
    proposed = _read(case, sides.judged) if case.path in case.around.changed else stored
    carried = proposed.baseline if proposed.state == "stored" and proposed.sha256 != stored.sha256 else None
    notes = []
    if proposed.state == "missing" and stored.state != "missing":
        notes.append(
            trace_finding("TRC101", f"The change deletes the baseline file {case.path}", limits=case.limits)
        )
    elif proposed.state == "corrupt" and proposed != stored:
        notes.append(_corrupt(case, proposed))
    if stored.state == "corrupt":
        notes.append(_corrupt(case, stored, repaired=carried is not None))
        if carried is None:
            used = BaselineUsed(state="none", reason=stored.reason, path=case.path)
            return Against(used, findings=tuple(notes))
    found = _against(case, stored)
    return replace(found, findings=(*notes, *found.findings), carried=carried)


def _against(case: Case, stored: Stored) -> Against:
    planned = case.planned
    if planned.trusted is None:
        return _none(case, "the change adds the target, so there is nothing to compare with")
    if not planned.rereferenced:
        isa = case.around.provenance.isa
        stored = check_bound(stored, case.report, isa=isa, describes=_describes_trusted(case, stored))
    if stored.state == "stored" and stored.baseline is not None:
        used = BaselineUsed(state="stored", path=case.path, sha256=stored.sha256)
        model = stored.baseline.candidate, stored.baseline.content
        outcomes = bound_outcomes(stored.baseline.outcomes, stored.baseline.data, case.report.data)
        return Against(used, stored.baseline.measurements, model=model, outcomes=outcomes)
    if planned.rereferenced:
        return _none(case, "reference or data changed, and no stored baseline is there to show")
    return _measured_again(case, stored)


def _measured_again(case: Case, stored: Stored) -> Against:
    """The trusted side's own candidate, measured in this run."""
    around, lines, previous = case.around, case.planned.trusted, case.around.sides.previous
    if (
        lines is None
        or previous is None
        or not _exists(around.repo, previous, lines.candidate.repository_path)
    ):
        return _none(case, f"{stored.reason}, and the trusted side has no candidate to measure")
    if describes(case.report.candidate, around.repo, previous, lines.candidate):
        older, how = case.report, "the candidate is the trusted side's own, so it was compared with itself"
    else:
        how = f"the trusted side's candidate ({previous[:12]}) was measured again in this run"
        try:
            older = around.verify(baseline_run(case.run, lines, around.sides))
        except Exception as error:
            return _unmeasurable(case, stored, str(error) or type(error).__name__)
    entries = entries_of(older.measurements)
    if older.verdict is Verdict.ERROR or not entries:
        return _unmeasurable(case, stored, older.reason)
    written = _write_refreshed(older, around)
    reason = f"{stored.reason}; {how}"
    note = trace_finding(
        "TRC111" if stored.state == "stale" else "TRC101",
        reason[:1].upper() + reason[1:],
        severity=Severity.NOTE,
        evidence={"refreshed": written} if written else {},
        remedy=f"Commit {written} of the report's folder as {case.path}" if written else None,
    )
    used = BaselineUsed(state="remeasured", reason=reason, path=written)
    outcomes = bound_outcomes(older.outcomes, older.data, case.report.data)
    return Against(used, entries, (note,), model=(older.candidate, older.content), outcomes=outcomes)


def _write_refreshed(older: TargetReport, around: Circumstances) -> str | None:
    if around.report_dir is None or older.candidate.sha256 is None:
        return None
    name = f"baseline/{older.name}.json"
    write_baseline(make_baseline(older, around.provenance), around.report_dir / name)
    return name


def _unmeasurable(case: Case, stored: Stored, why: str) -> Against:
    reason = f"{stored.reason}, and the trusted side's candidate could not be measured: {why}"[:400]
    finding = trace_finding(
        "TRC112",
        reason[:1].upper() + reason[1:],
        limits=case.limits,
        effect=Verdict.INCONCLUSIVE,
        remedy="Run `qgate accept TARGET --reason ...` and commit the file, or repair the trusted candidate",
    )
    return Against(BaselineUsed(state="none", reason=reason), findings=(finding,))


def _none(case: Case, reason: str) -> Against:
    required = case.run.policy.requires_baseline(case.run.target)
    finding = trace_finding(
        "TRC101",
        f"No baseline: {reason}",
        limits=case.limits,
        severity=Severity.ERROR if required else None,
        evidence={"required": required},
    )
    return Against(BaselineUsed(state="none", reason=reason), findings=(finding,))


def _corrupt(case: Case, stored: Stored, *, repaired: bool = False) -> Finding:
    tail = "; the change repairs it" if repaired else ""
    return trace_finding(
        "TRC109",
        f"{case.path}: {stored.reason}{tail}",
        severity=Severity.NOTE if repaired else Severity.ERROR,
        effect=Verdict.ERROR,
    )


def _read(case: Case, revision: str | None) -> Stored:
    try:
        content = case.around.repo.read(revision, case.path, MAX_BASELINE_BYTES)
    except SourceError as error:
        return Stored("corrupt", str(error))
    return read_baseline(content, case.planned.name)


def _describes_trusted(case: Case, stored: Stored) -> bool:
    """Whether a baseline is of the trusted candidate; where a tree is judged by its own policy, of either."""
    trusted, sides = case.planned.trusted, case.around.sides
    if stored.baseline is None or trusted is None:
        return False
    revisions = [sides.judged, sides.previous] if sides.own_policy else [sides.previous]
    return any(
        describes(stored.baseline.candidate, case.around.repo, revision, trusted.candidate)
        for revision in dict.fromkeys(revisions)
        if revision is not None or sides.own_policy
    )


def accepted_run(case: Case) -> TargetRun | None:
    """The run of the trusted side's own candidate; None where the trusted side has none."""
    around, lines, previous = case.around, case.planned.trusted, case.around.sides.previous
    if lines is None or previous is None:
        return None
    there = _exists(around.repo, previous, lines.candidate.repository_path)
    return baseline_run(case.run, lines, around.sides) if there else None


def _exists(repo: Repository, revision: str, path: str | None) -> bool:
    try:
        return path is None or repo.exists(revision, path)
    except QgateError:
        return False
