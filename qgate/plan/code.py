"""Code of the trusted side that judges: which files it is, and what a change does to them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from qgate.git.changes import shown
from qgate.policy.code import python_specs, without_code
from qgate.sources.code import code_files

if TYPE_CHECKING:
    from qgate.git.changes import Change
    from qgate.git.repository import Repository
    from qgate.plan.sides import Sides
    from qgate.policy.schema import Policy, Target


def trusted_code(trusted: Target | None, lines: Target) -> Mapping[str, object]:
    """What puts the trusted side's code, or none, in place of the code that a change's lines name."""
    if trusted is None:
        return without_code(lines)
    return {key: getattr(trusted, key) for key in (*without_code(lines), *without_code(trusted))}


def code_paths(
    repo: Repository, revisions: Collection[str | None], targets: Collection[Target]
) -> dict[str, frozenset[str]]:
    """Files of the code that targets name, at any of the revisions; by target."""
    found: dict[str, frozenset[str]] = {}
    known: dict[tuple[str, str | None], frozenset[str]] = {}
    for target in targets:
        for spec in python_specs(target).values():
            for revision in revisions:
                if (spec, revision) not in known:
                    known[spec, revision] = code_files(spec, repo, revision)
                found[target.name] = found.get(target.name, frozenset()) | known[spec, revision]
    return found


def code_changes(
    repo: Repository, sides: Sides, trusted: Policy, changed: Mapping[str, Change]
) -> tuple[str, ...]:
    """What a change does to code that judges, one sentence for each file.

    The policy may stay as it is: whoever changes the file behind it decides what is measured from then on.
    """
    if not any(path.endswith(".py") for path in changed):
        return ()
    touched: dict[str, list[str]] = {}
    for name, paths in code_paths(repo, {sides.trusted, sides.judged}, trusted.targets).items():
        for path in sorted(paths & changed.keys()):
            touched.setdefault(path, []).append(name)
    return tuple(
        f"{shown(path)}, code that judges {', '.join(names[:5])}, is {changed[path].status}"
        for path, names in touched.items()
    )
