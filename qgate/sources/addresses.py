"""Which network addresses may be spoken to: public ones, and those that the trusted policy names."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from qgate.errors import SourceError
from qgate.sources.context import SourceContext, origin
from qgate.sources.locator import public_address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = ipaddress.IPv6Network("64:ff9b:1::/48")
_COMPATIBLE = ipaddress.IPv6Network("::/96")


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet.

    Private, loopback, link-local, shared, reserved, multicast and unspecified addresses are not, nor is
    an IPv6 address that carries such an IPv4 address (mapped, compatible, 6to4, Teredo, NAT64).

    Args:
        address: The address as ``getpeername`` gives it; a zone (``%eth0``) makes it link-local.

    Raises:
        ValueError: It is no IP address.
    """
    if "%" in address:
        return False
    ip = ipaddress.ip_address(address)
    if ip in _NAT64:
        return is_public(str(_carried(ip)))
    if not ip.is_global or ip.is_multicast or ip.is_reserved or ip.is_unspecified:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and (ip.is_site_local or ip in _NAT64_LOCAL):
        return False
    inner = _carried(ip)
    return inner is None or is_public(str(inner))


def _carried(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if isinstance(ip, ipaddress.IPv4Address):
        return None
    if ip in _NAT64 or ip in _COMPATIBLE:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    teredo = ip.teredo[1] if ip.teredo else None
    return ip.ipv4_mapped or ip.sixtofour or teredo


class AddressPolicy:
    """Decides about a web address by its text and about a connection by its real address.

    Args:
        context: Names the servers that are trusted and the hosts that are allowed.
    """

    def __init__(self, context: SourceContext) -> None:
        self._trusted = context.trusted_origins
        self._allowed = frozenset(host.rstrip(".").lower() for host in context.allow_hosts)

    def require_url(self, url: str, *, where: str) -> None:
        """Refuses what may not even be resolved: http:// to a host that the policy does not name.

        Raises:
            SourceError: The address is malformed, of another scheme, or http:// without leave.
        """
        try:
            scheme, host, port = origin(url)
            shown = public_address(url)
        except ValueError as error:
            raise SourceError("the text is no web address", where=where) from error
        if not url.isprintable():
            raise SourceError("a web address holds control characters", where=where)
        if scheme not in ("http", "https") or not host or "@" in urlsplit(url).netloc:
            raise SourceError(f"{shown[:200]} is no plain web address", where=where)
        if scheme == "http" and not self.names(host, port):
            raise SourceError(
                f"{shown[:200]} is unencrypted http://",
                where=where,
                remedy=f"Use https://, or list {host} under allow_hosts in the base branch's policy",
            )

    def names(self, host: str, port: int) -> bool:
        """Whether the run's own settings or the trusted policy name this host."""
        host = host.rstrip(".").lower()
        if host in self._allowed or f"{host}:{port}" in self._allowed:
            return True
        return any((trusted[1], trusted[2]) == (host, port) for trusted in self._trusted)

    def require_address(self, host: str, port: int, address: str, *, where: str) -> None:
        """Refuses a connection to an address that is not public.

        Raises:
            SourceError: The address is private, loopback, link-local or reserved, and the host not named.
        """
        if self.names(host, port):
            return
        try:
            public = is_public(address)
        except ValueError:
            public = False
        if not public:
            raise SourceError(
                f"host {host} has the address {address}, which is not one of the public internet",
                where=where,
                remedy=f"If it is meant, list {host} under allow_hosts in the base branch's policy",
            )
