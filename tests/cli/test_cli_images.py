"""Images named on the command line: a folder, what is made of them, and what is refused."""

from __future__ import annotations

import csv
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from PIL import Image

from qgate.commands.preparation import PRESETS, parse_preparation
from qgate.errors import SourceError, UsageError
from qgate.measure.preprocessing import Preprocessing
from qgate.records import Verdict
from qgate.sandbox.limits import Limits
from qgate.sources.context import SourceContext
from qgate.sources.pictures import LISTING, PicturesSource
from qgate.verifier.adhoc import AdHoc, ad_hoc_pair, verify_ad_hoc

SIDE = 8
PREPARED = parse_preparation((f"size={SIDE}", "filter=nearest"))


def write_models(folder: Path) -> tuple[Path, Path]:
    """Three classes, told by which colour there is most of; and the same in fp16's precision."""
    weight = np.repeat(np.eye(3, dtype=np.float32) * 4, SIDE * SIDE, axis=0).reshape(3, SIDE * SIDE, 3)
    weight = np.stack([weight[c] for c in range(3)]).reshape(3 * SIDE * SIDE, 3) / SIDE**2
    paths = []
    for name, change in (("reference", 0.0), ("candidate", 1e-4)):
        value = helper.make_tensor_value_info
        graph = helper.make_graph(
            [
                helper.make_node("Flatten", ["pixels"], ["flat"]),
                helper.make_node("MatMul", ["flat", "w"], ["logits"]),
            ],
            "colours",
            [value("pixels", onnx.TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
            [value("logits", onnx.TensorProto.FLOAT, ["N", 3])],
            [numpy_helper.from_array(weight + np.float32(change), "w")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        paths.append(folder / f"{name}.onnx")
        paths[-1].write_bytes(model.SerializeToString())
    return paths[0], paths[1]


def write_images(folder: Path, classes: tuple[str, ...] = ("blue", "green", "red"), each: int = 5) -> Path:
    """``folder/<class>/*.png``: noise with most of one colour."""
    generator = np.random.default_rng(2)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(each):
            pixels = generator.integers(0, 100, (SIDE, SIDE, 3)).astype(np.uint8)
            pixels[:, :, ("red", "green", "blue").index(name)] += 120
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def test_a_folder_of_folders_is_classes_in_the_sorted_order(tmp_path: Path) -> None:
    """torchvision's ImageFolder: blue 0, green 1, red 2. The model's order is red, green, blue."""
    reference, candidate = write_models(tmp_path)
    images = write_images(tmp_path / "val")
    (images / ".hidden.png").write_bytes(b"no image")
    (images / "notes.txt").write_text("no image")
    asked = AdHoc(
        candidate, reference, pictures=images, images=PREPARED, labels="image.folder", scheme="none"
    )
    found = {m.name: m for m in verify_ad_hoc(asked).measurements}
    assert found["task.metric_reference"].value == pytest.approx(
        1 / 3
    )  # only green is where the model has it
    ordered = parse_preparation((f"size={SIDE}", "filter=nearest", "classes=red,green,blue"))
    again = verify_ad_hoc(
        AdHoc(candidate, reference, pictures=images, images=ordered, labels="image.folder", scheme="none")
    )
    assert {m.name: m for m in again.measurements}["task.metric_reference"].value == 1.0
    assert again.data is not None
    assert (again.data.samples, again.data.locator) == (15, str(images))


def test_a_bare_folder_needs_no_labels(tmp_path: Path) -> None:
    reference, candidate = write_models(tmp_path)
    write_images(tmp_path / "val")
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in sorted((tmp_path / "val").rglob("*.png")):
        path.rename(flat / f"{path.parent.name}_{path.name}")
    asked = AdHoc(candidate, reference, pictures=flat, images=PREPARED, scheme="none")
    labelled = verify_ad_hoc(replace(asked, labels="image.folder"))
    assert labelled.verdict is Verdict.ERROR
    assert any("holds no array 'image.folder'" in f.message for f in labelled.findings)
    report = verify_ad_hoc(asked)
    found = {m.name: m for m in report.measurements}
    assert found["output.sqnr_db"].n == 15
    assert "task.metric_drop" not in found
    assert any("feed the only input, 'pixels'" in f.message for f in report.findings)
    assert report.data is not None
    other = parse_preparation((f"size={SIDE}", "signed"))
    moved = verify_ad_hoc(AdHoc(candidate, reference, pictures=flat, images=other, scheme="none"))
    assert moved.data is not None
    assert moved.data.sha256 != report.data.sha256  # prepared otherwise, they are other samples


def test_the_list_is_sorted_and_follows_no_link(tmp_path: Path) -> None:
    images = write_images(tmp_path / "val", each=2)
    (images / "red" / ".cache").mkdir()
    (images / "red" / ".cache" / "a.png").write_bytes(b"")
    (images / "blue" / "B.JPEG").write_bytes(b"1")
    source = PicturesSource(images, SourceContext(repo=Path()), (".png", ".jpeg"), 10)
    assert source.name == LISTING
    assert source.names() == [
        "blue/0.png", "blue/1.png", "blue/B.JPEG", "green/0.png", "green/1.png", "red/0.png", "red/1.png",
    ]  # fmt: skip
    (images / "elsewhere").symlink_to(tmp_path, target_is_directory=True)
    assert len(source.names()) == 7
    (images / "link.png").symlink_to(images / "red" / "0.png")
    pair = ad_hoc_pair(AdHoc(Path("c"), Path("r"), pictures=images, images=PREPARED))
    assert pair.data is not None
    with pytest.raises(SourceError, match="symbolic link"):
        pair.data(tmp_path / "copy")


def test_names_that_need_quotes_arrive(tmp_path: Path) -> None:
    images = write_images(tmp_path / "val", ("red",), each=1)
    (images / "red" / "0.png").rename(images / "red" / 'a, "b".png')
    pair = ad_hoc_pair(AdHoc(Path("c"), Path("r"), pictures=images, images=PREPARED))
    assert pair.data is not None
    copy = pair.data(tmp_path / "copy")
    assert list(csv.reader(copy.main.read_text().splitlines())) == [["image"], ['red/a, "b".png']]
    assert (tmp_path / "copy" / "red" / 'a, "b".png').is_file()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("new\nline.png", r"'red/new\\nline.png'"),
        (b"caf\xe9.png", r"'red/caf\\udce9.png'"),
        ("a\\b.png", "'red/a"),
    ],
)
def test_names_that_no_table_can_hold_are_refused(tmp_path: Path, name: str | bytes, shown: str) -> None:
    images = write_images(tmp_path / "val", ("red",), each=1)
    (images / "red" / os.fsdecode(name)).write_bytes(b"")
    pair = ad_hoc_pair(AdHoc(Path("c"), Path("r"), pictures=images, images=PREPARED))
    assert pair.data is not None
    with pytest.raises(SourceError, match=f"holds {shown}") as caught:
        pair.data(tmp_path / "copy")
    assert caught.value.remedy.startswith("Rename it: UTF-8")


@pytest.mark.parametrize(("most", "says"), [(0, "more than 0 samples"), (9, "holds no image")])
def test_a_folder_of_too_many_or_of_none_is_refused(tmp_path: Path, most: int, says: str) -> None:
    if most == 0:
        write_images(tmp_path / "val")
    else:
        (tmp_path / "val").mkdir()
    with pytest.raises(SourceError, match=says):
        PicturesSource(tmp_path / "val", SourceContext(repo=Path()), (".png",), most).names()
    with pytest.raises(SourceError, match="no such folder"):
        PicturesSource(tmp_path / "gone", SourceContext(repo=Path()), (".png",), most).names()


def test_presets_are_what_their_trainers_say() -> None:
    imagenet = parse_preparation(("imagenet",))
    assert imagenet == Preprocessing(
        (224, 224), shorter=256, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )
    larger = parse_preparation(("imagenet", "size=240x320", "shorter=320", "layout=NHWC"))
    assert larger is not None
    assert (larger.size, larger.shorter, larger.shape) == ((240, 320), 320, (240, 320, 3))
    signed = parse_preparation(("signed", "size=32"))
    assert signed is not None
    assert (signed.factor, signed.mean, signed.std) == (1 / 255, (0.5,), (0.5,))
    raw = parse_preparation(("size=32", "raw"))
    assert raw is not None
    assert raw.factor == 1
    assert parse_preparation(()) is None
    assert set(PRESETS) == {"imagenet", "clip", "signed", "raw"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("imagnet",), "'imagnet' is no preparation"),
        (("sise=3",), "'sise=3' is no preparation"),
        (("size=",), "'size=' is no preparation"),
        (("signed",), "the size is not given"),
        (("size=ax3",), r"size\[0\]: "),
        (("size=0",), r"size\[0\]: "),
        (("size=1x2x3",), "size"),
        (("size=8", "mean=nan"), r"mean\[0\]: "),
        (("size=8", "mean=0.1,0.2"), "`mean` has 2 numbers"),
        (("size=8", "std=0"), r"std\[0\]: "),
        (("size=8", "layout=NCWH"), "layout: must be one of NCHW, NHWC"),
        (("size=8", "shorter=4"), "fewer than are cut"),
        (("size=8", "signed", "dtype=uint8"), "makes no whole numbers"),
        (("size=8", "scale=inf"), "scale"),
    ],
)
def test_preparations_that_make_no_sense_are_refused(given: tuple[str, ...], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_preparation(given)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"pictures": Path("val")}, "nobody says how the images become arrays"),
        ({"pictures": Path("val"), "inputs": Path("x.npz"), "images": PREPARED}, "two data sets"),
        ({"images": PREPARED}, "no images to prepare"),
    ],
)
def test_options_that_belong_together_are_asked_for(given: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        ad_hoc_pair(AdHoc(Path("c"), Path("r"), **given))


def test_the_limits_are_the_usual_ones() -> None:
    pair = ad_hoc_pair(AdHoc(Path("c"), Path("r"), pictures=Path("val"), images=PREPARED))
    assert pair.limits == Limits()
    assert pair.data_locator == "val"
