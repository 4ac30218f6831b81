"""What a reader needs of a report, in reading order: worst first, one row a target, one cell a dimension.

Pure functions from the report to plain records. Nothing here is escaped: every renderer does that for
its own medium.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from qgate.records import Finding, Limit
from qgate.report.cells import Cell, by_name, cell
from qgate.report.marks import MARK_OF_VERDICT, Mark, blocking, informing, waived
from qgate.report.schema import Report, TargetReport

__all__ = ["MARK_OF_VERDICT", "Cell", "Mark", "blocking", "informing", "waived"]

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

POLICY_CHANGES = 30
"""Changes that loosen the policy are listed one by one up to here, the worst first, and the others counted.

That many have something of every grave kind (``qgate.policy.weights``)."""

_ONLY_WHEN_SPEAKING = ("ART", "DEP")
_BUILT_IN = "built-in profile"


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


def policy_changes(report: Report) -> Iterator[tuple[str, int]]:
    """What the change loosens, each sentence with the number 1; then no sentence and the number of all that are not listed."""
    changes = report.policy.changes
    yield from ((change, 1) for change in changes[:POLICY_CHANGES])
    if len(changes) > POLICY_CHANGES:
        yield "", len(changes) - POLICY_CHANGES


def first_step(report: Report) -> str:
    """What to do first: the remedy of the worst finding, empty where there is none."""
    units = [
        (blocking(report.findings), True),
        *((blocking(t.findings), False) for t in by_verdict(report.targets)),
    ]
    worst = [(max(f.effect.rank for f in found), about, found) for found, about in units if found]
    worst.sort(key=lambda unit: (-unit[0], not unit[1]))
    return next((f.remedy for _, _, found in worst for f in found if f.remedy), "")


def row(target: TargetReport) -> Row:
    """One target as a row: a cell for each dimension."""
    measured = by_name(target.measurements)
    cells = {family: cell(target, family, measured) for family in FAMILIES}
    return Row(target=target, mark=MARK_OF_VERDICT[target.verdict], cells=cells)


def columns(rows: Iterable[Row]) -> tuple[str, ...]:
    """The dimensions worth a column: judged for some target; artifact and deployability if they speak."""
    rows = tuple(rows)
    return tuple(family for family in FAMILIES if any(_is_told(family, r.cells[family]) for r in rows))


def _is_told(family: str, found: Cell) -> bool:
    if family in _ONLY_WHEN_SPEAKING:
        return bool(found.count)
    return found.mark is not Mark.NONE or (family == "BEH" and bool(found.figures))


def telling_limits(target: TargetReport) -> tuple[tuple[str, str, Limit], ...]:
    """The thresholds that a reader needs: of rules that found something, and those that a team chose."""
    spoke = {finding.rule for finding in target.findings}
    return tuple(
        (rule, key, limit)
        for rule, keys in target.thresholds.items()
        for key, limit in keys.items()
        if rule in spoke or not limit.origin.startswith(_BUILT_IN)
    )
