"""The report as a pull request comment and as a job summary: one ladder of blocks, two sizes."""

from __future__ import annotations

from qgate.report import view
from qgate.report.ladder import Rung, compose
from qgate.report.markdown import address, templates
from qgate.report.schema import Report
from qgate.report.sections import Depth, Writer

COMMENT_LIMIT = 65_000
SUMMARY_LIMIT = 1_000_000
MINIMUM = 2_000
"""The smallest limit that always holds marker, verdict and the note of what was left out."""

_MARKER_LIMIT = 500


_COMMENT = Depth(inline=6, folded=60, rows=60)
_SUMMARY = Depth(inline=10, folded=500, rows=1000, elements=True, thresholds=True, targets=50)
_BARE = Depth(inline=3, folded=0, rows=0)


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
    writer = Writer(report, link)
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
    if not same or (same == total == 1):
        return ""
    return f"{total:,} {noun}" if same == total else f"{same:,} of {total:,} {noun}"
