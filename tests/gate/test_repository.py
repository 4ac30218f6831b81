"""Reading a hostile repository without running anything of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from qgate.digests import describes, file_digest, related_paths
from qgate.errors import SourceError, UsageError
from qgate.policy.schema import Target
from qgate.report.schema import Artifact
from qgate.repository import open_repository

Lab = Any  # tests/gate/conftest.py


def test_changes_with_renames_noted(lab: Lab) -> None:
    old = lab.commit({"a": "same bytes", "b": "1", "gone": "x", "kind": "f"})
    (lab.root / "kind").unlink()
    (lab.root / "kind").symlink_to("b")
    new = lab.commit({"a": None, "z": "same bytes", "b": "2", "gone": None, "new": "y"})
    found = {c.path: (c.status, c.moved) for c in open_repository(lab.root).changes(old, new)}
    assert found == {
        "a": ("deleted", "z"),
        "z": ("added", "a"),
        "b": ("modified", None),
        "gone": ("deleted", None),
        "new": ("added", None),
        "kind": ("retyped", None),
    }


def test_changes_of_the_work_tree_include_untracked_files(lab: Lab) -> None:
    old = lab.commit({"a": "1", ".gitignore": "ignored\n"})
    for name in ("a", "untracked", "ignored"):
        (lab.root / name).write_text("2")
    found = {c.path: c.status for c in open_repository(lab.root).changes(old, None)}
    assert found == {"a": "modified", "untracked": "added"}


def test_any_name_is_read(lab: Lab) -> None:
    names = ["with space", "tab\there", "new\nline", 'quo"te', "-dash", ":(glob)*", "日本", "*", "a\\b"]
    old = lab.commit({})
    raw = os.fsdecode(b"bytes\xff")
    (lab.root / raw).write_text("x")
    new = lab.commit(dict.fromkeys(names, "x"))
    repo = open_repository(lab.root)
    assert {c.path for c in repo.changes(old, new)} == {*names, raw}
    assert set(repo.paths(new)) == {*names, raw}
    assert all(repo.read(new, name, 10) == b"x" for name in (*names, raw))
    assert repo.read(new, "a*", 10) is None


@pytest.mark.parametrize("revision", ["", "-x", "--all", "nowhere", "HEAD^9", "a..b", "HEAD:a", "\x00"])
def test_what_names_no_commit(lab: Lab, revision: str) -> None:
    lab.commit({"a": "1"})
    repo = open_repository(lab.root)
    assert repo.resolve(revision) is None
    with pytest.raises(SourceError):
        repo.commit(revision)


def test_files_that_are_no_files(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    lab.commit({"real": "x", "folder/inside": "x"})
    (lab.root / "link").symlink_to(tmp_path / "secret")
    (lab.root / "out").symlink_to(tmp_path)
    sha = lab.commit({})
    repo = open_repository(lab.root)
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


def test_nothing_of_the_repository_is_run(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = tmp_path / "canary"
    script = tmp_path / "run-me"
    script.write_text(f"#!/bin/sh\ntouch {canary}\ncat\n")
    script.chmod(0o755)
    old = lab.commit({"a.bin": "1", ".gitattributes": "*.bin diff=evil\n"})
    new = lab.commit({"a.bin": "2"})
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
        lab.git("config", key, value)
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", str(script))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    repo = open_repository(lab.root)
    assert [c.path for c in repo.changes(old, new)] == ["a.bin"]
    (lab.root / "a.bin").write_text("3")
    assert [c.path for c in repo.changes(old, None)] == ["a.bin"]
    assert repo.read(new, "a.bin", 10) == b"2"
    assert file_digest(repo, new, "a.bin") is not None
    assert not canary.exists()


def test_a_repository_of_another_user_is_read(lab: Lab) -> None:
    sha = lab.commit({"a": "1"})
    if os.getuid() != 0:
        pytest.skip("only root can give files away")
    for path in (lab.root, *lab.root.rglob("*")):
        os.chown(path, 12345, 12345, follow_symlinks=False)
    (lab.root / "sub").mkdir()
    assert open_repository(lab.root / "sub").resolve("HEAD") == sha


def test_no_work_tree(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError) as caught:
            open_repository(place)
        assert caught.value.where == str(place)


def test_digest_of_a_file_and_of_what_a_pointer_stands_for(lab: Lab) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 12\n"
    big = b"x" * (3 * 2**20 + 7)
    sha = lab.commit({"big": big, "pointer": pointer, "empty": b""})
    repo = open_repository(lab.root)
    import hashlib

    for revision in (sha, None):
        assert file_digest(repo, revision, "big") == hashlib.sha256(big).hexdigest()
        assert file_digest(repo, revision, "pointer") == "a" * 64
        assert file_digest(repo, revision, "empty") is None
        assert file_digest(repo, revision, "nowhere") is None


def test_an_artifact_is_known_again_by_every_byte(lab: Lab) -> None:
    sha = lab.commit({"m/a.onnx": "model", "m/w.bin": "weights"})
    repo = open_repository(lab.root)
    digests = {name: str(file_digest(repo, sha, f"m/{name}")) for name in ("a.onnx", "w.bin")}
    artifact = Artifact(locator="m/a.onnx", sha256=digests["a.onnx"], files=digests)
    locator = Target.model_validate({"name": "t", "candidate": "m/a.onnx"}).candidate
    assert describes(artifact, repo, sha, locator)
    later = lab.commit({"m/w.bin": "other"})
    assert not describes(artifact, repo, later, locator)
    assert not describes(artifact.model_copy(update={"sha256": None}), repo, sha, locator)
    pinned = {"url": "https://example.org/a.onnx", "sha256": digests["a.onnx"]}
    remote = Target.model_validate({"name": "t", "candidate": pinned}).candidate
    assert not describes(artifact, repo, sha, remote)  # the side file is pinned nowhere
    alone = Artifact(locator="x", sha256=digests["a.onnx"], files={"a.onnx": digests["a.onnx"]})
    assert describes(alone, repo, sha, remote)
    at = Target.model_validate({"name": "t", "candidate": {"git": sha, "path": "m/a.onnx"}}).candidate
    assert describes(artifact, repo, later, at)


def test_a_name_across_two_pieces_is_found(lab: Lab) -> None:
    edge = b"x" * (2**20 - 3) + b"weights.bin" + b"x" * 100
    sha = lab.commit({"m/a.onnx": edge, "m/weights.bin": "1", "m/other.bin": "1"})
    repo = open_repository(lab.root)
    locator = Target.model_validate({"name": "t", "candidate": "m/a.onnx"}).candidate
    changed = {"m/weights.bin", "m/other.bin", "weights.bin", "m/README.md"}
    assert related_paths(repo, [sha, None], [locator, None], changed) == {"m/weights.bin"}
