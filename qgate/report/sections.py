"""The sections of the comment and of the summary, and which of them each rung of the ladder keeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from qgate.records import Finding, Severity, Verdict
from qgate.report import view
from qgate.report.elements import element_tables, is_of_the_whole
from qgate.report.evidence import PROOF, beside_the_proof, flat
from qgate.report.further import bisect_command
from qgate.report.ladder import Section, block
from qgate.report.markdown import templates
from qgate.report.origin import run_origin
from qgate.report.schema import Report, TargetReport
from qgate.report.unproven import unproven


@dataclass(frozen=True)
class Depth:
    """How much of each thing a text shows before it points to report.json.

    Args:
        inline: Findings of one rule and target in the open.
        folded: Further ones behind a click.
        rows: Warnings, notes or measurements in one table.
        elements: Whether measurements of single tensors and nodes are listed.
        thresholds: Whether thresholds that spoke, or that a team chose, are listed.
        targets: The most targets in the open table while all of them pass or not.
    """

    inline: int
    folded: int
    rows: int
    elements: bool = False
    thresholds: bool = False
    targets: int = 12


@dataclass(frozen=True)
class Table:
    """The findings of a group as the rows of one or two tables."""

    parts: tuple[tuple[bool, tuple[Finding, ...]], ...]
    proof: tuple[str, ...]
    other: bool
    missing: int


@dataclass(frozen=True)
class Writer:
    """The sections of each rung for one report."""

    report: Report
    link: str | None

    def everything(self, depth: Depth) -> Iterator[Section]:
        """All there is, the quiet parts folded."""
        yield from self._opening()
        yield from self._targets(depth)
        yield from self._failing(depth)
        yield from self._informing(depth)
        yield self._figures(depth)
        yield from self._skipped()
        yield from self._provenance()
        yield self._footer()

    def failures(self, depth: Depth) -> Iterator[Section]:
        """What does not pass and why."""
        yield from self._opening()
        yield from self._targets(depth, passing=False)
        yield from self._failing(depth)
        yield from self._provenance(targets=False)
        yield self._footer()

    def counts(self, depth: Depth) -> Iterator[Section]:
        """How much does not pass, and as much of why as fits."""
        yield from self._opening()
        yield self._counts()
        yield from self._targets(depth, passing=False, share=0.4)
        yield from self._failing(depth)
        yield self._footer()

    def without_the_rest(self) -> Counter[str]:
        """What the rungs below the first do without."""
        found = [finding for _, finding in view.everything_found(self.report)]
        counted = Counter(
            {
                "warnings": len(view.informing(found, Severity.WARNING)),
                "notes": len(view.informing(found, Severity.NOTE)),
                "waived findings": len(view.waived(found)),
                "measurements": sum(len(target.measurements) for target in self.report.targets),
                "passing targets": sum(target.verdict is Verdict.PASS for target in self.report.targets),
                "targets not run": len(self.report.skipped),
            }
        )
        return +counted

    def note(self, left_out: Counter[str]) -> str:
        """Says what was left out and where it is."""
        kinds = [(number, kind) for kind, number in left_out.items() if kind and number]
        return str(templates().note(self.link, kinds))

    def _opening(self) -> Iterator[Section]:
        report = self.report
        if report.verdict is not Verdict.PASS:
            step = view.first_step(report)
            yield block(templates().box(report.verdict, report.summary.headline, step))
        else:
            yield block(templates().line(report.summary.headline))
        for lacking in unproven(report):
            yield block(templates().unproven(lacking))
        yield Section(report.notices, templates().bullet, kind="notices")
        if report.policy.changes:
            yield Section(
                tuple(view.policy_changes(report)),
                lambda change: str(templates().policy_change(*change)),
                opening=templates().policy_heading(report.policy.approved_by),
                kind="changes of the policy",
                weigh=lambda change: change[1],
            )

    def _targets(self, depth: Depth, *, passing: bool = True, share: float = 1.0) -> Iterator[Section]:
        rows = tuple(view.row(target) for target in view.by_verdict(self.report.targets))
        columns = view.columns(rows)
        folded: tuple[view.Row, ...] = ()
        if not passing or len(rows) > depth.targets:
            folded = tuple(row for row in rows if row.mark is view.Mark.PASS)
            rows = tuple(row for row in rows if row.mark is not view.Mark.PASS)
        heading = templates().targets_heading(
            [(view.FAMILIES[column], view.LEGEND[column]) for column in columns]
        )

        def render(row: view.Row) -> str:
            return str(templates().target_row(row, [row.cells[column] for column in columns]))

        yield Section(rows, render, opening=heading, kind="targets", share=share)
        if passing:
            opening = templates().details_open(view.Mark.PASS, "targets pass", len(folded), None) + heading
            yield Section(folded, render, opening, templates().details_close(), kind="passing targets")

    def _counts(self) -> Section:
        targets = self.report.targets
        verdicts = [
            (view.MARK_OF_VERDICT[verdict], verdict.value, sum(t.verdict is verdict for t in targets))
            for verdict in reversed(Verdict)
        ]
        found = [finding for _, finding in view.everything_found(self.report)]
        errors = Counter(view.dimension(f.rule) for f in view.blocking(found))
        warnings = Counter(view.dimension(f.rule) for f in view.informing(found, Severity.WARNING))
        dimensions = [
            (name, errors[name], warnings[name])
            for name in (*view.FAMILIES.values(), "Other")
            if errors[name] or warnings[name]
        ]
        return block(templates().counts(verdicts, dimensions))

    def _failing(self, depth: Depth) -> Iterator[Section]:
        """One section a unit: its heading first, so that no finding is ever shown under another's."""
        groups = view.grouped(None, self.report.findings)
        if groups:
            yield _failing_section(templates().failing_heading(groups[0].mark, None, "", ""), groups, depth)
        failing = [target for target in view.by_verdict(self.report.targets) if _is_failing(target)]
        for target in failing:
            groups = view.grouped(target.name, target.findings)
            # The headline has already said why, if there is but one target to speak of, or the first finding does.
            told = any(finding.message in target.reason for group in groups for finding in group.findings)
            reason = "" if told or (groups and len(failing) == 1) else target.reason
            mark = view.MARK_OF_VERDICT[target.verdict]
            heading = templates().failing_heading(
                mark, target.name, reason, bisect_command(self.report, target)
            )
            yield _failing_section(heading, groups, depth)

    def _informing(self, depth: Depth) -> Iterator[Section]:
        found = tuple(view.everything_found(self.report))
        parts: tuple[tuple[view.Mark | None, str, Callable[[Finding], bool]], ...] = (
            (view.Mark.WARNING, "warning", lambda f: f.severity is Severity.WARNING and f.waived is None),
            (None, "note", lambda f: f.severity is Severity.NOTE and f.waived is None),
            (None, "waived finding", lambda f: f.waived is not None),
        )
        for mark, noun, is_meant in parts:
            chosen = [(name, finding) for name, finding in found if is_meant(finding)]
            title = noun if len(chosen) == 1 else f"{noun}s"
            unlisted = len(chosen) - depth.rows
            more = f"\n{unlisted:,} more are in report.json.\n" if unlisted > 0 else ""
            yield Section(
                items=chosen[: depth.rows],
                render=lambda pair: str(templates().informing_row(*pair)),
                opening=templates().details_open(mark, title, len(chosen), None)
                + templates().informing_heading(),
                closing=more + templates().details_close(),
                kind=f"{noun}s",
            )

    def _figures(self, depth: Depth) -> Section:
        title = "Measurements and baseline" + (", thresholds in force" if depth.thresholds else "")
        return Section(
            [target for target in view.by_verdict(self.report.targets) if target.measurements],
            lambda target: _figures_of(target, depth),
            templates().details_open(None, title, 0, None),
            templates().details_close(),
            "measurements",
            weigh=lambda target: len(target.measurements),
        )

    def _skipped(self) -> Iterator[Section]:
        noun = "target" if len(self.report.skipped) == 1 else "targets"
        yield Section(
            self.report.skipped,
            templates().skipped_row,
            templates().details_open(None, f"{noun} not run", len(self.report.skipped), None),
            templates().details_close(),
            "targets not run",
        )

    def _provenance(self, *, targets: bool = True) -> Iterator[Section]:
        opening = templates().details_open(None, "Provenance: commits, digests, data, versions", 0, None)
        rows = [*run_origin(self.report)]
        heading = "| | |\n|:--|:--|\n"
        origin = [templates().origin_row(target) for target in self.report.targets] if targets else []
        table = [f"\n{templates().origin_heading()}", *origin] if origin else []
        body = [templates().provenance_row(label, text) for label, text in rows]
        yield Section(
            ("".join([heading, *body, *table]),), str, opening, templates().details_close(), "provenance"
        )

    def _footer(self) -> Section:
        rule = next((f.rule for _, f in view.everything_found(self.report) if view.blocking([f])), None)
        return block(templates().footer(self.report.provenance.tool, rule, self.link))


def _is_failing(target: TargetReport) -> bool:
    return target.verdict is not Verdict.PASS or bool(view.blocking(target.findings))


def _failing_section(heading: str, groups: Sequence[view.Group], depth: Depth) -> Section:
    def render(item: str | view.Group) -> str:
        return item if isinstance(item, str) else _group(item, depth)

    def weigh(item: str | view.Group) -> int:
        return 0 if isinstance(item, str) else len(item.findings)

    return Section((heading, *groups), render, kind="blocking findings", weigh=weigh)


def _group(group: view.Group, depth: Depth) -> str:
    if len(group.findings) == 1:
        return str(templates().group_single(group, group.findings[0]))
    inline = group.findings[: depth.inline]
    folded = group.findings[depth.inline : depth.inline + depth.folded]
    keys = {key for finding in group.findings for key in flat(finding.evidence)}
    table = Table(
        parts=((False, inline), (True, folded)) if folded else ((False, inline),),
        proof=tuple(key for key in PROOF if key in keys),
        other=any(beside_the_proof(finding.evidence) for finding in group.findings),
        missing=len(group.findings) - len(inline) - len(folded),
    )
    return str(templates().group_table(group, table))


def _figures_of(target: TargetReport, depth: Depth) -> str:
    """What was measured of a target, what the baseline says, and the thresholds that matter to it."""
    whole = [m for m in target.measurements if is_of_the_whole(m)][: depth.rows]
    tables = element_tables(target.measurements, depth.rows) if depth.elements else ()
    limits = view.telling_limits(target) if depth.thresholds else ()
    shown = len(whole) + sum(table.size for table in tables)
    return str(
        templates().figures_of(
            target,
            whole,
            tables,
            len(target.measurements) - shown,
            target.baseline.deltas[: depth.rows],
            target.baseline.content.tensors[: depth.rows] if target.baseline.content is not None else (),
            limits[: depth.rows],
            sum(map(len, target.thresholds.values())) - len(limits),
        )
    )
