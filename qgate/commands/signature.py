"""The ``--signature`` options: who must have signed the candidate of one pair."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qgate.errors import UsageError

if TYPE_CHECKING:
    from qgate.signing.order import Copy, SignatureOrder


@dataclass(frozen=True)
class SignatureOptions:
    """The options as they were given.

    Args:
        bundle: --signature.
        key: --signing-key.
        certificate: --signing-certificate.
        identity: --signing-identity.
        issuer: --signing-issuer.
        trusted_root: --trusted-root.
    """

    bundle: Path | None = None
    key: Path | None = None
    certificate: Path | None = None
    identity: str | None = None
    issuer: str | None = None
    trusted_root: Path | None = None

    @property
    def given(self) -> bool:
        """Whether there is any."""
        return any(value is not None for value in astuple(self))


def signature_order(options: SignatureOptions) -> SignatureOrder | None:
    """The order that the options amount to; None without any. Whoever asks for a signature requires it.

    Raises:
        UsageError: They name no bundle, no signer, more than one, or half of one.
    """
    if not options.given:
        return None
    if options.bundle is None:
        raise UsageError("a signer is named, and no signature", remedy="Give --signature FILE.sig as well")
    signers = [options.key, options.certificate, options.identity]
    if sum(signer is not None for signer in signers) != 1:
        raise UsageError(
            "--signature needs one signer",
            remedy="Give --signing-key, --signing-certificate, or --signing-identity with --signing-issuer",
        )
    if (options.identity is None) != (options.issuer is None):
        raise UsageError(
            "--signing-identity and --signing-issuer belong together", remedy="Give both, or neither"
        )
    if options.trusted_root is not None and options.identity is None:
        raise UsageError("--trusted-root is for --signing-identity alone", remedy="Leave it out")
    from qgate.signing.order import SignatureOrder

    signer = options.key or options.certificate
    return SignatureOrder(
        bundle=_copied(options.bundle),
        bundle_locator=str(options.bundle),
        key=_optional(options.key),
        certificate=_optional(options.certificate),
        identity=options.identity,
        issuer=options.issuer,
        trusted_root=_optional(options.trusted_root),
        signer_locator=str(signer) if signer is not None else "",
        required=True,
    )


def _optional(path: Path | None) -> Copy | None:
    return None if path is None else _copied(path)


def _copied(path: Path) -> Copy:
    from qgate.signing.bundle import MAX_BUNDLE
    from qgate.sources.acquire import acquire_file
    from qgate.sources.context import SourceContext

    context = SourceContext(repo=Path(), max_bytes=MAX_BUNDLE)
    return lambda folder: acquire_file(path, folder, context)
