"""The sticky comment: one, whatever breaks; whose; when; how long."""

from __future__ import annotations

import pytest

from qgate.errors import PublishError
from qgate.github.comments import ACTIONS_BOT, Draft, marker_of, publish_comment, state_of
from qgate.records import Verdict
from qgate.report.schema import Skipped

STATE, OTHER = "a" * 64, "b" * 64


def draft(text="Hello", *, name="", state=STATE, passed=False):
    return Draft(name, state, lambda limit, marker: f"{marker}\n{text}"[: max(limit, 0)], passed)


def mine(body="old", *, name="", state=OTHER, author=ACTIONS_BOT, kind="Bot"):
    return {"author": author, "kind": kind, "body": f"{marker_of(name, state)}\n{body}"}


def bodies(rig):
    return [comment.body.split("\n", 1)[-1] for comment in rig.comments]


def test_it_is_created_then_edited_in_place(rig):
    first = publish_comment(rig.client(), 7, draft("one"), "always")
    second = publish_comment(rig.client(), 7, draft("two"), "always")
    assert (first.action, second.action) == ("created", "updated")
    assert first.url == second.url == "https://github.com/acme/widgets/pull/7#issuecomment-1001"
    assert bodies(rig) == ["two"]


@pytest.mark.parametrize("position", [0, 130])
def test_it_is_found_beyond_the_first_pages(rig, position):
    chatter = [{"author": "eve", "body": "hi"} for _ in range(130)]
    rig.set_up(comments=[*chatter[:position], mine(), *chatter[position:]])
    assert publish_comment(rig.client(), 7, draft("new"), "always").action == "updated"
    assert len(rig.comments) == 131


@pytest.mark.parametrize(
    "comment",
    [
        mine(author="eve", kind="User"),
        mine(name="other step"),
        {"author": ACTIONS_BOT, "kind": "Bot", "body": f"> quoted\n{marker_of('', OTHER)}"},
        {"author": ACTIONS_BOT, "kind": "Bot", "body": marker_of("", "not a digest")},
    ],
    ids=["another author", "another step", "not at the beginning", "no marker of ours"],
)
def test_only_its_own_comment_is_touched(rig, comment):
    rig.set_up(comments=[comment])
    assert publish_comment(rig.client(), 7, draft(), "always").action == "created"
    assert rig.comments[0].body == comment["body"]
    assert len(rig.comments) == 2


def test_duplicates_are_removed_and_the_oldest_stays(rig):
    rig.set_up(comments=[mine("first"), {"author": "eve", "body": "hi"}, mine("second"), mine("third")])
    publish_comment(rig.client(), 7, draft("new"), "always")
    assert bodies(rig) == ["new", "hi"]


def test_a_duplicate_that_cannot_be_deleted_is_a_problem_and_no_failure(rig):
    rig.set_up(comments=[mine("first"), mine("second")])
    rig.fault("DELETE", status=403, body={"message": "Must have admin rights"})
    outcome = publish_comment(rig.client(), 7, draft("new"), "always")
    assert outcome.action == "updated"
    assert "duplicate" in outcome.problems[0]
    assert bodies(rig) == ["new", "second"]


@pytest.mark.parametrize("fault", [{"status": 502}, {"drop": True}, {"status": 500, "body": "<html>"}])
@pytest.mark.parametrize("commit", [True, False])
def test_a_lost_answer_leaves_exactly_one_comment(rig, fault, commit):
    rig.fault("POST", commit=commit, **fault)
    outcome = publish_comment(rig.client(), 7, draft("once"), "always")
    assert outcome.action == "created"
    assert outcome.url == f"https://github.com/acme/widgets/pull/7#issuecomment-{rig.comments[0].id}"
    assert bodies(rig) == ["once"]


def test_a_write_that_shows_up_late_is_deduplicated(rig):
    # The listing that follows the lost answer does not show the comment yet.
    rig.fault("POST", status=502, commit=True)
    rig.fault("GET .*/comments", status=200, body=[], times=2)
    outcome = publish_comment(rig.client(), 7, draft("once"), "always")
    assert rig.asked("POST") == 2
    assert [c.id for c in rig.comments] == [int(outcome.url.rpartition("-")[2])]


def test_a_lost_answer_is_not_taken_for_anothers_comment(rig):
    rig.set_up(comments=[mine("once", state=STATE, author="eve", kind="User")])
    rig.fault("POST", status=502)
    publish_comment(rig.client(), 7, draft("once"), "always")
    assert [comment.author for comment in rig.comments] == ["eve", ACTIONS_BOT]


def test_a_server_that_never_takes_it_is_given_up_on(rig):
    rig.fault("POST", status=502, times=99)
    with pytest.raises(PublishError, match="502"):
        publish_comment(rig.client(), 7, draft(), "always")
    assert sum(rig.time.pauses) <= 90


def test_an_edit_survives_a_lost_answer(rig):
    rig.set_up(comments=[mine()])
    rig.fault("PATCH", drop=True, commit=True)
    assert publish_comment(rig.client(), 7, draft("new"), "always").action == "updated"
    assert bodies(rig) == ["new"]


def test_a_comment_deleted_meanwhile_is_written_again(rig):
    rig.set_up(comments=[mine()])
    rig.fault("PATCH", status=404, body={"message": "Not Found"})
    assert publish_comment(rig.client(), 7, draft("new"), "always").action == "created"


@pytest.mark.parametrize(("token", "author"), [("ghs_app", "acme-quality[bot]"), ("ghp_alice", "alice")])
def test_other_tokens_have_their_own_comment(rig, token, author):
    rig.set_up(comments=[mine("the job's", author="someone-else[bot]")])
    for text in ("one", "two"):
        publish_comment(rig.client(token), 7, draft(text), "always")
    assert [(c.author, c.body.split("\n")[-1]) for c in rig.comments] == [
        ("someone-else[bot]", "the job's"),
        (author, "two"),
    ]


@pytest.mark.parametrize(
    ("when", "passed", "present", "action"),
    [
        ("never", False, None, "none"),
        ("never", False, OTHER, "none"),
        ("always", True, None, "created"),
        ("always", True, STATE, "updated"),
        ("on-change", True, None, "created"),
        ("on-change", True, STATE, "unchanged"),
        ("on-change", True, OTHER, "updated"),
        ("on-failure", True, None, "none"),
        ("on-failure", False, None, "created"),
        ("on-failure", True, OTHER, "updated"),
    ],
)
def test_when_it_is_written(rig, when, passed, present, action):
    rig.set_up(comments=[mine(state=present)] if present else [])
    outcome = publish_comment(rig.client(), 7, draft(passed=passed), when)
    assert outcome.action == action
    assert (outcome.url is None) == (action == "none")
    assert bodies(rig) == {"none": ["old"] if present else [], "unchanged": ["old"]}.get(action, ["Hello"])


def test_too_long_for_github_shrinks_and_tries_again(rig):
    too_long = {
        "message": "Validation Failed",
        "errors": [{"message": "Body is too long (maximum is 65536 characters)"}],
    }
    rig.fault("POST", status=422, body=too_long, times=2)
    asked = []

    def render(limit, marker):
        asked.append(limit)
        return f"{marker}\n" + "x" * (limit - len(marker) - 1)

    publish_comment(rig.client(), 7, Draft("", STATE, render, False), "always")
    assert asked == [65_000, 32_000, 16_000]
    assert len(rig.comments[0].body) == 16_000


def test_a_renderer_that_overruns_is_asked_for_less(rig):
    too_much = Draft("", STATE, lambda limit, marker: f"{marker}\n" + "x" * 5_000, False)
    publish_comment(rig.client(), 7, too_much, "always")
    assert len(rig.comments) == 1
    endless = Draft("", STATE, lambda limit, marker: f"{marker}\n" + "x" * 70_000, False)
    with pytest.raises(PublishError, match="70"):
        publish_comment(rig.client(), 7, endless, "always")


def test_a_text_that_would_not_be_found_again_is_not_posted(rig):
    with pytest.raises(PublishError, match="marker"):
        publish_comment(rig.client(), 7, Draft("", STATE, lambda limit, marker: "Hello", False), "always")
    assert rig.comments == []


def test_a_locked_conversation_is_no_read_only_token(rig):
    rig.fault("POST", status=403, body={"message": "Unable to create comment because issue is locked."})
    with pytest.raises(PublishError, match="locked") as caught:
        publish_comment(rig.client(), 7, draft(), "always")
    assert type(caught.value) is PublishError


@pytest.mark.parametrize("name", ["", "int8 gate", "a--b", "x-->", "é\n"])
def test_a_marker_is_one_closed_html_comment(name):
    marker = marker_of(name, STATE)
    assert marker.startswith("<!-- ") and marker.endswith(" -->")
    assert "--" not in marker[4:-3] and ">" not in marker[:-1] and "\n" not in marker


def test_state_goes_by_findings_and_not_by_figures(report):
    base = state_of(report(Verdict.FAIL))
    assert state_of(report(Verdict.FAIL, message="Weight SQNR is 8 dB where 30 dB are asked for")) == base
    others = [
        report(Verdict.PASS),
        report(Verdict.INCONCLUSIVE),
        report(Verdict.FAIL, tensor="conv2.weight"),
        report(Verdict.FAIL, skipped=(Skipped(name="b", reason="no"),)),
    ]
    assert len({base, *map(state_of, others)}) == 5
