"""One sticky comment: found by hidden marker and author over all pages, edited in place, never doubled."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeVar
from urllib.parse import quote

from qgate.errors import PublishError
from qgate.github.client import Client, Json
from qgate.github.reading import field
from qgate.github.refusals import NotFoundError, ReadOnlyTokenError, TooLongError, TransientError
from qgate.records import Finding
from qgate.report.canonical import canonical_json
from qgate.report.schema import Report

T = TypeVar("T")

LADDER = (65_000, 32_000, 16_000, 8_000, 4_000)
"""Characters to try, one after the other; GitHub takes 65,536."""

ACTIONS_BOT = "github-actions[bot]"

When = Literal["always", "on-change", "on-failure", "never"]
Action = Literal["created", "updated", "unchanged", "none"]

_MARKER = re.compile(r"<!-- qgate-comment: ([A-Za-z0-9._~%]*) ([0-9a-f]{64}) -->")


@dataclass(frozen=True)
class Comment:
    """A comment as GitHub has it."""

    id: int
    author: str
    kind: str
    body: str
    url: str


@dataclass(frozen=True)
class Outcome:
    """What became of the comment; ``problems`` are for the reader, none of them fatal."""

    action: Action
    url: str | None = None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Draft:
    """What the comment is to say.

    Args:
        name: The step's name; steps of other names have comments of their own.
        state: Digest of verdict and findings, see ``state_of``.
        render: The text for at most so many characters, with the given marker as its first line.
        passed: Whether the verdict is PASS.
    """

    name: str
    state: str
    render: Callable[[int, str], str]
    passed: bool

    def body(self, limit: int) -> str:
        """The comment's text.

        Raises:
            TooLongError: The text does not fit.
            PublishError: The comment would not be found again.
        """
        marker = marker_of(self.name, self.state)
        text = self.render(limit, marker)
        if len(text) > limit:
            raise TooLongError(f"the comment has {len(text)} characters where {limit} fit")
        if text.partition("\n")[0] != marker:
            raise PublishError("the comment does not begin with its marker")
        return text


def marker_of(name: str, state: str) -> str:
    """The hidden line that a step's comment is known by."""
    return f"<!-- qgate-comment: {_encoded(name)} {state} -->"


def _encoded(name: str) -> str:
    # Within an HTML comment there must be no -- and no >.
    return quote(name, safe="").replace("-", "%2D")


def state_of(report: Report) -> str:
    """Digest of what ``on-change`` goes by: verdicts and findings, not the figures, which may flicker."""
    state = {
        "verdict": report.verdict,
        "findings": _digested(report.findings),
        "targets": {t.name: [t.verdict, t.proposed, _digested(t.findings)] for t in report.targets},
        "skipped": sorted(skipped.name for skipped in report.skipped),
        "policy": report.policy.changes,
    }
    return hashlib.sha256(canonical_json(state).encode()).hexdigest()


def _digested(findings: Iterable[Finding]) -> list[list[str]]:
    return sorted([f.rule, f.severity, f.effect, str(f.at), f.waived or ""] for f in findings)


def publish_comment(client: Client, number: int, draft: Draft, when: When) -> Outcome:
    """Brings the pull request's one comment to what it should say.

    Args:
        client: The repository.
        number: The pull request.
        draft: What the comment is to say.
        when: ``on-change`` leaves a comment of the same state alone; ``on-failure`` creates none for a
            PASS, but turns an existing one green.

    Raises:
        PublishError: The comment could not be written.
    """
    if when == "never":
        return Outcome("none")
    author = _own_login(client)
    present = _marked(client, number, draft.name)
    mine = [comment for comment in present if comment.author == (author or ACTIONS_BOT)]
    if not mine:
        if when == "on-failure" and draft.passed:
            return Outcome("none")
        return _create(client, number, draft, present)
    oldest, *doubles = mine
    problems = _delete(client, doubles)
    if when == "on-change" and _mark(oldest.body)[1] == draft.state:
        return Outcome("unchanged", oldest.url, problems)
    try:
        edited = _fitting(draft, lambda body: _edit(client, oldest, body))
    except NotFoundError:  # somebody deleted it meanwhile
        return _create(client, number, draft, [])
    return Outcome("updated", edited.url, problems)


def _own_login(client: Client) -> str | None:
    """Whose token it is; None for an app's, which may not ask."""
    try:
        return field(client.get("/user", anywhere=True), "login", str)
    except (ReadOnlyTokenError, NotFoundError):
        return None


def _marked(client: Client, number: int, name: str) -> list[Comment]:
    """Every comment that carries the step's marker, whoever wrote it, oldest first."""
    items = client.pages(f"/issues/{number}/comments")
    # An account that was deleted leaves comments of nobody.
    marked = [item for item in items if item.get("user") and _mark(item.get("body"))[0] == _encoded(name)]
    return sorted((_comment(item) for item in marked), key=lambda comment: comment.id)


def _create(client: Client, number: int, draft: Draft, present: list[Comment]) -> Outcome:
    """Creates the comment, then makes sure that there is one.

    An app other than GitHub's own learns its name only from what it wrote: where it had a comment
    already, that one is edited instead and the new one goes.
    """
    newest = max((comment.id for comment in present), default=0)
    created, doubtful = _fitting(draft, lambda body: _create_once(client, number, draft, body, newest))
    earlier = [comment for comment in present if comment.author == created.author]
    if earlier:
        edited = _edit(client, earlier[0], created.body)
        return Outcome("updated", edited.url, _delete(client, [*earlier[1:], created]))
    if not doubtful:
        return Outcome("created", created.url)
    mine = [comment for comment in _marked(client, number, draft.name) if comment.author == created.author]
    kept = mine[0] if mine else created
    return Outcome("created", kept.url, _delete(client, mine[1:]))


def _create_once(client: Client, number: int, draft: Draft, body: str, newest: int) -> tuple[Comment, bool]:
    """Posts until the comment is there, and says whether any answer got lost on the way.

    After a broken answer the comment may exist, so it is looked for before another is posted.
    """
    doubtful, wait = False, 1.0
    while True:
        try:
            answer = client.post(f"/issues/{number}/comments", {"body": body})
            return _comment(answer), doubtful
        except TransientError as lost:
            doubtful = True
            written = [c for c in _marked(client, number, draft.name) if c.id > newest and c.body == body]
            if written:
                return written[0], doubtful
            client.patience.pause(wait, lost)
            wait *= 2


def _edit(client: Client, comment: Comment, body: str) -> Comment:
    return _comment(client.patch(f"/issues/comments/{comment.id}", {"body": body}))


def _delete(client: Client, comments: list[Comment]) -> tuple[str, ...]:
    problems = []
    for comment in comments:
        try:
            client.delete(f"/issues/comments/{comment.id}")
        except NotFoundError:
            continue  # gone already, which is what was wanted
        except PublishError as error:
            problems.append(f"A duplicate comment could not be deleted: {error}.")
    return tuple(problems)


def _fitting(draft: Draft, write: Callable[[str], T]) -> T:
    """Writes the longest version that renderer and GitHub can agree on."""
    for limit in LADDER[:-1]:
        try:
            return write(draft.body(limit))
        except TooLongError:
            continue
    return write(draft.body(LADDER[-1]))


def _mark(body: object) -> tuple[str | None, str | None]:
    """Encoded name and state in the marker that a comment begins with."""
    found = _MARKER.fullmatch(body.partition("\n")[0].strip()) if isinstance(body, str) else None
    return (found.group(1), found.group(2)) if found else (None, None)


def _comment(item: Json) -> Comment:
    return Comment(
        id=field(item, "id", int),
        author=field(item, "user.login", str),
        kind=field(item, "user.type", str),
        body=field(item, "body", str),
        url=field(item, "html_url", str),
    )
