"""From an order to what is known about the signature. Nothing here raises; a state says what went wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from qgate.errors import FormatError, MeasureError, MissingError, QgateError
from qgate.sandbox.launch import run_child
from qgate.sandbox.limits import Limits
from qgate.sandbox.quoting import one_line
from qgate.signing.answer import read_answer
from qgate.signing.bundle import SINGLE, Bundle, read_bundle
from qgate.signing.order import Signature, SignatureOrder, State

if TYPE_CHECKING:
    from qgate.sources.acquire import Acquired

PROGRAM = ("-m", "qgate.signing.child")
_MIB = 2**20
_MEMORY_MB = 4096
_SECONDS = 60
_KEY_BYTES = 64 * 1024
_SLOWEST_MIB_PER_SECOND = 50
_PACKAGES = ("model_signing", "OpenSSL")
_NAMED = 5


def check_signature(
    order: SignatureOrder, candidate: Acquired, staging: Path, *, reduced: bool = False
) -> Signature:
    """Verifies that the acquired files are what the named signer signed.

    Args:
        order: Who must have signed, and where the bundle is.
        candidate: The private copy that will be measured and run.
        staging: Folder that a sandboxed child can read; two folders are made in it.
        reduced: Whether a lesser sandbox will do.
    """
    try:
        bundle_copy = order.bundle(staging / "signature")
    except MissingError:
        return Signature(State.MISSING, f"there is no signature at {order.bundle_locator}")
    except QgateError as error:
        return Signature(State.UNVERIFIED, f"the signature cannot be had: {error.what}")
    try:
        bundle = read_bundle(bundle_copy.main.read_bytes(), order.bundle_locator)
    except FormatError as error:
        return Signature(State.UNREADABLE, error.what)
    except OSError as error:
        return Signature(State.UNVERIFIED, f"the signature cannot be read again ({error.strerror})")
    if wrong := _difference(bundle, candidate.files, candidate.main.name):
        return Signature(State.INVALID, f"the signature is not of this candidate: {wrong}")
    return _verified(order, bundle, candidate, staging, reduced)


def _difference(bundle: Bundle, files: Mapping[str, str], main: str) -> str:
    """How the signed files differ from those that are here; empty where they are the same."""
    signed = dict(bundle.files)
    if SINGLE in signed and len(signed) == 1:
        signed = {main: signed[SINGLE]}
    unsigned = [name for name in files if name not in signed]
    absent = [name for name in signed if name not in files]
    other = [name for name in files if name in signed and signed[name] != files[name]]
    told = []
    if other:
        told.append(
            f"{_names(other)} {'has' if len(other) == 1 else 'have'} other bytes than what was signed "
            f"(sha256 {files[other[0]][:12]} here, {signed[other[0]][:12]} signed)"
        )
    if unsigned:
        told.append(f"{_names(unsigned)} {'is' if len(unsigned) == 1 else 'are'} not signed")
    if absent:
        told.append(f"{_names(absent)} {'was' if len(absent) == 1 else 'were'} signed and is no part of it")
    return "; ".join(told)


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(one_line(name, 200) for name in sorted(names)[:_NAMED]) + more


def _verified(
    order: SignatureOrder, bundle: Bundle, candidate: Acquired, staging: Path, reduced: bool
) -> Signature:
    wanted = "key" if order.key else "certificate" if order.certificate else "sigstore"
    if bundle.kind != wanted:
        told = {"key": "a key", "certificate": "a certificate", "sigstore": "a Sigstore identity"}
        return Signature(
            State.INVALID, f"it was signed with {told[bundle.kind]}, and {told[wanted]} is asked for"
        )
    lacking = [name for name in _PACKAGES if find_spec(name) is None]
    if lacking:
        return Signature(
            State.UNVERIFIED,
            f"verifying a signature needs the extra `signing`, and {', '.join(lacking)} is not installed: "
            "install qgate with that extra",
        )
    canonical = staging / "signature.json"
    try:
        canonical.write_bytes(bundle.content)
        canonical.chmod(0o444)
        request = _request(order, bundle, candidate, staging, canonical)
        if "key" in request and b"PRIVATE KEY" in Path(request["key"]).read_bytes()[:_KEY_BYTES]:
            return Signature(
                State.UNVERIFIED,
                "the signer's key that was given is a private one: give the public key (`openssl pkey -in KEY -pubout`), and "
                "replace a private key that others could read",
            )
        outcome = run_child(json.dumps(request), _limits(candidate, reduced), program=PROGRAM)
        answer = read_answer(outcome.payload)
    except MeasureError as error:
        return Signature(State.UNVERIFIED, f"the signature could not be verified: {error.what}")
    except QgateError as error:
        return Signature(State.UNVERIFIED, f"the signer's {wanted} cannot be used: {error.what}")
    except OSError as error:
        return Signature(State.UNVERIFIED, f"the signature could not be verified ({error.strerror})")
    if answer.state is not State.VALID:
        return Signature(answer.state, one_line(answer.message))
    signer = {key: one_line(value) for key, value in answer.signer.items()}
    return Signature(State.VALID, _who(signer, order), signer, tuple(candidate.files))


def _request(
    order: SignatureOrder, bundle: Bundle, candidate: Acquired, staging: Path, canonical: Path
) -> dict[str, str]:
    request = {
        "model": str(candidate.main if SINGLE in bundle.files else candidate.main.parent),
        "bundle": str(canonical),
    }
    copies = {"key": order.key, "certificate": order.certificate, "trusted_root": order.trusted_root}
    for name, copy in copies.items():
        if copy is not None:
            request[name] = str(copy(staging / f"signer-{name}").main)
    if order.identity is not None and order.issuer is not None:
        request |= {"identity": order.identity, "issuer": order.issuer}
    return request


def _limits(candidate: Acquired, reduced: bool) -> Limits:
    """Room to import the library and time to hash the files once more."""
    seconds = _SECONDS + candidate.bytes // (_SLOWEST_MIB_PER_SECOND * _MIB)
    return Limits(memory_mb=_MEMORY_MB, cpu_seconds=seconds, wall_seconds=seconds, file_mb=1, reduced=reduced)


def _who(signer: Mapping[str, str], order: SignatureOrder) -> str:
    if "identity" in signer:
        at = f", logged {signer['logged']}" if "logged" in signer else ""
        return f"signed by {signer['identity']}, for whom {signer.get('issuer', '')} vouches{at}"
    if "subject" in signer:
        return (
            f"signed by {signer['subject']} (certificate {signer.get('sha256', '')[:16]}), "
            f"which leads to {order.signer_locator}"
        )
    return f"signed with the key {signer.get('sha256', '')[:16]} ({order.signer_locator})"
