"""Large labels: mapped and not copied, checked all the same, and the same figures as small ones."""

import io
import zipfile

import numpy as np
import pytest

from qgate.errors import DataError
from qgate.measure import data
from qgate.measure.behaviour import TaskPlan
from qgate.measure.choose_task import Chooser, OutputShape
from qgate.measure.data import NpzFile, windows
from qgate.measure.task import plan_task
from qgate.measure.tasks.base import Options

MASKS = np.random.default_rng(0).integers(0, 4, (40, 16, 16), dtype=np.uint8)
SCORES = [OutputShape("y", (4, 16, 16), np.dtype(np.float32))]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(data, "MAP_BYTES", 1000)


def saved(path, **arrays):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, values in arrays.items():
            held = io.BytesIO()
            np.save(held, values)
            archive.writestr(f"{name}.npy", held.getvalue())
    path.write_bytes(out.getvalue())
    return path


@pytest.mark.parametrize(
    "values", [MASKS, MASKS.astype(np.float32), MASKS.astype(">i4"), np.asfortranarray(MASKS)]
)
def test_a_map_holds_what_the_file_holds(values, tmp_path):
    path = saved(tmp_path / "d.npz", first=np.arange(3), y=values, last=np.arange(5))
    with NpzFile(path) as file:
        found = file.whole("y", "labels")
    plain = values.dtype.isnative and values.flags.c_contiguous
    assert isinstance(found, np.memmap) == plain
    assert found.dtype.isnative and (found == values).all()
    if plain:
        assert not found.flags.writeable


def test_compressed_labels_are_read_as_before(tmp_path):
    np.savez_compressed(tmp_path / "d.npz", y=MASKS)
    with NpzFile(tmp_path / "d.npz") as file:
        found = file.whole("y", "labels")
    assert not isinstance(found, np.memmap) and (found == MASKS).all()


def test_a_changed_byte_is_found_before_anything_is_mapped(tmp_path):
    path = saved(tmp_path / "d.npz", y=MASKS)
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    with NpzFile(path) as file, pytest.raises(DataError, match="cannot be read"):
        file.whole("y", "labels")


def test_narrow_masks_stay_narrow_until_they_are_judged():
    task, position, kept = Chooser("d", "y", SCORES, None, Options(ignore=3)).choose("miou", MASKS)
    assert kept is MASKS
    window = TaskPlan(task, position, kept).window(slice(3, 5))
    assert (
        window.dtype == np.int64 and (window[:, 0] == MASKS[3:5]).all() and (window[:, 1] == MASKS[2:4]).all()
    )
    first = TaskPlan(task, position, kept).window(slice(0, 1))
    assert (first[:, 1] == MASKS[-1]).all(), "before the first is the last"
    own = TaskPlan(task, None, MASKS).window(slice(3, 5))
    assert own.dtype == np.uint8, "an own function is given the labels as they are stored"
    columns = [task.records(np.zeros((2, 4, 16, 16)), np.zeros((2, 4, 16, 16)), each)[0]
               for each in (window, np.stack([MASKS[3:5], MASKS[2:4]], axis=1).astype(np.int64))]  # fmt: skip
    assert all((columns[0][name] == columns[1][name]).all() for name in columns[0])


@pytest.mark.parametrize(
    ("masks", "says"),
    [
        (np.full_like(MASKS, 7), "reach 7, the model has 4 classes"),
        (np.full(MASKS.shape, 2**63 + 1, np.uint64), "reach 9223372036854775809"),
        (np.full(MASKS.shape, -1, np.int8), "name no class at all"),
    ],
)
def test_labels_beyond_the_classes_are_refused(masks, says):
    with pytest.raises(DataError, match=says):
        Chooser("d", "y", SCORES, None, Options()).choose("miou", masks)


def test_nan_is_told_by_its_sample_wherever_it_is(tmp_path, monkeypatch):
    values = np.zeros((50, 300_000 // 4), np.float32)
    values[47, 9] = np.nan
    assert sum(map(len, windows(values))) == 50
    wide = np.zeros((5, 4_000_000), np.float32)
    assert [len(part) for part in windows(wide)] == [1] * 5
    path = saved(tmp_path / "d.npz", y=values)
    with NpzFile(path) as file, pytest.raises(DataError, match=r"NaN or infinity \(sample 47\)"):
        plan_task(file, labels="y", slices=None, task="mae", wanted_output=None, outputs=SCORES, count=50)


SEGMENT = "g (float[N,1,600,600] x) => (float[N,2,600,600] y) {y = Mul(x, w)}"


def test_labels_are_mapped_in_the_sandbox(verified, tmp_path):
    images = np.random.default_rng(0).standard_normal((26, 1, 600, 600)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=images, y=(images[:, 0] < 0).astype(np.uint8))
    assert 26 * 600 * 600 > 1 << 23, "the size from which labels are mapped"
    weight = np.array([1, -1], np.float32).reshape(2, 1, 1)
    weights = weight, weight * np.float32(1 + 1e-6)
    target = verified(SEGMENT, weights, tmp_path / "d.npz", "--labels", "y", "--task", "miou")
    assert {m.name: m.value for m in target.measurements}["task.metric_reference"] == 1
