"""Data sets as tables: values and files by column, from honest and from hostile hands."""

import io

import numpy as np
import pytest

from qgate.errors import DataError
from qgate.measure.cells import MAX_COLUMNS, named_files, typed
from qgate.measure.open_data import open_data
from qgate.measure.table import TableFile
from qgate.verifier.adhoc import AdHoc, ad_hoc_pair

VECTOR = "g (float[N,6] x) => (float[N,5] y) {y = MatMul(x, w)}"


def write(folder, text, **arrays):
    for name, values in arrays.items():
        path = folder / "samples" / f"{name}.npy"
        path.parent.mkdir(exist_ok=True)
        np.save(path, values)
    path = folder / "data.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


TEXT = "x,label,share,place\nsamples/a.npy,1,0.5,north\nsamples/b.npy,2,1e3,south\nsamples/a.npy,-3,2,north\n"
A, B = np.arange(6, dtype=np.float32), np.arange(6, 12, dtype=np.float32)


def test_columns_are_values_text_or_files(tmp_path):
    path = write(tmp_path, TEXT, a=A, b=B)
    assert named_files(path, "data") == ["samples/a.npy", "samples/b.npy"]
    with open_data(path) as file:
        assert {name: (spec.shape, spec.dtype.kind) for name, spec in file.arrays.items()} == {
            "x": ((3, 6), "f"),
            "label": ((3,), "i"),
            "share": ((3,), "f"),
            "place": ((3,), "U"),
        }
        assert file.whole("label", "labels").tolist() == [1, 2, -3]
        assert file.whole("place", "slices").tolist() == ["north", "south", "north"]
        assert file.whole("x", "targets").shape == (3, 6)
        first, second = file.rows("x", [2, 1])
        assert (first == np.stack([A, B])).all() and (second == A).all()
        assert [each.tolist() for each in file.rows("share", [1, 2])] == [[0.5], [1000.0, 2.0]]
        with pytest.raises(DataError, match="holds no array 'labels'") as caught:
            file.spec("labels", "labels")
        assert "Did you mean 'label'" in caught.value.remedy


def test_arrays_stored_by_column_and_in_the_other_byte_order_are_the_same(tmp_path):
    plane = np.arange(6, dtype=np.float32).reshape(2, 3)
    path = write(tmp_path, "x\nsamples/a.npy\n", a=np.asfortranarray(plane))
    assert (next(TableFile(path).rows("x", [1]))[0] == plane).all()
    path = write(tmp_path, "x\nsamples/a.npy\n", a=plane.astype(">f4"))
    values = next(TableFile(path).rows("x", [1]))
    assert values.dtype.isnative and (values[0] == plane).all()


BAD = {
    "empty": ("", "no line of different column names"),
    "names alone": ("x,y\n", "has 0 samples"),
    "a name twice": ("x,x\n1,2\n", "different column names"),
    "no name": ("x,\n1,2\n", "different column names"),
    "an index": (",x,y\n0,1,2\n", "no name for its first column"),
    "semicolons": ("x;y\n1;2\n", "separated by semicolons"),
    "a short line": ("x,y\n1,2\n3\n", "has 1 cells in line 3"),
    "an open quote": ('x\n"1\n', "is no table"),
    "no text": (b"x\n\xff\xfe\n", "is no table"),
    "a zip": (b"PK\x03\x04\x00\x00", "no table|no line|samples"),
    "a cell without end": ("x\n" + "1" * 200_000 + "\n", "is no table"),
    "a million columns": (",".join(map(str, range(MAX_COLUMNS + 1))) + "\n1\n", "different column names"),
    "a missing file": ("x\nnowhere.npy\n", "is not there"),
    "a file above": ("x\n../data.npy\n", "is not there|cannot be read"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_table_is_refused(case, tmp_path):
    text, says = BAD[case]
    with pytest.raises(DataError, match=says):
        TableFile(write(tmp_path, text))


@pytest.mark.parametrize(
    "name",
    ["/etc/x.npy", "../x.npy", "a/../../x.npy", "a//x.npy", "./x.npy", "a\\x.npy", "a\tx.npy", "\u202ex.npy"],
)
def test_files_outside_of_the_folder_are_not_copied(name, tmp_path):
    with pytest.raises(DataError, match="no plain path below its folder"):
        named_files(write(tmp_path, f"x\n{name}\n"), "data.csv")


def damage(tmp_path, change):
    path = write(tmp_path, "x\nsamples/a.npy\nsamples/b.npy\n", a=A, b=B)
    file = tmp_path / "samples" / "b.npy"
    file.write_bytes(change(file.read_bytes()))
    return path


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data[:-1], "declares 24 bytes and holds 23"),
        (lambda data: data + b"x", "declares 24 bytes and holds 25"),
        (lambda data: b"\x93NUMPX" + data[6:], "cannot be read"),
        (lambda data: data.replace(b"(6,), ", b"(7,), "), "declares 28 bytes"),
        (lambda data: data.replace(b"<f4", b"|O4"), "no numbers|cannot be read"),
        (lambda data: data.replace(b"(6,), ", b"(-6,),"), "declares|cannot be read"),
        (lambda _: b"", "cannot be read"),
    ],
)
def test_a_damaged_file_is_told_by_its_name(change, says, tmp_path):
    file = TableFile(damage(tmp_path, change))
    with pytest.raises(DataError, match=says) as caught:
        list(file.rows("x", [2]))
    assert "samples/b.npy" in str(caught.value)


def test_files_of_other_shapes_are_refused(tmp_path):
    path = write(tmp_path, "x\nsamples/a.npy\nsamples/b.npy\n", a=A, b=np.zeros(7, np.float32))
    with pytest.raises(DataError, match=r"shape \[7\], the first of the column 'x' float32 of shape \[6\]"):
        list(TableFile(path).rows("x", [2]))


def test_pickles_are_never_loaded(tmp_path):
    out = io.BytesIO()
    np.save(out, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    path = write(tmp_path, "x\nsamples/a.npy\n", a=A)
    (tmp_path / "samples" / "a.npy").write_bytes(out.getvalue())
    with pytest.raises(DataError, match="no numbers"):
        TableFile(path)


def test_a_pair_is_verified_on_a_table(verified, tmp_path):
    generator = np.random.default_rng(3)
    weight = generator.standard_normal((6, 5)).astype(np.float32)
    rows = generator.standard_normal((12, 6)).astype(np.float32)
    labels = (rows @ weight).argmax(axis=1)
    lines = [f"samples/s{i}.npy,{label},{'ab'[i % 2]}" for i, label in enumerate(labels)]
    path = write(
        tmp_path, "x,label,place\n" + "\n".join(lines), **{f"s{i}": row for i, row in enumerate(rows)}
    )
    asked = VECTOR, (weight, weight + np.float32(1e-6)), path, "--labels", "label", "--slices", "place"
    target = verified(*asked)
    assert (target.data.samples, target.outcomes.n) == (12, 12)
    digest = target.data.sha256
    np.save(tmp_path / "samples" / "s3.npy", rows[3] + np.float32(1e-3))
    assert verified(*asked).data.sha256 != digest, "every file counts"


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "-2"], "i"),
        (["1", "2.5"], "f"),
        (["1", "nan"], "f"),
        (["9" * 18, "1"], "i"),
        (["9" * 20, "1"], "f"),
        (["2024_01", "2024_02"], "U"),
        (["1_0.5", "1"], "U"),
        (["1", "two"], "U"),
    ],
)
def test_cells_are_numbers_where_all_of_a_column_are(cells, kind):
    found = typed(cells)
    assert found.dtype.kind == kind
    assert len(found) == 2
    if kind == "U":
        assert found.tolist() == cells


def test_a_table_may_name_more_files_than_a_model(tmp_path):
    samples = {f"s{i}": A for i in range(1100)}
    folder = tmp_path / "given"
    folder.mkdir()
    path = write(folder, "x\n" + "\n".join(f"samples/{name}.npy" for name in samples), **samples)
    pair = ad_hoc_pair(AdHoc(candidate=path, reference=None, inputs=path))
    assert len(pair.data(tmp_path / "copy").files) == 1101
