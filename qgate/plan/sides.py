"""Who judges whom: which commits are judged, which are trusted, and what the change is counted from.

The trusted side is the tip of the base branch as merged, that is the first parent of the test-merge
commit. The merge base judges nothing: an old branch would choose an old, looser policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from qgate.errors import SourceError, UsageError
from qgate.events import Activity, Kind
from qgate.git.repository import FETCH_DEPTH_0, FETCH_DEPTH_2, Repository


@dataclass(frozen=True)
class Sides:
    """The commits of a run. None as a commit is the work tree; see ``changes_from`` for its own None.

    Args:
        judged: Where candidates and the proposed policy are read.
        trusted: Where policy, references, data and baselines are read.
        changes_from: The commit that the change is counted from; None where nothing is compared and every
            target runs.
        previous: Commit whose candidates a baseline may describe and which is measured again where the
            baseline does not; None where there is none.
        head: The commit that statuses and approvals are bound to.
        merge: The test-merge commit, where one is judged.
        notices: What the reader must know about this choice.
    """

    judged: str | None
    trusted: str | None
    changes_from: str | None
    previous: str | None
    head: str | None
    merge: str | None = None
    notices: tuple[str, ...] = ()

    @property
    def own_policy(self) -> bool:
        """Whether a tree is judged by its own policy, because nothing more trusted was named."""
        return self.judged == self.trusted


def decide_sides(repo: Repository, activity: Activity, *, base: str | None, sha: str | None) -> Sides:
    """Decides the sides for an activity.

    Args:
        repo: The checked-out repository.
        activity: What happened.
        base: Revision that the user names on the command line; only outside of pull requests and queues.
        sha: GITHUB_SHA, the commit that the runner says the run is for.

    Raises:
        UsageError: The activity is none that is judged, or ``base`` contradicts it.
        SourceError: The clone lacks a commit, or what is checked out is not what the event is about.
    """
    if base is not None and activity.kind in (Kind.PULL_REQUEST, Kind.MERGE_GROUP):
        raise UsageError(
            f"a {activity.kind.value} is judged against its own base",
            where="--base",
            remedy="Leave --base out in this event",
        )
    if activity.kind is Kind.PULL_REQUEST:
        return _pull_request(repo, activity, sha)
    if activity.kind is Kind.MERGE_GROUP:
        return _merge_group(repo, activity)
    if activity.kind is Kind.PUBLISH:
        raise UsageError(
            "a finished workflow run is published, not judged",
            where="GITHUB_EVENT_NAME",
            remedy="Use `mode: publish` in workflow_run",
        )
    if activity.kind is Kind.LOCAL or base is not None:
        return _local(repo, base)
    return _branch(repo, activity)


def _pull_request(repo: Repository, activity: Activity, sha: str | None) -> Sides:
    head = activity.head_sha
    here = repo.commit("HEAD")
    parents = repo.parents(here)
    if len(parents) == 2 and parents[1] == head:
        first = _need(repo, parents[0], FETCH_DEPTH_2)
        notice = _check_base(repo, activity, here, first, sha)
        return Sides(here, first, first, first, head, merge=here, notices=notice)
    if here != head:
        _mismatch(here, head, "the pull request's head, nor its merge with the base")
    base = _need(repo, activity.base_sha, FETCH_DEPTH_0)
    notice = (
        "The head of the pull request is checked out, not its merge with the base: it is judged by the "
        f"base's policy at {base[:12]}, and changes are counted from the merge base. "
        "Leave `ref` out of actions/checkout to judge what would be merged.",
    )
    return Sides(here, base, _fork_point(repo, base, here), base, head, notices=notice)


def _check_base(
    repo: Repository, activity: Activity, here: str, first: str, sha: str | None
) -> tuple[str, ...]:
    """Makes sure that the merge commit's first parent is the base branch, not one that someone chose.

    Raises:
        SourceError: Neither the runner, nor the event, nor history says so.
    """
    if first == activity.base_sha:
        return ()
    moved = f"The base branch has moved since the event: judged by {first[:12]}, not {activity.base_sha}."
    if here in (sha, activity.merge_sha):
        return (moved,)
    tracked = repo.resolve(f"refs/remotes/origin/{activity.base_ref}")
    if tracked is not None and repo.is_ancestor(first, tracked):
        return (moved,)
    raise SourceError(
        f"the checked-out merge {here[:12]} has the first parent {first[:12]}, which is not the base "
        f"{str(activity.base_sha)[:12]} and cannot be shown to belong to {activity.base_ref}",
        where=str(repo.root),
        remedy=f"Leave `ref` out of actions/checkout, or: {FETCH_DEPTH_0}",
    )


def _merge_group(repo: Repository, activity: Activity) -> Sides:
    here = repo.commit("HEAD")
    if here != activity.head_sha:
        _mismatch(here, activity.head_sha, "the merge group's head")
    base = _need(repo, activity.base_sha, FETCH_DEPTH_0)
    return Sides(here, base, base, base, here, merge=here)


def _branch(repo: Repository, activity: Activity) -> Sides:
    """A push, a schedule or a manual run: what is on the default branch was decided when it was merged."""
    here = repo.commit("HEAD")
    if activity.head_sha is not None and here != activity.head_sha:
        _mismatch(here, activity.head_sha, "the commit that the event is about")
    if activity.default_branch is not None and not activity.on_default_branch:
        return _other_branch(repo, activity, here)
    previous = _before(repo, activity, here)
    compared = previous if activity.kind is Kind.PUSH else None
    notices = () if compared else ("Nothing to compare with: every target is run.",)
    return Sides(here, here, compared, previous, here, notices=notices)


def _other_branch(repo: Repository, activity: Activity, here: str) -> Sides:
    """A branch that nobody has approved yet: the default branch's policy judges it, as in a pull request."""
    tracked = f"refs/remotes/origin/{activity.default_branch}"
    found = repo.resolve(tracked)
    if found is None:
        raise SourceError(
            f"{activity.base_ref} is judged by the policy of {activity.default_branch}, which this clone "
            "does not hold",
            where=str(repo.root),
            remedy=f"{FETCH_DEPTH_0}, or run on the default branch and on pull_request only",
        )
    notice = f"Judged by the policy of {activity.default_branch} at {found[:12]}."
    return Sides(here, found, _fork_point(repo, found, here), found, here, notices=(notice,))


def _before(repo: Repository, activity: Activity, here: str) -> str | None:
    """The commit before a push: what the event says if this clone has it, else the first parent."""
    if activity.base_sha is not None and repo.resolve(activity.base_sha) is not None:
        return activity.base_sha
    parents = repo.parents(here)
    if not parents:
        return None
    if repo.resolve(parents[0]) is None and activity.kind is not Kind.PUSH:
        return None
    return _need(repo, parents[0], FETCH_DEPTH_2)


def _local(repo: Repository, base: str | None) -> Sides:
    here = repo.resolve("HEAD")
    if base is None:
        notice = "No base was named: every target is run, judged by the work tree's own policy."
        return Sides(None, None, None, here, here, notices=(notice,))
    trusted = repo.commit(base)
    start = _fork_point(repo, trusted, here) if here is not None else trusted
    return Sides(None, trusted, start, trusted, here)


def _fork_point(repo: Repository, trusted: str, here: str) -> str:
    """Where the branch left the trusted side: what changed there since is not this change's doing."""
    found = repo.merge_base(trusted, here)
    if found is None:
        raise SourceError(
            f"no common ancestor of {trusted[:12]} and {here[:12]} is in this clone",
            where=str(repo.root),
            remedy=FETCH_DEPTH_0,
        )
    return found


def _need(repo: Repository, sha: str | None, remedy: str) -> str:
    if sha is None:
        raise SourceError("the event names no base commit", where=str(repo.root), remedy="Run again")
    return repo.commit(sha, remedy=remedy)


def _mismatch(here: str, expected: str | None, name: str) -> NoReturn:
    raise SourceError(
        f"{here[:12]} is checked out, which is not {name} ({str(expected)[:12]})",
        where="HEAD",
        remedy="Leave `ref` out of actions/checkout, and check out no other commit before this step",
    )
