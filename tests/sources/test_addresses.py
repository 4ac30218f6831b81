from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qgate.errors import SourceError
from qgate.sources.addresses import AddressPolicy, is_public


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "0.0.0.0", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1",
        "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fec0::1", "ff02::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1",
        "2002:7f00:1::", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "140.82.112.3", "2606:4700::1111", "64:ff9b::808:808"])
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(address)


@settings(max_examples=200, deadline=None)
@given(st.ip_addresses(v=4))
def test_an_ipv4_address_in_ipv6_dress_is_never_more_public(ip) -> None:
    octets = int(ip)
    high, low = octets >> 16, octets & 0xFFFF
    dresses = (f"::ffff:{ip}", f"::{ip}", f"64:ff9b::{high:x}:{low:x}", f"2002:{high:x}:{low:x}::1")
    if not is_public(str(ip)):
        assert not any(is_public(dress) for dress in dresses)


def test_text_that_is_no_address_is_refused(context) -> None:
    with pytest.raises(ValueError, match="does not appear"):
        is_public("localhost")
    with pytest.raises(SourceError, match="not one of the public"):
        AddressPolicy(context).require_address("x", 443, "localhost", where="y")


def test_who_is_named(context) -> None:
    policy = AddressPolicy(
        replace(context, allow_hosts=("Models.test", "lab.test:8443"), server_url="http://ghes.test:8080")
    )
    assert policy.names("models.test.", 443)
    assert policy.names("lab.test", 8443)
    assert not policy.names("lab.test", 443)
    assert policy.names("ghes.test", 8080)
    assert not policy.names("ghes.test", 80)
    assert not policy.names("notmodels.test", 443)
    assert not policy.names("models.test.evil.example", 443)


@pytest.mark.parametrize(
    "url",
    [
        "http://8.8.8.8/x",
        "ftp://models.test/x",
        "https://u:p@models.test/x",
        "https:///x",
        "https://h:x/",
        "https://a\nb/",
    ],
)
def test_addresses_that_are_refused_by_their_text(context, url: str) -> None:
    with pytest.raises(SourceError) as caught:
        AddressPolicy(context).require_url(url, where="y")
    assert "u:p" not in str(caught.value)
