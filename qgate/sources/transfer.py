"""One bounded HTTP transfer: checked redirects, secrets for one origin only, retries, resume, caps."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin

import requests
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import ConnectTimeout, ReadTimeout, RequestException, SSLError
from urllib3.exceptions import HTTPError, NameResolutionError, ReadTimeoutError

from qgate.errors import SourceError
from qgate.sources.addresses import AddressPolicy
from qgate.sources.connection import Dialer, Watchdog, checked_session, socket_timeouts
from qgate.sources.context import SourceContext, origin
from qgate.sources.locator import public_address
from qgate.sources.newfile import NewFile

_CHUNK = 2**16
_JSON_MAX = 8 * 2**20
_REDIRECTS_MAX = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_TRY_AGAIN = (429, 500, 502, 503, 504)
_PAUSE_MAX = 60.0
_AGENT = {"User-Agent": "qgate", "Accept-Encoding": "identity"}
_OFFLINE = "Check the network of the runner and the address, then run again"


class HttpStatusError(SourceError):
    """The server answered with a status that is no success.

    Args:
        status: The HTTP status.
        what: As for SourceError, likewise ``where`` and ``remedy``.
    """

    def __init__(self, status: int, what: str, *, where: str, remedy: str = "") -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.status = status


class _BrokenOffError(Exception):
    """The transfer may be taken up again; the text says what happened."""


class Transfer:
    """The requests that obtain one file, under one clock.

    Args:
        context: Servers, hosts, timeouts.
        where: The source's place, for errors.
    """

    def __init__(self, context: SourceContext, where: str) -> None:
        self.context = context
        self.where = where
        self._policy = AddressPolicy(context)
        self._watchdog = Watchdog(context.patience.total_seconds)
        self._session = checked_session(context, Dialer(context, self._watchdog, where))

    def __enter__(self) -> Self:
        self._watchdog.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()
        self._watchdog.__exit__(kind, error, trace)

    def json(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        secret: Mapping[str, str],
        body: object = None,
    ) -> Any:
        """The JSON that a server answers with.

        Args:
            method: ``GET`` or ``POST``.
            url: The address.
            headers: Headers that any host may see.
            secret: Headers that only the address' own origin may see.
            body: Sent as JSON where it is not None.

        Raises:
            HttpStatusError: The server refused.
            SourceError: No answer, or not JSON, or too much of it.
        """
        data = None if body is None else json.dumps(body).encode()
        failure = ""
        for attempt in range(self.context.patience.attempts):
            self._pause(attempt)
            try:
                with self._open(method, url, headers, secret, data) as response:
                    self._require_success(response)
                    return self._parsed(self._read_bounded(response))
            except _BrokenOffError as error:
                failure = str(error)
        raise self._gave_up(failure)

    def download(
        self, url: str, file: NewFile, *, headers: Mapping[str, str], secret: Mapping[str, str]
    ) -> None:
        """Writes what the address gives into the file, taking up again where a transfer broke off.

        Raises:
            HttpStatusError: The server refused.
            SourceError: A forbidden address, no answer, too slow, too large, or the disk is full.
        """
        failure = ""
        for attempt in range(self.context.patience.attempts):
            self._pause(attempt)
            if file.tag is None:
                file.restart()  # without a strong tag the rest could belong to another file
            resume = {"Range": f"bytes={file.bytes}-", "If-Range": file.tag or ""} if file.bytes else {}
            try:
                with self._open("GET", url, {**headers, **resume}, secret, None) as response:
                    self._receive(response, file)
                    return
            except _BrokenOffError as error:
                failure = str(error)
        raise self._gave_up(failure)

    def _receive(self, response: requests.Response, file: NewFile) -> None:
        if response.status_code == 416:
            file.restart()
            raise _BrokenOffError("the server has no such range")
        self._require_success(response)
        if response.status_code == 206:
            begun = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
            if not file.bytes or begun is None or int(begun[1]) != file.bytes:
                file.restart()
                raise _BrokenOffError("the server sent another range than asked for")
        elif file.bytes:
            file.restart()
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise SourceError("the server compressed the file although it was asked not to", where=self.where)
        announced = response.headers.get("Content-Length", "")
        if announced.isdecimal() and file.bytes + int(announced) > file.room:
            raise file.too_large()
        file.tag = _strong_tag(response)
        try:
            for chunk in response.raw.stream(_CHUNK, decode_content=False):
                file.write(chunk)
        except (HTTPError, OSError) as error:
            self._check_clock()
            raise _BrokenOffError(_reason(error)) from None
        self._check_clock()

    def _open(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        secret: Mapping[str, str],
        data: bytes | None,
    ) -> requests.Response:
        asked = origin_of(url, self.where)
        same = True
        for _ in range(_REDIRECTS_MAX + 1):
            self._policy.require_url(url, where=self.where)
            # A secret that was withheld once stays withheld: a stranger must not send us back with it.
            same = same and origin_of(url, self.where) == asked
            if data is not None and not same:
                raise SourceError("the server redirects a request with content elsewhere", where=self.where)
            response = self._send(method, url, {**_AGENT, **headers, **(secret if same else {})}, data)
            target = response.headers.get("Location")
            if response.status_code not in _REDIRECTS or not target:
                return response
            response.close()
            url = _joined(url, target, self.where)
        raise SourceError(f"more than {_REDIRECTS_MAX} redirects", where=self.where)

    def _send(self, method: str, url: str, headers: dict[str, str], data: bytes | None) -> requests.Response:
        self._check_clock()
        try:
            return self._session.request(
                method,
                url,
                headers=headers,
                data=data,
                stream=True,
                allow_redirects=False,
                timeout=socket_timeouts(self.context, self._watchdog),
            )
        except (RequestException, HTTPError, OSError, ValueError) as error:
            # The library's own text holds the whole address, with any signature in its query.
            self._check_clock()
            raise self._failed(url, error) from None

    def _failed(self, url: str, error: Exception) -> Exception:
        shown = public_address(url)[:300]
        if isinstance(error, (ReadTimeout, ConnectTimeout)) or _is_dropped(error):
            return _BrokenOffError(_reason(error))
        return SourceError(f"{shown} cannot be reached: {_reason(error)}", where=self.where, remedy=_OFFLINE)

    def _require_success(self, response: requests.Response) -> None:
        status = response.status_code
        if status in (200, 206):
            return
        if status in _TRY_AGAIN:
            self._retry_after(response)
            raise _BrokenOffError(f"HTTP status {status}")
        shown = public_address(response.url or "")[:300]
        remedy = "Check that the file still exists and that its address is right"
        if status in (401, 403):
            remedy = "The server refuses access: check the token's permissions, or use a public address"
        raise HttpStatusError(
            status, f"the server answered HTTP status {status} for {shown}", where=self.where, remedy=remedy
        )

    def _retry_after(self, response: requests.Response) -> None:
        wanted = response.headers.get("Retry-After", "")
        if wanted.isdecimal() and len(wanted) < 8:
            self._sleep(float(wanted))

    def _read_bounded(self, response: requests.Response) -> bytes:
        received = bytearray()
        try:
            for chunk in response.raw.stream(_CHUNK, decode_content=True):
                received += chunk
                if len(received) > _JSON_MAX:
                    raise SourceError("the server's answer is longer than 8 MiB", where=self.where)
        except (HTTPError, OSError) as error:
            self._check_clock()
            raise _BrokenOffError(_reason(error)) from None
        self._check_clock()
        return bytes(received)

    def _parsed(self, text: bytes) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise SourceError("the server's answer is not JSON", where=self.where, remedy=_OFFLINE) from None

    def _pause(self, attempt: int) -> None:
        if attempt:
            self._sleep(self.context.patience.backoff_seconds * 2 ** (attempt - 1))

    def _sleep(self, seconds: float) -> None:
        bounded = min(seconds, _PAUSE_MAX, self._watchdog.remaining)
        if bounded > 0:
            self.context.patience.sleep(bounded)

    def _check_clock(self) -> None:
        if self._watchdog.expired or self._watchdog.remaining <= 0:
            raise SourceError(
                f"the transfer took longer than {self._watchdog.seconds:g} seconds",
                where=self.where,
                remedy="Use a faster mirror or a cache, or split the run",
            )

    def _gave_up(self, failure: str) -> SourceError:
        attempts = self.context.patience.attempts
        return SourceError(
            f"the transfer failed {attempts} times, last: {failure}", where=self.where, remedy=_OFFLINE
        )


def _joined(url: str, target: str, where: str) -> str:
    try:
        return urljoin(url, target)
    except ValueError as error:
        raise SourceError("the server redirects to an address that is none", where=where) from error


def origin_of(url: str, where: str) -> tuple[str, str, int]:
    """Scheme, host and port of an address that a server sent.

    Raises:
        SourceError: It is no web address.
    """
    try:
        return origin(url)
    except ValueError as error:
        raise SourceError("the server sent an address that is none", where=where) from error


def _strong_tag(response: requests.Response) -> str | None:
    tag = response.headers.get("ETag", "")
    return tag if re.fullmatch(r'"[\x21\x23-\x7e]{1,200}"', tag) else None


def _is_dropped(error: Exception) -> bool:
    return (
        isinstance(error, RequestsConnectionError) and not isinstance(error, SSLError) and not _no_name(error)
    )


def _no_name(error: BaseException) -> bool:
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    return isinstance(reason, NameResolutionError)


def _reason(error: BaseException) -> str:
    if isinstance(error, (ReadTimeout, ReadTimeoutError, TimeoutError)):
        return "the server stopped answering"
    if isinstance(error, ConnectTimeout):
        return "no connection in time"
    if isinstance(error, SSLError):
        return "its TLS certificate is not valid for this host"
    if _no_name(error):
        return "the host name does not resolve"
    if isinstance(error, (HTTPError, OSError)) and not isinstance(error, RequestException):
        return "the connection broke off"
    return "no connection"
