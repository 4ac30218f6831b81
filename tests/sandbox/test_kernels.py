"""Kernels that lack a wall, or lie about one: real runs of the command on such a kernel, and what they end with."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from world import PROBES

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
REFERENCE, CANDIDATE = DIGITS / "digits_fp32.onnx", DIGITS / "digits_int8_pc.onnx"
REDUCIBLE = {
    "landlock": "Landlock (this kernel or machine does not have it)",
    "landlock-switched-off": "Landlock (it is switched off in this kernel)",
    "landlock-refused": "Landlock (Operation not permitted)",
    "landlock-that-lies": "Landlock (the kernel does not do what it says)",
    "seccomp": "the filter of system calls (seccomp) (this kernel or machine does not have it)",
    "seccomp-refused": "the filter of system calls (seccomp) (Operation not permitted)",
    "seccomp-that-lies": "the filter of system calls (seccomp) (the kernel does not do what it says)",
}
NEEDED = {
    "capabilities": "giving up privileges (Operation not permitted)",
    **({"user": "the change to an unprivileged user (Operation not permitted)"} if os.geteuid() == 0 else {}),
}


class Ran:
    """A run of ``qgate`` on a kernel that lacks something, and the report that it wrote."""

    def __init__(self, folder, lacks, *arguments, cwd=None, env=None):
        command = [sys.executable, "-I", str(PROBES / "kernel.py"), lacks, sys.executable, "-m", "qgate.cli"]
        done = subprocess.run(
            [*command, "verify", "-o", str(folder / "report"), *map(str, arguments)],
            cwd=cwd or folder,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), "COLUMNS": "300", **(env or {})},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        self.code = done.returncode
        self.text = " ".join((done.stdout + done.stderr).split())
        self.report = json.loads((folder / "report" / "report.json").read_text())
        (self.target,) = self.report["targets"]
        self.found = [f for f in self.target["findings"] if f["rule"] == "ART116"]


def pair(folder, lacks, *options, **more):
    return Ran(folder, lacks, "-r", REFERENCE, "-c", CANDIDATE, *options, **more)


def launched(lacks, mode):
    """What the launcher says on such a kernel."""
    command = [
        sys.executable,
        "-I",
        str(PROBES / "kernel.py"),
        lacks,
        sys.executable,
        "-I",
        str(PROBES / "launch.py"),
    ]
    done = subprocess.run([*command, mode], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("lacks", "words"), {**REDUCIBLE, **NEEDED}.items())
def test_a_wall_that_is_missing_is_named(lacks, words):
    found = launched(lacks, "required")
    assert found["what"] == f"the sandbox cannot be engaged, so no model was run: {words}"
    assert ("sandbox: reduced" in found["remedy"]) == (lacks in REDUCIBLE)


@pytest.mark.parametrize(("lacks", "words"), REDUCIBLE.items())
def test_a_wall_that_is_missing_can_be_granted_away(lacks, words):
    found = launched(lacks, "reduced")
    step = lacks.partition("-")[0]
    assert found["lacking"] == {step: words}
    assert (found["landlock"] == 0, found["seccomp"]) == (step == "landlock", step == "landlock")


@pytest.mark.parametrize("lacks", NEEDED)
def test_what_the_least_promise_needs_is_never_granted_away(lacks):
    assert launched(lacks, "reduced")["what"].endswith(NEEDED[lacks])


@pytest.mark.parametrize("lacks", ["landlock", "seccomp-that-lies"])
def test_without_a_wall_nothing_is_run(tmp_path, lacks):
    ran = pair(tmp_path, lacks)
    assert (ran.code, ran.report["verdict"]) == (2, "ERROR")
    (finding,) = ran.found
    assert (finding["severity"], finding["effect"]) == ("error", "ERROR")
    assert ran.target["sandbox"] is None
    assert not [m for m in ran.target["measurements"] if m["name"].startswith("output.")]
    assert REDUCIBLE[lacks] in ran.text


@pytest.mark.parametrize("lacks", [("landlock",), ("seccomp",), ("landlock", "seccomp")])
def test_where_less_is_granted_the_report_says_what_was_missing(tmp_path, lacks):
    ran = pair(tmp_path, ",".join(lacks), "--sandbox", "reduced")
    assert (ran.code, ran.report["verdict"]) == (0, "PASS"), ran.text
    assert {f["severity"] for f in ran.found} == {"warning"}
    assert [f["evidence"]["step"] for f in ran.found] == list(lacks)
    assert ran.target["sandbox"]["lacking"] == {step: REDUCIBLE[step] for step in lacks}
    assert (ran.target["sandbox"]["landlock"] == 0) == ("landlock" in lacks)
    assert ran.target["sandbox"]["seccomp"] != ("seccomp" in lacks)
    assert all(REDUCIBLE[step] in ran.text for step in lacks)


def test_on_this_kernel_nothing_lacks(tmp_path):
    ran = pair(tmp_path, "none")
    assert (ran.code, ran.found) == (0, [])
    assert ran.target["sandbox"]["lacking"] == {}
    assert ran.target["sandbox"]["landlock"] >= 1
    assert ran.target["sandbox"]["seccomp"]


POLICY = """\
version: 1
sandbox: {mode}
targets:
  - name: digits
    candidate: models/int8.onnx
    reference: models/fp32.onnx
"""


def git(root, *arguments):
    who = {
        f"GIT_{role}_{what}": "a@example.org"
        for role in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **who}
    subprocess.run(["git", *arguments], cwd=root, env=environment, check=True, capture_output=True)


def repository(root, base, head):
    """A repository whose change brings another candidate and its own word about the sandbox."""
    (root / "models").mkdir(parents=True)
    shutil.copy(REFERENCE, root / "models" / "fp32.onnx")
    shutil.copy(CANDIDATE, root / "models" / "int8.onnx")
    (root / "qgate.yml").write_text(POLICY.format(mode=base))
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "base")
    shutil.copy(DIGITS / "digits_int8_pt.onnx", root / "models" / "int8.onnx")
    (root / "qgate.yml").write_text(POLICY.format(mode=head))
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "change")


@pytest.mark.parametrize(
    ("base", "head", "runs"),
    [("required", "reduced", False), ("reduced", "reduced", True), ("required", "required", False)],
)
def test_the_bases_policy_alone_grants_less(tmp_path, base, head, runs):
    """The change's policy, a file beside it and the environment ask for less; only the base's is heard."""
    root = tmp_path / "repository"
    repository(root, base, head)
    asked = {
        "QGATE_SANDBOX": "reduced",
        "INPUT_SANDBOX": "reduced",
        "QGATE_REDUCED": "1",
        "SANDBOX": "reduced",
    }
    ran = Ran(tmp_path, "landlock", "--base", "main~1", cwd=root, env=asked)
    assert (ran.target["sandbox"] is not None) == runs
    assert {f["severity"] for f in ran.found} == ({"warning"} if runs else {"error"})
    if not runs:
        assert (ran.code, ran.report["verdict"]) == (2, "ERROR")
