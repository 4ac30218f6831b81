"""The connection: pages, limits, lost answers, answers that are not GitHub's. No test sleeps."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from qgate.errors import PublishError
from qgate.github.client import Client
from qgate.github.refusals import NotFoundError, RateLimitError, ReadOnlyTokenError, TransientError

SECONDARY = {"message": "You have exceeded a secondary rate limit. Please wait a few minutes."}
PRIMARY = {"message": "API rate limit exceeded for installation."}


def test_every_page_is_read(rig):
    rig.set_up(comments=[{"author": "eve", "body": str(n)} for n in range(250)])
    items = rig.client().pages("/issues/7/comments")
    assert [item["body"] for item in items] == [str(n) for n in range(250)]
    assert rig.asked("GET", "/comments") == 3


def test_an_enterprise_server_is_reached_below_its_prefix(rig):
    assert rig.client(prefix="/api/v3").get("/pulls/7")["number"] == 7


def test_slashes_in_names_stay_inside_their_segment(rig):
    with pytest.raises(NotFoundError):
        rig.client().get("/collaborators/a%2Fb/permission")


@pytest.mark.parametrize("status", [500, 502, 503])
def test_what_may_be_repeated_is_repeated(rig, status):
    rig.fault("GET .*/pulls/7", status=status, times=2, body="<html>Unicorn!</html>")
    assert rig.client().get("/pulls/7")["number"] == 7
    assert rig.time.pauses == [1, 2]


def test_a_dropped_connection_is_repeated(rig):
    rig.fault("GET .*/pulls/7", drop=True)
    assert rig.client().get("/pulls/7")["number"] == 7


def test_a_broken_server_is_given_up_on(rig):
    rig.fault("GET", status=502, times=99)
    with pytest.raises(TransientError, match="502"):
        rig.client().get("/pulls/7")
    assert rig.asked("GET") == 5
    assert rig.time.pauses == [1, 2, 4, 8]


def test_a_post_that_may_have_happened_is_not_repeated(rig):
    rig.fault("POST", status=502, commit=True)
    with pytest.raises(TransientError):
        rig.client().post("/issues/7/comments", {"body": "once"})
    assert [comment.body for comment in rig.comments] == ["once"]
    assert rig.asked("POST") == 1


@pytest.mark.parametrize(("status", "header"), [(403, "23"), (429, "23")])
def test_a_secondary_limit_waits_as_long_as_it_asks(rig, status, header):
    rig.fault("POST", status=status, body=SECONDARY, headers={"Retry-After": header})
    rig.client().post("/issues/7/comments", {"body": "once"})
    assert rig.time.pauses == [23]
    assert len(rig.comments) == 1


@pytest.mark.parametrize("header", ["soon", "nan", "Mon, 99 Foo"])
def test_a_limit_that_names_no_usable_time_waits_a_minute(rig, header):
    rig.fault("GET", status=403, body=SECONDARY, headers={"Retry-After": header})
    rig.client().get("/pulls/7")
    assert rig.time.pauses == [60]


def test_a_date_is_a_time_to_wait_until(rig):
    # The rig's clock begins at 1,000,000 seconds after the epoch.
    rig.fault("GET", status=429, body=SECONDARY, headers={"Retry-After": "Mon, 12 Jan 1970 13:47:10 GMT"})
    rig.client().get("/pulls/7")
    assert rig.time.pauses == [30]


def test_the_primary_limit_is_not_slept_through(rig):
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(1_000_000 + 3000)}
    rig.fault("GET", status=403, body=PRIMARY, headers=headers, times=99)
    with pytest.raises(RateLimitError, match="asks to wait 3000 s, and 90 s are left"):
        rig.client().get("/pulls/7")
    assert rig.time.pauses == []


def test_a_primary_limit_that_ends_soon_is_waited_for(rig):
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(1_000_000 + 20)}
    rig.fault("GET", status=403, body=PRIMARY, headers=headers)
    rig.client().get("/pulls/7")
    assert rig.time.pauses == [20]


def test_all_waiting_together_is_bounded(rig):
    rig.fault("GET", status=403, body=SECONDARY, headers={"Retry-After": "25"}, times=99)
    client = rig.client(seconds=60)
    for _ in range(3):
        with pytest.raises(RateLimitError):
            client.get("/pulls/7")
    assert sum(rig.time.pauses) <= 60
    assert rig.time.pauses == [25, 25]


@pytest.mark.parametrize("payload", ["<html>Sign in to the proxy</html>", "", '"text"', "[1, 2]", "{"])
def test_an_answer_that_is_not_githubs_is_refused(rig, payload):
    rig.fault("GET", status=200, body=payload, times=99)
    with pytest.raises(PublishError, match="not one of GitHub's API"):
        rig.client().get("/pulls/7")


@pytest.mark.parametrize("payload", ["<html></html>", "{}", "[1]", ""])
def test_a_list_that_is_none_is_refused_and_not_taken_for_an_empty_one(rig, payload):
    rig.fault("GET", status=200, body=payload, times=99)
    with pytest.raises(PublishError, match="not one of GitHub's API"):
        rig.client().pages("/issues/7/comments")


@pytest.mark.parametrize("payload", [[1], "[]", "<p>::error::x</p>\n##[error]"])
def test_an_error_of_another_shape_is_still_that_error(rig, payload):
    rig.fault("GET", status=404, body=payload)
    with pytest.raises(PublishError) as caught:
        rig.client().get("/pulls/7")
    assert "##[" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_redirect_to_another_host_is_refused(rig):
    rig.fault("GET", status=301, body={}, headers={"Location": "http://elsewhere.invalid/repos/a/b"})
    with pytest.raises(PublishError, match="not one of GitHub's API"):
        rig.client().get("/pulls/7")


def test_pages_without_end_are_refused(rig):
    rig.fault("GET", status=200, body=[{}], headers={"Link": '<http://x>; rel="next"'}, times=999)
    with pytest.raises(PublishError, match="more than 200 pages"):
        rig.client().pages("/issues/7/comments")


def test_a_silent_server_is_not_waited_for(rig):
    rig.fault("GET", delay=1.5)
    with pytest.raises(TransientError, match="ReadTimeout"):
        rig.client(timeout=1, seconds=0.5).get("/pulls/7")


def test_no_network_is_a_clear_error(rig):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    client = Client("ghs_rw", "acme/widgets", url, patience=rig.time.patience(3))
    with pytest.raises(TransientError, match="cannot be reached"):
        client.get("/pulls/7")


def test_a_bad_token_is_named_and_not_shown(rig):
    with pytest.raises(PublishError, match="refuses the token") as caught:
        rig.client("ghs_secret").get("/pulls/7")
    assert "ghs_secret" not in str(caught.value)


def test_a_read_only_token_is_told_apart(rig):
    with pytest.raises(ReadOnlyTokenError):
        rig.client("ghs_ro").post("/issues/7/comments", {"body": "x"})


def test_pygithub_is_imported_only_for_a_request():
    modules = "qgate.github.stored, qgate.github.approvals"
    code = f"import sys, {modules}; print({{'github', 'requests'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
