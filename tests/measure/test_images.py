"""Images: prepared as declared, against arithmetic by hand; refused where they are hostile."""

import io
import shutil
import struct
import subprocess
import zlib

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from qgate.cli import main
from qgate.errors import DataError
from qgate.measure import images
from qgate.measure.images import decode
from qgate.measure.open_data import files_beside, open_data, required_library
from qgate.measure.preprocessing import Preprocessing
from qgate.measure.table import TableFile
from qgate.report.schema import read_report

PICTURE = np.random.default_rng(0).integers(0, 256, (6, 10, 3), dtype=np.uint8)
PLAIN = Preprocessing(size=(6, 10))


def png(pixels, **options):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="PNG", **options)
    return out.getvalue()


def prepared(steps, pixels=PICTURE):
    return decode(png(pixels), steps, "a.png", "data.csv")


def test_values_are_scaled_normalised_and_laid_out_as_declared():
    assert np.allclose(prepared(PLAIN), PICTURE.transpose(2, 0, 1) / 255, atol=1e-6)
    found = prepared(
        Preprocessing(
            size=(6, 10), mode="BGR", layout="NHWC", scale=1.0, mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 8.0)
        )
    )
    wanted = (PICTURE[:, :, ::-1] - np.array([1.0, 2.0, 3.0])) / np.array([2.0, 4.0, 8.0])
    assert found.dtype == np.float32 and np.allclose(found, wanted, atol=1e-5)
    raw = prepared(Preprocessing(size=(6, 10), layout="NHWC", dtype="uint8"))
    assert raw.dtype == np.uint8 and (raw == PICTURE).all()
    grey = prepared(Preprocessing(size=(6, 10), mode="L", dtype="uint8"))
    luma = PICTURE @ np.array([0.299, 0.587, 0.114])
    assert grey.shape == (1, 6, 10) and np.abs(grey[0] - luma).max() <= 1
    half = prepared(Preprocessing(size=(6, 10), dtype="float16"))
    assert half.dtype == np.float16 and half.flags.c_contiguous


def test_resizing_stretches_or_cuts_from_the_centre():
    doubled = prepared(Preprocessing(size=(12, 20), filter="nearest", dtype="uint8", layout="NHWC"))
    assert (doubled == PICTURE.repeat(2, axis=0).repeat(2, axis=1)).all()
    cut = prepared(Preprocessing(size=(4, 4), shorter=6, dtype="uint8", layout="NHWC"))
    assert (cut == PICTURE[1:5, 3:7]).all()
    with pytest.raises(DataError, match="20 x 12 pixels are left, and 21 x 12 are cut"):
        prepared(Preprocessing(size=(12, 21), shorter=12))


def test_labels_come_from_folders(tmp_path):
    for name in ("dog/a.png", "cat/b.PNG"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(png(PICTURE))
    path = tmp_path / "d.csv"
    path.write_text("x,note\ndog/a.png,1.png\ncat/b.PNG,seen\n")
    assert files_beside(path, "d", PLAIN) == ["dog/a.png", "cat/b.PNG"]
    assert files_beside(path, "d", None) == [], "names of images are text where none are declared"
    with open_data(path, images=PLAIN) as file:
        assert file.arrays["x"].shape == (2, 3, 6, 10) and file.whole("note", "n").tolist() == [
            "1.png",
            "seen",
        ]
        assert file.whole("x.folder", "labels").tolist() == [1, 0]
        first, second = file.rows("x", [1, 1])
        assert first.shape == (1, 3, 6, 10) and (first == second).all()
    named = Preprocessing(size=(6, 10), classes=("dog", "cat"))
    assert TableFile(path, images=named).whole("x.folder", "labels").tolist() == [0, 1]
    with pytest.raises(DataError, match="'cat', which is none of the declared classes"):
        TableFile(path, images=Preprocessing(size=(6, 10), classes=("dog",)))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width, height):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def other(form, mode="RGB"):
    out = io.BytesIO()
    Image.new(mode, (4, 4)).save(out, format=form)
    return out.getvalue()


HOSTILE = {
    "a bomb": (bomb(60_000, 60_000), "pixels, more than|more than 89,478,485 pixels"),
    "a smaller bomb": (bomb(10_000, 10_000), "pixels"),
    "truncated": (png(PICTURE)[:-40], "cannot be (read|used)"),
    "no image": (b"MZ" + bytes(100), r"cannot be read \(it is no image\)"),
    "empty": (b"", "cannot be read"),
    "a text": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "cannot be read"),
    "a form that is not looked for": (other("TIFF"), "cannot be read"),
    "a GIF": (other("GIF", "P"), "cannot be read"),
    "sixteen bits": (png(np.zeros((4, 4), np.uint16)), "8 bits to a channel|has the form"),
    "a line": (png(np.zeros((1, 40_000, 3), np.uint8)), "cannot be used"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_images_are_refused(case):
    data, says = HOSTILE[case]
    with pytest.raises(DataError, match=says) as caught:
        decode(data, Preprocessing(size=(4, 4), shorter=4), "photo.png", "data.csv")
    assert "photo.png" in str(caught.value)


def test_a_large_file_is_not_opened(monkeypatch):
    monkeypatch.setattr(images, "MAX_BYTES", 100)
    with pytest.raises(DataError, match="has more than"):
        prepared(PLAIN)


def test_a_missing_file_is_told_by_its_name(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("x\nnowhere.png\n")
    with pytest.raises(DataError, match=r"nowhere\.png"):
        next(TableFile(path, images=PLAIN).rows("x", [1]))


def test_a_missing_library_names_the_extra(tmp_path, monkeypatch):
    from qgate.measure import open_data as opening

    monkeypatch.setattr(opening, "find_spec", lambda name: None)
    assert required_library(tmp_path / "d.csv", PLAIN) == ("pillow", "data")
    assert required_library(tmp_path / "d.parquet", None) == ("pyarrow", "data")
    assert required_library(tmp_path / "d.csv", None) is None


VECTOR = "g (float[N,3,2,2] x) => (float[N,5] y) {f = Flatten(x) y = MatMul(f, w)}"
POLICY = """\
version: 1
targets:
- name: t
  candidate: candidate.onnx
  reference: reference.onnx
  scheme: none
  data:
    inputs: data.csv
    labels: x.folder
    images: {size: [2, 2], filter: box, mean: [0.5], std: [0.25]IMAGES}
"""


def test_a_target_is_verified_on_images_in_the_sandbox(model, tmp_path, monkeypatch):
    generator = np.random.default_rng(3)
    weight = generator.standard_normal((12, 5)).astype(np.float32)
    for name, values in (("reference", weight), ("candidate", weight + np.float32(1e-6))):
        shutil.copyfile(model(name, VECTOR, w=values), tmp_path / f"{name}.onnx")
    lines = []
    for i in range(12):
        pixels = generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        values = decode(png(pixels), Preprocessing((2, 2), filter="box", mean=(0.5,), std=(0.25,)), "", "")
        label = int((values.reshape(-1) @ weight).argmax())
        (tmp_path / str(label)).mkdir(exist_ok=True)
        (tmp_path / str(label) / f"{i}.png").write_bytes(png(pixels))
        lines.append(f"{label}/{i}.png")
    (tmp_path / "data.csv").write_text("x\n" + "\n".join(lines) + "\n")
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)
    digests = []
    for more in (', classes: ["0", "1", "2", "3", "4"]', ', classes: ["0", "1", "2", "3", "4"], mode: BGR'):
        (tmp_path / "qgate.yml").write_text(POLICY.replace("IMAGES", more))
        shown = CliRunner().invoke(main, ["verify", "-o", "report"])
        target = read_report(tmp_path / "report" / "report.json").targets[0]
        assert target.data.samples == 12, shown.output
        found = {m.name: m.value for m in target.measurements}
        assert more.endswith("BGR") == (found["task.metric_reference"] < 1)
        digests.append(target.data.sha256)
    assert digests[0] != digests[1], "the same files, prepared otherwise, are other samples"
