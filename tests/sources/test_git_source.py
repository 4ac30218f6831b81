from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from qgate.errors import SourceError
from qgate.git.repository import Repository
from qgate.sources.acquire import acquire
from qgate.sources.git import find_file
from qgate.sources.locator import GitLocator, PathLocator


@pytest.fixture
def history(context, tools) -> tuple[str, str]:
    """Two commits: the model, then another model; the work tree holds a third."""
    repo = context.repo
    (repo / "models").mkdir()
    path = repo / "models" / "plate.onnx"
    path.write_bytes(tools.model)
    (repo / "models" / "w.bin").write_bytes(b"old weights")
    (repo / "models" / "link.onnx").symlink_to("plate.onnx")
    (repo / "linked").symlink_to("models")
    (repo / "models" / "empty.onnx").touch()
    old = tools.commit(repo)
    tools.git(repo, "tag", "v1.0")
    path.write_bytes(b"new model")
    (repo / "models" / "w.bin").write_bytes(b"new weights")
    new = tools.commit(repo)
    path.write_bytes(b"work tree")
    return old, new


@pytest.mark.parametrize("revision", ["v1.0", "HEAD~1", "main~1", "commit"])
def test_another_revision_gives_its_own_bytes_side_files_too(
    context, history, tmp_path, tools, revision
) -> None:
    revision = history[0] if revision == "commit" else revision
    locator = GitLocator(git=revision, path="models/plate.onnx")
    got = acquire(locator, tmp_path / "c", context, side_files=lambda _: ["w.bin"])
    assert got.main.read_bytes() == tools.model
    assert got.files == {"plate.onnx": tools.digest(tools.model), "w.bin": tools.digest(b"old weights")}
    assert got.locator == f"{revision}:models/plate.onnx"


def test_a_path_is_read_at_the_context_s_commit(context, history, tmp_path) -> None:
    at_new = replace(context, revision=history[1])
    assert (
        acquire(PathLocator(path="models/plate.onnx"), tmp_path / "a", at_new).main.read_bytes()
        == b"new model"
    )
    got = acquire(PathLocator(path="models/plate.onnx"), tmp_path / "b", context)
    assert got.main.read_bytes() == b"work tree"


def test_a_bare_repository_serves_too(context, history, tmp_path, tools) -> None:
    tools.git(context.repo, "clone", "-q", "--bare", ".", str(tmp_path / "bare.git"))
    bare = replace(context, repo=tmp_path / "bare.git")
    got = acquire(GitLocator(git="v1.0", path="models/plate.onnx"), tmp_path / "c", bare)
    assert got.main.read_bytes() == tools.model


@pytest.mark.parametrize(
    ("revision", "path", "what", "remedy"),
    [
        ("v9", "models/plate.onnx", "revision v9 is not in this clone", "fetch-depth"),
        ("v1.0", "models/plates.onnx", "no such file", "models/plate.onnx"),
        ("v1.0", "modles/plate.onnx", "no such file", ""),
        ("v1.0", "models/link.onnx", "symbolic link", "target"),
        ("v1.0", "linked/plate.onnx", "linked is a symbolic link", "target"),
        ("v1.0", "models", "a folder, not a file", "model file"),
        ("v1.0", "models/plate.onnx/x", "a file where a folder", ""),
        ("v1.0", "models/empty.onnx", "empty", ""),
        ("v1.0:models", "x", "", ""),
    ],
)
def test_what_a_revision_does_not_hold_is_said(
    context, history, tmp_path, revision, path, what, remedy
) -> None:
    if ":" in revision:
        with pytest.raises(ValueError, match="git revision"):
            GitLocator(git=revision, path=path)
        return
    with pytest.raises(SourceError) as caught:
        acquire(GitLocator(git=revision, path=path), tmp_path / "c", context)
    assert what in caught.value.what
    assert remedy in caught.value.remedy
    assert caught.value.where == f"{revision}:{path}"
    assert not list((tmp_path / "c").iterdir())


def test_glob_characters_in_a_path_are_letters(context, tools, tmp_path) -> None:
    (context.repo / "a.onnx").write_bytes(b"a")
    (context.repo / "[b].onnx").write_bytes(b"b")
    tools.commit(context.repo)
    got = acquire(GitLocator(git="HEAD", path="[b].onnx"), tmp_path / "c", context)
    assert got.main.read_bytes() == b"b"
    for pattern in ("*.onnx", ":(glob)*", ":/a.onnx"):
        with pytest.raises(SourceError, match="no such file"):
            acquire(GitLocator(git="HEAD", path=pattern), tmp_path / "d", context)


def test_a_submodule_is_not_entered(context, tools, tmp_path) -> None:
    tools.commit(context.repo)
    head = tools.git(context.repo, "rev-parse", "HEAD")
    tools.git(context.repo, "update-index", "--add", "--cacheinfo", f"160000,{head},sub")
    tools.git(context.repo, "commit", "-q", "-m", "submodule")
    for path in ("sub", "sub/model.onnx"):
        with pytest.raises(SourceError, match="submodule"):
            acquire(GitLocator(git="HEAD", path=path), tmp_path / "c", context)


def test_a_folder_without_a_repository_is_said_even_inside_another(context, tools, tmp_path) -> None:
    (context.repo / "inner").mkdir()
    (context.repo / "x").write_bytes(b"x")
    tools.commit(context.repo)
    with pytest.raises(SourceError, match="not a git repository"):
        acquire(
            GitLocator(git="HEAD", path="x"), tmp_path / "c", replace(context, repo=context.repo / "inner")
        )


def test_the_cap_holds_for_objects(context, history, tmp_path, tools) -> None:
    small = replace(context, max_bytes=len(tools.model) - 1)
    with pytest.raises(SourceError, match="larger than"):
        acquire(GitLocator(git="v1.0", path="models/plate.onnx"), tmp_path / "c", small)


def test_a_damaged_object_is_an_error(context, history, tmp_path, tools) -> None:
    oid = tools.git(context.repo, "rev-parse", "v1.0:models/plate.onnx")
    loose = context.repo / ".git" / "objects" / oid[:2] / oid[2:]
    loose.chmod(0o644)
    loose.write_bytes(loose.read_bytes()[:60])
    with pytest.raises(SourceError, match="cannot give the whole object"):
        acquire(GitLocator(git="v1.0", path="models/plate.onnx"), tmp_path / "c", context)


def test_nothing_that_the_repository_configures_is_run(context, history, tmp_path, tools) -> None:
    """Filters, text conversion, hooks, monitors, pagers and remotes that a configuration could start."""
    canary = tmp_path / "canary"
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\necho $0 $@ >> {canary}\n")
    script.chmod(0o755)
    repo: Path = context.repo
    (repo / ".gitattributes").write_text("*.onnx filter=evil diff=evil\n")
    tools.git(repo, "add", ".gitattributes")
    tools.git(repo, "commit", "-q", "-m", "attributes")
    for key in (
        "filter.evil.smudge",
        "filter.evil.clean",
        "diff.evil.textconv",
        "core.fsmonitor",
        "core.pager",
        "core.sshCommand",
        "core.gitProxy",
        "credential.helper",
        "remote.origin.uploadpack",
        "core.alternateRefsCommand",
    ):
        tools.git(repo, "config", key, str(script))
    tools.git(repo, "config", "core.hooksPath", str(tmp_path))
    tools.git(repo, "config", "core.repositoryFormatVersion", "1")
    tools.git(repo, "config", "extensions.partialClone", "origin")
    tools.git(repo, "config", "remote.origin.promisor", "true")
    tools.git(repo, "config", "remote.origin.url", f"ext::{script}")
    tools.git(repo, "config", "protocol.ext.allow", "always")
    oid = tools.git(repo, "rev-parse", "v1.0:models/w.bin")
    (repo / ".git" / "objects" / oid[:2] / oid[2:]).unlink()
    canary.unlink(missing_ok=True)
    got = acquire(GitLocator(git="v1.0", path="models/plate.onnx"), tmp_path / "c", context)
    assert got.main.read_bytes() == tools.model
    with pytest.raises(SourceError, match=r"partial or damaged|no such file"):
        acquire(GitLocator(git="v1.0", path="models/w.bin"), tmp_path / "d", context)
    assert not canary.exists()


def test_replacement_objects_do_not_replace(context, history, tmp_path, tools) -> None:
    old = tools.git(context.repo, "rev-parse", "v1.0:models/plate.onnx")
    new = tools.git(context.repo, "rev-parse", "HEAD:models/plate.onnx")
    tools.git(context.repo, "replace", old, new)
    got = acquire(GitLocator(git="v1.0", path="models/plate.onnx"), tmp_path / "c", context)
    assert got.main.read_bytes() == tools.model


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_repository_of_another_user_is_read(context, history, tmp_path, tools) -> None:
    """The runner's work tree belongs to somebody else than the container's root."""
    for path in (context.repo, *context.repo.rglob("*")):
        os.lchown(path, 12345, 12345)
    got = acquire(GitLocator(git="v1.0", path="models/plate.onnx"), tmp_path / "c", context)
    assert got.main.read_bytes() == tools.model


def test_a_repository_is_read_lazily_and_fully(context, history, tools) -> None:
    repository = Repository(context.repo)
    commit = repository.commit("v1.0")
    assert commit == history[0]
    entry = find_file(repository, commit, "models/plate.onnx", where="x")
    assert (entry.size, entry.is_file) == (len(tools.model), True)
    assert b"".join(repository.blob(entry, where="x")) == tools.model
    assert repository.entry(commit, "nothing") is None
    assert repository.lfs_store() == context.repo / ".git" / "lfs" / "objects"
