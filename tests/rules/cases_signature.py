"""Who signed: what each state of a signature leads to."""

from __future__ import annotations

from qgate.records import Place, Verdict

from .cases import ERROR, NOTE, SILENT, WARNING, Case, measured

_REQUIRED = {"require_signature": True}


def _signed(state: str, message: str, **signer: str):
    at = Place(file="m.sig")
    return (measured("artifact.signature", state, at, message=message, signer=signer, files=["m.onnx"]),)


_VALID = _signed("valid", "signed with the key 12ab", sha256="12ab")
_INVALID = _signed("invalid", "m.onnx has other bytes than what was signed")
_MISSING = _signed("missing", "there is no signature at m.sig")
_UNREADABLE = _signed("unreadable", "the signature cannot be read: it is nested too deeply")
_UNVERIFIED = _signed("unverified", "needs the extra `signing`")

CASES = (
    Case("ART119", "valid", _VALID, NOTE, "The candidate is signed with the key 12ab", "file m.sig"),
    Case("ART119", "valid and required", _VALID, NOTE, declared=_REQUIRED),
    Case("ART119", "wrong", _INVALID, ERROR, "other bytes", "file m.sig"),
    Case("ART119", "wrong and required", _INVALID, ERROR, "other bytes", declared=_REQUIRED),
    Case("ART119", "missing", _MISSING, WARNING, "no signature at m.sig"),
    Case("ART119", "missing and required", _MISSING, ERROR, "requires one", declared=_REQUIRED),
    Case("ART119", "unreadable", _UNREADABLE, ERROR, "too deeply", effect=Verdict.ERROR),
    Case("ART119", "unverified", _UNVERIFIED, ERROR, "extra", effect=Verdict.ERROR),
    Case("ART119", "a word of a later version", _signed("odd", "m"), ERROR, effect=Verdict.ERROR),
    Case(
        "ART119",
        "required and not looked at",
        (),
        ERROR,
        "none was",
        effect=Verdict.ERROR,
        declared=_REQUIRED,
    ),
    Case("ART119", "not asked for", (), SILENT),
)
