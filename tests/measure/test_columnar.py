"""Parquet files and datasets folders: columns of every kind, from honest and from hostile hands."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from qgate.errors import DataError
from qgate.measure import columnar
from qgate.measure.arrow import shard_names
from qgate.measure.columnar import ColumnarFile
from qgate.measure.open_data import open_data
from qgate.measure.preprocessing import Preprocessing

STEPS = Preprocessing(size=(2, 2), dtype="uint8", layout="NHWC")
ROWS = 150
X = np.random.default_rng(0).standard_normal((ROWS, 2, 3)).astype(np.float32)
PIXELS = np.random.default_rng(1).integers(0, 256, (ROWS, 2, 2, 3), dtype=np.uint8)


def png(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="PNG")
    return out.getvalue()


def table():
    return pa.table(
        {
            "x": pa.array(X.tolist(), pa.list_(pa.list_(pa.float32(), 3))),
            "label": pa.array(np.arange(ROWS) % 5, pa.int64()),
            "weight": pa.array(np.arange(ROWS) / 2, pa.float64()),
            "flag": pa.array([i % 2 == 0 for i in range(ROWS)]),
            "place": [f"p{i % 3}" for i in range(ROWS)],
            "image": [{"bytes": png(each), "path": None} for each in PIXELS],
            "photo": [png(each) for each in PIXELS],
            "when": pa.array([0] * ROWS, pa.timestamp("s")),
        }
    )


def parquet(folder, made=None):
    path = folder / "d.parquet"
    pq.write_table(table() if made is None else made, path, row_group_size=40)
    return path


def saved(folder, made=None, shards=2):
    """A folder as datasets' save_to_disk writes it."""
    made, names = table() if made is None else made, []
    for i in range(shards):
        names.append(f"data-{i:05}-of-{shards:05}.arrow")
        start = i * made.num_rows // shards
        part = made.slice(start, (i + 1) * made.num_rows // shards - start)
        with pa.OSFile(str(folder / names[-1]), "wb") as sink, pa.ipc.new_stream(sink, made.schema) as writer:
            writer.write_table(part, max_chunksize=37)
    (folder / "dataset_info.json").write_text("{}")
    path = folder / "state.json"
    path.write_text(json.dumps({"_data_files": [{"filename": each} for each in names], "_split": "test"}))
    return path


@pytest.mark.parametrize("write", [parquet, saved])
def test_columns_are_numbers_lists_text_and_images(write, tmp_path):
    with open_data(write(tmp_path), "d", STEPS) as file:
        assert {
            name: (spec.shape, spec.dtype.name) for name, spec in file.arrays.items() if name != "place"
        } == {
            "x": ((ROWS, 2, 3), "float32"),
            "label": ((ROWS,), "int64"),
            "weight": ((ROWS,), "float64"),
            "flag": ((ROWS,), "bool"),
            "image": ((ROWS, 2, 2, 3), "uint8"),
            "photo": ((ROWS, 2, 2, 3), "uint8"),
        }
        sizes = [1, 63, 64, 22]
        for name, wanted in (("x", X), ("image", PIXELS), ("photo", PIXELS), ("label", np.arange(ROWS) % 5)):
            parts = list(file.rows(name, sizes))
            assert [len(each) for each in parts] == sizes and (np.concatenate(parts) == wanted).all()
        assert file.whole("place", "slices").tolist() == [f"p{i % 3}" for i in range(ROWS)]
        with pytest.raises(DataError, match="holds no array 'lable'"):
            file.whole("lable", "labels")


def test_images_are_read_only_where_they_are_declared(tmp_path):
    assert "image" not in ColumnarFile(parquet(tmp_path)).arrays


COLUMNS = {
    "nulls": (pa.array([1.0, None, 2.0]), "without a value"),
    "lists of several lengths": (pa.array([[1.0], [1.0, 2.0], [3.0]]), "different lengths|of shape"),
    "nulls in lists": (pa.array([[1.0], [None], [3.0]]), "missing values"),
    "paths": (pa.array([{"bytes": None, "path": "/etc/passwd"}] * 3), "names images and does not hold them"),
    "no image": (pa.array([b"MZ"] * 3), "cannot be read"),
}


@pytest.mark.parametrize("case", COLUMNS)
def test_values_that_are_no_array_are_refused(case, tmp_path):
    values, says = COLUMNS[case]
    if case == "paths":
        values = pa.array(values.to_pylist(), pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    path = parquet(tmp_path, pa.table({"x": values}))
    with pytest.raises(DataError, match=says):
        list(ColumnarFile(path, images=STEPS).rows("x", [1, 2]))


def cut(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    return path


def test_damaged_files_are_refused(tmp_path):
    path = parquet(tmp_path)
    whole = path.read_bytes()
    for keep in (0, 3, 8, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:keep])
        with pytest.raises(DataError, match="cannot be read"):
            ColumnarFile(path)
    state = saved(tmp_path)
    shard = tmp_path / "data-00001-of-00002.arrow"
    shard.write_bytes(shard.read_bytes()[:200])
    with pytest.raises(DataError, match=r"cannot be read|other columns"):
        ColumnarFile(state)
    shard.unlink()
    with pytest.raises(DataError, match="is not there"):
        ColumnarFile(state)


def test_any_flipped_byte_is_an_error_or_a_value_and_never_a_crash(tmp_path):
    path = parquet(tmp_path, table().select(["x", "label"]))
    whole = bytearray(path.read_bytes())
    generator = np.random.default_rng(0)
    refused = 0
    for at in generator.integers(0, len(whole), 60):
        damaged = bytearray(whole)
        damaged[at] ^= 0xFF
        path.write_bytes(damaged)
        try:
            with ColumnarFile(path) as file:
                for name in file.arrays:
                    list(file.rows(name, [file.count]))
        except DataError:
            refused += 1
    assert refused > 10


def test_a_declared_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(columnar, "MAX_GROUP_BYTES", 1000)
    with pytest.raises(DataError, match="row group of"):
        ColumnarFile(parquet(tmp_path))


STATES = {
    "no JSON": "{",
    "no files": '{"_data_files": []}',
    "none named": "{}",
    "a list": "[]",
    "above": '{"_data_files": [{"filename": "../x.arrow"}]}',
    "a folder": '{"_data_files": [{"filename": "a/x.arrow"}]}',
    "another form": '{"_data_files": [{"filename": "load.py"}]}',
    "a number": '{"_data_files": [{"filename": 3}]}',
    "twice": '{"_data_files": [{"filename": "a.arrow"}, {"filename": "a.arrow"}]}',
    "deep": "[" * 200_000,
}


@pytest.mark.parametrize("case", STATES)
def test_hostile_folders_name_no_file(case, tmp_path):
    path = tmp_path / "state.json"
    path.write_text(STATES[case])
    with pytest.raises(DataError):
        shard_names(path, "state.json")


VECTOR = "g (float[N,2,3] x) => (float[N,5] y) {f = Flatten(x) y = MatMul(f, w)}"


@pytest.mark.parametrize("write", [parquet, saved])
def test_a_pair_is_verified_on_columns_in_the_sandbox(write, verified, tmp_path):
    weight = np.random.default_rng(3).standard_normal((6, 5)).astype(np.float32)
    labels = (X.reshape(ROWS, 6) @ weight).argmax(axis=1)
    made = table().select(["x", "place"]).append_column("label", pa.array(labels))
    if write is parquet:  # as pandas writes them
        made = made.set_column(0, "x", pa.array(X.tolist(), pa.list_(pa.list_(pa.float64()))))
    weights = weight, weight + np.float32(1e-6)
    target = verified(VECTOR, weights, write(tmp_path, made), "--labels", "label", "--slices", "place")
    assert (target.data.samples, target.outcomes.n) == (ROWS, ROWS)
    assert {m.name: m.value for m in target.measurements}["task.metric_reference"] == 1
