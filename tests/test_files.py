"""A file is replaced as a whole or not at all."""

from __future__ import annotations

from errno import ENOSPC
from pathlib import Path

import pytest

from qgate.files import replacing


def test_the_new_file_stands_where_the_old_one_was(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    with replacing(path, mode=0o640) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_body_that_fails_leaves_the_old_file_alone(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    with pytest.raises(type(error)), replacing(path, mode=0o644) as file:
        file.write(b"half of")
        raise error
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]


def test_what_cannot_be_replaced_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "report.json"
    (folder / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match=r"report\.json"), replacing(folder, mode=0o644) as file:
        file.write(b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "no" / "x", mode=0o644):
        pass


@pytest.mark.parametrize(("own", "named"), [(None, "report.json"), ("inputs.npz", "inputs.npz")])
def test_a_disk_that_fails_is_said_with_the_file(tmp_path: Path, own: str | None, named: str) -> None:
    """A write fails without a name; what fails elsewhere keeps its own."""
    with pytest.raises(OSError, match="No space") as caught, replacing(tmp_path / "report.json", mode=0o644):
        raise OSError(ENOSPC, "No space left on device", own)
    assert Path(caught.value.filename).name == named
