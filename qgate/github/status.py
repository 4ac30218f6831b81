"""The commit status: one line beside the commit, with a link to the run."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from qgate.github.client import Client, segment
from qgate.github.reading import field
from qgate.records import Verdict
from qgate.report.escape import visible

DESCRIPTION_LIMIT = 140

STATES: Final = {
    Verdict.PASS: "success",
    Verdict.FAIL: "failure",
    Verdict.INCONCLUSIVE: "error",
    Verdict.ERROR: "error",
}


def publish_status(
    client: Client, sha: str, *, verdict: Verdict, context: str, headline: str, target_url: str | None
) -> str:
    """Sets the commit's status and returns its address.

    Posting it twice does no harm, for the newest of a context counts.

    Args:
        client: The repository.
        sha: The head commit; in a merge queue the group's own.
        verdict: The run's verdict.
        context: The status' name.
        headline: The verdict in one line; cut to 140 characters.
        target_url: The run's page, from the runner and never from a report.

    Raises:
        PublishError: GitHub refuses or cannot be reached.
    """
    body = {"state": STATES[verdict], "context": context, "description": _description(verdict, headline)}
    if target_url is not None and urlsplit(target_url).scheme in ("http", "https"):
        body["target_url"] = target_url
    return field(client.post(f"/statuses/{segment(sha)}", body, repeatable=True), "url", str)


def _description(verdict: Verdict, headline: str) -> str:
    shown = visible(headline, DESCRIPTION_LIMIT)
    if not shown.startswith(verdict):
        shown = visible(f"{verdict}: {headline}", DESCRIPTION_LIMIT)
    # Statuses take the characters of the basic plane only.
    return "".join(
        character if ord(character) < 0x10000 else "\N{REPLACEMENT CHARACTER}" for character in shown
    )
