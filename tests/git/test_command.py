"""Git is run so that nothing outlives it and nothing above the folder is found."""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from qgate.errors import SourceError
from qgate.git.command import run_git, streaming
from tests.git.scratch import ScratchRepository


@pytest.fixture
def fake_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ``git`` that says who it is, leaves a child that holds the pipe open, and ends."""
    child = tmp_path / "child"
    script = tmp_path / "bin" / "git"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nsleep 600 &\necho $! > {child}\necho "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    return child


def test_what_git_leaves_behind_ends_with_it(fake_git: Path, tmp_path: Path) -> None:
    with streaming(tmp_path, "cat-file") as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        left = os.pidfd_open(int(fake_git.read_text()))
    assert line.endswith(f"-C {tmp_path} cat-file\n".encode())
    try:
        assert select.select([left], [], [], 60)[0], "the child lives on"
    finally:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(left, signal.SIGKILL)
        os.close(left)


def test_a_folder_inside_a_repository_is_none_unless_asked(scratch: ScratchRepository) -> None:
    inner = scratch.root / "inner"
    inner.mkdir()
    assert run_git(inner, "rev-parse", "--git-dir").returncode != 0
    assert run_git(inner, "rev-parse", "--git-dir", climb=True).returncode == 0


def test_a_reader_that_stops_early_leaves_nothing_running(scratch: ScratchRepository) -> None:
    scratch.commit({"big": b"x" * (4 * 2**20)})
    with streaming(scratch.root, "cat-file", "blob", "HEAD:big") as process:
        assert process.stdout is not None
        assert process.stdout.read(10) == b"x" * 10
    assert process.returncode is not None


def test_no_git_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match="git is not installed"):
        run_git(tmp_path, "status")
