"""Every way in which a data set can be wrong is an error with place and remedy."""

import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from qgate.errors import DataError
from qgate.measure.data import ArraySpec, NpzFile
from qgate.measure.pair import PairRequest, measure_pair
from qgate.measure.samples import GeneratedSamples, NpzSamples, Recipe

IMAGE = np.zeros((4, 1, 8, 8), np.float32)
LABEL = np.arange(4)


def npy(shape, dtype="<f4", payload=b""):
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + payload


def zipped(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def with_nan(index):
    image = IMAGE.copy()
    image[index] = np.nan
    return image


GOOD = {"image": IMAGE, "label": LABEL}
WRONG = {
    "a missing array": ({"imag": IMAGE, "label": LABEL}, "no array 'image'.*Did you mean 'imag'"),
    "a wrong shape": (
        {"image": np.zeros((4, 1, 7, 8), np.float32), "label": LABEL},
        r"shape \[4, 1, 7, 8\].*takes",
    ),
    "a wrong rank": ({"image": np.zeros((4, 64), np.float32), "label": LABEL}, r"shape \[4, 64\]"),
    "a wrong dtype": ({"image": IMAGE.astype(np.uint8), "label": LABEL}, "dtype uint8.*takes float32"),
    "words as inputs": ({"image": np.array(["a", "b"]), "label": LABEL}, "dtype <U1"),
    "zero samples": ({"image": IMAGE[:0], "label": LABEL[:0]}, "no samples"),
    "NaN": (
        {"image": with_nan((2, 0, 3, 3)), "label": LABEL},
        r"NaN or infinity \(sample 2, index \[0, 3, 3\]\)",
    ),
    "no labels": ({"image": IMAGE}, "no array 'label' for labels"),
    "labels of another length": ({"image": IMAGE, "label": LABEL[:3]}, "have 3 samples, the inputs 4"),
    "one label for all": ({"image": IMAGE, "label": np.array(1)}, "no axis of samples"),
    "labels out of range": ({"image": IMAGE, "label": LABEL + 8}, "range from 8 to 11, the model has 10"),
    "negative labels": ({"image": IMAGE, "label": LABEL - 1}, "range from -1 to 2"),
    "NaN labels": ({"image": IMAGE, "label": np.array([0, 1, np.nan, 1])}, r"NaN or infinity \(sample 2\)"),
    "fractional labels": ({"image": IMAGE, "label": LABEL + 0.5}, "fit no output"),
    "words as labels": ({"image": IMAGE, "label": np.array(list("abcd"))}, "dtype <U1"),
    "two labels a sample": ({"image": IMAGE, "label": np.zeros((4, 2), np.int64)}, "fit no output"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_data_is_refused_by_name(case, digits, data):
    arrays, expected = WRONG[case]
    path = data(**arrays)
    request = PairRequest(
        candidate=digits / "digits_int8_pc.onnx",
        reference=digits / "digits_fp32.onnx",
        inputs=path,
        labels="label",
        inputs_label="data/test.npz",
    )
    with pytest.raises(DataError, match=expected) as caught:
        measure_pair(request)
    assert caught.value.where == "data/test.npz"
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


def test_labels_for_a_named_task_must_be_whole(digits, data):
    request = PairRequest(
        candidate=digits / "digits_fp32.onnx",
        inputs=data(image=IMAGE, label=LABEL + 0.5),
        labels="label",
        task="top1",
    )
    with pytest.raises(DataError, match="not one whole number"):
        measure_pair(request)


def test_a_task_without_labels_and_labels_without_inputs_are_errors(digits, data):
    with pytest.raises(DataError, match="task top1 needs labels"):
        measure_pair(PairRequest(candidate=digits / "digits_fp32.onnx", inputs=data(**GOOD), task="top1"))
    with pytest.raises(DataError, match="without inputs"):
        measure_pair(PairRequest(candidate=digits / "digits_fp32.onnx", labels="label"))


def write(kind, path):
    good = io.BytesIO()
    np.savez(good, **GOOD)
    whole = good.getvalue()
    contents = {
        "empty": b"",
        "text": b"hello, world",
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "single array": npy((1,), payload=b"\0\0\0\0"),
        "truncated": whole[: len(whole) // 2],
        "random tail": b"PK" + bytes(range(256)) * 4,
    }
    if kind == "directory":
        path.mkdir()
    elif kind in contents:
        path.write_bytes(contents[kind])
    elif kind == "pickled":
        np.savez(path, image=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    elif kind == "records":
        np.savez(path, image=np.zeros(2, dtype=[("a", "f4")]))
    elif kind == "no arrays":
        zipped(path, {})
    elif kind == "not an array":
        zipped(path, {"image.txt": b"x"})
    elif kind == "twice":
        with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "w") as archive:
            archive.writestr("image.npy", npy((0,)))
            archive.writestr("image.npy", npy((0,)))
    elif kind == "bomb":
        zipped(path, {"image.npy": npy((4, 2**40))})
    elif kind == "overflow":
        zipped(path, {"image.npy": npy((2**62, 2**62, 2**62))})
    elif kind == "negative":
        zipped(path, {"image.npy": npy((-4, 1), payload=b"")})
    elif kind == "short":
        zipped(path, {"image.npy": npy((4, 64), payload=b"\0" * 100)})
    elif kind == "bad header":
        zipped(path, {"image.npy": b"\x93NUMPY\x01\x00\x10\x00__import__('os')"})
    elif kind == "bzip2":
        zipped(path, {"image.npy": npy((1,), payload=b"\0" * 4)}, zipfile.ZIP_BZIP2)
    elif kind == "damaged":
        zipped(path, {"image.npy": npy((4, 64), payload=bytes(1024))}, zipfile.ZIP_DEFLATED)
        raw = bytearray(path.read_bytes())
        raw[60:66] = b"\xff" * 6
        path.write_bytes(raw)


KINDS = [
    "missing",
    "empty",
    "text",
    "pointer",
    "single array",
    "truncated",
    "random tail",
    "directory",
    "pickled",
    "records",
    "no arrays",
    "not an array",
    "twice",
    "bomb",
    "overflow",
    "negative",
    "short",
    "bad header",
    "bzip2",
    "damaged",
]


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_refused_without_allocating(kind, tmp_path):
    path = tmp_path / "x.npz"
    write(kind, path)
    tracemalloc.start()
    with pytest.raises(DataError) as caught, NpzFile(path, "x.npz") as file:
        for name in file.arrays:
            file.whole(name, "test")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.where == "x.npz"
    assert caught.value.remedy
    assert peak < 5_000_000


@pytest.mark.parametrize("compressed", [False, True])
def test_samples_come_in_order_whatever_the_chunk(compressed, data):
    image = np.arange(7 * 6, dtype=np.float32).reshape(7, 2, 3)
    path = data(compressed=compressed, image=image, scale=np.float32(3))
    with NpzFile(path) as file:
        samples = NpzSamples(file, ["image", "scale"])
        for size in (1, 3, 7, 20):
            chunks = list(samples.chunks(size))
            assert np.array_equal(np.concatenate([chunk["image"] for chunk in chunks]), image)
            assert all(chunk["scale"] == 3 for chunk in chunks)
        assert np.array_equal(samples.first()["image"], image[:1])


def test_memory_does_not_grow_with_the_samples(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, image=np.zeros((4000, 1000), np.float32))
    with NpzFile(path) as file:
        samples = NpzSamples(file, ["image"])
        tracemalloc.start()
        assert sum(len(chunk["image"]) for chunk in samples.chunks(16)) == 4000
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2_000_000


def test_other_byte_orders_are_read_and_columns_refused(data):
    path = data(
        big=np.array([[1.5, 2.5]], dtype=">f4"), columns=np.asfortranarray(np.ones((3, 4), np.float32))
    )
    with NpzFile(path) as file:
        (big,) = file.rows("big", [1])
        assert big.dtype.isnative
        assert big.tolist() == [[1.5, 2.5]]
        assert file.whole("columns", "test").shape == (3, 4)
        with pytest.raises(DataError, match="column by column"):
            next(file.rows("columns", [1]))


def test_arrays_of_different_lengths_are_named(data):
    with (
        NpzFile(data(a=np.zeros((3, 1)), b=np.zeros((4, 1)))) as file,
        pytest.raises(DataError, match="a 3, b 4"),
    ):
        NpzSamples(file, ["a", "b"])


def test_generated_samples_do_not_depend_on_the_chunks():
    spec = {"x": ArraySpec((5, 3), np.dtype(np.float32)), "i": ArraySpec((5, 2), np.dtype(np.int64))}
    samples = GeneratedSamples(5, 7, spec, {"x": Recipe("normal"), "i": Recipe("integer", bound=9)})
    whole = next(samples.chunks(5))
    pieces = list(samples.chunks(2))
    for name in spec:
        assert np.array_equal(np.concatenate([piece[name] for piece in pieces]), whole[name])
    other = GeneratedSamples(5, 8, spec, samples.recipes)
    assert not np.array_equal(next(other.chunks(5))["x"], whole["x"])
    assert whole["i"].min() >= 0
    assert whole["i"].max() < 9
