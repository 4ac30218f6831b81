"""The report as a pull request comment and as a job summary: one ladder of blocks, two sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from qgate.records import Finding, Measurement, Severity, Verdict
from qgate.report import view
from qgate.report.ladder import Rung, Section, block, compose
from qgate.report.markdown import PROOF, address, templates
from qgate.report.origin import run_origin
from qgate.report.schema import Report, TargetReport

COMMENT_LIMIT = 65_000
SUMMARY_LIMIT = 1_000_000
MINIMUM = 2_000
"""The smallest limit that always holds marker, verdict and the note of what was left out."""

_MARKER_LIMIT = 500


@dataclass(frozen=True)
class Depth:
    """How much of each thing a text shows before it points to report.json.

    Args:
        inline: Findings of one rule and target in the open.
        folded: Further ones behind a click.
        rows: Warnings, notes or measurements in one table.
        elements: Whether measurements of single tensors and nodes are listed.
        thresholds: Whether the thresholds in force are listed.
        targets: The most targets in the open table while all of them pass or not.
    """

    inline: int
    folded: int
    rows: int
    elements: bool = False
    thresholds: bool = False
    targets: int = 12


_COMMENT = Depth(inline=6, folded=60, rows=60)
_SUMMARY = Depth(inline=10, folded=500, rows=1000, elements=True, thresholds=True, targets=50)
_BARE = Depth(inline=3, folded=0, rows=0)


@dataclass(frozen=True)
class Table:
    """The findings of a group as the rows of one or two tables."""

    parts: tuple[tuple[bool, tuple[Finding, ...]], ...]
    proof: tuple[str, ...]
    other: bool
    missing: int


def render_comment(
    report: Report, *, marker: str, limit: int = COMMENT_LIMIT, report_url: str | None = None
) -> str:
    """The Markdown of the pull request comment.

    Args:
        report: What to show.
        marker: The hidden HTML comment that the comment is found again by; its first line.
        limit: The most characters; met by leaving out whole blocks, which a note then counts.
        report_url: Where the whole report is; used only if it is a plain http(s) address.

    Raises:
        ValueError: ``limit`` is below ``MINIMUM``, or ``marker`` is not one whole HTML comment.
    """
    if not (marker.startswith("<!--") and marker.find("-->") == len(marker) - 3):
        raise ValueError("the marker is not one HTML comment")
    if "\n" in marker or "\r" in marker or "##[" in marker or len(marker.encode()) > _MARKER_LIMIT:
        raise ValueError(f"the marker is not one line of at most {_MARKER_LIMIT} bytes")
    return _render(report, f"{marker}\n", limit, address(report_url), _COMMENT)


def render_summary(report: Report, *, limit: int = SUMMARY_LIMIT, report_url: str | None = None) -> str:
    """The Markdown of ``summary.md`` and of the job summary, in at most ``limit`` bytes.

    Raises:
        ValueError: ``limit`` is below ``MINIMUM``.
    """
    return _render(report, "", limit, address(report_url), _SUMMARY)


def _render(report: Report, first_line: str, limit: int, link: str | None, depth: Depth) -> str:
    if limit < MINIMUM:
        raise ValueError(f"a report needs at least {MINIMUM} characters, not {limit}")
    head = first_line + templates().title(
        view.MARK_OF_VERDICT[report.verdict], report.verdict.value, _counted(report)
    )
    writer = _Writer(report, link)
    rungs = (
        Rung(head, tuple(writer.everything(depth))),
        Rung(head, tuple(writer.failures(depth)), writer.without_the_rest()),
        Rung(head, tuple(writer.counts(_BARE)), writer.without_the_rest()),
    )
    return compose(rungs, limit, writer.note)


def _counted(report: Report) -> str:
    total = len(report.targets)
    noun = "target" if total == 1 else "targets"
    same = sum(target.verdict is report.verdict for target in report.targets)
    if not total or (same == total == 1):
        return ""
    return f"all {total:,} {noun}" if same == total else f"{same:,} of {total:,} {noun}"


@dataclass(frozen=True)
class _Writer:
    """The sections of each rung for one report."""

    report: Report
    link: str | None

    def everything(self, depth: Depth) -> Iterator[Section]:
        yield from self._opening()
        yield from self._targets(depth)
        yield from self._failing(depth)
        yield from self._informing(depth)
        for target in view.by_verdict(self.report.targets):
            yield from _figures_of(target, depth)
        yield from self._skipped()
        yield from self._provenance()
        yield self._footer()

    def failures(self, depth: Depth) -> Iterator[Section]:
        yield from self._opening()
        yield from self._targets(depth, passing=False)
        yield from self._failing(depth)
        yield from self._provenance(targets=False)
        yield self._footer()

    def counts(self, depth: Depth) -> Iterator[Section]:
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
        kinds = [(number, kind) for kind, number in left_out.items() if kind and number]
        return str(templates().note(self.link, kinds))

    def _opening(self) -> Iterator[Section]:
        report = self.report
        if report.verdict is not Verdict.PASS:
            step = view.first_step(report)
            yield block(templates().box(report.verdict, report.summary.headline, step))
        else:
            yield block(templates().line(report.summary.headline))
        yield Section(report.notices, templates().bullet, kind="notices")
        if report.policy.changes:
            yield Section(
                report.policy.changes,
                templates().bullet,
                opening=templates().policy_heading(report.policy.approved_by),
                kind="changes of the policy",
            )

    def _targets(self, depth: Depth, *, passing: bool = True, share: float = 1.0) -> Iterator[Section]:
        rows = tuple(view.row(target) for target in view.by_verdict(self.report.targets))
        columns = view.columns(rows)
        folded: tuple[view.Row, ...] = ()
        if not passing or len(rows) > depth.targets:
            folded = tuple(row for row in rows if row.mark is view.Mark.PASS)
            rows = tuple(row for row in rows if row.mark is not view.Mark.PASS)
        heading = templates().targets_heading([view.FAMILIES[column] for column in columns])

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
            yield _failing_section(templates().failing_heading(groups[0].mark, None, ""), groups, depth)
        for target in view.by_verdict(self.report.targets):
            groups = view.grouped(target.name, target.findings)
            if groups or target.verdict is not Verdict.PASS:
                mark = view.MARK_OF_VERDICT[target.verdict]
                reason = target.reason if self._reason_is_news(target, groups) else ""
                heading = templates().failing_heading(mark, target.name, reason)
                yield _failing_section(heading, groups, depth)

    def _reason_is_news(self, target: TargetReport, groups: Sequence[view.Group]) -> bool:
        said = [self.report.summary.headline, *(f.message for group in groups for f in group.findings)]
        return not any(target.reason in text or (text and text in target.reason) for text in said)

    def _informing(self, depth: Depth) -> Iterator[Section]:
        found = tuple(view.everything_found(self.report))
        parts = (
            (view.Mark.WARNING, "warning", view.informing, (Severity.WARNING,)),
            (None, "note", view.informing, (Severity.NOTE,)),
            (None, "waived finding", view.waived, ()),
        )
        for mark, noun, pick, args in parts:
            chosen = [(name, finding) for name, finding in found if pick([finding], *args)]  # type: ignore[operator]
            title = noun if len(chosen) == 1 else f"{noun}s"
            yield _table(
                chosen[: depth.rows],
                lambda pair: str(templates().informing_row(*pair)),
                templates().details_open(mark, title, len(chosen), None),
                templates().informing_heading(),
                len(chosen) - depth.rows,
                f"{noun}s",
            )

    def _skipped(self) -> Iterator[Section]:
        yield Section(
            self.report.skipped,
            templates().skipped_row,
            templates().details_open(None, "not run, for the change does not touch them", 0, None),
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
    keys = {key for finding in group.findings for key in finding.evidence}
    table = Table(
        parts=((False, inline), (True, folded)) if folded else ((False, inline),),
        proof=tuple(key for key in PROOF if key in keys),
        other=bool(keys.difference(PROOF)),
        missing=len(group.findings) - len(inline) - len(folded),
    )
    return str(templates().group_table(group, table))


def _figures_of(target: TargetReport, depth: Depth) -> Iterator[Section]:
    """What was measured of a target, what the baseline says, and the thresholds in force."""
    shown = [m for m in target.measurements if depth.elements or _is_of_the_whole(m)]
    yield _table(
        shown[: depth.rows],
        templates().measurement_row,
        templates().details_open(None, "Measurements of", 0, target.name),
        templates().measurements_heading(),
        len(target.measurements) - min(len(shown), depth.rows),
        "measurements",
    )
    yield _table(
        target.baseline.deltas[: depth.rows],
        templates().delta_row,
        templates().details_open(None, "Against the baseline of", 0, target.name),
        templates().deltas_heading(),
        len(target.baseline.deltas) - depth.rows,
        "deltas",
    )
    if depth.thresholds:
        limits = [(rule, key, limit) for rule, keys in target.thresholds.items() for key, limit in keys.items()]
        yield _table(
            limits[: depth.rows],
            lambda item: str(templates().threshold_row(*item)),
            templates().details_open(None, "Thresholds in force for", 0, target.name),
            templates().thresholds_heading(),
            len(limits) - depth.rows,
            "thresholds",
        )


def _is_of_the_whole(measurement: Measurement) -> bool:
    return measurement.at.tensor is None and measurement.at.node is None


def _table(
    items: Sequence[Any], render: Any, opening: str, heading: str, missing: int, kind: str
) -> Section:
    """A folded table; what it does not list is said below it."""
    more = f"\n{missing:,} more are in report.json.\n" if missing > 0 else ""
    return Section(items, render, opening + heading, more + templates().details_close(), kind)
