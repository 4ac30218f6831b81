"""The trusted job: publishing a report that an untrusted run left as an artifact."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from qgate.errors import PublishError, QgateError
from qgate.events import Activity
from qgate.github.patience import Patience
from qgate.github.proposed import proposed_by
from qgate.github.publish import Destination, Published, Texts, connect, publish
from qgate.github.pulls import PullFacts, pull_with_head
from qgate.plan.proposed import Proposed
from qgate.records import Finding, Verdict, worst
from qgate.report.schema import Report, read_report
from qgate.settings import Settings

MAX_ARTIFACT_BYTES = 32 * 2**20


def publish_stored(
    path: Path,
    activity: Activity,
    settings: Settings,
    *,
    rejudge: Callable[[Report, PullFacts, Proposed], Report],
    render: Callable[[Report], Texts],
    patience: Patience | None = None,
) -> tuple[Report, Texts, Published]:
    """Publishes the report that another run left as an artifact.

    The artifact is hostile data. It is validated against the schema, must be about the very commit of the
    finished run, is judged and rendered again here, and nothing of its text is relayed. Which pull request
    it belongs to is GitHub's answer, never the artifact's.

    Args:
        path: The artifact's report.json.
        activity: The ``workflow_run`` event of the trusted job.
        settings: As for ``publish``.
        rejudge: Judges the measurements again by the trusted policy, and by what the pull request changes.
        render: Makes the texts.
        patience: How long talking to GitHub may take.

    Raises:
        QgateError: The report is unusable or about something else, or the pull request is not found.
            Nothing has been published then.
    """
    report = _read_artifact(path)
    head, told = activity.head_sha, report.provenance.head_sha
    if head is None or told != head:
        raise PublishError(
            f"the report is about commit {str(told)[:40]!r}, the finished run about {head}",
            where=str(path),
            remedy="Download the artifact of the run that triggered this one (run-id)",
        )
    client = connect(settings, patience=patience)
    facts = pull_with_head(client, head)
    _require_same(report, facts, settings, path)
    judged = rejudge(report, facts, proposed_by(client, facts, settings.config))
    _require_consistent(judged, path)
    texts = render(judged)
    destination = Destination(head, facts.number)
    return judged, texts, publish(judged, texts, destination, settings, patience=client.patience)


def _read_artifact(path: Path) -> Report:
    try:
        facts = path.lstat()
    except OSError as error:
        raise QgateError(
            f"there is no report to publish ({error.strerror})",
            where=str(path),
            remedy="Download the first job's artifact into report-dir",
        ) from error
    if not stat.S_ISREG(facts.st_mode):
        raise QgateError("the report is no regular file", where=str(path))
    if facts.st_size > MAX_ARTIFACT_BYTES:
        raise QgateError(f"the report is larger than {MAX_ARTIFACT_BYTES // 2**20} MiB", where=str(path))
    return read_report(path)


def _require_same(report: Report, facts: PullFacts, settings: Settings, path: Path) -> None:
    told = report.provenance
    if told.repository is not None and told.repository != settings.repository:
        raise PublishError(
            f"the report is about another repository than {settings.repository}", where=str(path)
        )
    if told.pull_request is not None and told.pull_request != facts.number:
        raise PublishError(f"the report is about another pull request than #{facts.number}", where=str(path))


def _require_consistent(report: Report, path: Path) -> None:
    """A verdict must not be better than what it is made of."""
    least = worst([_least(report.findings), *(target.verdict for target in report.targets)])
    weak = [target.name for target in report.targets if target.verdict.rank < _least(target.findings).rank]
    if report.verdict.rank < least.rank or weak:
        raise PublishError("a verdict in the report is better than its own findings", where=str(path))


def _least(findings: Iterable[Finding]) -> Verdict:
    return worst(finding.effect for finding in findings if finding.waived is None)
