"""What the keys of signature, trust and sandbox loosen."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent

import pytest

from qgate.policy.loosening import PolicyChanges, compare
from qgate.policy.schema import Policy
from qgate.policy.trust_changes import beyond_defaults

SHA, SHB = "a" * 64, "b" * 64
BASE = dedent(f"""
    version: 1
    sandbox: required
    targets:
      - name: plate
        candidate: m.onnx
        signature: {{bundle: m.sig, key: {{path: keys/k.pub, sha256: {SHA}}}}}
        require_signature: true
        trust: data
      - name: face
        candidate: n.onnx
        signature: {{bundle: n.sig, identity: a@example.com, issuer: "https://accounts.example.com"}}
      - name: seal
        candidate: s.onnx
        signature: {{bundle: s.sig, certificate: keys/root.pem}}
        trust: code
    """)

LOOSER = {
    "sandbox": ("sandbox: required", "sandbox: reduced", "`sandbox` is reduced, it was required"),
    "trust": ("trust: data", "trust: code", "target plate: `trust` is code, it was data"),
    "no requirement": (
        "    require_signature: true\n",
        "",
        "target plate: a valid signature is no longer required",
    ),
    "dropped": (
        "    signature: {bundle: s.sig, certificate: keys/root.pem}\n",
        "",
        "target seal: `signature` is dropped: who signed is no longer verified",
    ),
    "another key": ("keys/k.pub", "keys/l.pub", "the signature's key is 'keys/l.pub' (sha256 aaaa"),
    "another digest": (SHA, SHB, "the signature's key is 'keys/k.pub' (sha256 bbbbbbbbbbbb), it was"),
    "no pin": (f", sha256: {SHA}", "", "the digest of the signature's key is no longer pinned"),
    "another certificate": ("root.pem", "other.pem", "the signature's certificate is 'keys/other.pem', it"),
    "another identity": ("a@example", "b@example", "identity is 'b@example.com', it was 'a@example.com'"),
    "another issuer": ("https://acc", "https://bcc", "the signature's issuer is 'https://bccounts.exa"),
    "a key for an identity": (
        'identity: a@example.com, issuer: "https://accounts.example.com"',
        "key: keys/k.pub",
        "target face: the signature's key is 'keys/k.pub', it was not given",
    ),
}
STRICTER = {
    "requirement": ("candidate: n.onnx", "candidate: n.onnx\n    require_signature: true", "is now required"),
    "data again": ("    trust: code\n", "", "target seal: `trust` is data, it was code"),
    "bundle": ("n.sig", "sig/n.sig", "the signature bundle is 'sig/n.sig', it was 'n.sig'"),
    "pin": (
        "keys/root.pem",
        f"{{path: keys/root.pem, sha256: {SHA}}}",
        "the signature's certificate is pinned",
    ),
}


@pytest.mark.parametrize(("old", "new", "sentence"), LOOSER.values(), ids=list(LOOSER))
def test_less_trust_that_is_earned_is_told(
    load: Callable[[str], Policy], old: str, new: str, sentence: str
) -> None:
    assert BASE.count(old) == 1
    found = compare(load(BASE), load(BASE.replace(old, new)))
    assert any(sentence in line for line in found.loosened), found


@pytest.mark.parametrize(("old", "new", "sentence"), STRICTER.values(), ids=list(STRICTER))
def test_what_asks_for_more_is_told_apart(
    load: Callable[[str], Policy], old: str, new: str, sentence: str
) -> None:
    assert BASE.count(old) == 1
    found = compare(load(BASE), load(BASE.replace(old, new)))
    assert any(sentence in line for line in found.changed), found
    assert found.loosened == ()


def test_a_new_target_that_is_code_is_told_as_loosening(load: Callable[[str], Policy]) -> None:
    more = "  - {name: script, candidate: t.pt, trust: code}\n"
    found = compare(load(BASE), load(BASE + more))
    assert found.loosened == ("target script is added with `trust: code`",)
    assert compare(load(BASE), load(BASE + more.replace("code", "data"))).loosened == ()


def test_what_goes_beyond_the_defaults_is_told(load: Callable[[str], Policy]) -> None:
    assert beyond_defaults(load(BASE.replace("trust: code", "trust: data"))) == ()
    assert beyond_defaults(load(BASE.replace("sandbox: required", "sandbox: reduced"))) == (
        "`sandbox` is reduced",
        "target seal is added with `trust: code`",
    )


def test_a_signature_that_is_added_loosens_nothing(load: Callable[[str], Policy]) -> None:
    lines = "    signature: {bundle: s.sig, certificate: keys/root.pem}\n"
    assert compare(load(BASE.replace(lines, "")), load(BASE)) == PolicyChanges(
        changed=("target seal: `signature` is added",)
    )
