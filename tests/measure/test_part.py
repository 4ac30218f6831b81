"""Some samples of a data set: those that ranges are calibrated on, and the others, whatever form the data have."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from qgate.measure.box_labels import read_boxes
from qgate.measure.open_data import open_data
from qgate.measure.part import PartFile, sample_numbers
from qgate.measure.preprocessing import Preprocessing
from qgate.measure.request import PairRequest, Part
from qgate.measure.samples import NpzSamples

COUNT = 200
SIDES = tuple(Part(COUNT, side) for side in ("calibration", "others"))


@pytest.mark.parametrize(("count", "size"), [(128, 32), (200, 50), (4000, 512), (3, 0)])
def test_every_sample_is_on_one_side(count, size):
    mine, others = (sample_numbers(Part(count, side)) for side in ("calibration", "others"))
    assert len(mine) == size
    assert sorted([*mine, *others]) == list(range(count))
    assert (np.diff(mine) > 0).all() and (np.diff(others) > 0).all()


def test_classes_that_lie_in_order_are_all_calibrated_on():
    in_order = np.repeat(np.arange(8), 25)
    by_turns = np.tile(np.arange(8), 25)
    for classes in (in_order, by_turns):
        assert set(classes[sample_numbers(SIDES[0])]) == set(range(8))


def test_inputs_labels_and_what_is_no_sample(data):
    x = np.random.default_rng(0).normal(size=(COUNT, 3)).astype(np.float32)
    path = data(x=x, y=np.arange(COUNT), names=np.arange(5), half=np.float32(0.5))
    for part in SIDES:
        rows = sample_numbers(part)
        with open_data(path) as file:
            left = PartFile(file, part)
            samples = NpzSamples(left, ["x", "half"])
            assert samples.count == len(rows)
            assert samples.first()["x"].tolist() == x[rows[:1]].tolist()
            read = np.concatenate([each["x"] for each in samples.chunks(16)])
            assert read.tolist() == x[rows].tolist()
            assert left.whole("y", "labels").tolist() == rows.tolist()
            assert left.whole("names", "labels").tolist() == list(range(5))
            assert left.spec("y", "labels").shape == (len(rows),)
            assert left.arrays["half"].shape == ()


def test_boxes_follow_their_samples_in_every_form(data, stage, detector):
    images, labels = detector.pictures(COUNT)
    numbered = np.concatenate([np.column_stack([np.full(len(own), i), own]) for i, own in enumerate(labels)])
    padded = np.full((COUNT, 3, 5), -1.0)
    for i, own in enumerate(labels):
        padded[i, : len(own)] = own
    exactly = numbered[:COUNT]  # as many boxes as there are samples: rows of them are no samples
    x = np.zeros((COUNT, 1), np.float32)
    path = data(x=x, numbered=numbered, padded=padded, exactly=exactly)
    for part in SIDES:
        rows = sample_numbers(part)
        wanted = [labels[i].tolist() for i in rows]
        for name in ("numbered", "padded"):
            with open_data(path) as file:
                found, _ = read_boxes(PartFile(file, part, (name,)), name, len(rows), "xyxy")
            assert [own[:, :5].tolist() for own in found] == wanted
        with open_data(path) as file:
            found, _ = read_boxes(PartFile(file, part, ("exactly",)), "exactly", len(rows), "xyxy")
        assert sum(map(len, found)) == np.isin(exactly[:, 0], rows).sum()
    coco = detector.write_coco(stage, images[:20], labels[:20])
    steps = Preprocessing((64, 64), filter="nearest", classes=("red", "green"))
    part = Part(20, "others")
    rows = sample_numbers(part)
    turned = list(reversed(labels[:20]))  # ids of images fall
    with open_data(coco, images=steps) as file:
        left = PartFile(file, part)
        left.rename("image", "x")
        assert left.arrays["x"].shape == (15, 3, 64, 64)
        found, _ = read_boxes(left, "boxes", len(rows), "xyxy")
        assert left.corners and left.pictures == ("x",)
        first = next(left.rows("x", [1]))[0]
    assert [own[:, :5].tolist() for own in found] == [turned[i].tolist() for i in rows]
    raw = images[19 - rows[0]].transpose(2, 0, 1) / 255
    assert first == pytest.approx(raw, abs=1e-6)


def test_a_part_is_measured_as_the_whole_is_and_counted_by_the_parent(data, measure, digits):
    with np.load(digits / "digits_test.npz") as held:
        arrays = {name: values[:COUNT] for name, values in held.items()}
    request = {
        "reference": digits / "digits_fp32.onnx",
        "candidate": digits / "digits_int8_pc.onnx",
        "labels": "label",
    }
    for part in SIDES:
        rows = sample_numbers(part)
        left, found = measure(inputs=data(**arrays), part=part, **request)
        alone, wanted = measure(inputs=data("alone", **{n: v[rows] for n, v in arrays.items()}), **request)
        assert left.data.samples == alone.data.samples == len(rows)
        for key in (("task.metric_drop", None), ("task.metric_candidate", None)):
            assert found[key].value == wanted[key].value
            assert found[key].n == len(rows)


def test_a_part_is_asked_for_in_json():
    request = PairRequest(candidate=Path("/c.onnx"), inputs=Path("/d.npz"), part=SIDES[0])
    assert json.loads(request.to_json())["part"] == {"count": COUNT, "side": "calibration"}
    assert PairRequest.from_json(request.to_json()).part == SIDES[0]


def test_a_table_is_divided_as_well(stage):
    with (stage / "d.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["y", "x"], *([i, f"{i}.npy"] for i in range(12))])
    for i in range(12):
        np.save(stage / f"{i}.npy", np.full(2, i, np.float32))
    part = Part(12, "calibration")
    with open_data(stage / "d.csv") as file:
        left = PartFile(file, part)
        told = np.concatenate(list(left.rows("x", [2, 1])))
        assert told[:, 0].tolist() == left.whole("y", "labels").tolist() == sample_numbers(part).tolist()
