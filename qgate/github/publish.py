"""Publishing a report: comment, commit status, summary, outputs. The verdict never depends on it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from qgate.errors import PublishError
from qgate.events import Activity
from qgate.github.client import Client
from qgate.github.comments import Action, Draft, publish_comment, state_of
from qgate.github.outputs import SUMMARY_BYTES, append_summary, write_outputs
from qgate.github.patience import Patience
from qgate.github.refusals import ReadOnlyTokenError
from qgate.github.status import publish_status
from qgate.records import Verdict
from qgate.report.escape import name as harmless_name
from qgate.report.escape import prose
from qgate.report.schema import Report
from qgate.settings import Settings

READ_ONLY = (
    "The token may only read, as in a pull request from a fork: neither comment nor status was written. "
    "The verdict stands in the job's summary, its outputs and its exit code."
)


@dataclass(frozen=True)
class Destination:
    """Where a report goes.

    Args:
        head_sha: The commit that gets the status: the pull request's head, the merge group's own, or the
            pushed one; None for no status.
        pull_request: The pull request that gets the comment; None for no comment.
    """

    head_sha: str | None
    pull_request: int | None = None

    @classmethod
    def of(cls, activity: Activity) -> Destination:
        """The destination that an event asks for."""
        return cls(activity.head_sha, activity.number)


@dataclass(frozen=True)
class Texts:
    """A report as Markdown.

    Args:
        comment: The comment in at most so many characters, with the given marker as its first line.
        summary: The job's summary in at most so many bytes.
    """

    comment: Callable[[int, str], str]
    summary: Callable[[int], str]


def texts_of(report: Report, *, report_url: str | None = None) -> Texts:
    """The report's texts as the renderer makes them; ``report_url`` is where the whole report is."""
    from qgate.report.render import render_comment, render_summary

    return Texts(
        lambda limit, marker: render_comment(report, marker=marker, limit=limit, report_url=report_url),
        lambda limit: render_summary(report, limit=min(limit, SUMMARY_BYTES), report_url=report_url),
    )


@dataclass(frozen=True)
class Published:
    """What was published.

    Args:
        comment_url: The comment's page, None where there is none.
        status_url: The status' address, None where there is none.
        comment: What became of the comment.
        problems: What went wrong, one sentence each, for stderr and the summary.
    """

    comment_url: str | None = None
    status_url: str | None = None
    comment: Action = "none"
    problems: tuple[str, ...] = ()


def connect(settings: Settings, *, patience: Patience | None = None) -> Client:
    """The connection that the settings describe.

    Raises:
        PublishError: There is no token, or no repository is named.
    """
    if settings.token is None:
        raise PublishError(
            "there is no token",
            where="input github-token",
            remedy="Pass github-token: ${{ github.token }}, with pull-requests: write and statuses: write",
        )
    if settings.repository is None:
        raise PublishError(
            "no repository is named", where="GITHUB_REPOSITORY", remedy="Run inside of GitHub Actions"
        )
    return Client(settings.token, settings.repository, settings.api_url, patience=patience)


def publish(
    report: Report,
    texts: Texts,
    destination: Destination,
    settings: Settings,
    *,
    patience: Patience | None = None,
) -> Published:
    """Writes the comment and the commit status. Whatever fails is a problem, never an exception.

    Args:
        report: The report; its verdict and headline make the status.
        texts: The report as Markdown.
        destination: Pull request and commit.
        settings: Token, repository, when to comment, the step's name, the run's page.
        patience: How long talking to GitHub may take.
    """
    try:
        client = connect(settings, patience=patience)
    except PublishError as error:
        return Published(problems=(f"Nothing was published: {error}.",))
    published, read_only = _with_comment(client, report, texts, destination, settings)
    if destination.head_sha is None:
        return _explained(published, read_only)
    try:
        url = publish_status(
            client,
            destination.head_sha,
            verdict=report.verdict,
            context=settings.status_context,
            headline=report.summary.headline,
            target_url=settings.run_url,
        )
    except ReadOnlyTokenError:
        return _explained(published, read_only=True)
    except PublishError as error:
        problem = f"The commit status could not be written: {error}."
        published = replace(published, problems=(*published.problems, problem))
    else:
        published = replace(published, status_url=url)
    return _explained(published, read_only)


def _with_comment(
    client: Client, report: Report, texts: Texts, destination: Destination, settings: Settings
) -> tuple[Published, bool]:
    if destination.pull_request is None:
        return Published(), False
    draft = Draft(settings.name, state_of(report), texts.comment, report.verdict is Verdict.PASS)
    try:
        outcome = publish_comment(client, destination.pull_request, draft, settings.comment)
    except ReadOnlyTokenError:
        return Published(), True
    except PublishError as error:
        return Published(problems=(f"The comment could not be written: {error}.",)), False
    return Published(outcome.url, comment=outcome.action, problems=outcome.problems), False


def _explained(published: Published, read_only: bool) -> Published:
    return replace(published, problems=(*published.problems, READ_ONLY)) if read_only else published


def write_results(
    report: Report, texts: Texts, published: Published, settings: Settings, report_path: Path
) -> tuple[str, ...]:
    """Writes the step's outputs and the job's summary, and returns what went wrong.

    The summary ends with the problems of publishing, so that they are not seen by stderr's readers alone.
    """
    failed = [target.name for target in report.targets if target.verdict is not Verdict.PASS]
    values = {
        "verdict": str(report.verdict),
        "report": os.path.relpath(report_path, settings.workspace),
        "failed-targets": ",".join(harmless_name(target).replace(",", "\\x2c") for target in failed),
        "comment-url": published.comment_url or "",
    }
    problems = write_outputs(settings.output_path, values)
    notes = "".join(f"\n> {prose(problem)}\n" for problem in (*published.problems, *problems))
    return (*problems, *append_summary(settings.summary_path, texts.summary, notes=notes))
