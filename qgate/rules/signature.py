"""ART119: is the candidate what somebody with a name has signed?"""

from __future__ import annotations

from collections.abc import Iterator

from qgate.records import Finding, Severity, Verdict
from qgate.rules.base import RuleContext, rule


def _signature(context: RuleContext) -> Iterator[Finding]:
    required = bool(context.declared.get("require_signature"))
    found = context.all("artifact.signature")
    for each in found:
        message = str(each.detail["message"])
        evidence = {"state": each.value, "signer": each.detail.get("signer", {})}
        if each.value == "valid":
            files = each.detail.get("files", [])
            yield context.finding(
                f"The candidate is {message}",
                at=each.at,
                evidence={**evidence, "files": files},
                severity=Severity.NOTE,
                remedy="Check that this is who should have signed",
            )
        elif each.value == "missing":
            told = f"{message}, and the policy requires one" if required else message
            yield context.finding(
                told, at=each.at, evidence=evidence, severity=None if required else Severity.WARNING
            )
        else:
            # A wrong signature was looked at and is wrong; for the rest, nobody knows who signed.
            effect = Verdict.FAIL if each.value == "invalid" else Verdict.ERROR
            yield context.finding(message, at=each.at, evidence=evidence, effect=effect)
    if required and not found:
        yield context.finding("The policy requires a signature, and none was verified", effect=Verdict.ERROR)


RULES = (
    rule(
        "ART119",
        "The candidate is signed by whom the policy names",
        why="Measurements say that a model is sound; a signature says who vouches for these very bytes. A wrong one "
        "is worse than none: somebody has relied on it.",
        how="The OpenSSF Model Signing bundle that `signature` names is read strictly, its files must be exactly the "
        "candidate's, and the signature is verified offline in the sandbox with the key, certificate or Sigstore "
        "identity of the base branch's policy. A wrong signature is FAIL; one that cannot be read or verified is ERROR, "
        "for nothing is known of it; a missing one is a warning, FAIL where `require_signature` is set. A candidate "
        "whose signature is wrong, or is required and not valid, is not run.",
        remedy="Sign exactly the candidate's files again, by the signer that is asked for (`signature` of the policy, or the "
        "options --signing-*), and keep the bundle with them",
        pair_remedy="Sign exactly the candidate's files again, by the signer that --signing-* names, and keep the bundle",
        check=_signature,
    ),
)
