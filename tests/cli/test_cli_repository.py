"""``qgate verify`` on a repository: policies, targets and places that cannot be used, and what a change deletes."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import CANDIDATE, INPUTS, REFERENCE, Ran, Shop

ROOT = Path(__file__).parents[2]
ENTRYPOINT = ROOT / "entrypoint.py"
POLICY = """\
version: 1
targets:
  - name: digits
    candidate: models/digits_int8.onnx
    reference: models/digits_fp32.onnx
"""


def git(root: Path, *arguments: str) -> str:
    names = {
        f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    done = subprocess.run(
        ["git", *arguments], cwd=root, env={"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": "/nonexistent", **names},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with two models and a policy on ``main``."""
    root = tmp_path_factory.mktemp("repository")
    (root / "models").mkdir()
    shutil.copy(CANDIDATE, root / "models" / "digits_int8.onnx")
    shutil.copy(REFERENCE, root / "models" / "digits_fp32.onnx")
    shutil.copy(INPUTS, root / "models" / "digits.npz")
    (root / "qgate.yml").write_text(POLICY)
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "models")
    return root


@pytest.fixture
def repo(shop: Shop, committed: Path) -> Shop:
    shutil.rmtree(shop.root)
    shutil.copytree(committed, shop.root)
    return shop


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of this machine that refuses: it is bound, and nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def gate(repo: Shop, *options: str, **more: Any) -> Ran:
    return repo.run("verify", "-o", repo.reports, *options, **more)


def test_a_repository_is_verified_by_its_policy(repo: Shop) -> None:
    found = gate(repo)
    assert found.code == 0, found.text
    assert found.report is not None
    assert [(t["name"], t["verdict"]) for t in found.report["targets"]] == [("digits", "PASS")]
    assert found.report["policy"]["path"] == "qgate.yml"


POLICIES = {  # what else may be wrong with one is asked of the loader
    "unknown key": (POLICY.replace("reference:", "refrence:"), "refrence", "reference"),
    "wrong type": (POLICY + "require_baseline: perhaps\n", "require_baseline", ""),
    "wrong unit": (POLICY + "    thresholds: {FEA201: {min_db: 15 bananas}}\n", "min_db", ""),
    "unknown profile": (POLICY + "    profile: balancd\n", "balancd", "balanced"),
    "duplicate target": (
        POLICY + "  - name: digits\n    candidate: models/b.onnx\n    reference: c.onnx\n",
        "digits",
        "",
    ),
    "empty": ("", "", ""),
    "another version": (POLICY.replace("version: 1", "version: 7"), "version", ""),
    "a path outside": (POLICY.replace("models/digits_int8.onnx", "../../etc/passwd"), "..", ""),
}


@pytest.mark.parametrize("case", POLICIES)
def test_a_bad_policy_is_an_error_with_file_key_and_remedy(repo: Shop, case: str) -> None:
    content, says, suggests = POLICIES[case]
    (repo.root / "qgate.yml").write_text(content)
    found = gate(repo)
    assert found.code == 2
    error = found.error()
    assert error["at"]["file"].startswith("qgate.yml")
    assert says in error["message"]
    assert suggests in error["message"] + error["remedy"]
    assert found.report is not None
    assert found.report["targets"] == []


def test_no_policy_is_an_error_that_says_how_to_begin(repo: Shop) -> None:
    (repo.root / "qgate.yml").unlink()
    found = gate(repo)
    assert (found.code, found.error()["at"]["file"]) == (2, "qgate.yml")
    assert "qgate.yml" in found.error()["remedy"]


def test_no_repository_is_an_error(shop: Shop) -> None:
    found = gate(shop)
    assert found.code == 2
    assert "not a git work tree" in found.refusal()


@pytest.mark.parametrize(
    ("options", "says", "hint"),
    [
        (("--target", "digit"), "digit", "digits"),
        (("--base", "nowhere"), "nowhere", ""),
        (("--config", "other.yml"), "other.yml", ""),
    ],
)
def test_what_is_not_there_is_an_error_by_name(
    repo: Shop, options: tuple[str, ...], says: str, hint: str
) -> None:
    found = gate(repo, *options)
    assert found.code == 2
    assert says in found.error()["message"]
    assert hint in found.text


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--config", "../qgate.yml"), "'../qgate.yml' cannot be used"),
        (("--config", "/etc/qgate.yml"), "'/etc/qgate.yml' cannot be used"),
        (("--profile", "strict"), "--profile is for one pair"),
    ],
)
def test_options_that_a_repository_does_not_take_are_refused(
    repo: Shop, options: tuple[str, ...], says: str
) -> None:
    found = repo.run("verify", *options)
    assert (found.code, says in found.refusal()) == (2, True)


def _deleted(root: Path) -> str:
    git(root, "rm", "-q", "models/digits_int8.onnx")
    return "The change deletes the candidate models/digits_int8.onnx"


def _renamed(root: Path) -> str:
    git(root, "mv", "models/digits_int8.onnx", "models/new.onnx")
    return "models/new.onnx has the same bytes"


@pytest.mark.parametrize("change", [_deleted, _renamed])
def test_a_target_whose_file_the_change_takes_away_fails(repo: Shop, change: Callable[[Path], str]) -> None:
    git(repo.root, "checkout", "-q", "-b", "patch")
    says = change(repo.root)
    git(repo.root, "commit", "-q", "-m", "change")
    found = gate(repo, "--base", "main")
    assert found.code == 1, found.text
    assert found.report is not None
    ((target,),) = (found.report["targets"],)
    (finding,) = [f for f in target["findings"] if f["severity"] == "error"]
    assert (finding["rule"], finding["at"]["file"]) == ("TRC108", "models/digits_int8.onnx")
    assert says in finding["message"]
    assert says in found.text
    assert finding["remedy"]


def test_one_bad_target_leaves_the_others_their_verdicts(repo: Shop) -> None:
    more = POLICY + "  - {name: gone, candidate: models/gone.onnx, reference: models/digits_fp32.onnx}\n"
    (repo.root / "qgate.yml").write_text(more)
    found = gate(repo)
    assert found.code == 2
    assert found.report is not None
    assert {t["name"]: t["verdict"] for t in found.report["targets"]} == {"digits": "PASS", "gone": "ERROR"}
    assert found.error()["at"]["file"] == "models/gone.onnx"


def test_a_target_without_a_reference_is_an_error(repo: Shop) -> None:
    (repo.root / "qgate.yml").write_text("".join(POLICY.splitlines(keepends=True)[:-1]))
    found = gate(repo)
    assert found.code == 2
    assert "reference" in found.error()["message"]
    assert "reference" in found.error()["remedy"]


def test_no_network_is_an_error_that_names_the_address(repo: Shop, closed_port: int) -> None:
    address = f"https://127.0.0.1:{closed_port}/model.onnx"
    locator = f"{{url: '{address}', sha256: '{'0' * 64}'}}"
    policy = POLICY.replace("models/digits_int8.onnx", locator) + "allow_hosts: ['127.0.0.1']\n"
    (repo.root / "qgate.yml").write_text(policy)
    found = gate(repo)
    assert found.code == 2
    assert address in found.error()["at"]["file"]
    private = policy.replace("allow_hosts: ['127.0.0.1']\n", "")
    (repo.root / "qgate.yml").write_text(private)
    refused = gate(repo)
    assert (refused.code, "allow_hosts" in refused.error()["remedy"]) == (2, True)


class _Denies(BaseHTTPRequestHandler):
    """Answers everything as a server that wants to know who asks."""

    def do_POST(self) -> None:
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def denying_server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Denies) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_pointer_without_a_token_is_an_error_with_the_command(repo: Shop, denying_server: str) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{7:064x}\nsize 123456\n"
    (repo.root / "models" / "digits_int8.onnx").write_text(pointer)
    found = gate(repo, env={"GITHUB_SERVER_URL": denying_server, "GITHUB_REPOSITORY": "octo/models"})
    assert found.code == 2
    error = found.error()
    assert (error["rule"], error["at"]["file"]) == ("ART102", "models/digits_int8.onnx")
    assert "HTTP status 401 and this run has no token" in error["message"]
    assert 'git lfs pull --include "models/digits_int8.onnx"' in error["remedy"]


EVENTS = {
    "missing": None,
    "empty": "",
    "not JSON": "{",
    "without what it needs": json.dumps({"pull_request": {"number": 1}}),
    "wrong types": json.dumps({"pull_request": {"number": "1", "base": 3, "head": []}}),
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("case", EVENTS)
def test_a_malformed_event_is_an_error_that_names_the_file(repo: Shop, tmp_path: Path, case: str) -> None:
    event = tmp_path / "event.json"
    content = EVENTS[case]
    if content is not None:
        event.write_text(content)
    done = subprocess.run(
        [sys.executable, "-I", str(ENTRYPOINT)], cwd=repo.root, capture_output=True, text=True, timeout=120, check=False,
        env={**repo.environment, "GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": "pull_request",
             "GITHUB_EVENT_PATH": str(event), "GITHUB_WORKSPACE": str(repo.root), "GITHUB_REPOSITORY": "octo/models"},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    stored = json.loads((repo.root / "qgate-report" / "report.json").read_text())
    (finding,) = stored["findings"]
    assert (finding["effect"], stored["verdict"]) == ("ERROR", "ERROR")
    assert str(event) in finding["at"]["file"]
    assert finding["remedy"]
    assert finding["message"].split(": ", 1)[1] in " ".join((done.stdout + done.stderr).split())


@pytest.fixture
def merged(repo: Shop, tmp_path: Path) -> Shop:
    """What a runner checks out of a pull request, two commits deep: its policy is looser, and its candidate is the reference."""
    origin = tmp_path / "origin"
    repo.root.rename(origin)
    git(origin, "checkout", "-q", "-b", "patch")
    shutil.copy(REFERENCE, origin / "models" / "digits_int8.onnx")
    (origin / "qgate.yml").write_text(POLICY + "    scheme: none\n")
    git(origin, "commit", "-q", "-a", "-m", "change")
    git(origin, "checkout", "-q", "main")
    git(origin, "merge", "-q", "--no-ff", "-m", "merge", "patch")
    git(tmp_path, "clone", "-q", "--depth", "2", f"file://{origin}", str(repo.root))
    return repo


def test_the_job_on_a_gpu_judges_a_pull_request_by_the_base(merged: Shop) -> None:
    workflow = yaml.safe_load((ROOT / "examples" / "workflow-gpu.yml").read_text("utf-8"))
    (job,) = workflow["jobs"].values()
    checkout, step = job["steps"]
    assert checkout["with"]["fetch-depth"] == 2, "as deep as the clone here"
    command = step["run"].partition("-m qgate.cli ")[2].split()
    assert command[-2:] == ["--report", "qgate-report-gpu"]
    found = merged.run(*command[:-1], merged.reports)
    assert found.code == 1, found.text
    (target,) = found.report["targets"]
    assert "QNT101" in {f["rule"] for f in target["findings"] if f["effect"] == "FAIL"}
    own = merged.run("verify", "-o", merged.reports)
    assert own.code == 0, "its own policy passes it"
