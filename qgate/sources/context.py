"""What acquiring needs to know of the run: the repository, the servers, who may be asked, how much."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SIDE_FILES_MAX = 1024
Resolver = Callable[[str, int], Sequence[tuple[Any, ...]]]
SideFiles = Callable[[Path], Sequence[str]]
"""Names, relative to the model's folder, of the further files that the model at that path consists of."""


def system_resolver(host: str, port: int) -> Sequence[tuple[Any, ...]]:
    """Resolves with the system's own resolver; the answers are those of ``socket.getaddrinfo``."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


@dataclass(frozen=True)
class Patience:
    """How long and how often to try.

    Args:
        connect_seconds: For a connection to stand.
        read_seconds: Between two pieces of an answer.
        total_seconds: For one file altogether, with every retry and redirect.
        attempts: How often a transfer that broke off is taken up again.
        backoff_seconds: Pause before the second attempt; doubled for each further one.
        sleep: How to pause.
    """

    connect_seconds: float = 10.0
    read_seconds: float = 30.0
    total_seconds: float = 1800.0
    attempts: int = 4
    backoff_seconds: float = 1.0
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class SourceContext:
    """Everything that a source may use. Tokens never appear in its text.

    Args:
        repo: The git work tree.
        revision: The commit that repository paths are read at; None for the work tree.
        token: GitHub token, sent to ``server_url`` and ``api_url`` alone.
        hub_token: Token of the model hub, sent to ``hub_endpoint`` alone.
        repository: ``owner/name`` on GitHub, whose Git LFS store holds the repository's pointers' files.
        server_url: GitHub, for Git LFS; trusted, so it may have a private address.
        api_url: GitHub's API, for releases; trusted likewise.
        hub_endpoint: The model hub; trusted likewise.
        allow_hosts: Hosts (``name`` or ``name:port``) of the trusted policy that may have private
            addresses or be spoken to over http://.
        cache: Folder for downloads by digest; None for none.
        max_bytes: Most bytes that one acquisition (a model with its side files) may have.
        verify: File of CA certificates to trust instead of the built-in ones.
        resolver: How host names become addresses.
        patience: Timeouts and retries.
    """

    repo: Path
    revision: str | None = None
    token: str | None = field(default=None, repr=False)
    hub_token: str | None = field(default=None, repr=False)
    repository: str | None = None
    server_url: str = "https://github.com"
    api_url: str = "https://api.github.com"
    hub_endpoint: str = "https://huggingface.co"
    allow_hosts: tuple[str, ...] = ()
    cache: Path | None = None
    max_bytes: int = 8 * 2**30
    verify: Path | None = None
    resolver: Resolver = field(default=system_resolver, repr=False)
    patience: Patience = field(default_factory=Patience, repr=False)

    @property
    def trusted_origins(self) -> frozenset[tuple[str, str, int]]:
        """Scheme, host and port of the servers that the run itself was configured with."""
        return frozenset(origin(url) for url in (self.server_url, self.api_url, self.hub_endpoint))


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, lower-case host and port of a web address.

    Raises:
        ValueError: The port is no number.
    """
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    return parts.scheme, (parts.hostname or "").rstrip(".").lower(), port
