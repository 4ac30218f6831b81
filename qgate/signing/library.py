"""The ``model_signing`` library, in the confined child: the only module that imports it.

Nothing is fetched. Sigstore's root of trust is the one that the installed ``sigstore`` brings for the public
instance, or a file that the policy names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

from qgate.sandbox.quoting import one_line
from qgate.signing.answer import Answer
from qgate.signing.order import State

_NEEDED = (
    "model_signing.hashing",
    "model_signing.verifying",
    "sigstore.verify",
    # imported late by those: threads that hash, and texts in certificates
    "concurrent.futures.thread",
    "encodings.idna",
    "encodings.utf_16_be",
)
_ROOT = "application/vnd.dev.sigstore.trustedroot"
_CONFIG = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
_PUBLIC = "https%3A%2F%2Ftuf-repo-cdn.sigstore.dev"


@dataclass(frozen=True)
class _Text:
    """Text that the library takes for a file: it asks for nothing but ``read_text``."""

    content: str

    def read_text(self) -> str:
        return self.content


class _TrustError(Exception):
    """What the policy names cannot be used to verify anything."""


def import_libraries() -> None:
    """Imports everything that verifying needs; an interpreter may be out of reach afterwards."""
    for module in _NEEDED:
        import_module(module)
    _shipped("trusted_root.json")


def prepare(request: str) -> Iterable[Path]:
    """The files that the answer reads."""
    asked = json.loads(request)
    return [
        Path(asked[name])
        for name in ("model", "bundle", "key", "certificate", "trusted_root")
        if name in asked
    ]


def answer(request: str, _: Callable[[int, int], None]) -> bytes:
    """Verifies, and says what came of it; see ``signing.check`` for the request."""
    asked: dict[str, str] = json.loads(request)
    return _answer(asked).model_dump_json().encode()


def _answer(asked: dict[str, str]) -> Answer:
    from cryptography.exceptions import InvalidSignature
    from model_signing import hashing
    from OpenSSL.crypto import X509StoreContextError
    from pydantic import ValidationError
    from sigstore.errors import Error as SigstoreError
    from sigstore.models import InvalidBundle

    try:
        config = _configured(asked)
    except Exception as error:  # the libraries' errors are many; the file is the trusted side's
        return Answer(
            state=State.UNVERIFIED, message=f"the signer in the policy cannot be used: {_said(error)}"
        )
    # What is signed is decided here and not by the bundle: links are refused, and nothing is ignored.
    hashed: Any = hashing.Config  # the library gives its constructors no types
    plain = hashed().set_ignored_paths(paths=(), ignore_git_paths=False).set_allow_symlinks(False)
    try:
        config.set_hashing_config(plain).verify(Path(asked["model"]), Path(asked["bundle"]))
    except (
        RuntimeError,
        MemoryError,
        OSError,
    ) as error:  # no thread, no memory, no file: nothing was found out
        return Answer(state=State.UNVERIFIED, message=f"the signature could not be verified: {_said(error)}")
    except (ValidationError, InvalidBundle) as error:
        return Answer(state=State.UNREADABLE, message=f"the signature cannot be read: {_said(error)}")
    except (InvalidSignature, X509StoreContextError, SigstoreError, ValueError) as error:
        return Answer(state=State.INVALID, message=f"the signature is not valid: {_said(error)}")
    except Exception as error:
        return Answer(state=State.UNREADABLE, message=f"the signature cannot be read: {_said(error)}")
    return Answer(state=State.VALID, signer=_signer(asked))


def _configured(asked: dict[str, str]) -> Any:  # a library that has no types
    from model_signing import verifying

    verified: Any = verifying.Config
    config = verified()

    if "key" in asked:
        return config.use_elliptic_key_verifier(public_key=asked["key"])
    if "certificate" in asked:
        return config.use_certificate_verifier(certificate_chain=[asked["certificate"]])
    return config.use_sigstore_verifier(
        identity=asked["identity"],
        oidc_issuer=asked["issuer"],
        trust_config=_Text(_trust_config(asked.get("trusted_root"))),
    )


def _trust_config(trusted_root: str | None) -> str:
    """A client trust configuration; its signing half is needed for the form only, and never used."""
    text = _shipped("trusted_root.json") if trusted_root is None else Path(trusted_root).read_text("utf-8")
    root = json.loads(text)
    media_type = root.get("mediaType") if isinstance(root, dict) else None
    if media_type == _CONFIG:
        return text
    if not str(media_type).startswith(_ROOT):
        raise _TrustError("the trusted root is none of Sigstore")
    signing = json.loads(_shipped("signing_config.v0.2.json"))
    return json.dumps({"mediaType": _CONFIG, "trustedRoot": root, "signingConfig": signing})


def _shipped(name: str) -> str:
    return (files("sigstore._store") / _PUBLIC / name).read_text("utf-8")


def _signer(asked: dict[str, str]) -> dict[str, str]:
    """Who signed, from what has just been verified."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    if "key" in asked:
        key = serialization.load_pem_public_key(Path(asked["key"]).read_bytes())
        form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        return {"sha256": hashlib.sha256(key.public_bytes(*form)).hexdigest()}
    import base64

    material = json.loads(Path(asked["bundle"]).read_bytes())["verificationMaterial"]
    if "certificate" in asked:
        der = base64.b64decode(material["x509CertificateChain"]["certificates"][0]["rawBytes"])
        found = x509.load_der_x509_certificate(der)
        return {
            "subject": found.subject.rfc4514_string() or "a certificate without a subject",
            "issuer": found.issuer.rfc4514_string(),
            "sha256": hashlib.sha256(der).hexdigest(),
        }
    signer = {"identity": asked["identity"], "issuer": asked["issuer"]}
    if entries := material.get("tlogEntries"):
        seconds = int(entries[0].get("integratedTime") or 0)
        if seconds:
            signer["logged"] = datetime.fromtimestamp(seconds, UTC).isoformat()
    return signer


def _said(error: Exception) -> str:
    words = one_line(str(error), 300)
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
