"""The operations of the API and the routing to them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from local_github.bodies import PULLS, PULLS_OF_COMMIT, REPOSITORY, Bodies
from local_github.description import Description
from local_github.world import MAX_BODY, Account, Comment, PullRequest, Repository, Status, World, is_sha

READ_ONLY = "Resource not accessible by integration"
MAX_DESCRIPTION = 140
MAX_FILES = 3000


class RefusalError(Exception):
    """An error that GitHub would answer with."""

    def __init__(self, status: int, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        documentation = "https://docs.github.com/rest"
        self.body = {"message": message, "documentation_url": documentation, "status": str(status), **more}


@dataclass(frozen=True)
class Call:
    """One request as an operation sees it; the parameters in ``path`` are decoded."""

    who: Account
    path: dict[str, str]
    query: dict[str, str]
    body: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """Status and body; ``items`` instead of a body where GitHub paginates."""

    status: int
    body: Any = None
    items: list[Any] | None = None


class Api:
    """GitHub's operations over a world."""

    def __init__(self, world: World, description: Description) -> None:
        self._world = world
        self._bodies = Bodies(description)
        operations: list[tuple[str, str, Callable[[Call], Answer]]] = [
            ("GET", "/user", self._user),
            ("GET", REPOSITORY, self._repository),
            ("GET", f"{REPOSITORY}/activity", self._activity),
            ("GET", f"{REPOSITORY}/collaborators/{{username}}/permission", self._permission),
            ("GET", f"{REPOSITORY}/commits/{{sha}}/pulls", self._pulls_of_commit),
            ("GET", f"{REPOSITORY}/commits/{{sha}}/statuses", self._statuses),
            ("GET", f"{REPOSITORY}/git/blobs/{{sha}}", self._blob),
            ("GET", f"{REPOSITORY}/issues/comments/{{id}}", self._comment),
            ("PATCH", f"{REPOSITORY}/issues/comments/{{id}}", self._edit_comment),
            ("DELETE", f"{REPOSITORY}/issues/comments/{{id}}", self._delete_comment),
            ("GET", f"{REPOSITORY}/issues/{{number}}/comments", self._comments),
            ("POST", f"{REPOSITORY}/issues/{{number}}/comments", self._create_comment),
            ("GET", f"{REPOSITORY}/issues/{{number}}/timeline", self._timeline),
            ("GET", f"{REPOSITORY}/pulls", self._pulls),
            ("GET", f"{REPOSITORY}/pulls/{{number}}", self._pull),
            ("GET", f"{REPOSITORY}/pulls/{{number}}/files", self._files),
            ("POST", f"{REPOSITORY}/statuses/{{sha}}", self._create_status),
        ]
        self._routes = [(method, _pattern(template), operation) for method, template, operation in operations]

    def __call__(self, method: str, path: str, query: dict[str, str], body: Any, who: Account) -> Answer:
        """Answers one request.

        Raises:
            RefusalError: GitHub would answer with an error.
        """
        for verb, pattern, operation in self._routes:
            if verb == method and (match := pattern.fullmatch(path)):
                if method != "GET" and not who.may_write:
                    raise RefusalError(403, READ_ONLY)
                parameters = {name: unquote(value) for name, value in match.groupdict().items()}
                return operation(Call(who, parameters, query, body))
        raise RefusalError(404, "Not Found")

    def _user(self, call: Call) -> Answer:
        if call.who.installation:
            raise RefusalError(403, READ_ONLY)
        return Answer(200, self._bodies.current_user(call.who))

    def _repository(self, call: Call) -> Answer:
        return Answer(200, self._bodies.repository(self._known_repository(call)))

    def _permission(self, call: Call) -> Answer:
        username = call.path["username"]
        role = self._known_repository(call).permissions.get(username)
        if role is None:
            raise RefusalError(404, f"{username} is not a user")
        return Answer(200, self._bodies.permission(username, role))

    def _activity(self, call: Call) -> Answer:
        name = f"{call.path['owner']}/{call.path['repo']}"
        branch = call.query.get("ref", "").removeprefix("refs/heads/")
        everywhere = [
            (home, pull) for home in self._world.repositories.values() for pull in home.pulls.values()
        ]
        here = [pull for home, pull in everywhere if pull.head_repository(home.full_name) == name]
        if not here and name not in self._world.repositories:
            raise RefusalError(404, "Not Found")
        pulls = [pull for pull in here if branch in ("", pull.head_ref)]
        pushes = [self._bodies.push(pull, n, push) for pull in pulls for n, push in enumerate(pull.pushes())]
        return Answer(200, items=pushes)

    def _pull(self, call: Call) -> Answer:
        return Answer(200, self._bodies.pull(*self._known_pull(call)))

    def _files(self, call: Call) -> Answer:
        """As at GitHub, the list ends after 3000 files whatever was changed."""
        repository, pull = self._known_pull(call)
        files = [self._bodies.changed_file(repository, pull, file) for file in pull.files[:MAX_FILES]]
        return Answer(200, items=files)

    def _blob(self, call: Call) -> Answer:
        for pull in self._known_repository(call).pulls.values():
            for file in pull.files:
                content = file.get("content")
                if content is not None and self._bodies.blob_sha(content) == call.path["sha"]:
                    return Answer(200, self._bodies.blob(content))
        raise RefusalError(404, "Not Found")

    def _pulls(self, call: Call) -> Answer:
        repository = self._known_repository(call)
        state, head = call.query.get("state", "open"), call.query.get("head")
        found = [
            pull
            for pull in repository.pulls.values()
            if state in (pull.state, "all") and head in (None, pull.head_label(repository.full_name))
        ]
        return Answer(200, items=[self._bodies.pull(repository, pull, PULLS) for pull in found])

    def _pulls_of_commit(self, call: Call) -> Answer:
        repository = self._known_repository(call)
        # As at GitHub, a commit that exists in a fork alone is not found this way.
        found = [p for p in repository.pulls.values() if p.head_sha == call.path["sha"] and p.fork is None]
        return Answer(200, items=[self._bodies.pull(repository, pull, PULLS_OF_COMMIT) for pull in found])

    def _timeline(self, call: Call) -> Answer:
        repository, pull = self._known_pull(call)
        events = enumerate(pull.timeline)
        return Answer(200, items=[self._bodies.timeline_event(repository, n, event) for n, event in events])

    def _comments(self, call: Call) -> Answer:
        repository, pull = self._known_pull(call)
        mine = [comment for comment in repository.comments.values() if comment.number == pull.number]
        return Answer(200, items=[self._bodies.comment(repository, comment) for comment in mine])

    def _comment(self, call: Call) -> Answer:
        return Answer(200, self._bodies.comment(*self._known_comment(call)))

    def _create_comment(self, call: Call) -> Answer:
        repository, pull = self._known_pull(call)
        body = _acceptable(call.body["body"])
        comment = self._world.add_comment(repository, pull.number, call.who.login, call.who.kind, body)
        return Answer(201, self._bodies.comment(repository, comment))

    def _edit_comment(self, call: Call) -> Answer:
        repository, comment = self._known_comment(call)
        comment.body = _acceptable(call.body["body"])
        comment.edits += 1
        return Answer(200, self._bodies.comment(repository, comment))

    def _delete_comment(self, call: Call) -> Answer:
        repository, comment = self._known_comment(call)
        del repository.comments[comment.id]
        return Answer(204)

    def _create_status(self, call: Call) -> Answer:
        repository, sha = self._known_repository(call), call.path["sha"]
        if not is_sha(sha):
            raise RefusalError(422, f"No commit found for SHA: {sha}")
        description = call.body.get("description")
        if description is not None and len(description) > MAX_DESCRIPTION:
            raise RefusalError(422, f"description is too long (maximum is {MAX_DESCRIPTION} characters)")
        status = Status(
            id=self._world.next_id(),
            sha=sha,
            context=call.body.get("context", "default"),
            state=call.body["state"],
            description=description,
            target_url=call.body.get("target_url"),
            creator=call.who.login,
        )
        repository.statuses.append(status)
        return Answer(201, self._bodies.status(repository, status))

    def _statuses(self, call: Call) -> Answer:
        repository = self._known_repository(call)
        newest_first = [status for status in reversed(repository.statuses) if status.sha == call.path["sha"]]
        return Answer(200, items=[self._bodies.status(repository, status) for status in newest_first])

    def _known_repository(self, call: Call) -> Repository:
        repository = self._world.repositories.get(f"{call.path['owner']}/{call.path['repo']}")
        if repository is None:
            raise RefusalError(404, "Not Found")
        return repository

    def _known_pull(self, call: Call) -> tuple[Repository, PullRequest]:
        repository = self._known_repository(call)
        pull = repository.pulls.get(int(call.path["number"]))
        if pull is None:
            raise RefusalError(404, "Not Found")
        return repository, pull

    def _known_comment(self, call: Call) -> tuple[Repository, Comment]:
        repository = self._known_repository(call)
        comment = repository.comments.get(int(call.path["id"]))
        if comment is None:
            raise RefusalError(404, "Not Found")
        return repository, comment


def _acceptable(body: str) -> str:
    message = None
    if not body.strip():
        message = "Body can't be blank"
    elif len(body) > MAX_BODY:
        message = f"Body is too long (maximum is {MAX_BODY} characters)"
    if message is not None:
        error = {"resource": "IssueComment", "code": "unprocessable", "field": "data", "message": message}
        raise RefusalError(422, "Validation Failed", errors=[error])
    return body


def _pattern(template: str) -> re.Pattern[str]:
    # A slash inside a path's tail comes percent-encoded, so that a parameter never spans segments.
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template))
