"""A folder in the place of a file of data: read where it is plain how, and otherwise told what to name."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qgate.errors import SourceError
from qgate.measure.open_data import open_data
from qgate.records import Verdict
from qgate.sources.acquire import Acquired, acquire
from qgate.sources.context import SourceContext
from qgate.sources.locator import PathLocator
from qgate.verifier.adhoc import AdHoc, ad_hoc_pair, verify_ad_hoc
from qgate.verifier.folders import told_as_data

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
PAIR = DIGITS / "digits_int8_pc.onnx", DIGITS / "digits_fp32.onnx"
PIXELS = np.load(DIGITS / "digits_test.npz")["image"][:24]


def copied(folder: Path, into: Path) -> Acquired:
    pair = ad_hoc_pair(AdHoc(*PAIR, inputs=folder))
    assert pair.data is not None
    return pair.data(into)


def filled(folder: Path, **arrays: np.ndarray) -> Path:
    folder.mkdir()
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
    return folder


def test_files_named_as_inputs_are_the_arrays_of_an_npz(tmp_path: Path) -> None:
    folder = filled(tmp_path / "d", image=PIXELS, label=np.arange(24) % 10)
    (folder / ".hidden").write_text("left out")
    got = copied(folder, tmp_path / "one")
    with open_data(got.main) as file:
        assert set(file.arrays) == {"image", "label"}
        assert (next(file.rows("image", [24])) == PIXELS).all()
        assert file.whole("label", "labels").tolist() == [i % 10 for i in range(24)]
    assert copied(folder, tmp_path / "two").sha256 == got.sha256, "the same arrays are the same bytes"
    np.save(folder / "image.npy", PIXELS + np.float32(1))
    assert copied(folder, tmp_path / "three").sha256 != got.sha256


def test_labels_that_are_mapped_are_read_from_the_archive(tmp_path: Path) -> None:
    values = np.arange(1 << 20, dtype=np.float64)
    with open_data(copied(filled(tmp_path / "d", x=values), tmp_path / "one").main) as file:
        found = file.whole("x", "labels")
        assert isinstance(found, np.memmap)
        assert (found == values).all()


def test_numbered_files_are_a_sample_each_and_feed_the_only_input(tmp_path: Path) -> None:
    folder = filled(tmp_path / "d", **{f"{i:04}": each for i, each in enumerate(PIXELS)})
    report = verify_ad_hoc(AdHoc(*PAIR, inputs=folder))
    assert (report.verdict, report.data.samples) == (Verdict.PASS, 24)
    got = copied(folder, tmp_path / "one")
    assert len(got.files) == 25, "each file is hashed"
    with open_data(got.main) as file:
        assert (next(file.rows("image", [24])) == PIXELS).all(), "in the order of their names"


def test_a_folder_of_datasets_is_its_state(tmp_path: Path) -> None:
    """As ``save_to_disk`` writes it; of several splits one is to be named."""
    folder = tmp_path / "all" / "test"
    folder.mkdir(parents=True)
    (folder / "data-00000-of-00001.arrow").write_bytes(b"columns")
    (folder / "state.json").write_text(
        json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]})
    )
    (folder / "dataset_info.json").write_text("{}")
    got = copied(folder, tmp_path / "one")
    assert (got.main.name, set(got.files)) == ("state.json", {"state.json", "data-00000-of-00001.arrow"})
    (tmp_path / "all" / "dataset_dict.json").write_text(json.dumps({"splits": ["test"]}))
    with pytest.raises(SourceError, match="of several splits") as caught:
        copied(tmp_path / "all", tmp_path / "two")
    assert str(folder) in caught.value.remedy


def picture(folder: Path) -> None:
    out = io.BytesIO()
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(out, format="PNG")
    (folder / "a.png").write_bytes(out.getvalue())


@pytest.mark.parametrize(
    ("fill", "remedy"),
    [
        (picture, "--images"),
        (lambda folder: (folder / "cats").mkdir(), "--images"),
        (lambda folder: (folder / "x.csv").write_text("a\n1\n"), "Name the file that lies in it"),
        (lambda folder: None, "Name the file that lies in it"),
        (lambda folder: (np.save(folder / "a.npy", PIXELS), picture(folder)), "--images"),
    ],
)
def test_any_other_folder_is_told_what_to_name(fill, remedy: str, tmp_path: Path) -> None:
    folder = filled(tmp_path / "d")
    fill(folder)
    with pytest.raises(SourceError, match="this is a folder, not a file") as caught:
        copied(folder, tmp_path / "one")
    assert remedy in caught.value.remedy
    assert not list((tmp_path / "one").glob("*"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda path: path.write_bytes(
                b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
            ),
            "Git LFS pointer",
        ),
        (lambda path: (path.unlink(), path.symlink_to("/etc/passwd")), "symbolic link"),
        (lambda path: (path.unlink(), path.mkdir()), "a folder, not a file"),
    ],
)
def test_what_is_no_array_of_the_folder_is_not_copied(change, says: str, tmp_path: Path) -> None:
    folder = filled(tmp_path / "d", image=PIXELS, label=np.arange(24))
    change(folder / "label.npy")
    with pytest.raises(SourceError, match=says) as caught:
        copied(folder, tmp_path / "one")
    assert caught.value.where == str(folder / "label.npy")
    assert not list((tmp_path / "one").glob("*"))


@pytest.mark.parametrize("revision", [None, "HEAD"])
def test_a_policy_names_a_file_of_the_folder(revision: str | None, tmp_path: Path) -> None:
    repository = tmp_path / "r"
    repository.mkdir()
    shutil.copytree(filled(tmp_path / "d", image=PIXELS), repository / "d")
    for command in (
        ("init", "-q"),
        ("add", "."),
        ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"),
    ):
        subprocess.run(["git", "-C", str(repository), *command], check=True)
    context = SourceContext(repo=repository, revision=revision)
    acquired = told_as_data(lambda folder: acquire(PathLocator(path="d"), folder, context))
    with pytest.raises(SourceError, match="a folder, not a file") as caught:
        acquired(tmp_path / "one")
    assert "state.json" in caught.value.remedy and ".csv" in caught.value.remedy


def test_a_name_that_is_no_utf8_is_refused_by_name(tmp_path: Path) -> None:
    folder = filled(tmp_path / "d", image=PIXELS)
    try:
        shutil.copy(folder / "image.npy", os.fsencode(folder) + b"/y\xff.npy")
    except OSError:
        pytest.skip("this file system holds no such name")
    with pytest.raises(SourceError, match=r"holds 'y\\udcff\.npy', whose name is no UTF-8") as caught:
        copied(folder, tmp_path / "one")
    assert caught.value.where == str(folder)
    assert not list((tmp_path / "one").glob("*"))


@pytest.mark.parametrize("denied", ["d", "."])
def test_a_folder_that_must_not_be_searched_is_named(
    denied: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may search any folder, so that the refusal is played where the tests run as root."""
    (tmp_path / "below").mkdir()
    folder = filled(tmp_path / "below" / "d", image=PIXELS)
    closed = folder if denied == "d" else folder.parent
    asked = os.stat

    def stat(path: Path, **options: bool) -> os.stat_result:
        if closed in Path(path).parents:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return asked(path, **options)

    closed.chmod(0o600)
    if os.geteuid() == 0:
        monkeypatch.setattr("os.stat", stat)
    try:
        with pytest.raises(SourceError, match=r"cannot be looked at \(Permission denied\)") as caught:
            copied(folder, tmp_path / "one")
    finally:
        closed.chmod(0o700)
    assert caught.value.where == str(folder)
    assert "searchable" in caught.value.remedy
