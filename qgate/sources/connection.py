"""Connections to checked addresses: resolved once, checked, and that very address is connected to.

A host name that answers one address to a check and another to the connection (DNS rebinding) gains
nothing here, for there is only one look-up. TLS still verifies the certificate against the host's name.
"""

from __future__ import annotations

import socket
import threading
import time
from types import TracebackType
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from qgate.sources.addresses import AddressPolicy
from qgate.sources.context import SourceContext

_ADDRESSES_MAX = 4


class Watchdog:
    """Cuts every connection of one transfer when its total time is spent.

    Timeouts of a socket start again with each byte, so a server that drips holds a reader for ever;
    this clock does not start again.

    Args:
        seconds: The total time.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.expired = False
        self._end = time.monotonic() + seconds
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            for watched in self._sockets:
                watched.close()
            self._sockets.clear()

    @property
    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._end - time.monotonic())

    def watch(self, connection: socket.socket) -> None:
        """Will cut this connection too. Works on a duplicate, which TLS does not take away."""
        with self._lock:
            self._sockets.append(connection.dup())
        if self.expired:
            self._cut()

    def _cut(self) -> None:
        with self._lock:
            self.expired = True
            for watched in self._sockets:
                try:
                    watched.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # the other side was faster


class Dialer:
    """Opens the connections of one transfer.

    Args:
        context: The resolver and the hosts that are allowed.
        watchdog: The transfer's clock.
        where: The source's place, for errors.
    """

    def __init__(self, context: SourceContext, watchdog: Watchdog, where: str) -> None:
        self._resolver = context.resolver
        self._connect_seconds = context.patience.connect_seconds
        self._policy = AddressPolicy(context)
        self._watchdog = watchdog
        self._where = where

    def connect(self, connection: HTTPConnection, host: str, port: int) -> socket.socket:
        """A connected socket whose peer was checked.

        Raises:
            SourceError: One of the host's addresses is not public and the host is not allowed.
            urllib3.exceptions.HTTPError: The name does not resolve or nobody answers.
        """
        try:
            answers = self._resolver(host, port)[:_ADDRESSES_MAX]
        except (OSError, UnicodeError) as error:
            raise NameResolutionError(host, connection, socket.gaierror(*error.args[:2])) from error
        # All are checked before any is tried: a mixed answer is an attack, not a choice.
        for _, _, _, _, address in answers:
            self._policy.require_address(host, port, str(address[0]), where=self._where)
        failure: OSError | None = None
        for family, kind, protocol, _, address in answers:
            try:
                return self._open(family, kind, protocol, address)
            except OSError as error:
                failure = error
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(connection, f"no answer from {host}") from failure
        raise NewConnectionError(connection, f"no connection to {host}") from failure

    def _open(self, family: int, kind: int, protocol: int, address: Any) -> socket.socket:
        opened = socket.socket(family, kind, protocol)
        try:
            opened.settimeout(max(0.001, min(self._connect_seconds, self._watchdog.remaining)))
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._watchdog.watch(opened)
            opened.connect(address)
        except BaseException:
            opened.close()
            raise
        return opened


def _pools(dialer: Dialer) -> dict[str, type[HTTPConnectionPool]]:
    class CheckedHTTPConnection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return dialer.connect(self, self.host, self.port)

    class CheckedHTTPSConnection(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return dialer.connect(self, self.host, self.port)

    class CheckedHTTPPool(HTTPConnectionPool):
        ConnectionCls = CheckedHTTPConnection

    class CheckedHTTPSPool(HTTPSConnectionPool):
        ConnectionCls = CheckedHTTPSConnection

    return {"http": CheckedHTTPPool, "https": CheckedHTTPSPool}


class _CheckedAdapter(HTTPAdapter):
    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _pools(self._dialer)


class _OneHopSession(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> str | None:
        # Even with allow_redirects=False requests reads a redirect's whole body, however long it is,
        # to prepare the next hop. Here redirects are followed by Transfer, which checks each.
        return None


def checked_session(context: SourceContext, dialer: Dialer) -> requests.Session:
    """A session that can only connect through the dialer.

    Neither proxies nor ``.netrc`` nor anything else of the environment is used.
    """
    session = _OneHopSession()
    session.trust_env = False
    session.verify = str(context.verify) if context.verify is not None else True
    adapter = _CheckedAdapter(dialer)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def socket_timeouts(context: SourceContext, watchdog: Watchdog) -> tuple[float, float]:
    """Seconds to connect and seconds between two pieces: the patience, or what is left of the time."""
    left = max(0.001, watchdog.remaining)
    return min(context.patience.connect_seconds, left), min(context.patience.read_seconds, left)
