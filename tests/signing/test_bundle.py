"""The bundle as hostile bytes: one way to read it, or an error that says why not."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qgate.errors import FormatError
from qgate.signing.bundle import MAX_BUNDLE, PREDICATE, STATEMENT, Bundle, read_bundle

from .conftest import VECTORS

DIGEST = "ab" * 32


def _statement(*names: str, **changes: Any) -> dict[str, Any]:
    files = [{"name": name, "algorithm": "sha256", "digest": DIGEST} for name in names or ("m.onnx",)]
    root = hashlib.sha256(bytes.fromhex(DIGEST) * len(files)).hexdigest()
    return {
        "_type": STATEMENT,
        "subject": [{"name": "m", "digest": {"sha256": root}}],
        "predicateType": PREDICATE,
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
            "resources": files,
        },
        **changes,
    }


def _bundle(statement: Any = None, **changes: Any) -> dict[str, Any]:
    payload = json.dumps(_statement() if statement is None else statement).encode()
    return {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": "00"}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": "AAAA", "keyid": ""}],
        },
        **changes,
    }


def _read(bundle: Any) -> Bundle:
    return read_bundle(bundle if isinstance(bundle, bytes) else json.dumps(bundle).encode(), "m.sig")


def test_what_the_tool_writes_can_be_read() -> None:
    found = read_bundle((VECTORS / "model.sig").read_bytes(), "model.sig")
    assert (found.kind, list(found.files)) == ("sigstore", ["signme-1", "signme-2"])
    assert _read(_bundle()).files == {"m.onnx": DIGEST}
    chain = {"x509CertificateChain": {"certificates": []}}
    assert _read(_bundle(verificationMaterial=chain)).kind == "certificate"


def test_a_library_is_handed_what_was_read_and_nothing_else() -> None:
    found = _read(json.dumps(_bundle(), indent=3).encode())
    assert json.loads(found.content) == _bundle()
    assert _read(found.content).content == found.content


def _in_statement(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    statement = _statement()
    change(statement)
    return _bundle(statement)


def _in_envelope(**changes: Any) -> dict[str, Any]:
    return _bundle(dsseEnvelope={**_bundle()["dsseEnvelope"], **changes})


TWICE = json.dumps(_bundle()).replace('"payload":', '"payload": "AAAA", "payload":').encode()
HOSTILE: dict[str, tuple[Any, str]] = {
    "empty": (b"", "cannot be read"),
    "no JSON": (b"\x00\xff", "cannot be read"),
    "a list": ([], "the bundle must have the fields"),
    "too large": (b" " * (MAX_BUNDLE + 1), "more than 4,194,304"),
    "too deep": (b'{"mediaType":' + b"[" * 100_000, "nested too deeply"),
    "a field twice": (TWICE, "a field is given twice"),
    "NaN": (b'{"mediaType": NaN}', "NaN is no JSON"),
    "a number of 5000 digits": (b'{"mediaType": ' + b"9" * 5000 + b"}", "cannot be read"),
    "another spelling beside it": (_bundle(dsse_envelope={}), "no unknown ones"),
    "another spelling in the envelope": (_in_envelope(payload_type=""), "no unknown ones"),
    "an unknown field": (_bundle(more=1), "no unknown ones"),
    "two kinds of signer": (
        _bundle(verificationMaterial={"publicKey": {}, "certificate": {}}),
        "one of a public key",
    ),
    "no signer": (_bundle(verificationMaterial={}), "one of a public key"),
    "a signer that is no mapping": (_bundle(verificationMaterial=["publicKey"]), "one of a public key"),
    "no signature": (_in_envelope(signatures=[]), "one signature"),
    "two signatures": (_in_envelope(signatures=[{"sig": ""}, {"sig": ""}]), "one signature"),
    "another payload": (_in_envelope(payloadType="text/plain"), "no in-toto statement"),
    "no base64": (_in_envelope(payload="####"), "no base64"),
    "loose base64": (_in_envelope(payload="AA AA"), "no base64"),
    "a payload that is no JSON": (_in_envelope(payload="AAAA"), "cannot be read"),
    "a payload of a field twice": (
        _in_envelope(payload=base64.b64encode(b'{"_type": 1, "_type": 2}').decode()),
        "given twice",
    ),
    "another statement": (_bundle(_statement(_type="x")), "no in-toto statement of version 1"),
    "the format before 1.0": (
        _bundle(_statement(predicateType="https://model_signing/Digests/v0.1")),
        "not of OpenSSF Model Signing 1.0",
    ),
    "shards": (
        _in_statement(lambda s: s["predicate"]["serialization"].update(method="shards")),
        "whole files",
    ),
    "another hash": (
        _in_statement(lambda s: s["predicate"]["serialization"].update(hash_type="blake3")),
        "whole files",
    ),
    "ignored paths that are none": (
        _in_statement(lambda s: s["predicate"]["serialization"].update(ignore_paths="m.onnx")),
        "no list of names",
    ),
    "a file twice": (_bundle(_statement("m.onnx", "m.onnx")), "listed twice"),
    "a name under two spellings": (_bundle(_statement("m.onnx", "./m.onnx")), "no clean relative name"),
    "a name that climbs": (_bundle(_statement("../m.onnx")), "no clean relative name"),
    "an absolute name": (_bundle(_statement("/m.onnx")), "no clean relative name"),
    "a name that does not print": (_bundle(_statement("m\u202e.onnx")), "not printable"),
    "a digest of another kind": (
        _in_statement(lambda s: s["predicate"]["resources"][0].update(algorithm="md5")),
        "no sha256",
    ),
    "no digest": (_in_statement(lambda s: s["predicate"]["resources"][0].update(digest=None)), "no sha256"),
    "files that do not add up": (
        _in_statement(lambda s: s["subject"][0]["digest"].update(sha256=DIGEST)),
        "do not add up",
    ),
    "two subjects": (_in_statement(lambda s: s["subject"].append({})), "cannot be read"),
    "no subject": (_in_statement(lambda s: s.pop("subject")), "cannot be read"),
    "no predicate": (_in_statement(lambda s: s.update(predicate=None)), "cannot be read"),
}


@pytest.mark.parametrize(("bundle", "says"), HOSTILE.values(), ids=list(HOSTILE))
def test_what_is_ambiguous_or_unknown_is_refused(bundle: Any, says: str) -> None:
    with pytest.raises(FormatError) as caught:
        _read(bundle)
    assert (caught.value.rule, caught.value.where) == ("ART119", "m.sig")
    assert says in caught.value.what
    assert caught.value.remedy


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_damage_leads_to_anything_but_an_error_or_the_same_files(data: st.DataObject) -> None:
    whole = bytearray((VECTORS / "model.sig").read_bytes())
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 40)))
    whole[start:end] = data.draw(st.binary(max_size=40))
    try:
        found = read_bundle(bytes(whole), "m.sig")
    except FormatError:
        return
    assert read_bundle(found.content, "m.sig") == found


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_shape_of_a_statement_is_more_than_an_error(data: st.DataObject) -> None:
    """Any value in place of any part of it."""
    statement = _statement()
    place: Any = statement
    for _ in range(data.draw(st.integers(0, 4))):
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        inner = data.draw(st.sampled_from(keys))
        if not isinstance(place[inner], dict | list) or not place[inner]:
            break
        place = place[inner]
    keys = list(place) if isinstance(place, dict) else list(range(len(place)))
    place[data.draw(st.sampled_from(keys))] = data.draw(JSON_LIKE)
    try:
        found = _read(_bundle(statement))
    except FormatError:
        return
    assert read_bundle(found.content, "m.sig") == found
