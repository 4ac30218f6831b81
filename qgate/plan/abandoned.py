"""Candidates that a change turns its back on: the policy points elsewhere, and the file stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgate.git.changes import shown

if TYPE_CHECKING:
    from qgate.git.repository import Repository
    from qgate.plan.sides import Sides
    from qgate.policy.schema import Policy


def abandoned_candidates(
    repo: Repository, sides: Sides, trusted: Policy, judged: Policy | None
) -> tuple[str, ...]:
    """Files that a target judged, that are still there after the change, and that nothing judges any more.

    Where a candidate lies is the change's to say, for that is how a model is proposed. But whoever deploys the
    old path goes on doing so: left behind, it could be altered in the same change or in any later one.

    Returns:
        One sentence for each file; empty where it is gone, or is still some target's candidate.
    """
    if judged is None:
        return ()
    # Only a place in the repository has such a path: what is read at a revision of its own cannot be altered.
    kept = {target.candidate.repository_path for target in judged.targets}
    found = []
    for target in trusted.targets:
        path = target.candidate.repository_path
        if path is None or path in kept or judged.target(target.name) is None:
            continue
        if repo.exists(sides.judged, path):
            found.append(f"{shown(path)} stays, and target {target.name} no longer judges it")
    return tuple(found)
