"""What a reader needs of a report, in reading order: worst first, one row a target, one cell a dimension.

Pure functions from the report to plain records. Nothing here is escaped: every renderer does that for
its own medium.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from qgate.records import Finding, Limit, Measurement, Severity, Verdict
from qgate.report import content, figures
from qgate.report.schema import Report, TargetReport

FAMILIES: Mapping[str, str] = {
    "ART": "Artifact",
    "QNT": "Quantization",
    "RNG": "Numeric range",
    "FEA": "Features, outputs",
    "BEH": "Behaviour",
    "TRC": "Traceability",
    "DEP": "Deployability",
    "CST": "Cost",
}
"""Dimensions by rule family, in the order of reading."""

LEGEND: Mapping[str, str] = {
    "ART": "",
    "QNT": "scheme",
    "RNG": "weight SQNR",
    "FEA": "output SQNR",
    "BEH": "agreement, metric",
    "TRC": "to baseline",
    "DEP": "",
    "CST": "size",
}
"""What the figures under each dimension are."""

_LOWEST_SQNR: Mapping[str, str] = {"RNG": "weight.sqnr_db", "FEA": "output.sqnr_db"}
_ONLY_WHEN_SPEAKING = ("ART", "DEP")
_BUILT_IN = "built-in profile"


class Mark(StrEnum):
    """What a dimension of a target comes to."""

    ERROR = "error"
    FAIL = "fail"
    OPEN = "open"
    WARNING = "warning"
    PASS = "pass"  # noqa: S105 - a verdict, not a password
    NONE = "none"


MARK_OF_VERDICT: Mapping[Verdict, Mark] = {
    Verdict.ERROR: Mark.ERROR,
    Verdict.FAIL: Mark.FAIL,
    Verdict.INCONCLUSIVE: Mark.OPEN,
    Verdict.PASS: Mark.PASS,
}


@dataclass(frozen=True)
class Cell:
    """One dimension of one target: its mark, how many findings made it, its key figures."""

    mark: Mark
    count: int = 0
    figures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """One target in the table of targets."""

    target: TargetReport
    mark: Mark
    cells: Mapping[str, Cell]


@dataclass(frozen=True)
class Group:
    """The findings of one rule with one remedy, for one target (None: for the run)."""

    target: str | None
    rule: str
    dimension: str
    mark: Mark
    remedy: str
    findings: tuple[Finding, ...]

    @property
    def shared_message(self) -> str | None:
        """The message, where all findings say the same."""
        messages = {finding.message for finding in self.findings}
        return messages.pop() if len(messages) == 1 else None


def dimension(rule: str) -> str:
    """The dimension of a rule id; ``Other`` for an id of no known family."""
    return FAMILIES.get(rule[:3], "Other")


def by_verdict(targets: Iterable[TargetReport]) -> tuple[TargetReport, ...]:
    """Targets worst first, otherwise in the report's order."""
    return tuple(sorted(targets, key=lambda target: -target.verdict.rank))


def blocking(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors that no waiver covers, those that hide more first."""
    found = [f for f in findings if f.severity is Severity.ERROR and f.waived is None]
    return tuple(sorted(found, key=lambda finding: -finding.effect.rank))


def informing(findings: Iterable[Finding], severity: Severity) -> tuple[Finding, ...]:
    """Findings of a severity that no waiver covers."""
    return tuple(f for f in findings if f.severity is severity and f.waived is None)


def waived(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings that a waiver covers."""
    return tuple(f for f in findings if f.waived is not None)


def everything_found(report: Report) -> Iterator[tuple[str | None, Finding]]:
    """Every finding with its target's name: the run's own first, then the targets' worst first."""
    for finding in report.findings:
        yield None, finding
    for target in by_verdict(report.targets):
        for finding in target.findings:
            yield target.name, finding


def grouped(target: str | None, findings: Iterable[Finding]) -> tuple[Group, ...]:
    """Blocking findings by rule and remedy, the worst group first."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in blocking(findings):
        groups.setdefault((finding.rule, finding.remedy), []).append(finding)
    return tuple(
        Group(
            target=target,
            rule=rule,
            dimension=dimension(rule),
            mark=MARK_OF_VERDICT[found[0].effect],
            remedy=remedy,
            findings=tuple(found),
        )
        for (rule, remedy), found in groups.items()
    )


def first_step(report: Report) -> str:
    """What to do first: the remedy of the worst finding, empty where there is none."""
    found = [f for _, f in everything_found(report) if f.severity is Severity.ERROR and f.waived is None]
    found.sort(key=lambda finding: -finding.effect.rank)
    return next((finding.remedy for finding in found if finding.remedy), "")


def row(target: TargetReport) -> Row:
    """One target as a row: a cell for each dimension."""
    measured = _measured(target.measurements)
    cells = {family: _cell(target, family, measured) for family in FAMILIES}
    return Row(target=target, mark=MARK_OF_VERDICT[target.verdict], cells=cells)


def columns(rows: Iterable[Row]) -> tuple[str, ...]:
    """The dimensions worth a column: judged for some target; artifact and deployability if they speak."""
    rows = tuple(rows)
    return tuple(
        family
        for family in FAMILIES
        if any(
            r.cells[family].count if family in _ONLY_WHEN_SPEAKING else r.cells[family].mark is not Mark.NONE
            for r in rows
        )
    )


def _measured(measurements: Iterable[Measurement]) -> dict[str, list[Measurement]]:
    by_name: dict[str, list[Measurement]] = {}
    for measurement in measurements:
        if measurement.not_measured is None:
            by_name.setdefault(measurement.name, []).append(measurement)
    return by_name


def telling_limits(target: TargetReport) -> tuple[tuple[str, str, Limit], ...]:
    """The thresholds that a reader needs: of rules that found something, and those that a team chose."""
    spoke = {finding.rule for finding in target.findings}
    return tuple(
        (rule, key, limit)
        for rule, keys in target.thresholds.items()
        for key, limit in keys.items()
        if rule in spoke or not limit.origin.startswith(_BUILT_IN)
    )


def _cell(target: TargetReport, family: str, measured: Mapping[str, list[Measurement]]) -> Cell:
    found = [f for f in target.findings if f.rule.startswith(family)]
    shown = tuple(_figures(target, family, measured))
    errors = blocking(found)
    if not errors and family in _LOWEST_SQNR:
        # Another dimension blames the very layer whose figure stands here: no tick beside it.
        errors = _about(_lowest(measured, _LOWEST_SQNR[family]), blocking(target.findings))
        if errors:
            return Cell(MARK_OF_VERDICT[errors[0].effect], 0, shown)
    if errors:
        return Cell(MARK_OF_VERDICT[errors[0].effect], len(errors), shown)
    warnings = informing(found, Severity.WARNING)
    if warnings or (family == "TRC" and any(_lost(target))):
        return Cell(Mark.WARNING, len(warnings), shown)
    return Cell(Mark.PASS if _judged(target, family, measured) else Mark.NONE, 0, shown)


def _about(measurement: Measurement | None, found: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings at the tensor or the node that a measurement is of."""
    if measurement is None:
        return ()
    tensor, node = measurement.at.tensor, measurement.at.node
    return tuple(f for f in found if (tensor and f.at.tensor == tensor) or (node and f.at.node == node))


def _judged(target: TargetReport, family: str, measured: Mapping[str, list[Measurement]]) -> bool:
    """Whether silence means that the dimension was looked at: a tick is never shown for less."""
    prefixes = {measured_name.partition(".")[0] for measured_name in measured}
    if family == "TRC":
        return target.baseline.state in ("stored", "remeasured")
    if family == "CST":
        return _size_ratio(target) is not None
    if family == "DEP":
        return any(rule.startswith(family) for rule in target.thresholds)
    if family == "BEH":
        return "task" in prefixes or "output.top1_agreement" in measured
    return {
        "ART": bool(measured),
        "QNT": bool(prefixes & {"quant", "weight"}),
        "RNG": bool(prefixes & {"weight", "scale", "activation"}),
        "FEA": "output" in prefixes,
    }[family]


def _figures(target: TargetReport, family: str, measured: Mapping[str, list[Measurement]]) -> Iterator[str]:
    if family == "QNT" and target.scheme:
        yield target.scheme
    elif family in _LOWEST_SQNR:
        if lowest := _lowest(measured, _LOWEST_SQNR[family]):
            yield figures.value(lowest.value, "dB")
    elif family == "BEH":
        if lowest := _lowest(measured, "output.top1_agreement"):
            yield figures.value(lowest.value, "ratio")
        if drop := _largest_drop(measured):
            yield f"{_metric(drop)} {_drop(drop)}"
    elif family == "TRC":
        yield from _against_baseline(target)
    elif family == "CST" and (ratio := _size_ratio(target)) is not None:
        yield figures.percent(ratio)


def _lowest(measured: Mapping[str, list[Measurement]], name: str) -> Measurement | None:
    """The measurement with the smallest number; NaN is below any, for it says less than any."""
    found = measured.get(name, [])
    return min(found, key=lambda m: -math.inf if math.isnan(m.number) else m.number, default=None)


def _largest_drop(measured: Mapping[str, list[Measurement]]) -> Measurement | None:
    found = measured.get("task.metric_drop", [])
    return max(found, key=lambda m: math.inf if math.isnan(m.number) else m.number, default=None)


def _metric(drop: Measurement) -> str:
    metric = drop.detail.get("metric")
    return metric if isinstance(metric, str) else "metric"


def _drop(drop: Measurement) -> str:
    """A drop with its interval as a change of the metric: positive drops are losses."""
    shown = figures.signed(-drop.number, drop.unit)
    if drop.low is None or drop.high is None:
        return shown
    ends = (figures.signed(-drop.high, drop.unit), figures.signed(-drop.low, drop.unit))
    return f"{shown} ({ends[0].removesuffix(' pp')} … {ends[1].removesuffix(' pp')})"


def _against_baseline(target: TargetReport) -> Iterator[str]:
    baseline = target.baseline
    if baseline.state == "none":
        yield "no baseline"
        return
    if baseline.state == "not-compared":
        return
    sqnr = [
        delta.current - delta.baseline
        for delta in baseline.deltas
        if delta.name == "output.sqnr_db"
        and isinstance(delta.current, float)
        and isinstance(delta.baseline, float)
    ]
    yield figures.signed(min(sqnr), "dB") if sqnr else "compared"
    lost = [f"{count} {what}" for count, what in zip(_lost(target), ("worse", "gone"), strict=True) if count]
    if lost:
        yield ", ".join(lost)
    if baseline.content is not None and (told := content.short(baseline.content)):
        yield told


def _lost(target: TargetReport) -> tuple[int, int]:
    """How many of the baseline's numbers are worse, and how many are gone."""
    deltas = target.baseline.deltas
    return sum(delta.worse for delta in deltas), sum(delta.gone for delta in deltas)


def _size_ratio(target: TargetReport) -> float | None:
    measured = [m.number for m in target.measurements if m.name == "artifact.size_ratio"]
    if measured:
        return measured[0]
    if target.reference is None or not target.reference.bytes or target.candidate.bytes is None:
        return None
    try:
        return target.candidate.bytes / target.reference.bytes
    except OverflowError:  # a stored report may claim any size
        return math.inf
