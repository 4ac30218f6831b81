"""Is there no policy on the trusted side, or only none where the run was told to look?

A first policy is judged by its own lines. Whoever could make a repository look as if it had none, by
another branch or another path, would choose what judges.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from qgate.errors import PolicyError, SourceError
from qgate.events import Activity
from qgate.git.changes import shown
from qgate.git.repository import FETCH_DEPTH_0, Repository
from qgate.plan.sides import Sides
from qgate.policy.load import load_policy
from qgate.policy.schema import Policy
from qgate.policy.yaml_reader import MAX_BYTES

_MAX_FILES = 2000
_LOOKS_LIKE_POLICY = re.compile(rb"^targets[ \t]*:", re.MULTILINE)
_VERSION = re.compile(rb"^version[ \t]*:", re.MULTILINE)
_CANDIDATE = re.compile(rb"\bcandidate\b")


@dataclass(frozen=True)
class Existing:
    """A policy that is there already; ``policy`` is None where it cannot be read as it stands."""

    revision: str
    path: str
    policy: Policy | None


def other_policies(repo: Repository, activity: Activity, sides: Sides) -> tuple[Existing, ...]:
    """Policies that the trusted side or the default branch already has, wherever they lie.

    Returns:
        Each of them; one that cannot be read as it stands counts too.

    Raises:
        SourceError: The clone lacks the default branch, so that nothing can be said; or there are more
            YAML files than can be looked through.
    """
    revisions = [sides.trusted] if sides.trusted is not None else []
    default = activity.default_branch
    if default is not None and not activity.on_default_branch:
        tip = repo.resolve(f"refs/remotes/origin/{default}")
        if tip is None:
            raise SourceError(
                f"there is no policy on {activity.base_ref}, and this clone does not hold {default}, "
                "which may have one",
                where=str(repo.root),
                remedy=FETCH_DEPTH_0,
            )
        revisions.append(tip)
    found = (item for revision in dict.fromkeys(revisions) for item in policies_at(repo, revision))
    return tuple(found)


def policies_at(repo: Repository, revision: str) -> tuple[Existing, ...]:
    """Every file of a revision that is a policy by its content.

    Raises:
        SourceError: There are more than 2000 YAML files.
    """
    paths = [path for path in repo.paths(revision) if path.lower().endswith((".yml", ".yaml"))]
    if len(paths) > _MAX_FILES:
        raise SourceError(
            f"{len(paths)} YAML files are too many to look for a policy in",
            where=revision[:12],
            remedy="Add the policy to the default branch as qgate.yml first",
        )
    found = []
    for path in paths:
        try:
            content = repo.read(revision, path, MAX_BYTES) or b""
        except SourceError:
            continue
        if all(pattern.search(content) for pattern in (_LOOKS_LIKE_POLICY, _VERSION, _CANDIDATE)):
            found.append(Existing(revision, shown(path), _loaded(content, path)))
    return tuple(found)


def _loaded(content: bytes, path: str) -> Policy | None:
    try:
        return load_policy(content, shown(path))
    except PolicyError:
        return None
