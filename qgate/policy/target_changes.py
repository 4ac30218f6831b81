"""How the lines of one target differ between two policies, thresholds apart."""

from __future__ import annotations

from collections.abc import Iterator

from qgate.errors import UsageError
from qgate.policy.document import quoted
from qgate.policy.places import Difference, relocated
from qgate.policy.schema import DataSpec, Policy, Target
from qgate.policy.thresholds import profile_chain
from qgate.policy.trust_changes import code_differences, signature_differences, trust_differences
from qgate.policy.weights import Weight
from qgate.rules.base import PROFILES
from qgate.sources.locator import GitLocator, Locator

_DERIVATIONS = {"exact": 4, "folded": 3, "auto": 2, "qat": 1, "none": 0}


def rereferenced(old: Target, new: Target) -> tuple[str, ...]:
    """What makes old numbers of a target mean something else, one sentence each.

    That is another reference, other inputs, labels, slices or another task. A digest that is added to
    the same place, or removed from it, is none: the bytes are compared by whoever reads them.
    """
    found = [relocated("reference", old.reference, new.reference)]
    before, after = old.data, new.data
    found.append(relocated("data", _data_place(before), _data_place(after)))
    for key in ("labels", "slices"):
        found.append(_renamed(key, _data_key(before, key), _data_key(after, key)))
    if getattr(before, "images", None) != getattr(after, "images", None) and None not in (before, after):
        found.append("how the images are prepared (`data.images`) is another than it was")
    if old.task != new.task:
        found.append(f"the task is {_task(new)}, it was {_task(old)}")
    return tuple(sentence for sentence in found if sentence is not None)


def loosened_profile(old: Policy, new: Policy, before: str, after: str) -> bool:
    """Whether the built-in profile under ``after`` is weaker than that under ``before``."""
    try:
        roots = profile_chain(old, before)[0], profile_chain(new, after)[0]
    except UsageError:  # only a policy that was not loaded can name what does not exist
        return True
    return PROFILES.index(roots[1]) > PROFILES.index(roots[0])


def target_differences(
    old: Policy, new: Policy, before: Target, after: Target
) -> Iterator[tuple[Weight, Difference]]:
    """Every difference of a target's lines but its thresholds, each with its weight.

    Args:
        old: The policy before.
        new: The policy after.
        before: The target in ``old``.
        after: The target of the same name in ``new``.
    """
    for weight, found in (
        (Weight.CLAIM, _claims(before, after)),
        (Weight.DATA, _inputs(before, after)),
        (Weight.INTERFACE, _interface(before, after)),
        (Weight.REQUIREMENT, _requirements(old, new, before, after)),
        (Weight.SIGNATURE, signature_differences(before, after)),
        (Weight.CODE, code_differences(before, after)),
        (Weight.TRUST, trust_differences(before, after)),
    ):
        yield from ((weight, told) for told in found)


def _claims(before: Target, after: Target) -> Iterator[Difference]:
    if before.scheme != after.scheme:
        stricter = before.scheme == "auto" and after.scheme != "none"
        yield (
            "changed" if stricter else "loosened",
            f"the declared scheme is {after.scheme}, it was {before.scheme}",
        )
    if before.derivation != after.derivation:
        stricter = _DERIVATIONS[after.derivation] > _DERIVATIONS[before.derivation]
        yield (
            "changed" if stricter else "loosened",
            f"the declared derivation is {after.derivation}, it was {before.derivation}",
        )
    if moved := relocated("candidate", before.candidate, after.candidate):
        # A revision that later changes do not move would be judged in their place, whatever they bring.
        fixed = isinstance(after.candidate, GitLocator) and not isinstance(before.candidate, GitLocator)
        yield "loosened" if fixed else "changed", moved


def _inputs(before: Target, after: Target) -> Iterator[Difference]:
    dropped = {
        "reference": before.reference is not None and after.reference is None,
        "data": before.data is not None and after.data is None,
        "task": _may_have_task(before) and not _may_have_task(after),
    }
    for key in ("labels", "slices"):
        gone = _data_key(before.data, key) is not None and _data_key(after.data, key) is None
        dropped[key] = gone and not dropped["data"]
    for key, gone in dropped.items():
        if gone:
            yield "loosened", f"`{key}` is dropped"
    for sentence in rereferenced(before, after):
        if not any(gone and sentence.startswith(f"the {key} ") for key, gone in dropped.items()):
            yield "changed", sentence
    yield from _pins(before, after)


def _pins(before: Target, after: Target) -> Iterator[Difference]:
    pairs = {
        "candidate": (before.candidate, after.candidate),
        "reference": (before.reference, after.reference),
        "data": (_data_place(before.data), _data_place(after.data)),
    }
    for key, (old, new) in pairs.items():
        if old is None or new is None or old.sha256 == new.sha256:
            continue
        if new.sha256 is None:
            yield "loosened", f"the digest of `{key}` is no longer pinned"
        elif old.sha256 is None:
            yield "changed", f"the digest of `{key}` is pinned"


def _interface(before: Target, after: Target) -> Iterator[Difference]:
    for key in ("map", "types", "shapes"):
        old, new = getattr(before.io, key), getattr(after.io, key)
        for name in dict.fromkeys((*old, *new)):
            if old.get(name) == new.get(name):
                continue
            place = f"`io.{key}` of {quoted(name)}"
            if name in new:
                yield (
                    "loosened",
                    f"{place} is {quoted(new[name])}, it was {quoted(old.get(name, 'not there'))}",
                )
            else:
                yield "changed", f"{place} is removed"
    for name in dict.fromkeys((*before.io.optional, *after.io.optional)):
        if name not in before.io.optional:
            yield "loosened", f"the input {quoted(name)} is optional"
        elif name not in after.io.optional:
            yield "changed", f"the input {quoted(name)} is no longer optional"


def _requirements(old: Policy, new: Policy, before: Target, after: Target) -> Iterator[Difference]:
    for runtime in dict.fromkeys((*before.runtimes, *after.runtimes)):
        if runtime not in after.runtimes:
            yield "loosened", f"the runtime {runtime} is dropped"
        elif runtime not in before.runtimes:
            yield "changed", f"the runtime {runtime} is added"
    if before.deploy != after.deploy:
        told = f"`deploy` is {after.deploy or 'not given'}, it was {before.deploy or 'not given'}"
        yield "loosened" if after.deploy is None else "changed", told
    if before.cost != after.cost:
        what = f"what is measured of its cost is `{after.cost}`, it was `{before.cost}`"
        yield "loosened" if after.cost == "size" else "changed", what
    if before.profile != after.profile:
        names = before.profile or old.profile, after.profile or new.profile
        weaker = loosened_profile(old, new, *names)
        yield "loosened" if weaker else "changed", f"its profile is {names[1]}, it was {names[0]}"
    if before.require_baseline != after.require_baseline:
        required = old.requires_baseline(before), new.requires_baseline(after)
        if required[0] and not required[1]:
            yield "loosened", "a baseline is no longer required"
        else:
            word = "required" if required[1] else "not required"
            yield "changed", f"a baseline is {word}, by the target's own line"


def _has_task(target: Target) -> bool:
    return target.task is not None and target.task.metric != "none"


def _may_have_task(target: Target) -> bool:
    """Whether something is judged: labels alone are enough for qgate to find a task."""
    return _has_task(target) or (target.task is None and _data_key(target.data, "labels") is not None)


def _task(target: Target) -> str:
    if target.task is None:
        return "not given"
    output = f" of output {quoted(target.task.output)}" if target.task.output is not None else ""
    options = "".join(f", {name} {value}" for name, value in target.task.options().items())
    options += f", python {quoted(target.task.python)}" if target.task.python is not None else ""
    return f"{target.task.metric}{output}{options}"


def _data_place(data: DataSpec | None) -> Locator | None:
    return None if data is None else data.inputs


def _data_key(data: DataSpec | None, key: str) -> str | None:
    return None if data is None else getattr(data, key)


def _renamed(what: str, old: str | None, new: str | None) -> str | None:
    if old == new:
        return None
    shown = [quoted(name) if name is not None else "not given" for name in (old, new)]
    return f"the {what} array is {shown[1]}, it was {shown[0]}"
