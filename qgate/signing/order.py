"""What is to be verified about a candidate's signature, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qgate.sources.acquire import Acquired

Copy = Callable[[Path], "Acquired"]
"""Copies one file into a folder of its own."""


class State(StrEnum):
    """What is known about a signature."""

    VALID = "valid"
    """Made by whom the order names, over exactly the files that were acquired."""
    INVALID = "invalid"
    """Made by somebody else, over other bytes, or broken."""
    MISSING = "missing"
    """There is no bundle at the place that the order names."""
    UNREADABLE = "unreadable"
    """There is a file, and it cannot be read as a bundle."""
    UNVERIFIED = "unverified"
    """It could not be verified: no library, no usable key, no sandbox, no time."""


@dataclass(frozen=True)
class SignatureOrder:
    """Who must have signed a candidate.

    Exactly one of key, certificate and identity is given.

    Args:
        bundle: Copies the bundle; it comes from the judged side, like the candidate.
        bundle_locator: Its place in one line.
        key: Copies the PEM file of the public key.
        certificate: Copies the PEM file of the certificates that the signing one must lead to.
        identity: Sigstore identity that must have signed.
        issuer: OpenID Connect issuer that must vouch for it.
        trusted_root: Copies a Sigstore trusted root; None for that of the public instance.
        signer_locator: Place of the key or certificate in one line.
        required: Whether a candidate without a valid signature must not pass, and is not run.
    """

    bundle: Copy
    bundle_locator: str
    key: Copy | None = None
    certificate: Copy | None = None
    identity: str | None = None
    issuer: str | None = None
    trusted_root: Copy | None = None
    signer_locator: str = ""
    required: bool = False


@dataclass(frozen=True)
class Signature:
    """What came of an order.

    Args:
        state: In a word.
        message: In a sentence, for the report.
        signer: Who signed, where that was verified: key fingerprint, subject, identity, issuer.
        files: Signed files by name, where they are exactly the acquired ones.
    """

    state: State
    message: str
    signer: Mapping[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()
