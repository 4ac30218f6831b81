"""Boxes whose format is declared wrongly: both models are as wrong, which is doubted, and the format that fits is named."""

import numpy as np
import pytest

from qgate.judge import judge
from qgate.measure.behaviour import TaskPlan
from qgate.measure.data import ArraySpec
from qgate.measure.tasks.boxes import FORMATS, BoxOutputs, BoxReader, corners, four_numbers
from qgate.measure.tasks.detection import Detection, truth_of
from qgate.measure.tasks.readings import MOST_IMAGES, Declared, image_size
from qgate.policy.thresholds import resolve
from qgate.records import Verdict

SIZE = (80, 60)


def scenes(count=20, seed=3):
    """Labels, [boxes, 6], and what a good detector says of them, [boxes, 6]."""
    generator = np.random.default_rng(seed)
    labels, found = [], []
    for _ in range(count):
        boxes = generator.integers(1, 5)
        at = generator.uniform(0, 30, (boxes, 2))
        box = np.column_stack([at, at + generator.uniform(12, 28, (boxes, 2))])
        kind = generator.integers(0, 2, boxes)
        labels.append(np.column_stack([box, kind, np.zeros(boxes)]))
        moved = box + generator.normal(0, 1.0, box.shape)
        found.append(np.column_stack([moved, generator.uniform(0.3, 1, boxes), kind]))
    return labels, found


def state(labels, found, declared):
    """What the child tells of a detector whose outputs are ``found``."""
    held = np.empty(len(labels), dtype=object)
    held[:] = labels
    reader = BoxReader(BoxOutputs("found"), declared.format)
    plan = TaskPlan(Detection("map50", reader, 0.25, (0, 1), declared), None, truth_of(held))
    whole = plan.start()
    for first in (0, 7):  # in two chunks, as they come
        part = plan.start()
        rows = slice(first, 7 if first == 0 else len(found))
        part.add({"found": found[rows]}, {"found": found[rows]}, first)
        whole.merge(part)
    return whole.state()


def written(found, form):
    return [np.column_stack([four_numbers(each[:, :4], form), each[:, 4:]]) for each in found]


@pytest.mark.parametrize("form", FORMATS)
def test_numbers_are_what_their_corners_are_made_of(form):
    boxes = np.random.default_rng(0).uniform(0, 9, (5, 4))
    assert corners(four_numbers(boxes, form), form) == pytest.approx(boxes)


@pytest.mark.parametrize("declared", FORMATS)
@pytest.mark.parametrize("true", FORMATS)
def test_the_format_that_the_outputs_have_is_named(declared, true):
    labels, found = scenes()
    told = state(labels, written(found, true), Declared(declared, "xyxy", size=SIZE))
    if declared == true:
        assert told["chance"]["reference"] > 0.9
        assert told["reading"] is None
        return
    reading = told["reading"]
    assert (reading["format"], reading["label_format"], reading["scale"]) == (true, "xyxy", "as_is")
    assert reading["found"] > 0.9 and reading["declared"] < 0.45
    assert reading["declared"] == pytest.approx(
        told["chance"]["reference"]
    )  # all twenty images were read again
    assert 0 < reading["low"] < reading["found"] - reading["declared"]
    assert reading["images"] == 20


@pytest.mark.parametrize(("scale", "by"), [("shares", 1), ("pixels", -1)])
def test_shares_of_the_image_against_pixels(scale, by):
    labels, found = scenes()
    size = np.array(SIZE * 2, dtype=float)
    if scale == "shares":
        found = [np.column_stack([each[:, :4] / size, each[:, 4:]]) for each in found]
    else:
        labels = [np.column_stack([each[:, :4] / size, each[:, 4:]]) for each in labels]
    reading = state(labels, written(found, "cxcywh"), Declared("xyxy", "xyxy", size=SIZE))["reading"]
    assert (reading["format"], reading["scale"]) == ("cxcywh", scale)
    assert reading["found"] > 0.9
    unsized = state(labels, written(found, "cxcywh"), Declared("xyxy", "xyxy"))["reading"]
    assert unsized is None or unsized["found"] < 0.5


def test_the_format_of_labels_is_named():
    labels, found = scenes()
    # Corners as they would be read from numbers that are corner and size.
    wrong = [np.column_stack([corners(each[:, :4], "xywh"), each[:, 4:]]) for each in labels]
    reading = state(wrong, found, Declared("xyxy", "xywh", size=SIZE))["reading"]
    assert (reading["format"], reading["label_format"]) == ("xyxy", "xyxy")
    assert reading["found"] > 0.9
    fixed = state(wrong, found, Declared("xyxy", "xywh", fixed=True, size=SIZE))["reading"]
    assert fixed is None or fixed["label_format"] == "xywh"


def test_a_detector_that_is_merely_bad_is_not_said_to_have_another_format():
    labels, found = scenes()
    generator = np.random.default_rng(1)
    bad = [
        np.column_stack([each[:, :4] + generator.normal(0, 7, (len(each), 4)), each[:, 4:]]) for each in found
    ]
    told = state(labels, bad, Declared("xyxy", "xyxy", size=SIZE))
    assert told["chance"]["reference"] < 0.4
    assert told["reading"] is None or told["reading"]["found"] < 2 * told["chance"]["reference"]


def test_few_images_are_read_again():
    nothing = np.zeros((0, 6))
    held = np.empty(100, dtype=object)
    held[:] = [nothing, *[np.zeros((1, 6))] * 99]
    assert np.flatnonzero(truth_of(held)[:, 2]).tolist() == list(range(1, MOST_IMAGES + 1))


@pytest.mark.parametrize(
    ("shapes", "size"),
    [
        ({"x": (9, 3, 60, 80), "gt": (9, 30, 5)}, (80, 60)),
        ({"x": (9, 60, 80, 3)}, (80, 60)),
        ({"x": (9, 1, 3, 60, 80)}, (80, 60)),
        ({"x": (9, 3, 60, 80), "y": (9, 3, 30, 40)}, None),
        ({"x": (9, 60, 80)}, None),
        ({"x": (9, 64, 60, 80)}, None),
        ({}, None),
    ],
)
def test_the_size_of_images_is_known_where_it_is_plain(shapes, size):
    arrays = {name: ArraySpec(shape, np.dtype("f4")) for name, shape in shapes.items()}
    assert image_size(arrays) == size


@pytest.mark.parametrize(("form", "doubted"), [("xyxy", False), ("cxcywh", True)])
def test_a_wrong_format_is_doubted_end_to_end(stage, data, measure, form, doubted, detector):
    images, labels = detector.pictures(30)
    rows = np.concatenate([np.column_stack([np.full(len(own), i), own]) for i, own in enumerate(labels)])
    model = detector.write_detector(stage / "reference.onnx")
    _, found = measure(
        reference=model,
        candidate=model,
        inputs=data(x=detector.arrays(images), gt=rows),
        labels="gt",
        task="map",
        task_options={"format": form},
    )
    for profile, effect in (("strict", Verdict.INCONCLUSIVE), ("balanced", Verdict.PASS)):
        findings = judge(
            tuple(found.values()), resolve(None, None, profile, "int8"), scheme="int8", declared={}
        )
        told = [each for each in findings if each.rule == "BEH111"]
        assert len(told) == doubted
        for each in told:
            assert each.effect is effect
            assert (
                "read as `format: xyxy` and labels as `label_format: xyxy`: AP50 is 1 instead of 0"
                in each.message
            )
            assert "say so (`format: xyxy`, `label_format: xyxy`)" in each.remedy
