"""The commit status."""

from __future__ import annotations

import pytest

from qgate.errors import PublishError
from qgate.github.status import publish_status
from qgate.records import Verdict


def post(rig, **changes):
    given = {
        "verdict": Verdict.PASS,
        "context": "qgate / verdict",
        "headline": "All good",
        "target_url": None,
    }
    return publish_status(rig.client(), "1" * 40, **{**given, **changes})


@pytest.mark.parametrize(
    ("verdict", "state"),
    [("PASS", "success"), ("FAIL", "failure"), ("INCONCLUSIVE", "error"), ("ERROR", "error")],
)
def test_only_a_pass_is_a_success(rig, verdict, state):
    url = post(rig, verdict=Verdict(verdict), target_url="https://github.com/acme/widgets/actions/runs/55")
    (status,) = rig.statuses
    assert (status.state, status.context, status.sha) == (state, "qgate / verdict", "1" * 40)
    assert status.description == f"{verdict}: All good"
    assert status.target_url.endswith("/runs/55")
    assert url.endswith("/statuses/" + "1" * 40)


@pytest.mark.parametrize(
    "headline", ["x" * 500, "é" * 500, "\U0001f4a5" * 500, "a\n::error::b\u202e" * 50, ""]
)
def test_the_description_is_one_short_line(rig, headline):
    post(rig, headline=headline)
    description = rig.statuses[0].description
    assert 0 < len(description) <= 140
    assert description.isprintable()


@pytest.mark.parametrize("url", ["javascript:alert(1)", "", "file:///etc/passwd"])
def test_only_web_addresses_are_linked(rig, url):
    post(rig, target_url=url)
    assert rig.statuses[0].target_url is None


def test_a_lost_answer_is_repeated_for_the_newest_counts(rig):
    rig.fault("POST", status=502, commit=True)
    post(rig)
    assert {status.state for status in rig.statuses} == {"success"}


def test_an_unknown_commit_is_an_error(rig):
    with pytest.raises(PublishError, match="No commit found"):
        publish_status(
            rig.client(), "zzz", verdict=Verdict.PASS, context="c", headline="h", target_url=None
        )  # fmt: skip
