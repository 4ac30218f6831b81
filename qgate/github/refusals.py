"""What can come back from GitHub instead of an answer, told apart by what a caller does about it. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from qgate.errors import PublishError
from qgate.report.escape import visible

DEFAULT_LIMIT_WAIT = 60.0
"""Seconds to wait after a secondary limit that names none, as GitHub's documentation asks."""

_READ_ONLY = "resource not accessible by"
_LIMIT_WORDS = ("rate limit", "abuse detection", "retry your request again later")


class ReadOnlyTokenError(PublishError):
    """The token may not do this, as in every pull request from a fork."""


class NotFoundError(PublishError):
    """GitHub knows no such thing, or does not show it to this token."""


class TooLongError(PublishError):
    """GitHub finds the text too long."""


class TransientError(PublishError):
    """GitHub was unreachable or broke down. A write may or may not have happened."""


class RateLimitError(PublishError):
    """GitHub asks to wait. Nothing has happened.

    Args:
        what: As for QgateError.
        wait: Seconds that GitHub asks for, from now.
        where: As for QgateError.
    """

    def __init__(self, what: str, *, wait: float, where: str = "") -> None:
        super().__init__(what, where=where, remedy="Run the job again later")
        self.wait = wait


def refusal(status: int, headers: Mapping[str, str], body: object, where: str, now: float) -> PublishError:
    """The error for an answer of 400 and above.

    Args:
        status: HTTP status.
        headers: The answer's headers, names in lower case.
        body: The decoded JSON, or whatever stood in its place.
        where: The request, such as ``POST /repos/o/r/issues/7/comments``.
        now: Unix time in seconds, which a limit's reset is counted from.
    """
    message = _message(body)
    lowered = message.lower()
    shown = f"GitHub answered {status}" + (f" ({visible(message, 200)})" if message else "")
    if status == 429 or (status == 403 and _is_limit(lowered, headers)):
        return RateLimitError(shown, wait=_wait(headers, now), where=where)
    if status >= 500:
        return TransientError(shown, where=where, remedy="Run the job again")
    if status == 403 and lowered.startswith(_READ_ONLY):
        return ReadOnlyTokenError(
            shown, where=where, remedy="Give the job pull-requests: write and statuses: write"
        )
    if status == 401:
        remedy = "Pass github-token: ${{ github.token }} or another token that is valid"
        return PublishError("GitHub refuses the token", where=where, remedy=remedy)
    if status in (404, 410):
        return NotFoundError(shown, where=where, remedy="Check the repository and the token's permissions")
    if status == 422 and "too long" in lowered:
        return TooLongError(shown, where=where)
    return PublishError(shown, where=where)


def _is_limit(message: str, headers: Mapping[str, str]) -> bool:
    asks = "retry-after" in headers or headers.get("x-ratelimit-remaining") == "0"
    return asks or any(words in message for words in _LIMIT_WORDS)


def _wait(headers: Mapping[str, str], now: float) -> float:
    if "retry-after" in headers:
        return _retry_after(headers["retry-after"], now)
    if headers.get("x-ratelimit-remaining") == "0":
        reset = _number(headers.get("x-ratelimit-reset", ""))
        if reset is not None:
            return max(reset - now, 1.0)
    return DEFAULT_LIMIT_WAIT


def _retry_after(value: str, now: float) -> float:
    seconds = _number(value)
    if seconds is None:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return DEFAULT_LIMIT_WAIT
    return max(seconds, 1.0)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _message(body: object) -> str:
    """GitHub's message with those of its field errors; nothing where a proxy answered with a page."""
    if not isinstance(body, Mapping):
        return ""
    parts = [body.get("message")]
    errors = body.get("errors")
    for error in errors if isinstance(errors, list) else []:
        parts.append(error.get("message") if isinstance(error, Mapping) else error)
    return ": ".join(part for part in parts if isinstance(part, str) and part)
