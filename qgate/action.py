"""The GitHub Action: settings, event, gate, report, publication, exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from qgate.errors import PublishError, QgateError, UsageError
from qgate.report.escape import visible, workflow_message

if TYPE_CHECKING:
    from pathlib import Path

    from qgate.events import Activity
    from qgate.github.publish import Published, Texts
    from qgate.plan.approval import Grants
    from qgate.report.schema import Report
    from qgate.settings import Settings


def main() -> int:
    """Runs the action in the environment that GitHub gives it, and returns the exit code."""
    from qgate.sandbox.protect import protect_parent
    from qgate.settings import read_settings

    protect_parent()
    try:
        settings = read_settings()
    except QgateError as error:
        _say(f"::error title=qgate::{workflow_message(str(error))}")
        return 2
    try:
        return _run(settings)
    except QgateError as error:
        _say(f"::error title=qgate::{workflow_message(str(error))}")
        return 2


def _run(settings: Settings) -> int:
    from qgate.events import Kind, read_activity
    from qgate.gate.run import failed_report
    from qgate.report.write import prepare_folder

    try:
        activity = read_activity(settings)
    except QgateError as error:
        return _conclude(failed_report(error, settings), None, settings)
    if activity.kind is Kind.PUBLISH or settings.mode == "publish":
        return _publish_stored(settings, activity)
    prepare_folder(settings.report_dir)
    try:
        notices = _checked(settings, activity)
    except QgateError as error:
        return _conclude(failed_report(error, settings, activity), activity, settings)
    report = _judge(settings, activity)
    report = report.model_copy(update={"notices": (*report.notices, *notices)})
    return _conclude(report, activity, settings)


def _judge(settings: Settings, activity: Activity) -> Report:
    from qgate.gate.run import run_gate
    from qgate.verifier.targets import content_locator, rejudge_target, target_verifier

    return run_gate(
        settings,
        activity,
        verify=target_verifier(settings, leaves=settings.report_dir),
        judge_again=rejudge_target,
        locate=content_locator(settings),
        approvals=_approvals(settings, activity),
        progress=lambda line: _say(f"qgate: {visible(line)}"),
    )


def _checked(settings: Settings, activity: Activity) -> tuple[str, ...]:
    """Compares the event file, which a job could have forged, with what GitHub's API says.

    Returns:
        What the reader must know: that GitHub could not be asked, or that the head has moved on.

    Raises:
        UsageError: The event names another base, author or number than GitHub does.
    """
    from qgate.github.publish import connect
    from qgate.github.pulls import disagreements, pull_facts

    if activity.number is None or settings.token is None:
        return ()
    try:
        wrong = disagreements(activity, pull_facts(connect(settings), activity.number))
    except PublishError as error:
        return (f"The event could not be checked against GitHub's API: {error}.",)
    moved = tuple(line for line in wrong if line.startswith("The event's head commit"))
    if len(moved) < len(wrong):
        raise UsageError(
            " ".join(line for line in wrong if line not in moved),
            where=str(settings.event_path or "event"),
            remedy="Run the workflow again; if the pull request was retargeted, push a commit",
        )
    return moved


def _approvals(settings: Settings, activity: Activity) -> Callable[[str], Grants]:
    """Asks GitHub who set a label; a question that cannot be asked is answered by nobody."""
    from qgate.plan.approval import Granted, no_approvals

    if settings.token is None or (activity.number is None and activity.queued is None):
        return no_approvals

    def ask(label: str) -> Grants:
        from qgate.github.approvals import fetch_approvals, fetch_group_approvals
        from qgate.github.publish import connect

        try:
            client = connect(settings)
            if activity.number is not None:
                return fetch_approvals(client, activity.number, label, head_sha=activity.head_sha)
            queued, head = activity.queued, activity.head_sha
            if queued is None or head is None:
                return Granted()
            return Granted(granted=fetch_group_approvals(client, [queued], label, head))
        except PublishError as error:
            return Granted(refused=(f"Approvals could not be read: {error}.",))

    return ask


def _conclude(report: Report, activity: Activity | None, settings: Settings) -> int:
    """Writes, publishes and prints a report. Nothing that fails here changes the verdict."""
    from qgate.github.publish import Destination, Published, publish, texts_of
    from qgate.report.write import write_report

    texts = texts_of(report, report_url=settings.run_url)
    path = settings.report_dir / "report.json"
    problems: list[str] = []
    try:
        path = write_report(report, settings.report_dir)
        _give_back(settings)
    except QgateError as error:
        problems.append(str(error))
    published = Published()
    if settings.mode == "auto" and activity is not None:
        published = publish(report, texts, Destination.of(activity), settings)
    _write_and_print(report, texts, published, settings, path, problems)
    return report.verdict.exit_code


def _write_and_print(
    report: Report, texts: Texts, published: Published, settings: Settings, path: Path, problems: list[str]
) -> None:
    from rich.console import Console

    from qgate.github.publish import write_results
    from qgate.report.annotations import annotations
    from qgate.report.terminal import print_report

    problems += published.problems
    problems += write_results(report, texts, published, settings, path)
    print_report(report, Console(width=120), directory=str(settings.report_dir))
    for line in annotations(report):
        print(line, flush=True)
    for problem in dict.fromkeys(problems):
        _say(f"::warning title=qgate::{workflow_message(problem)}")
    if published.problems:
        _say(f"The verdict {report.verdict} could not be published in full; it stands all the same.")


def _publish_stored(settings: Settings, activity: Activity) -> int:
    """The trusted job: what an untrusted run measured, judged again by the trusted policy."""
    from qgate.gate.rejudge import rejudge_report
    from qgate.github.publish import texts_of
    from qgate.github.stored import publish_stored

    report, texts, published = publish_stored(
        settings.report_dir / "report.json",
        activity,
        settings,
        rejudge=lambda stored, facts, proposed: rejudge_report(stored, facts.base_ref, proposed, settings),
        render=lambda judged: texts_of(judged, report_url=settings.run_url),
    )
    _write_and_print(report, texts, published, settings, settings.report_dir / "report.json", [])
    return report.verdict.exit_code


def _give_back(settings: Settings) -> None:
    """Files in the workspace belong to its owner, not to the container's root."""
    import os

    if os.geteuid() != 0:
        return
    owner = settings.workspace.stat()
    above = [path for path in settings.report_dir.parents if settings.workspace in path.parents]
    for path in (*above, settings.report_dir, *settings.report_dir.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
