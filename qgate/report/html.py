"""The report as one page of HTML that needs nothing else: no script, no network, light and dark.

Every value is escaped by Jinja2, and before that made visible: control, bidirectional and other
invisible characters are spelled out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, Undefined
from markupsafe import Markup

from qgate.records import Measurement, Severity
from qgate.report import content, escape, figures, view
from qgate.report.confusion import confusion
from qgate.report.elements import element_tables, is_of_the_whole
from qgate.report.evidence import evidence_items, place_items
from qgate.report.further import bisect_command
from qgate.report.origin import run_origin
from qgate.report.schema import Report
from qgate.report.unproven import unproven

_ROWS = 5000


def render_html(report: Report) -> str:
    """The whole report as a self-contained page; ``DIR/report.html``."""
    rows = [view.row(target) for target in view.by_verdict(report.targets)]
    found = tuple(view.everything_found(report))
    return _template().render(
        report=report,
        mark=view.MARK_OF_VERDICT[report.verdict],
        step=view.first_step(report),
        unproven=unproven(report),
        rows=rows,
        columns=view.columns(rows),
        titles=view.FAMILIES,
        legend=view.LEGEND,
        run_groups=view.grouped(None, report.findings),
        units=[
            (row, view.grouped(row.target.name, row.target.findings), bisect_command(report, row.target))
            for row in rows
        ],
        warnings=[p for p in found if p[1].severity is Severity.WARNING and p[1].waived is None],
        notes=[p for p in found if p[1].severity is Severity.NOTE and p[1].waived is None],
        waived=[p for p in found if p[1].waived is not None],
        origin=list(run_origin(report)),
        limit=_ROWS,
        of_the_whole=is_of_the_whole,
        counted=_counted,
        told=_told,
        confusion=confusion,
        elements=lambda measurements: element_tables(measurements, _ROWS),
    )


def _counted(measurements: Sequence[Measurement]) -> str:
    """How many there are, in the words of the verdict: what has no value is none of them."""
    made = sum(measurement.value is not None for measurement in measurements)
    lacking = len(measurements) - made
    return f"{made:,} measurements" + (f", {lacking:,} that could not be made" if lacking else "")


def _told(groups: Iterable[view.Group], reason: str) -> bool:
    """Whether a card below says what the verdict's reason says."""
    return any(finding.message in reason for group in groups for finding in group.findings)


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("qgate.report", "templates"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters.update(
        name=escape.name,
        figure=lambda value, unit="": figures.value(value, unit),
        size=figures.size,
        whole=figures.whole,
        places=place_items,
        evidence=evidence_items,
        typed=content.typed,
        whereabouts=content.whereabouts,
        headline=content.headline,
        sentence=_sentence,
    )
    return environment.get_template("report.html.j2")


def _sentence(text: str) -> Markup:
    """A sentence whose passages in backticks are code."""
    parts = escape.visible(text).split("`")
    if len(parts) % 2 == 0:  # the last backtick closes nothing
        parts[-2:] = ["`".join(parts[-2:])]
    spans = (Markup("<code>{}</code>").format(p) if i % 2 else Markup.escape(p) for i, p in enumerate(parts))
    return Markup("").join(spans)


def _shown(printed: object) -> object:
    """Text without anything invisible in it; what the template itself wrote stays."""
    if isinstance(printed, (Markup, Undefined)):
        return printed
    return escape.visible(str(printed), 4 * escape.PROSE_LIMIT)
