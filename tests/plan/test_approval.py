"""Which approvals count, and that nobody is asked twice."""

from __future__ import annotations

from typing import Any

from qgate.errors import PublishError
from qgate.plan.approval import Approval, Consent, Granted, approver, no_approvals

HEAD = "a" * 40


def approval(**changes: str | None) -> Approval:
    facts: dict[str, Any] = {
        "label": "ok",
        "actor": "bob",
        "at_sha": HEAD,
        "role": "write",
        "author": "alice",
    }
    return Approval(**{**facts, **changes})


def test_a_writer_who_is_not_the_author_approves_the_head() -> None:
    assert approver([approval()], label="ok", head_sha=HEAD) == "bob"
    assert approver([approval(role="maintain")], label="ok", head_sha=HEAD) == "bob"


def test_what_does_not_count() -> None:
    for changes in (
        {"label": "other"},
        {"actor": "Alice"},
        {"at_sha": "b" * 40},
        {"role": "triage"},
        {"author": None},
    ):
        assert approver([approval(**changes)], label="ok", head_sha=HEAD) is None
    assert approver([approval()], label="ok", head_sha=None) is None
    assert approver([], label="ok", head_sha=HEAD) is None


def test_one_that_counts_among_others_is_enough() -> None:
    assert approver([approval(role="read"), approval(actor="carol")], label="ok", head_sha=HEAD) == "carol"


def test_consent_asks_once_and_only_when_needed() -> None:
    asked: list[str] = []

    def fetch(label: str) -> Granted:
        asked.append(label)
        return Granted((approval(),), ("one label does not count",))

    consent = Consent(fetch, label="ok", head_sha=HEAD)
    assert (consent.used, asked) == (None, [])
    assert (consent.given_by(), consent.given_by()) == ("bob", "bob")
    assert (asked, consent.used) == (["ok"], "bob")
    assert consent.notices == ("one label does not count",)


def test_a_failure_to_ask_approves_nothing_and_is_said() -> None:
    def fetch(_: str) -> Granted:
        raise PublishError("GitHub cannot be reached", remedy="Run again")

    consent = Consent(fetch, label="ok", head_sha=HEAD)
    assert consent.given_by() is None
    assert "cannot be reached" in consent.notices[0]


def test_nobody_to_ask() -> None:
    assert Consent(no_approvals, label="ok", head_sha=HEAD).given_by() is None
