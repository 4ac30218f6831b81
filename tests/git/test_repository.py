"""Reading a hostile repository without running anything of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qgate.errors import SourceError, UsageError
from qgate.git.repository import open_repository
from qgate.plan.digests import file_digest
from tests.git.scratch import ScratchRepository


def test_changes_with_renames_noted(scratch: ScratchRepository) -> None:
    old = scratch.commit({"a": "same bytes", "b": "1", "gone": "x", "kind": "f"})
    (scratch.root / "kind").unlink()
    (scratch.root / "kind").symlink_to("b")
    new = scratch.commit({"a": None, "z": "same bytes", "b": "2", "gone": None, "new": "y"})
    found = {c.path: (c.status, c.moved) for c in open_repository(scratch.root).changes(old, new)}
    assert found == {
        "a": ("deleted", "z"),
        "z": ("added", "a"),
        "b": ("modified", None),
        "gone": ("deleted", None),
        "new": ("added", None),
        "kind": ("retyped", None),
    }


def test_changes_of_the_work_tree_include_untracked_files(scratch: ScratchRepository) -> None:
    old = scratch.commit({"a": "1", ".gitignore": "ignored\n"})
    for name in ("a", "untracked", "ignored"):
        (scratch.root / name).write_text("2")
    found = {c.path: c.status for c in open_repository(scratch.root).changes(old, None)}
    assert found == {"a": "modified", "untracked": "added"}


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_what_git_was_told_not_to_look_at_counts_as_changed(scratch: ScratchRepository, flag: str) -> None:
    first = scratch.commit({"m/a.onnx": "1", "m/b.onnx": "2", "é.onnx": "3", "m/d.onnx": "4"})
    scratch.git("update-index", flag, "m/a.onnx", "é.onnx", "m/d.onnx")
    (scratch.root / "m/a.onnx").write_text("tampered")
    (scratch.root / "é.onnx").write_text("tampered")
    (scratch.root / "m/d.onnx").unlink()
    assert scratch.git("status", "--porcelain") == "", "the flags hide it from git"
    found = {c.path: c.status for c in open_repository(scratch.root).changes(first, None)}
    gone = {"m/d.onnx": "deleted"} if flag == "--assume-unchanged" else {}
    assert found == {"m/a.onnx": "modified", "é.onnx": "modified", **gone}


def test_any_name_is_read(scratch: ScratchRepository) -> None:
    names = ["with space", "tab\there", "new\nline", 'quo"te', "-dash", ":(glob)*", "日本", "*", "a\\b"]
    old = scratch.commit({})
    raw = os.fsdecode(b"bytes\xff")
    (scratch.root / raw).write_text("x")
    new = scratch.commit(dict.fromkeys(names, "x"))
    repo = open_repository(scratch.root)
    assert {c.path for c in repo.changes(old, new)} == {*names, raw}
    assert set(repo.paths(new)) == {*names, raw}
    assert all(repo.read(new, name, 10) == b"x" for name in (*names, raw))
    assert repo.read(new, "a*", 10) is None


@pytest.mark.parametrize("revision", ["", "-x", "--all", "nowhere", "HEAD^9", "a..b", "HEAD:a", "\x00"])
def test_what_names_no_commit(scratch: ScratchRepository, revision: str) -> None:
    scratch.commit({"a": "1"})
    repo = open_repository(scratch.root)
    assert repo.resolve(revision) is None
    with pytest.raises(SourceError):
        repo.commit(revision)


def test_files_that_are_no_files(scratch: ScratchRepository, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    scratch.commit({"real": "x", "folder/inside": "x"})
    (scratch.root / "link").symlink_to(tmp_path / "secret")
    (scratch.root / "out").symlink_to(tmp_path)
    sha = scratch.commit({})
    repo = open_repository(scratch.root)
    for revision in (sha, None):
        with pytest.raises(SourceError, match="regular file"):
            repo.read(revision, "link", 100)
        with pytest.raises(SourceError, match="regular file"):
            repo.read(revision, "folder", 100)
        with pytest.raises(SourceError, match="larger"):
            repo.read(revision, "real", 0)
        assert repo.read(revision, "nowhere", 100) is None
        assert repo.read(revision, "real/nowhere", 100) is None
    with pytest.raises(SourceError):
        repo.read(None, "out/secret", 100)
    assert repo.link_target(sha, "link") is None
    assert repo.read(sha, "out/secret", 100) is None


def test_nothing_of_the_repository_is_run(
    scratch: ScratchRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "canary"
    script = tmp_path / "run-me"
    script.write_text(f"#!/bin/sh\ntouch {canary}\ncat\n")
    script.chmod(0o755)
    old = scratch.commit({"a.bin": "1", ".gitattributes": "*.bin diff=evil\n"})
    new = scratch.commit({"a.bin": "2"})
    for key, value in {
        "core.fsmonitor": str(script),
        "core.hooksPath": str(tmp_path),
        "core.pager": str(script),
        "diff.external": str(script),
        "diff.evil.textconv": str(script),
        "diff.evil.command": str(script),
        "core.sshCommand": str(script),
        "alias.cat-file": f"!{script}",
    }.items():
        scratch.git("config", key, value)
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", str(script))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    repo = open_repository(scratch.root)
    assert [c.path for c in repo.changes(old, new)] == ["a.bin"]
    (scratch.root / "a.bin").write_text("3")
    assert [c.path for c in repo.changes(old, None)] == ["a.bin"]
    assert repo.read(new, "a.bin", 10) == b"2"
    assert file_digest(repo, new, "a.bin") is not None
    assert not canary.exists()


def test_a_repository_of_another_user_is_read(scratch: ScratchRepository) -> None:
    sha = scratch.commit({"a": "1"})
    if os.getuid() != 0:
        pytest.skip("only root can give files away")
    for path in (scratch.root, *scratch.root.rglob("*")):
        os.chown(path, 12345, 12345, follow_symlinks=False)
    (scratch.root / "sub").mkdir()
    assert open_repository(scratch.root / "sub").resolve("HEAD") == sha


def test_no_work_tree(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError) as caught:
            open_repository(place)
        assert caught.value.where == str(place)
