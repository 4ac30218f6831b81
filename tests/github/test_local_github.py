"""The local GitHub itself: it notices what GitHub would not accept, and runs as a process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import requests
from local_github.server import GitHub

HERE = Path(__file__).parent
SETUP = {"repository": "acme/widgets", "pull_request": {"number": 7, "fork": "eve/widgets"}}
TOKEN = {"Authorization": "token ghs_rw"}


def ask(session, url, method="GET", path="", **more):
    return session.request(method, f"{url}/repos/acme/widgets{path}", headers=TOKEN, timeout=10, **more)


def test_a_request_that_githubs_description_forbids_is_a_violation():
    with GitHub().running() as github, requests.Session() as session:
        github.world.set_up(SETUP)
        assert ask(session, github.url, "POST", "/issues/7/comments", json={"text": "x"}).status_code == 422
        assert (
            ask(session, github.url, "POST", f"/statuses/{'1' * 40}", json={"state": "neutral"}).status_code
            == 422
        )
        assert ask(session, github.url, path="/nothing/here").status_code in (404, 422)
    assert len(github.violations) >= 3
    assert github.state()["repositories"]["acme/widgets"]["comments"] == []


def test_an_answer_that_githubs_description_forbids_is_a_violation():
    with GitHub().running() as github, requests.Session() as session:
        github.world.set_up(SETUP)
        github.world.repositories["acme/widgets"].pulls[7].state = "ajar"
        assert ask(session, github.url, path="/pulls/7").status_code == 200
    assert any("response" in violation and "ajar" in violation for violation in github.violations)


def test_it_runs_as_a_process(tmp_path):
    state = tmp_path / "state.json"
    command = [sys.executable, str(HERE / "server.py"), "--port", "0", "--state-file", str(state)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process,
        requests.Session() as session,
    ):
        try:
            url = process.stdout.readline().strip()
            assert session.post(f"{url}/__setup", json=SETUP, timeout=10).status_code == 200
            assert session.post(f"{url}/__setup", json={"repo": "x"}, timeout=10).status_code == 400
            fault = [{"match": "POST .*/comments", "status": 502, "commit": True}]
            session.post(f"{url}/__faults", json=fault, timeout=10)
            assert ask(session, url, "POST", "/issues/7/comments", json={"body": "x"}).status_code == 502
            assert ask(session, url, "POST", "/issues/7/comments", json={"body": "y"}).status_code == 201
            told = session.get(f"{url}/__state", timeout=10).json()
        finally:
            process.terminate()
    assert told == json.loads(state.read_text())
    assert [c["body"] for c in told["repositories"]["acme/widgets"]["comments"]] == ["x", "y"]
    assert told["violations"] == []
