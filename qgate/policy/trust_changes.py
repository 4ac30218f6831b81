"""How far a target's lines trust its bytes: who must have signed them, and whether they may be code."""

from __future__ import annotations

from collections.abc import Iterator

from qgate.policy.code import python_specs
from qgate.policy.document import quoted
from qgate.policy.places import Difference, relocated
from qgate.policy.schema import Policy, SignatureSpec, Target


def trust_differences(before: Target, after: Target) -> Iterator[Difference]:
    """Whether one target's bytes may be code, where that differs."""
    if before.trust != after.trust:
        told = f"`trust` is {after.trust}, it was {before.trust}"
        if after.trust == "code":
            yield "loosened", f"{told}: models that hold code may run"
        else:
            yield "changed", told


def signature_differences(before: Target, after: Target) -> Iterator[Difference]:
    """Every difference in who must have signed one target."""
    if before.require_signature != after.require_signature:
        if after.require_signature:
            yield "changed", "a valid signature is now required"
        else:
            yield "loosened", "a valid signature is no longer required"
    yield from _signature(before.signature, after.signature)


def beyond_defaults(policy: Policy) -> tuple[str, ...]:
    """What a policy lets execute beyond what one without these keys would, one sentence each."""
    found = [f"`sandbox` is {policy.sandbox}"] if policy.sandbox != "required" else []
    return (*found, *(added for target in policy.targets if (added := added_code(target)) is not None))


def added_code(target: Target) -> str | None:
    """A sentence where a new target asks for its bytes to be taken for code, or names code that judges it."""
    if target.trust == "code":
        return f"target {target.name} is added with `trust: code`"
    specs = python_specs(target)
    named = ", ".join(quoted(spec, 200) for spec in dict.fromkeys(specs.values()))
    return f"target {target.name} is added with code of its own: {named}" if specs else None


def code_differences(before: Target, after: Target) -> Iterator[Difference]:
    """Every difference in the code that one target names.

    Other code may judge otherwise: whoever approves shall see it.
    """
    old, new = python_specs(before), python_specs(after)
    for role in dict.fromkeys((*old, *new)):
        if old.get(role) != new.get(role):
            shown = [quoted(spec, 200) if spec else "not given" for spec in (new.get(role), old.get(role))]
            yield "loosened", f"`{role}` is {shown[0]}, it was {shown[1]}"


def _signature(old: SignatureSpec | None, new: SignatureSpec | None) -> Iterator[Difference]:
    if old is None or new is None:
        if old is not None:
            yield "loosened", "`signature` is dropped: who signed is no longer verified"
        elif new is not None:
            yield "changed", "`signature` is added"
        return
    if moved := relocated("signature bundle", old.bundle, new.bundle):
        yield "changed", moved
    # Another signer may vouch for less: whoever approves shall see it.
    for key in ("key", "certificate", "trusted_root"):
        before, after = getattr(old, key), getattr(new, key)
        name = key.replace("_", " ")
        if moved := relocated(f"signature's {name}", before, after):
            yield "loosened", moved
        elif before is not None and after is not None and before.sha256 != after.sha256:
            if after.sha256 is None:
                yield "loosened", f"the digest of the signature's {name} is no longer pinned"
            else:
                yield "changed", f"the digest of the signature's {name} is pinned"
    for key in ("identity", "issuer"):
        before, after = getattr(old, key), getattr(new, key)
        if before != after:
            shown = [quoted(word, 200) if word is not None else "not given" for word in (before, after)]
            yield "loosened", f"the signature's {key} is {shown[1]}, it was {shown[0]}"
    if old.bundle.sha256 != new.bundle.sha256 and not relocated("", old.bundle, new.bundle):
        yield "changed", "the digest of the signature bundle is pinned or no longer pinned"
