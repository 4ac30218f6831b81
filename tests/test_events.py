"""GitHub's event to what is to be judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as few
from hypothesis import strategies as st

from qgate.errors import UsageError
from qgate.events import MAX_EVENT_BYTES, Activity, Kind, activity_of, read_activity
from qgate.settings import Settings

HEAD, BASE, MERGE = "1" * 40, "2" * 40, "3" * 40


def pull_request(**changes: Any) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "action": "synchronize",
        "repository": {"full_name": "octo/models", "default_branch": "main"},
        "pull_request": {
            "number": 7,
            "merge_commit_sha": MERGE,
            "user": {"login": "alice"},
            "labels": [{"name": "qgate-approved"}, {"name": "models"}],
            "base": {"ref": "main", "sha": BASE, "repo": {"full_name": "octo/models"}},
            "head": {"ref": "patch", "sha": HEAD, "repo": {"full_name": "octo/models"}},
        },
    }
    for key, value in changes.items():
        parts = key.split("__")
        node = payload
        for part in parts[:-1]:
            node = node[part]
        node[parts[-1]] = value
    return payload


def read(event: str, payload: object, tmp_path: Path, **more: Any) -> Activity:
    path = tmp_path / "event.json"
    path.write_text(payload if isinstance(payload, str) else json.dumps(payload))
    more.setdefault("repository", "octo/models")
    return read_activity(Settings(event_name=event, event_path=path, **more))


def test_no_event_is_a_local_run() -> None:
    assert read_activity(Settings()).kind is Kind.LOCAL


def test_pull_request_of_the_same_repository(tmp_path: Path) -> None:
    activity = read("pull_request", pull_request(), tmp_path)
    assert activity == Activity(
        Kind.PULL_REQUEST,
        "pull_request",
        action="synchronize",
        repository="octo/models",
        default_branch="main",
        base_ref="main",
        base_sha=BASE,
        head_sha=HEAD,
        merge_sha=MERGE,
        number=7,
        author="alice",
        labels=("qgate-approved", "models"),
    )
    assert activity.on_default_branch


@pytest.mark.parametrize("head", [{"full_name": "mallory/models"}, None])
def test_a_head_elsewhere_or_deleted_is_a_fork(head: object, tmp_path: Path) -> None:
    assert read("pull_request", pull_request(pull_request__head__repo=head), tmp_path).fork


@pytest.mark.parametrize("event, action", [("pull_request", "labeled"), ("pull_request_review", "submitted")])
def test_labels_and_reviews_run_the_gate_again(event: str, action: str, tmp_path: Path) -> None:
    activity = read(event, pull_request(action=action), tmp_path)
    assert (activity.kind, activity.action, activity.head_sha) == (Kind.PULL_REQUEST, action, HEAD)


def test_a_merge_commit_may_not_be_known_yet(tmp_path: Path) -> None:
    assert read("pull_request", pull_request(pull_request__merge_commit_sha=None), tmp_path).merge_sha is None


def test_merge_group(tmp_path: Path) -> None:
    group = {"head_sha": HEAD, "base_sha": BASE, "base_ref": "refs/heads/main"}
    payload = {"action": "checks_requested", "repository": {"default_branch": "main"}, "merge_group": group}
    activity = read("merge_group", payload, tmp_path)
    assert activity.kind is Kind.MERGE_GROUP
    assert (activity.head_sha, activity.base_sha, activity.base_ref) == (HEAD, BASE, "main")
    assert (activity.number, activity.queued) == (None, None)
    group["head_ref"] = f"refs/heads/gh-readonly-queue/main/pr-104-{BASE}"
    assert read("merge_group", payload, tmp_path).queued == 104


def test_push(tmp_path: Path) -> None:
    payload = {
        "ref": "refs/heads/main",
        "before": BASE,
        "after": HEAD,
        "repository": {"default_branch": "main"},
    }
    activity = read("push", payload, tmp_path)
    assert (activity.kind, activity.head_sha, activity.base_sha) == (Kind.PUSH, HEAD, BASE)
    assert activity.on_default_branch


def test_the_first_push_of_a_branch_has_nothing_before(tmp_path: Path) -> None:
    payload = {
        "ref": "refs/heads/x",
        "before": "0" * 40,
        "after": HEAD,
        "repository": {"default_branch": "main"},
    }
    activity = read("push", payload, tmp_path)
    assert activity.base_sha is None
    assert not activity.on_default_branch


def test_a_tag_is_no_branch(tmp_path: Path) -> None:
    payload = {
        "ref": "refs/tags/main",
        "before": BASE,
        "after": HEAD,
        "repository": {"default_branch": "main"},
    }
    assert not read("push", payload, tmp_path).on_default_branch


@pytest.mark.parametrize("event", ["workflow_dispatch", "schedule"])
def test_whole_tree(event: str, tmp_path: Path) -> None:
    payload = {"repository": {"default_branch": "main"}}
    activity = read(event, payload, tmp_path, sha=HEAD, ref="refs/heads/main")
    assert (activity.kind, activity.head_sha, activity.on_default_branch) == (Kind.WHOLE_TREE, HEAD, True)


def test_workflow_run_is_published_by_its_head(tmp_path: Path) -> None:
    run = {"id": 5, "head_sha": HEAD, "head_repository": {"full_name": "mallory/models"}}
    activity = read("workflow_run", {"action": "completed", "workflow_run": run}, tmp_path)
    assert (activity.kind, activity.run_id, activity.head_sha, activity.fork) == (Kind.PUBLISH, 5, HEAD, True)


@pytest.mark.parametrize("event", ["pull_request_target", "issue_comment", "release", "x" * 500])
def test_other_events_are_refused(event: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read(event, pull_request(), tmp_path)
    assert caught.value.where == "GITHUB_EVENT_NAME"
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("event", "payload", "what"),
    [
        ("pull_request", {}, "pull_request.base.ref"),
        ("pull_request", pull_request(action="closed"), "closed"),
        ("pull_request", pull_request(pull_request__head__sha="deadbeef"), "pull_request.head.sha"),
        ("pull_request", pull_request(pull_request__head__sha=None), "pull_request.head.sha"),
        ("pull_request", pull_request(pull_request__base__sha=["x"]), "pull_request.base.sha"),
        ("pull_request", pull_request(pull_request__base__ref="--upload-pack=x"), "pull_request.base.ref"),
        ("pull_request", pull_request(pull_request__base__ref="a\ud800"), "pull_request.base.ref"),
        ("pull_request", pull_request(pull_request__number=True), "pull_request.number"),
        ("pull_request", pull_request(pull_request__number=-1), "pull_request.number"),
        ("pull_request", pull_request(pull_request="x"), "pull_request"),
        ("pull_request", pull_request(pull_request__labels="x"), "pull_request.labels"),
        ("pull_request", pull_request(repository__full_name="other/models"), "GITHUB_REPOSITORY"),
        ("pull_request", pull_request(pull_request__base__repo__full_name="x/y"), "base.repo"),
        ("merge_group", {}, "merge_group.head_sha"),
        ("push", {"deleted": True, "ref": "refs/heads/x"}, "deletes"),
        ("push", {"ref": "refs/heads/x", "after": "1"}, "after"),
        ("workflow_run", {}, "workflow_run.head_sha"),
        ("pull_request", "", "empty"),
        ("pull_request", "  \n", "empty"),
        ("pull_request", "[]", "list"),
        ("pull_request", "{", "JSON"),
        ("pull_request", "[" * 100_000, "deep"),
        ("pull_request", "x" * (MAX_EVENT_BYTES + 1), "16 MiB"),
    ],
)
def test_a_bad_event_file_is_refused_by_file_and_key(
    event: str, payload: object, what: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        read(event, payload, tmp_path)
    assert what in str(caught.value)
    assert caught.value.where == str(tmp_path / "event.json")
    assert caught.value.remedy


def test_a_missing_event_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.json"
    with pytest.raises(UsageError) as caught:
        read_activity(Settings(event_name="push", event_path=path))
    assert caught.value.where == str(path)
    with pytest.raises(UsageError, match="GITHUB_EVENT_PATH"):
        read_activity(Settings(event_name="push"))
    with pytest.raises(UsageError):
        read_activity(Settings(event_name="push", event_path=tmp_path))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["pull_request", "base", "head", "sha", "repo", "labels"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(
    payload=st.dictionaries(st.sampled_from(["pull_request", "repository", "merge_group"]), JSON, max_size=3)
)
@few(max_examples=60, deadline=None)
@pytest.mark.parametrize("event", ["pull_request", "merge_group", "push", "workflow_run"])
def test_any_payload_is_an_activity_or_a_usage_error(event: str, payload: dict[str, Any]) -> None:
    try:
        activity = activity_of(event, payload, Settings())
    except UsageError as error:
        assert error.remedy
    else:
        assert activity.head_sha is not None
