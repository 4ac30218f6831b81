"""Approvals by label: only of this head, only by a person who may write and is not the author."""

from __future__ import annotations

import pytest

from qgate.errors import PublishError
from qgate.events import Activity, Kind
from qgate.github.approvals import fetch_approvals, fetch_group_approvals
from qgate.github.pulls import disagreements, pull_facts, pull_with_head
from qgate.plan.approval import approver

HEAD, OLD = "1" * 40, "2" * 40
LABEL = "qgate-approved"
PUSHED, LATER, LATEST = "2026-11-01T10:00:00Z", "2026-11-01T11:00:00Z", "2026-11-01T12:00:00Z"


def labelled(actor="maintainer", at=LATER, **more):
    return {"event": "labeled", "label": LABEL, "actor": actor, "at": at, **more}


def committed(sha=HEAD):
    return {"event": "committed", "sha": sha}


def event(kind, at=LATEST):
    return {"event": kind, "actor": "contributor", "at": at}


def set_up(rig, **changes):
    facts = {
        "author": "contributor",
        "labels": [LABEL],
        "pushed_at": PUSHED,
        "timeline": [committed(), labelled()],
        "permissions": {"maintainer": "maintain", "triager": "triage", "contributor": "admin"},
        **changes,
    }
    rig.set_up(**facts)


@pytest.mark.parametrize("role", ["write", "maintain", "admin"])
@pytest.mark.parametrize("fork", [None, "contributor/widgets"])
def test_a_maintainers_label_on_this_head_counts(rig, role, fork):
    set_up(rig, fork=fork, permissions={"maintainer": role})
    found = fetch_approvals(rig.client("ghs_ro"), 7, LABEL)
    assert found.refused == ()
    assert [(a.actor, a.at_sha, a.author, a.label) for a in found.granted] == [
        ("maintainer", HEAD, "contributor", LABEL)
    ]
    assert approver(found.granted, label=LABEL, head_sha=HEAD) == "maintainer"
    assert approver(found.granted, label=LABEL, head_sha=OLD) is None


def test_without_the_label_there_is_nothing_to_refuse(rig):
    set_up(rig, labels=["bug"])
    found = fetch_approvals(rig.client(), 7, LABEL)
    assert (found.granted, found.refused) == ((), ())


REFUSED = {
    "by the author": ({"timeline": [committed(), labelled("contributor")]}, "is the author"),
    "by the author, case aside": (
        {"timeline": [committed(), labelled("Contributor")], "permissions": {"Contributor": "admin"}},
        "is the author",
    ),
    "by one who may only triage": (
        {"timeline": [committed(), labelled("triager")]},
        "read, which is not enough",
    ),
    "by a stranger": ({"timeline": [committed(), labelled("stranger")]}, "none, which is not enough"),
    "by a bot": ({"timeline": [committed(), labelled("helper[bot]", kind="Bot")]}, "is no person"),
    "commits after it": ({"timeline": [committed(OLD), labelled(), committed()]}, "latest change"),
    "force push after it": (
        {"timeline": [committed(), labelled(), event("head_ref_force_pushed")]},
        "head_ref_force_pushed",
    ),
    "base changed after it": (
        {"timeline": [committed(), labelled(), event("base_ref_changed")]},
        "base_ref_changed",
    ),
    "a commit dated back before it": ({"pushed_at": LATEST}, "before the head commit was pushed"),
    "pushed in the same second": ({"pushed_at": LATER}, "before the head commit was pushed"),
    "removed since": (
        {"timeline": [committed(), labelled(), {**labelled(at=LATEST), "event": "unlabeled"}]},
        "does not say who set it",
    ),
    "nobody set it": ({"timeline": [committed()]}, "does not say who set it"),
    "the push is not listed": ({"activity": []}, "when the head commit was pushed"),
    "the branch went back to an old head": (
        {"activity": [{"before": HEAD, "after": OLD, "timestamp": PUSHED}]},
        "when the head commit was pushed",
    ),
    "the fork was deleted": ({"fork": "contributor/widgets", "fork_deleted": True}, "was deleted"),
}


@pytest.mark.parametrize(("facts", "why"), REFUSED.values(), ids=REFUSED)
def test_a_label_that_does_not_count_says_why(rig, facts, why):
    set_up(rig, **facts)
    found = fetch_approvals(rig.client(), 7, LABEL)
    assert found.granted == ()
    assert len(found.refused) == 1
    assert why in found.refused[0]


def test_setting_it_again_after_a_push_counts(rig):
    again = labelled("maintainer", LATEST)
    removed = {**labelled(at=LATEST), "event": "unlabeled"}
    set_up(rig, pushed_at=LATER, timeline=[committed(OLD), labelled(at=PUSHED), committed(), removed, again])
    assert len(fetch_approvals(rig.client(), 7, LABEL).granted) == 1


def test_a_head_that_moved_on_has_no_approval_of_what_is_judged(rig):
    set_up(rig)
    found = fetch_approvals(rig.client(), 7, LABEL, head_sha=OLD)
    assert found.granted == ()
    assert "moved" in found.refused[0]


def test_a_long_timeline_is_read_whole(rig):
    chatter = [{"event": "labeled", "label": "bug", "actor": "triager", "at": LATER}] * 120
    set_up(rig, timeline=[committed(), labelled(), *chatter])
    assert len(fetch_approvals(rig.client(), 7, LABEL).granted) == 1
    set_up(rig, timeline=[labelled(), *chatter, committed()])
    assert fetch_approvals(rig.client(), 7, LABEL).granted == ()


def test_an_unreachable_github_is_an_error_and_no_approval(rig):
    set_up(rig)
    rig.fault("GET .*/timeline", status=200, body="<html>", times=9)
    with pytest.raises(PublishError):
        fetch_approvals(rig.client(), 7, LABEL)


def test_a_merge_group_needs_the_approval_of_each(rig):
    set_up(rig)
    group = "9" * 40
    (found,) = fetch_group_approvals(rig.client(), [7], LABEL, group)
    assert (found.at_sha, found.actor) == (group, "maintainer")
    rig.set_up(number=8)
    assert fetch_group_approvals(rig.client(), [7, 8], LABEL, group) == ()
    assert fetch_group_approvals(rig.client(), [], LABEL, group) == ()


def test_facts_come_from_the_api(rig):
    rig.set_up(fork="eve/widgets", merge_commit_sha="3" * 40, labels=["a", "b"], base_ref="release")
    facts = pull_facts(rig.client("ghs_ro"), 7)
    assert (facts.head_sha, facts.merge_sha, facts.fork) == (HEAD, "3" * 40, True)
    assert (facts.base_ref, facts.default_branch, facts.labels) == ("release", "main", ("a", "b"))


def test_a_forged_event_is_seen(rig):
    rig.set_up(author="eve", fork="eve/widgets")
    facts = pull_facts(rig.client(), 7)
    true = Activity(
        Kind.PULL_REQUEST,
        number=7,
        head_sha=HEAD,
        base_ref="main",
        author="eve",
        fork=True,
        default_branch="main",
    )
    assert disagreements(true, facts) == ()
    forged = Activity(
        Kind.PULL_REQUEST,
        number=7,
        head_sha=OLD,
        base_ref="evil",
        author="bob",
        fork=False,
        default_branch="evil",
    )
    assert len(disagreements(forged, facts)) == 5


def test_a_pull_request_is_found_by_its_head_also_in_a_fork(rig):
    rig.set_up(number=7, head_sha=OLD)
    for number in range(100, 201):
        rig.set_up(number=number, head_sha=OLD, head_ref=f"b{number}")
    rig.set_up(number=300, fork="eve/widgets")
    assert pull_with_head(rig.client(), HEAD).number == 300


def test_a_head_of_no_or_several_pull_requests_is_refused(rig):
    with pytest.raises(PublishError, match="no open pull request"):
        pull_with_head(rig.client(), OLD)
    rig.set_up(number=8)
    with pytest.raises(PublishError, match=r"several open pull requests have this head \(#7, #8\)"):
        pull_with_head(rig.client(), HEAD)
    rig.set_up(number=8, state="closed")
    assert pull_with_head(rig.client(), HEAD).number == 7
