"""A table of data names further files: whichever of them changes, the data change."""

from __future__ import annotations

import pytest

from qgate.git.changes import Change
from qgate.measure.preprocessing import SUFFIXES
from qgate.plan.touch import IMAGES, data_files, file_reasons, rereferenced
from qgate.policy.load import load_policy

POLICY = """\
version: 1
targets:
- name: plate
  candidate: models/a.onnx
  reference: models/b.onnx
  data: {inputs: data/plates.csv, labels: y}
"""


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("data/plates/0001.npy", True),
        ("data/0001.npy", True),
        ("data/plates.csv", True),
        ("data/plates/0001.JPG", True),
        ("data/notes.md", False),
        ("database/0001.npy", False),
        ("models/0001.npy", False),
    ],
)
def test_a_change_of_a_file_below_the_table_is_one_of_the_data(path: str, counts: bool) -> None:
    target = load_policy(POLICY.encode(), "qgate.yml").targets[0]
    changed = {path: Change("", "modified")}
    assert rereferenced(target, target, changed) == (("data",) if counts else ())
    assert bool(list(file_reasons("plate", target, target, changed))) == counts


def test_other_forms_have_no_such_files() -> None:
    assert data_files("data/plates.npz", {"data/0001.npy": Change("", "modified")}) == []
    assert data_files(None, {}) == []
    shard = {"data/test/data-00000-of-00001.arrow": Change("", "modified")}
    assert (
        data_files("data/test/state.json", shard) == list(shard)
        and data_files("data/test/x.json", shard) == []
    )


def test_images_are_called_the_same_where_they_are_read() -> None:
    assert IMAGES == SUFFIXES
