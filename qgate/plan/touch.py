"""How a change touches one target: by its lines, by the files behind it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pydantic import BaseModel

from qgate.git.changes import Change, shown

if TYPE_CHECKING:
    from qgate.policy.schema import Policy, Target
    from qgate.sources.locator import Locator

_JUDGING_KEYS = ("profile", "profiles", "require_baseline", "allow_ops", "allow_hosts", "limits", "sandbox")
IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
"""Names of images, as ``measure.preprocessing`` has them."""

_FULL_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def policy_reasons(
    old: Target | None, new: Target | None, trusted: Policy | None, judged: Policy | None
) -> list[str]:
    """Why the lines that judge a target touch it: one sentence for each difference, empty for none."""
    if old is None or trusted is None:
        return ["the change adds the target"]
    if new is None or judged is None:
        return ["the change removes the target from the policy"]
    reasons = [
        f"the change alters `{key}` of the target"
        for key in type(old).model_fields
        if getattr(old, key) != getattr(new, key)
    ]
    reasons += [
        f"the change alters `{key}` of the policy"
        for key in _JUDGING_KEYS
        if getattr(trusted, key) != getattr(judged, key)
    ]
    waivers = [[w for w in policy.waivers if w.target == old.name] for policy in (trusted, judged)]
    return reasons + (["the change alters a waiver of the target"] if waivers[0] != waivers[1] else [])


def file_reasons(
    name: str, old: Target | None, new: Target | None, changed: Mapping[str, Change]
) -> Iterator[str]:
    """Why files touch a target: its candidate, reference, data, signature and baseline, on either side."""
    for lines in (old, new):
        if lines is None:
            continue
        for what, locator in (
            ("candidate", lines.candidate),
            ("reference", lines.reference),
            ("data", lines.data.inputs if lines.data else None),
            *_signature_files(lines),
        ):
            path = locator.repository_path if locator is not None else None
            for pointer in (path, f"{path}.dvc") if path is not None else ():
                if pointer in changed:
                    yield f"{what} {shown(pointer)} is {changed[pointer].status}"
            if what == "data" and (below := data_files(path, changed)):
                yield f"data {shown(below[0])} is {changed[below[0]].status}"
            revision = getattr(locator, "git", None)
            if revision is not None and not _FULL_SHA.fullmatch(revision):
                yield f"{what} is at {revision}, which may have moved"
    if (path := baseline_path(name)) in changed:
        yield f"baseline {path} is {changed[path].status}"


def signer_paths(*sides: Target | None) -> tuple[str, ...]:
    """Paths of the files that say who must sign a target, on any of its sides."""
    found = [
        locator.repository_path
        for lines in sides
        if lines is not None
        for what, locator in _signature_files(lines)
        if what != "signature" and locator is not None
    ]
    return tuple(dict.fromkeys(path for path in found if path is not None))


def signer_changes(trusted: Policy, changed: Mapping[str, Change]) -> tuple[str, ...]:
    """What a change does to the files that say who must sign, one sentence for each file.

    The policy may stay as it is: whoever replaces the file under it decides who signs from then on.
    """
    found: dict[str, list[str]] = {}
    for target in trusted.targets:
        for path in signer_paths(target):
            if path in changed:
                found.setdefault(path, []).append(target.name)
    return tuple(
        f"{shown(path)}, which says who must sign {', '.join(names[:5])}, is {changed[path].status}"
        for path, names in found.items()
    )


def _signature_files(lines: Target) -> tuple[tuple[str, Locator | None], ...]:
    spec = lines.signature
    if spec is None:
        return ()
    return (
        ("signature", spec.bundle),
        ("the signature's key", spec.key),
        ("the signature's certificate", spec.certificate),
        ("the signature's trusted root", spec.trusted_root),
    )


def rereferenced(old: Target | None, new: Target | None, changed: Mapping[str, Change]) -> tuple[str, ...]:
    """Which of reference, data (with labels and slices) and task the change alters."""
    if old is None or new is None:
        return ()
    found = [key for key in ("reference", "data", "task") if _differs(getattr(old, key), getattr(new, key))]
    paths = {
        "reference": new.reference.repository_path if new.reference else None,
        "data": new.data.inputs.repository_path if new.data else None,
    }
    found += [key for key, path in paths.items() if path in changed and key not in found]
    if "data" not in found and data_files(paths["data"], changed):
        found.append("data")
    return tuple(found)


def data_files(path: str | None, changed: Mapping[str, Change]) -> list[str]:
    """Changed files below the folder of a table or of a ``datasets`` folder, any of which may be one that it names."""
    if path is None:
        return []
    suffixes: tuple[str, ...] = ()
    if path.lower().endswith(".csv"):
        suffixes = (".npy", *IMAGES)
    elif PurePosixPath(path).name == "state.json":
        suffixes = (".arrow",)
    elif path.lower().endswith(".json"):
        suffixes = IMAGES
    folder = PurePosixPath(path).parent
    return [
        each
        for each in changed
        if each != path and each.lower().endswith(suffixes) and PurePosixPath(each).is_relative_to(folder)
    ]


def _differs(old: object, new: object) -> bool:
    """Whether two places or tasks differ; a digest that only one of them pins is no difference."""
    if type(old) is not type(new):
        return True
    one, other = ((item.model_dump() if isinstance(item, BaseModel) else {"": item}) for item in (old, new))
    for place, twin in ((one, other), (one.get("inputs"), other.get("inputs"))):
        if (
            isinstance(place, dict)
            and isinstance(twin, dict)
            and None in (place.get("sha256"), twin.get("sha256"))
        ):
            place.pop("sha256", None)
            twin.pop("sha256", None)
    return one != other


def gone(lines: Target | None, changed: Mapping[str, Change]) -> tuple[str, str | None] | None:
    """The candidate's path if the change deletes it, and where its bytes went if that is known."""
    path = lines.candidate.repository_path if lines else None
    change = changed.get(path) if path is not None else None
    if path is None or change is None or change.status != "deleted":
        return None
    return path, change.moved


def baseline_path(name: str) -> str:
    """Where a target's baseline lies in the repository."""
    return f".qgate/baseline/{name}.json"
