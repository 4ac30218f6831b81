"""Signers with keys and certificates of their own, and files that they sign with the real tool."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from qgate.sandbox.staging import staging_directory
from qgate.signing.check import check_signature
from qgate.signing.order import Copy, Signature, SignatureOrder
from qgate.sources.acquire import acquire_file
from qgate.sources.context import SourceContext

VECTORS = Path(__file__).parent / "vectors"
_PEM, _PLAIN = serialization.Encoding.PEM, serialization.NoEncryption()


@dataclass
class Signer:
    """A key pair on disk.

    Args:
        folder: Where it lies.
        curve: Its elliptic curve.
    """

    folder: Path
    curve: ec.EllipticCurve = field(default_factory=ec.SECP256R1)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        # Keys are drawn: nothing depends on which.
        self.private = ec.generate_private_key(self.curve)
        self.key, self.public = self.folder / "key.pem", self.folder / "key.pub"
        self.key.write_bytes(self.private.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, _PLAIN))
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        self.public.write_bytes(self.private.public_key().public_bytes(_PEM, form))

    def sign(self, model: Path, bundle: Path, **options: Any) -> Path:
        """Signs a file or a folder as ``model_signing sign key`` does."""
        from model_signing import hashing, signing

        hashed = hashing.Config().set_ignored_paths(paths=options.get("ignore", ()))
        config = signing.Config().use_elliptic_key_signer(private_key=self.key).set_hashing_config(hashed)
        config.sign(model, bundle)
        return bundle


@dataclass
class Authority:
    """A certificate authority, and a leaf that it has signed for a signer."""

    folder: Path
    leaf: Signer

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        root_key = ec.generate_private_key(ec.SECP256R1())
        root = _certificate("the root", root_key.public_key(), "the root", root_key, ca=True)
        own = _certificate("release bot", self.leaf.private.public_key(), "the root", root_key, ca=False)
        self.root, self.certificate = self.folder / "root.pem", self.folder / "leaf.pem"
        self.root.write_bytes(root.public_bytes(_PEM))
        self.certificate.write_bytes(own.public_bytes(_PEM))

    def sign(self, model: Path, bundle: Path) -> Path:
        """Signs as ``model_signing sign certificate`` does."""
        from model_signing import signing

        config = signing.Config().use_certificate_signer(
            private_key=self.leaf.key, signing_certificate=self.certificate, certificate_chain=[self.root]
        )
        config.sign(model, bundle)
        return bundle


def _certificate(
    name: str, key: ec.EllipticCurvePublicKey, issuer: str, signer: ec.EllipticCurvePrivateKey, *, ca: bool
) -> x509.Certificate:
    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(issuer))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False), critical=True)
    )
    if not ca:
        builder = builder.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False
        )
    return builder.sign(signer, hashes.SHA256())


def copied(path: Path) -> Copy:
    return lambda folder: acquire_file(path, folder, SourceContext(repo=Path()))


@dataclass
class Desk:
    """A folder with a model, its side file, and whoever signs them."""

    root: Path

    def __post_init__(self) -> None:
        self.model = self.root / "model"
        self.model.mkdir()
        self.main, self.side = self.model / "m.onnx", self.model / "m.bin"
        self.main.write_bytes(b"the model")
        self.side.write_bytes(b"its weights")
        self.signer = Signer(self.root / "signer")

    @property
    def bundle(self) -> Path:
        return self.root / "m.sig"

    def sign(self, model: Path | None = None, **options: Any) -> Path:
        return self.signer.sign(model or self.model, self.bundle, **options)

    def check(
        self,
        bundle: Path | None = None,
        *,
        main: Path | None = None,
        sides: tuple[str, ...] = ("m.bin",),
        **trust: Any,
    ) -> Signature:
        """What the gate would know; by the signer's own key where nothing else is named."""
        trust = trust or {"key": copied(self.signer.public)}
        place = bundle or self.bundle
        order = SignatureOrder(copied(place), place.name, signer_locator="keys/k.pub", **trust)
        with staging_directory() as staging:
            candidate = acquire_file(
                main or self.main,
                staging / "candidate",
                SourceContext(repo=Path()),
                side_files=lambda _: list(sides),
            )
            return check_signature(order, candidate, staging)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    root = tmp_path / "desk"
    root.mkdir()
    yield Desk(root)
