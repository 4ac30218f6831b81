"""The signature bundle as hostile bytes: read strictly, so that every later reader sees the same.

A bundle is a Sigstore bundle (JSON) around a DSSE envelope around an in-toto statement, which lists the
signed files with their digests (OpenSSF Model Signing 1.0). The signature itself is verified elsewhere; here
it is made sure that there is one way to read the file: known fields, each once, under one spelling.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal, NoReturn

from qgate.errors import FormatError

MAX_BUNDLE = 4 * 2**20
"""Largest bundle in bytes: one of a model in 10,000 files has 2 MB."""

RULE = "ART119"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://model_signing/signature/v1.0"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
SINGLE = "."
"""What the signing tool calls the file where a single file was signed."""

Kind = Literal["key", "certificate", "sigstore"]
_KINDS: dict[str, Kind] = {
    "publicKey": "key",
    "x509CertificateChain": "certificate",
    "certificate": "sigstore",
}
_BESIDE = {"tlogEntries", "timestampVerificationData"}
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REMEDY = "Sign the model again: `model_signing sign` writes a bundle that can be read"


@dataclass(frozen=True)
class Bundle:
    """What a bundle says, nothing of it verified.

    Args:
        kind: What it was signed with.
        files: sha256 of every signed file by its name relative to the signed folder; ``.`` is the only name
            where a single file was signed.
        content: The same bundle as canonical JSON, which is what may be handed to a library.
    """

    kind: Kind
    files: Mapping[str, str]
    content: bytes


def read_bundle(data: bytes, where: str) -> Bundle:
    """Reads a bundle.

    Args:
        data: The file's bytes.
        where: What errors name as the place.

    Raises:
        FormatError: It is no bundle of OpenSSF Model Signing 1.0 in the form that ``model_signing`` writes.
    """
    if len(data) > MAX_BUNDLE:
        _refuse(f"the signature has {len(data):,} bytes, more than {MAX_BUNDLE:,}", where)
    try:
        top = _object(_json(data), {"mediaType", "verificationMaterial", "dsseEnvelope"}, "the bundle")
        material = top["verificationMaterial"]
        kinds = [key for key in _KINDS if isinstance(material, dict) and key in material]
        if len(kinds) != 1:
            raise ValueError("it must hold one of a public key, a certificate chain and a certificate")
        _object(material, {kinds[0]}, "verificationMaterial", _BESIDE)
        envelope = _object(top["dsseEnvelope"], {"payload", "payloadType", "signatures"}, "dsseEnvelope")
        if envelope["payloadType"] != PAYLOAD_TYPE:
            raise ValueError("its payload is no in-toto statement")
        _one_signature(envelope["signatures"])
        payload = _base64(envelope["payload"])
        envelope["payload"] = base64.b64encode(payload).decode()
        files = _signed_files(_json(payload))
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        _refuse(f"the signature cannot be read: {reason[:300]}", where)
    return Bundle(_KINDS[kinds[0]], files, json.dumps(top, sort_keys=True).encode())


def _refuse(what: str, where: str) -> NoReturn:
    raise FormatError(what, where=where, remedy=_REMEDY, rule=RULE)


def _json(data: bytes) -> Any:  # whatever JSON holds
    return json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field is given twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _object(value: Any, needed: Set[str], what: str, optional: Set[str] = frozenset()) -> dict[str, Any]:
    if not isinstance(value, dict) or not needed <= set(value) <= needed | optional:
        raise ValueError(f"{what} must have the fields {', '.join(sorted(needed))} and no unknown ones")
    return value


def _one_signature(value: Any) -> None:
    if not isinstance(value, list) or len(value) != 1:
        raise ValueError("it must hold one signature")
    _object(value[0], {"sig"}, "a signature", {"keyid"})


def _base64(value: Any) -> bytes:
    if not isinstance(value, str):
        raise ValueError("the payload is no text")
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise ValueError(f"the payload is no base64 ({error})") from error


def _signed_files(statement: Any) -> dict[str, str]:
    if not isinstance(statement, dict) or statement.get("_type") != STATEMENT:
        raise ValueError("its payload is no in-toto statement of version 1")
    if statement.get("predicateType") != PREDICATE:
        raise ValueError("it is not of OpenSSF Model Signing 1.0")
    predicate = statement["predicate"]
    serialization = predicate["serialization"]
    if serialization.get("method") != "files" or serialization.get("hash_type") != "sha256":
        raise ValueError("it was not made over whole files with sha256, which is what model_signing does")
    ignored = serialization.get("ignore_paths", [])
    if not isinstance(ignored, list) or not all(isinstance(path, str) for path in ignored):
        raise ValueError("its ignored paths are no list of names")
    files = dict(map(_resource, predicate["resources"]))
    if len(files) != len(predicate["resources"]):
        raise ValueError("a file is listed twice")
    (subject,) = statement["subject"]
    root = hashlib.sha256(b"".join(map(bytes.fromhex, files.values()))).hexdigest()
    if subject["digest"]["sha256"] != root:
        raise ValueError("its files do not add up to its own digest")
    return files


def _resource(item: Any) -> tuple[str, str]:
    resource = _object(item, {"name", "algorithm", "digest"}, "a file")
    name, digest = resource["name"], resource["digest"]
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= 1024:
        raise ValueError("a file's name is empty, too long or not printable")
    if name != str(PurePosixPath(name)) or name.startswith("/") or ".." in name.split("/"):
        raise ValueError(f"{name[:100]!r} is no clean relative name")
    if resource["algorithm"] != "sha256" or not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise ValueError(f"the digest of {name[:100]!r} is no sha256")
    return name, digest
