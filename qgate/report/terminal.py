"""The report on a terminal or in a log: verdict, targets, findings with their elements.

A log is read by the runner, which obeys lines that begin with ``::``; so everything that quotes a report
stands inside a border or behind a word of our own, and nothing is parsed as rich markup. ``rich`` is
imported only here and only when something is printed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from qgate.records import Finding, Severity, Verdict, Weight, weigher
from qgate.report import escape, view
from qgate.report.evidence import evidence_items, place_items
from qgate.report.further import bisect_command
from qgate.report.schema import Report
from qgate.report.unproven import unproven

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

FINDINGS = 20
"""Findings printed; the rest is in the report."""

_TARGETS = 50
_PER_RULE = 3
_ROOMY = 100
_STYLES: Mapping[view.Mark, str] = {
    view.Mark.ERROR: "bold magenta",
    view.Mark.FAIL: "bold red",
    view.Mark.OPEN: "bold yellow",
    view.Mark.WARNING: "yellow",
    view.Mark.PASS: "green",
    view.Mark.NONE: "dim",
}
_SIGNS: Mapping[view.Mark, str] = {
    view.Mark.ERROR: "⊘",
    view.Mark.FAIL: "✗",
    view.Mark.OPEN: "?",
    view.Mark.WARNING: "!",
    view.Mark.PASS: "✓",
    view.Mark.NONE: "–",
}
_SHORT: Mapping[str, str] = {
    "ART": "Artifact",
    "QNT": "Quant.",
    "RNG": "Range",
    "FEA": "Outputs",
    "BEH": "Behaviour",
    "TRC": "Trace",
    "DEP": "Deploy",
    "CST": "Cost",
}
_ASCII = str.maketrans(
    {"⊘": "X", "✗": "x", "✓": "+", "–": "-", "−": "-", "…": "...", "·": "-", "±": "+/-", "∞": "inf", "×": "x"}
)


def print_report(report: Report, console: Console, *, directory: str | None = None) -> None:
    """Prints the verdict, the targets and the findings; readable without colour and at 80 columns.

    Args:
        report: What to print.
        console: Where to; its width, colours and encoding are respected.
        directory: Where the whole report was written, if it was.
    """
    write = _writer(console)
    _print_verdict(report, console, write)
    for notice in report.notices:
        _line(console, write, "Note", notice)
    for change, count in view.policy_changes(report):
        _line(console, write, "Policy", change or f"{count:,} more changes that loosen it are in the report")
    if report.targets:
        console.print(_targets(report, console.width, write))
    for target in report.targets:
        for finding in target.findings:
            if finding.rule == "ART119" and finding.evidence.get("state") == "valid":
                _line(console, write, "Signed", f"{target.name}: {finding.message}")
    findings = _in_order(report)
    if findings:
        console.print(_findings(findings[:FINDINGS], write))
    if len(findings) > FINDINGS:
        _line(console, write, "More", f"{len(findings) - FINDINGS:,} more findings are in the report")
    for target in report.targets:
        command = bisect_command(report, target)
        if command:
            _line(console, write, "Which layers", command)
    if report.skipped:
        _line(console, write, "Not run", ", ".join(escape.name(item.name) for item in report.skipped[:20]))
    if directory is not None:
        _line(console, write, "Report", f"{directory} (report.json, summary.md, report.html)")


def _writer(console: Console) -> Callable[..., Text]:
    """Text that is shown as it is, in the characters that the console has."""
    from rich.text import Text

    ascii_only = console.options.ascii_only

    def write(text: str, style: str = "") -> Text:
        if ascii_only:
            text = text.translate(_ASCII).encode("ascii", "backslashreplace").decode("ascii")
        return Text(text, style=style, overflow="fold")

    return write


def _print_verdict(report: Report, console: Console, write: Callable[..., Text]) -> None:
    from rich.panel import Panel

    mark = view.MARK_OF_VERDICT[report.verdict]
    body = write(f"{_SIGNS[mark]} {report.verdict.value}", _STYLES[mark])
    same = sum(target.verdict is report.verdict for target in report.targets)
    if len(report.targets) > 1 and same:
        body.append_text(write(f"  {same} of {len(report.targets)} targets"))
    body.append_text(write(f"\n{escape.visible(report.summary.headline)}"))
    step = view.first_step(report) if report.verdict is not Verdict.PASS else ""
    for label, text in (("What to do", step), *unproven(report)):
        if text:
            body.append_text(write(f"\n{label}: ", "bold"))
            body.append_text(write(escape.visible(text)))
    console.print(Panel(body, title="qgate", title_align="left", border_style=_STYLES[mark]))


def _line(console: Console, write: Callable[..., Text], label: str, text: str) -> None:
    line = write(f"{label}: ", "bold")
    line.append_text(write(escape.visible(text)))
    console.print(line, soft_wrap=True)


def _table(*headings: str) -> Table:
    """A table whose every line begins with its border."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SQUARE, show_lines=True, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _targets(report: Report, width: int, write: Callable[..., Text]) -> Table:
    rows = [view.row(target) for target in view.by_verdict(report.targets)]
    columns = view.columns(rows)
    table = _table("Target", *(_SHORT[column] for column in columns))
    if width >= _ROOMY:
        table.columns[0].min_width = max((len(row.target.verdict.value) for row in rows), default=0)
    for row in rows[:_TARGETS]:
        first = write(f"{escape.name(row.target.name)}\n")
        first.append_text(write(row.target.verdict.value, _STYLES[row.mark]))
        table.add_row(first, *(_cell(row.cells[column], write) for column in columns))
    if len(rows) > _TARGETS:
        table.add_row(write(f"{len(rows) - _TARGETS:,} more"), *([""] * len(columns)))
    return table


def _cell(cell: view.Cell, write: Callable[..., Text]) -> Text:
    sign = _SIGNS[cell.mark] + (f"×{cell.count}" if cell.count > 1 else "")
    text = write(sign, _STYLES[cell.mark])
    for position, figure in enumerate(cell.figures):
        text.append_text(write(f"{' ' if position == 0 else chr(10)}{escape.visible(figure, 120)}"))
    return text


def _in_order(report: Report) -> list[tuple[str | None, Finding]]:
    """Blocking findings, the worst first, then warnings; notes and waived ones stay in the report."""
    live = [(name, f) for name, f in view.everything_found(report) if f.waived is None]
    weights: dict[str | None, Callable[[Finding], Weight]] = {
        target.name: weigher(target.findings) for target in report.targets
    }
    weights[None] = weigher(report.findings)
    errors = [pair for pair in live if pair[1].severity is Severity.ERROR]
    errors.sort(key=lambda pair: weights[pair[0]](pair[1]))
    return errors + [pair for pair in live if pair[1].severity is Severity.WARNING]


def _findings(findings: Iterable[tuple[str | None, Finding]], write: Callable[..., Text]) -> Table:
    table = _table("Rule", "Place", "Finding")
    table.columns[0].no_wrap = True
    table.columns[1].ratio = 2
    table.columns[2].ratio = 3
    shown: Counter[tuple[str | None, str]] = Counter()
    for name, finding in findings:
        shown[name, finding.rule] += 1
        if shown[name, finding.rule] > _PER_RULE:
            continue
        warning = finding.severity is Severity.WARNING
        mark = view.Mark.WARNING if warning else view.MARK_OF_VERDICT[finding.effect]
        rule = write(f"{_SIGNS[mark]} {escape.name(finding.rule, 12)}", _STYLES[mark])
        table.add_row(rule, _place(name, finding, write), _what(finding, write))
    for (name, rule_id), count in shown.items():
        if count > _PER_RULE:
            target = write(escape.name(name) if name is not None else "this run", "bold")
            more = f"{count - _PER_RULE:,} more of {escape.name(rule_id, 12)} are in the report"
            table.add_row(write(""), target, write(more))
    return table


def _place(name: str | None, finding: Finding, write: Callable[..., Text]) -> Text:
    text = write(escape.name(name) if name is not None else "this run", "bold")
    for label, where in place_items(finding.at):
        shown = escape.visible(where, escape.NAME_LIMIT)
        text.append_text(write(f"\n{label} {shown}" if label else f" {shown}"))
    return text


def _what(finding: Finding, write: Callable[..., Text]) -> Text:
    text = write(escape.visible(finding.message))
    for position, (label, shown) in enumerate(evidence_items(finding)):
        text.append_text(write(f"{' · ' if position else chr(10)}{escape.visible(label, 40)} ", "dim"))
        text.append_text(write(escape.visible(shown, 120), "bold"))
    if finding.remedy:
        text.append_text(write("\nFix: ", "bold"))
        text.append_text(write(escape.visible(finding.remedy)))
    return text
