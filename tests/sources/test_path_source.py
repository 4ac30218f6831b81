from __future__ import annotations

import os
import resource
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from qgate.errors import FormatError, SourceError
from qgate.sources.acquire import acquire, acquire_file
from qgate.sources.context import SourceContext
from qgate.sources.folder import nearest, open_below, read_stable
from qgate.sources.locator import PathLocator


@pytest.fixture
def repo(context: SourceContext, tools) -> Path:
    (context.repo / "models").mkdir()
    (context.repo / "models" / "plate.onnx").write_bytes(tools.model)
    return context.repo


def test_the_copy_is_private_verified_and_readable_by_others(context, repo, tmp_path, tools) -> None:
    os.umask(os.umask(0o077))
    got = acquire(PathLocator(path="models/plate.onnx"), tmp_path / "new" / "copy", context)
    assert got.main.read_bytes() == tools.model
    assert got.files == {"plate.onnx": tools.digest(tools.model)}
    assert (got.sha256, got.bytes, got.locator) == (
        tools.digest(tools.model),
        len(tools.model),
        "models/plate.onnx",
    )
    assert stat.S_IMODE(got.main.stat().st_mode) == 0o444
    assert stat.S_IMODE(got.main.parent.stat().st_mode) == 0o755
    assert got.main.stat().st_ino != (repo / "models/plate.onnx").stat().st_ino


def test_modes_do_not_depend_on_the_umask(context, repo, tmp_path) -> None:
    before = os.umask(0o077)
    try:
        (repo / "models" / "w").mkdir()
        (repo / "models" / "w" / "x.bin").write_bytes(b"w")
        got = acquire(
            PathLocator(path="models/plate.onnx"), tmp_path / "c", context, side_files=lambda _: ["w/x.bin"]
        )
    finally:
        os.umask(before)
    for path in (got.main.parent, got.main.parent / "w"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o755
    for path in (got.main, got.main.parent / "w" / "x.bin"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o444


def test_side_files_come_along_each_with_its_digest(context, repo, tmp_path, tools) -> None:
    (repo / "models" / "deep").mkdir()
    (repo / "models" / "deep" / "w.bin").write_bytes(b"weights")
    asked = []

    def side_files(main: Path) -> list[str]:
        asked.append(main)
        return ["deep/w.bin", "./deep/w.bin"]

    got = acquire(PathLocator(path="models/plate.onnx"), tmp_path / "c", context, side_files=side_files)
    assert asked == [got.main]
    assert list(got.files) == ["plate.onnx", "deep/w.bin"]
    assert got.files["deep/w.bin"] == tools.digest(b"weights")
    assert (got.main.parent / "deep" / "w.bin").read_bytes() == b"weights"
    assert got.bytes == len(tools.model) + 7


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "a\0b", "..", "", "w/../../secret", ".git/config"]
)
def test_a_side_file_cannot_leave_the_model_s_folder(context, repo, tmp_path, name) -> None:
    (repo / "secret").write_bytes(b"secret")
    copy = tmp_path / "c"
    with pytest.raises(SourceError, match="side file") as caught:
        acquire(PathLocator(path="models/plate.onnx"), copy, context, side_files=lambda _: [name])
    assert caught.value.where == "models/plate.onnx"
    assert list(copy.iterdir()) == []


@pytest.mark.parametrize("kind", ["symlink", "hardlink", "folder-symlink", "fifo", "folder", "missing"])
def test_a_side_file_that_is_no_plain_file_is_refused(context, repo, tmp_path, kind) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "w.bin").write_bytes(b"secret")
    side = repo / "models" / "w.bin"
    name = "w.bin"
    if kind == "symlink":
        side.symlink_to(secret / "w.bin")
    elif kind == "hardlink":
        os.link(secret / "w.bin", side)
    elif kind == "folder-symlink":
        (repo / "models" / "d").symlink_to(secret)
        name = "d/w.bin"
    elif kind == "fifo":
        os.mkfifo(side)
    elif kind == "folder":
        side.mkdir()
    with pytest.raises(SourceError) as caught:
        acquire(PathLocator(path="models/plate.onnx"), tmp_path / "c", context, side_files=lambda _: [name])
    said = {
        "symlink": "symbolic link",
        "hardlink": "hard links",
        "folder-symlink": "symbolic link",
        "fifo": "pipe",
        "folder": "folder",
        "missing": "no such file",
    }
    assert said[kind] in caught.value.what
    assert caught.value.where == f"models/{name}"
    assert not list((tmp_path / "c").iterdir())


def test_a_model_that_names_itself_or_too_much_is_refused(context, repo, tmp_path) -> None:
    locator = PathLocator(path="models/plate.onnx")
    with pytest.raises(SourceError, match="names itself"):
        acquire(locator, tmp_path / "c", context, side_files=lambda _: ["plate.onnx"])
    with pytest.raises(SourceError, match="more than 1024"):
        acquire(locator, tmp_path / "c", context, side_files=lambda _: [f"w{i}" for i in range(1025)])


def test_a_reader_s_refusal_passes_and_leaves_nothing(context, repo, tmp_path) -> None:
    def side_files(main: Path) -> list[str]:
        raise FormatError("not a model", where=str(main))

    with pytest.raises(FormatError, match="not a model"):
        acquire(PathLocator(path="models/plate.onnx"), tmp_path / "c", context, side_files=side_files)
    assert not list((tmp_path / "c").iterdir())


def test_a_missing_file_names_its_neighbours(context, repo, tmp_path) -> None:
    with pytest.raises(SourceError, match="no such file") as caught:
        acquire(PathLocator(path="models/plates.onnx"), tmp_path / "c", context)
    assert "models/plate.onnx" in caught.value.remedy
    with pytest.raises(SourceError, match=r"models/Plate\.onnx: no such file") as caught:
        acquire(PathLocator(path="models/Plate.onnx"), tmp_path / "c", context)
    assert "case" in caught.value.remedy
    with pytest.raises(SourceError, match="model is missing") as caught:
        acquire(PathLocator(path="model/plate.onnx"), tmp_path / "c", context)
    assert "models" in caught.value.remedy


@pytest.mark.parametrize(
    "kind", ["symlink", "folder-symlink", "hardlink", "folder", "fifo", "socket", "file-as-folder"]
)
def test_a_main_file_that_is_no_plain_file_is_refused(context, repo, tmp_path, kind) -> None:
    path = "models/bad.onnx"
    bad = repo / path
    said = kind
    if kind == "symlink":
        bad.symlink_to("plate.onnx")
        said = "symbolic link"
    elif kind == "folder-symlink":
        (repo / "link").symlink_to("models")
        path, said = "link/plate.onnx", "link is a symbolic link"
    elif kind == "hardlink":
        os.link(repo / "models/plate.onnx", bad)
        said = "2 hard links"
    elif kind == "folder":
        bad.mkdir()
        said = "a folder, not a file"
    elif kind == "fifo":
        os.mkfifo(bad)
        said = "pipe"
    elif kind == "socket":
        home = os.open(bad.parent, os.O_RDONLY)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"/proc/self/fd/{home}/bad.onnx")
        os.close(home)
        said = "cannot be opened"
    else:
        path, said = "models/plate.onnx/x", "is a file, not a folder"
    with pytest.raises(SourceError) as caught:
        acquire(PathLocator(path=path), tmp_path / "c", context)
    assert said in caught.value.what
    assert caught.value.where == path


def test_an_empty_file_is_refused(context, repo, tmp_path) -> None:
    (repo / "empty.onnx").touch()
    with pytest.raises(SourceError, match=r"empty\.onnx: the file is empty"):
        acquire(PathLocator(path="empty.onnx"), tmp_path / "c", context)


def test_another_digest_is_refused_with_both(context, repo, tmp_path, tools) -> None:
    with pytest.raises(SourceError) as caught:
        acquire(PathLocator(path="models/plate.onnx", sha256="0" * 64), tmp_path / "c", context)
    assert "0" * 64 in caught.value.what
    assert tools.digest(tools.model) in caught.value.what
    right = PathLocator(path="models/plate.onnx", sha256=tools.digest(tools.model))
    assert acquire(right, tmp_path / "c", context).main.exists()


def test_the_cap_counts_all_files_together(context, repo, tmp_path, tools) -> None:
    (repo / "models" / "w.bin").write_bytes(b"x" * 100)
    locator = PathLocator(path="models/plate.onnx")
    exact = replace(context, max_bytes=len(tools.model) + 100)
    assert acquire(locator, tmp_path / "a", exact, side_files=lambda _: ["w.bin"]).bytes == exact.max_bytes
    for short in (len(tools.model) + 99, len(tools.model) - 1):
        with pytest.raises(SourceError, match="larger than") as caught:
            acquire(
                locator, tmp_path / "b", replace(context, max_bytes=short), side_files=lambda _: ["w.bin"]
            )
        assert "download_mb" in caught.value.remedy


def test_a_file_that_grows_or_changes_while_being_read_is_refused(repo) -> None:
    path = repo / "models" / "plate.onnx"
    for change in (lambda: path.write_bytes(path.read_bytes() + b"more"), lambda: path.write_bytes(b"less")):
        descriptor = open_below(repo, "models/plate.onnx", where="x")
        try:
            chunks = read_stable(descriptor, where="x")
            next(chunks)
            change()
            with pytest.raises(SourceError, match="changed while"):
                list(chunks)
        finally:
            os.close(descriptor)


def test_a_destination_that_holds_something_is_left_alone(context, repo, tmp_path) -> None:
    copy = tmp_path / "c"
    copy.mkdir()
    (copy / "plate.onnx").write_bytes(b"mine")
    with pytest.raises(SourceError, match="not empty"):
        acquire(PathLocator(path="models/plate.onnx"), copy, context)
    assert (copy / "plate.onnx").read_bytes() == b"mine"


def test_a_destination_that_cannot_be_made_is_an_error(context, repo, tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match="cannot be made"):
        acquire(PathLocator(path="models/plate.onnx"), tmp_path / "file" / "c", context)


def test_a_full_disk_is_said_and_leaves_nothing(context, repo, tmp_path) -> None:
    program = """
import resource, signal, sys
from pathlib import Path
from qgate.errors import SourceError
from qgate.sources.acquire import acquire
from qgate.sources.context import SourceContext
from qgate.sources.locator import PathLocator
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    acquire(PathLocator(path="models/plate.onnx"), Path(sys.argv[2]), SourceContext(repo=Path(sys.argv[1])))
except SourceError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(repo), str(tmp_path / "c")],
        check=True,
        capture_output=True,
        text=True,
        env={},
    )
    assert "the disk is full" in done.stdout
    assert "Free space" in done.stdout
    assert not list((tmp_path / "c").iterdir())
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that users other than this one can reach."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_file_without_permission_is_said(open_folder, tmp_path) -> None:
    (open_folder / "model.onnx").write_bytes(b"x")
    (open_folder / "model.onnx").chmod(0)
    copy = open_folder / "copy"
    copy.mkdir()
    copy.chmod(0o777)
    root = os.geteuid() == 0
    if root:
        os.chown(copy, 65534, 65534)
        os.seteuid(65534)
    try:
        with pytest.raises(SourceError, match="Permission denied") as caught:
            acquire(PathLocator(path="model.onnx"), copy, SourceContext(repo=open_folder))
    finally:
        if root:
            os.seteuid(0)
    assert "permission" in caught.value.remedy


def test_the_user_s_own_file_may_be_a_link_but_its_side_files_may_not(context, repo, tmp_path, tools) -> None:
    cache = tmp_path / "snapshots"
    cache.mkdir()
    (cache / "model.onnx").symlink_to(repo / "models" / "plate.onnx")
    os.link(repo / "models" / "plate.onnx", tmp_path / "other-name")
    (cache / "w.bin").write_bytes(b"w")
    (cache / "linked.bin").symlink_to(cache / "w.bin")
    got = acquire_file(cache / "model.onnx", tmp_path / "c", context, side_files=lambda _: ["w.bin"])
    assert got.files == {"model.onnx": tools.digest(tools.model), "w.bin": tools.digest(b"w")}
    assert got.locator == str(cache / "model.onnx")
    with pytest.raises(SourceError, match="symbolic link"):
        acquire_file(cache / "model.onnx", tmp_path / "d", context, side_files=lambda _: ["linked.bin"])
    with pytest.raises(SourceError, match="folder") as caught:
        acquire_file(cache, tmp_path / "d", context)
    assert caught.value.where == str(cache)
    with pytest.raises(SourceError, match="no such file"):
        acquire_file(cache / "modle.onnx", tmp_path / "d", context)


def test_a_missing_root_is_said(context, tmp_path) -> None:
    with pytest.raises(SourceError, match="cannot be opened"):
        acquire(PathLocator(path="x"), tmp_path / "c", replace(context, repo=tmp_path / "nowhere"))


def test_tokens_never_show_in_a_context(context) -> None:
    secret = replace(context, token="ghs_canary", hub_token="hf_canary")
    assert "canary" not in repr(secret) + str(secret)


@pytest.mark.parametrize(
    ("missing", "hint"),
    [
        ("digits_fp23.onnx", "Did you mean digits_fp32.onnx?"),
        ("digits_int8.onnx", "Did you mean digits_int8_pt.onnx or digits_int8_pc.onnx?"),
        ("DIGITS_fp32.onnx", "It is written digits_fp32.onnx there: upper and lower case differ"),
        ("labels.csv", ""),
    ],
)
def test_of_the_names_in_a_folder_those_that_can_be_meant_are_hinted_at(missing: str, hint: str) -> None:
    there = [
        "digits_fp32.onnx",
        "digits_fp16.onnx",
        "digits_dyn.onnx",
        "digits_int8_pc.onnx",
        "digits_int8_pt.onnx",
    ]
    assert nearest(missing, there) == hint
