"""The network, and whatever else a socket reaches."""

from __future__ import annotations

import encodings.idna  # noqa: F401 - resolving a name needs it, and it is too late then
import os
import socket
from typing import Any


def any_family(facts: dict[str, Any]) -> str:
    """Every family and type that a kernel can have; how many could be made, and the errors of the rest."""
    made, errors = 0, set()
    for family in range(1, 46):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
            try:
                socket.socket(family, kind).close()
                made += 1
            except OSError as error:
                errors.add(error.errno)
    return f"{made} made, errors {sorted(errors)}"


def connecting(family: int, key: str) -> Any:
    def attempt(facts: dict[str, Any]) -> None:
        address = facts[key]
        with socket.socket(family, socket.SOCK_STREAM) as made:
            made.connect(tuple(address) if isinstance(address, list) else address)

    return attempt


def pair(facts: dict[str, Any]) -> None:
    for end in socket.socketpair():
        end.close()


def resolve(facts: dict[str, Any]) -> None:
    """Asking for a name opens a socket to the resolver."""
    try:
        socket.getaddrinfo("example.invalid", 80)
    except socket.gaierror as error:
        raise PermissionError(1, "refused") from error


ATTEMPTS = {
    "any socket": any_family,
    "connect to the network": connecting(socket.AF_INET, "tcp"),
    "connect to a local socket": connecting(socket.AF_UNIX, "unix"),
    "connect to an abstract socket": connecting(socket.AF_UNIX, "abstract"),
    "a pair of sockets": pair,
    "resolve a name": resolve,
    "a pipe": lambda facts: [os.close(end) for end in os.pipe()] and None,
}
