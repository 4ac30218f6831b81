"""The connection to one repository's API. The only importer of PyGithub, and only once it is needed.

PyGithub signs, sends and decodes. Its own retries are switched off: they repeat a POST that a broken
answer may have hidden, and sleep for as long as the rate limit says. Paths are relative to the API's
address, so nothing depends on the addresses inside answers, which PyGithub asserts to be the same host's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import qgate
from qgate.errors import PublishError
from qgate.github.patience import Patience
from qgate.github.refusals import TransientError, refusal

if TYPE_CHECKING:
    from github.Requester import Requester

PAGE = 100
MAX_PAGES = 200
TIMEOUT = 15
"""Seconds that one request may be silent."""

Json = dict[str, Any]


class Client:
    """Requests to one repository, within one budget of time.

    Args:
        token: GitHub's token.
        repository: ``owner/name``.
        api_url: Address of the API, ``https://api.github.com`` or a GitHub Enterprise Server's.
        patience: How long everything together may take.
        timeout: Seconds that one request may be silent.
    """

    def __init__(
        self,
        token: str,
        repository: str,
        api_url: str = "https://api.github.com",
        *,
        patience: Patience | None = None,
        timeout: int = TIMEOUT,
    ) -> None:
        self.repository = repository
        self.patience = patience or Patience()
        self._root = f"/repos/{quote(repository, safe='/')}"
        self._requester = _requester(token, api_url, timeout)

    def get(self, path: str, *, anywhere: bool = False, **query: str | int) -> Json:
        """One object.

        Args:
            path: Below the repository, such as ``/pulls/7``; below the API where ``anywhere`` is set.
            anywhere: See ``path``.
            query: The query's parameters.

        Raises:
            PublishError: GitHub refuses, cannot be reached, or answers something else than an object.
        """
        where = path if anywhere else self._root + path
        _, body = self._request("GET", where, query=query)
        return _object(body, f"GET {where}")

    def pages(
        self, path: str, *, anywhere: bool = False, limit: int | None = None, **query: str | int
    ) -> list[Json]:
        """All items of a list over all its pages, or the first ``limit`` of them.

        Raises:
            PublishError: As for ``get``; or there is no end to the pages.
        """
        where = path if anywhere else self._root + path
        size = min(limit or PAGE, PAGE)
        items: list[Json] = []
        for number in range(1, MAX_PAGES + 1):
            numbered = {"page": number} if number > 1 else {}
            headers, body = self._request("GET", where, query={**query, "per_page": size, **numbered})
            if not isinstance(body, list):
                raise _unexpected(f"GET {where}")
            items += [_object(item, f"GET {where}") for item in body]
            if limit is not None and len(items) >= limit:
                return items[:limit]
            # Some lists leave items out after cutting pages, so a short page is not always the last one.
            if 'rel="next"' not in headers.get("link", "") and len(body) < size:
                return items
        raise PublishError(f"the list has more than {MAX_PAGES} pages", where=f"GET {where}")

    def post(self, path: str, body: Json, *, repeatable: bool = False) -> Json:
        """Creates something.

        Args:
            path: Below the repository.
            body: What is sent.
            repeatable: Whether creating it twice does no harm.

        Raises:
            TransientError: It is unknown whether it was created, and it is not ``repeatable``.
            PublishError: GitHub refuses or cannot be reached.
        """
        where = self._root + path
        _, answer = self._request("POST", where, body=body, repeatable=repeatable)
        return _object(answer, f"POST {where}")

    def patch(self, path: str, body: Json) -> Json:
        """Changes something.

        Raises:
            PublishError: GitHub refuses or cannot be reached.
        """
        where = self._root + path
        _, answer = self._request("PATCH", where, body=body)
        return _object(answer, f"PATCH {where}")

    def delete(self, path: str) -> None:
        """Deletes something.

        Raises:
            PublishError: GitHub refuses or cannot be reached.
        """
        self._request("DELETE", self._root + path)

    def _request(
        self,
        verb: str,
        where: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Json | None = None,
        repeatable: bool = True,
    ) -> tuple[Mapping[str, str], Any]:
        return self.patience.repeat(
            lambda: self._attempt(verb, where, dict(query or {}), body), after_transient=repeatable
        )

    def _attempt(
        self, verb: str, where: str, query: dict[str, Any], body: Json | None
    ) -> tuple[Mapping[str, str], Any]:
        from github import GithubException
        from requests import RequestException

        line = f"{verb} {where}"
        try:
            headers, answer = self._requester.requestJsonAndCheck(verb, where, parameters=query, input=body)
        except GithubException as error:
            raise refusal(error.status, error.headers or {}, error.data, line, self.patience.now()) from error
        except RequestException as error:
            what = f"GitHub cannot be reached ({type(error).__name__})"
            raise TransientError(
                what, where=line, remedy="Check the network and run the job again"
            ) from error
        except (AssertionError, AttributeError, RuntimeError, ValueError) as error:
            # What PyGithub raises for an answer that is not GitHub's: a proxy's page, a redirect elsewhere.
            raise _unexpected(line) from error
        if (
            isinstance(answer, dict)
            and isinstance(answer.get("data"), str)
            and answer.keys() <= {"data", "url"}
        ):
            raise _unexpected(line)  # PyGithub's wrapping of what is not JSON
        return headers, answer


def segment(text: str) -> str:
    """A name as one segment of a path, its slashes encoded."""
    return quote(text, safe="")


def _requester(token: str, api_url: str, timeout: int) -> Requester:
    from github import Auth, Github

    return Github(
        auth=Auth.Token(token),
        base_url=api_url,
        timeout=timeout,
        user_agent=f"qgate/{qgate.__version__}",
        retry=None,
        seconds_between_requests=None,
        seconds_between_writes=None,
    ).requester


def _object(body: object, where: str) -> Json:
    if not isinstance(body, dict):
        raise _unexpected(where)
    return body


def _unexpected(where: str) -> PublishError:
    return PublishError(
        "the answer is not one of GitHub's API",
        where=where,
        remedy="Check GITHUB_API_URL and any proxy between the runner and GitHub",
    )
