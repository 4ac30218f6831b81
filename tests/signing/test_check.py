"""A signature over what is measured: made by the real tool, verified in the real sandbox."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from qgate.errors import MeasureError
from qgate.signing import check
from qgate.signing.answer import read_answer
from qgate.signing.order import State

from .conftest import VECTORS, Authority, Desk, Signer, copied

WHO = {"identity": "stefanb@us.ibm.com", "issuer": "https://sigstore.verify.ibm.com/oauth2"}


def test_what_the_signer_signed_is_valid_and_says_who(desk: Desk) -> None:
    desk.sign()
    found = desk.check()
    assert (found.state, found.files) == (State.VALID, ("m.onnx", "m.bin"))
    assert found.message == f"signed with the key {found.signer['sha256'][:16]} (keys/k.pub)"


def test_the_tool_s_own_command_line_makes_such_a_signature(desk: Desk) -> None:
    """As docs/signatures.md shows it, with one file and with a stronger curve."""
    desk.signer = Signer(desk.root / "stronger", ec.SECP384R1())
    command = ["sign", "key", "--private_key", desk.signer.key, "--signature", desk.bundle, desk.main]
    subprocess.run(
        [sys.executable, "-m", "model_signing", *map(str, command)], check=True, capture_output=True
    )
    assert desk.check(sides=()).state is State.VALID
    found = desk.check()
    assert (found.state, found.message) == (
        State.INVALID,
        "the signature is not of this candidate: m.bin is not signed",
    )


@pytest.mark.parametrize("name", ["main", "side"])
def test_one_changed_byte_is_found_and_the_file_named(desk: Desk, name: str) -> None:
    desk.sign()
    path: Path = getattr(desk, name)
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    found = desk.check()
    assert found.state is State.INVALID
    assert f"{path.name} has other bytes than what was signed" in found.message


def test_files_that_nobody_signed_or_that_are_gone_are_named(desk: Desk) -> None:
    desk.sign()
    assert "m.bin was signed and is no part of it" in desk.check(sides=()).message
    (desk.model / "more.bin").write_bytes(b"more")
    found = desk.check(sides=("m.bin", "more.bin"))
    assert (found.state, "more.bin is not signed" in found.message) == (State.INVALID, True)


def test_a_file_that_the_signature_ignores_is_not_signed(desk: Desk) -> None:
    """The tool would leave it out of what it compares: the bundle says so itself."""
    desk.sign(ignore=("m.bin",))
    assert desk.check(sides=()).state is State.VALID
    found = desk.check()
    assert (found.state, "m.bin is not signed" in found.message) == (State.INVALID, True)


def test_the_signature_of_another_model_or_of_an_older_one(desk: Desk) -> None:
    other = desk.root / "other.onnx"
    other.write_bytes(b"another model")
    desk.sign(other)
    assert "m.onnx has other bytes" in desk.check(sides=()).message
    desk.sign()
    desk.main.write_bytes(b"the next version")
    assert desk.check().state is State.INVALID
    desk.main.write_bytes(b"the model")
    assert desk.check().state is State.VALID, "an old model with its own signature is signed: see the docs"


def test_another_key_has_not_signed(desk: Desk) -> None:
    desk.sign()
    stranger = Signer(desk.root / "stranger")
    found = desk.check(key=copied(stranger.public))
    assert (found.state, "Key mismatch" in found.message) == (State.INVALID, True)


def test_a_signature_whose_hint_names_the_key_is_no_proof(desk: Desk) -> None:
    """A stranger's signature with our key's fingerprint written over the hint."""
    ours = json.loads(desk.sign().read_bytes())
    stranger = Signer(desk.root / "stranger")
    theirs = json.loads(stranger.sign(desk.model, desk.bundle).read_bytes())
    theirs["verificationMaterial"] = ours["verificationMaterial"]
    desk.bundle.write_text(json.dumps(theirs))
    found = desk.check()
    assert (found.state, "InvalidSignature" in found.message) == (State.INVALID, True)


def test_the_payload_of_another_signature_does_not_fit(desk: Desk) -> None:
    """Signed files exchanged under a signature that was made over others."""
    before = json.loads(desk.sign().read_bytes())
    desk.main.write_bytes(b"evil")
    after = json.loads(Signer(desk.root / "mallory").sign(desk.model, desk.bundle).read_bytes())
    before["dsseEnvelope"]["payload"] = after["dsseEnvelope"]["payload"]
    desk.bundle.write_text(json.dumps(before))
    assert desk.check().state is State.INVALID


def test_a_certificate_must_lead_to_the_one_that_is_named(desk: Desk) -> None:
    authority = Authority(desk.root / "authority", desk.signer)
    authority.sign(desk.model, desk.bundle)
    found = desk.check(certificate=copied(authority.root))
    assert (found.state, found.signer["subject"]) == (State.VALID, "CN=release bot")
    other = Authority(desk.root / "other", Signer(desk.root / "second"))
    found = desk.check(certificate=copied(other.root))
    assert (found.state, "X509StoreContextError" in found.message) == (State.INVALID, True)


def test_a_signer_of_another_kind_is_another_signer(desk: Desk) -> None:
    desk.sign()
    authority = Authority(desk.root / "authority", desk.signer)
    found = desk.check(certificate=copied(authority.root))
    assert (found.state, "signed with a key" in found.message) == (State.INVALID, True)


def _sigstore(desk: Desk, **trust: object):
    for name in ("signme-1", "signme-2", "model.sig"):
        shutil.copy(VECTORS / name, desk.root)
    return desk.check(
        desk.root / "model.sig", main=desk.root / "signme-1", sides=("signme-2",), **{**WHO, **trust}
    )


def test_an_identity_of_the_public_instance_is_verified_without_a_network(desk: Desk) -> None:
    found = _sigstore(desk)
    assert (found.state, found.signer["identity"]) == (State.VALID, "stefanb@us.ibm.com")
    assert found.message.endswith("logged 2025-10-10T02:12:20+00:00")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("identity", "mallory@us.ibm.com", "do not match mallory@us.ibm.com"),
        ("issuer", "https://accounts.example.com", "OIDCIssuer"),
    ],
)
def test_another_identity_or_issuer_has_not_signed(desk: Desk, key: str, value: str, says: str) -> None:
    found = _sigstore(desk, **{key: value})
    assert (found.state, says in found.message) == (State.INVALID, True), found.message


def test_the_root_of_trust_is_the_policy_s_where_it_names_one(desk: Desk) -> None:
    from importlib.resources import files

    for instance, state in (("sigstore.dev", State.VALID), ("sigstage.dev", State.INVALID)):
        shipped = files("sigstore._store") / f"https%3A%2F%2Ftuf-repo-cdn.{instance}" / "trusted_root.json"
        path = desk.root / "root.json"
        path.write_bytes(shipped.read_bytes())
        assert _sigstore(desk, trusted_root=copied(path)).state is state
    (desk.root / "root.json").write_text('{"mediaType": "application/json"}')
    found = _sigstore(desk, trusted_root=copied(desk.root / "root.json"))
    assert (found.state, "none of Sigstore" in found.message) == (State.UNVERIFIED, True)


def test_no_signature_is_missing_and_no_key_is_unverified(desk: Desk) -> None:
    assert desk.check().state is State.MISSING
    desk.sign()
    found = desk.check(key=copied(desk.root / "nothing.pub"))
    assert (found.state, "no such file" in found.message) == (State.UNVERIFIED, True)
    (desk.root / "bad.pub").write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    found = desk.check(key=copied(desk.root / "bad.pub"))
    assert (found.state, "the signer in the policy" in found.message) == (State.UNVERIFIED, True)


def test_a_missing_extra_is_named(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.sign()
    monkeypatch.setattr(check, "find_spec", lambda name: None)
    found = desk.check()
    assert found.state is State.UNVERIFIED
    assert "install qgate with that extra" in found.message


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (("-c", "import time; time.sleep(600)"), "longer than 1 s"),
        (("-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"), "SIGSEGV"),
        (("-c", "print('valid')"), ""),
    ],
)
def test_a_verifying_process_that_hangs_dies_or_lies_has_verified_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, program: tuple[str, ...], says: str
) -> None:
    desk.sign()
    monkeypatch.setattr(check, "PROGRAM", program)
    monkeypatch.setattr(check, "_SECONDS", 1)
    found = desk.check()
    assert found.state is State.UNVERIFIED
    assert says in found.message


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b'{"state": "valid"}',
        b'{"state": "invalid", "signer": {"sha256": "a"}}',
        b'{"state": "missing"}',
        b'{"state": "fine"}',
        b'{"state": "invalid", "more": 1}',
        b'{"state": "invalid", "message": "' + b"a" * 2001 + b'"}',
        b"{" + b" " * 2**16 + b"}",
    ],
)
def test_an_answer_is_believed_only_in_its_form(payload: bytes) -> None:
    with pytest.raises(MeasureError):
        read_answer(payload)


def test_a_private_key_in_the_place_of_the_public_one_is_named_as_such(desk: Desk) -> None:
    desk.sign()
    found = desk.check(key=copied(desk.signer.key))
    assert found.state is State.UNVERIFIED
    assert "is a private one: give the public key" in found.message
