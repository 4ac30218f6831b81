"""Average precision against pycocotools itself, and boxes however they come, hostile ones as well."""

import contextlib
import io
import math
from itertools import pairwise

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from qgate.errors import DataError
from qgate.measure.behaviour import TaskPlan
from qgate.measure.box_labels import read_boxes
from qgate.measure.choose_task import OutputShape
from qgate.measure.data import ArraySpec
from qgate.measure.plugin import PluginError
from qgate.measure.tasks.boxes import MOST, BoxOutputs, BoxReader, corners, find_outputs
from qgate.measure.tasks.detection import Detection, truth_of
from qgate.measure.tasks.matching import match
from qgate.stats.precision import THRESHOLDS, ClassMatches, average_precision

IMAGES, CLASSES = 40, 4
READER = BoxReader(BoxOutputs("found"), "xyxy")


@pytest.fixture(scope="module")
def scenes():
    """Labels and what two detectors say of them: boxes that are moved, missed, doubled and invented."""
    generator = np.random.default_rng(5)
    labels, sides = [], ([], [])
    for _ in range(IMAGES):
        count = generator.integers(0, 9)
        at = generator.uniform(0, 80, (count, 2))
        box = np.column_stack([at, at + generator.uniform(4, 40, (count, 2))])
        label = generator.integers(0, CLASSES, count)
        crowd = generator.random(count) < 0.1
        labels.append(np.column_stack([box, label, crowd]).astype(float))
        for side, noise in zip(sides, (0.5, 2.0), strict=True):
            kept = generator.random(count) < 0.85
            moved = box[kept] + generator.normal(0, noise, (kept.sum(), 4))
            # The library leaves boxes of negative size out, which a detector could hide wrong boxes behind.
            moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 0.1)
            extra = generator.uniform(0, 60, (3, 2))
            wrong = np.column_stack([extra, extra + generator.uniform(5, 30, (3, 2))])
            boxes = np.concatenate([moved, moved[:2] + 0.5, wrong])
            told = np.concatenate([label[kept], label[kept][:2], generator.integers(0, CLASSES + 1, 3)])
            scores = np.round(generator.uniform(0.05, 1.0, len(boxes)), 2)  # rounded, so that some are equal
            side.append(np.column_stack([boxes, scores, told]))
    return labels, *sides


def by_pycocotools(labels, found, classes):
    """The library's own numbers of the whole set: mAP, AP50 and the precision of each class."""

    def sized(box):
        return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]

    notes, results = [], []
    for image, (own, boxes) in enumerate(zip(labels, found, strict=True)):
        notes += [
            {
                "id": 0,
                "image_id": image,
                "bbox": sized(b),
                "area": 1.0,
                "category_id": int(b[4]),
                "iscrowd": int(b[5]),
            }
            for b in own
        ]
        results += [
            {"image_id": image, "bbox": sized(b), "category_id": int(b[5]), "score": float(b[4])}
            for b in boxes
        ]
    for number, note in enumerate(notes, start=1):
        note["id"] = number
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": i} for i in range(len(labels))],
            "annotations": notes,
            "categories": [{"id": c} for c in classes],
        }
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(results), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    precision = judge.eval["precision"][:, :, :, 0, 2]
    return judge.stats[0], judge.stats[1], precision.mean(axis=(0, 1))


def objects(parts):
    held = np.empty(len(parts), dtype=object)
    held[:] = parts
    return held


def run(task, labels, reference, candidate, slices=None, cuts=(7, 30)):
    plan = TaskPlan(task, None, None if labels is None else truth_of(objects(labels)), slices)
    whole = plan.start()
    edges = [0, *(cut for cut in cuts if cut < len(reference)), len(reference)]
    for first, last in pairwise(edges):
        part = plan.start()
        part.add({"found": reference[first:last]}, {"found": candidate[first:last]}, first)
        whole.merge(part)
    return whole.state()


def figures(state):
    return {each["metric"]: each for each in state["figures"]}


def test_it_is_what_pycocotools_says(scenes):
    labels, reference, candidate = scenes
    state = run(Detection("map", READER, 0.25, range(CLASSES)), labels, reference, candidate)
    found = figures(state)
    for side, boxes in (("reference", reference), ("candidate", candidate)):
        whole, half, each = by_pycocotools(labels, boxes, range(CLASSES))
        assert found["map"][side] == pytest.approx(whole, abs=1e-12)
        assert found["map50"][side] == pytest.approx(half, abs=1e-12)
        assert [state["classes"][str(c)][side] for c in range(CLASSES)] == pytest.approx(
            list(each), abs=1e-12
        )
    assert 0.1 < found["map"]["candidate"] < found["map"]["reference"] < 0.9
    assert found["map"]["low"] < found["map"]["drop"] < found["map"]["high"]
    assert (
        found["map"]["low"] > 0
    )  # boxes moved by 2 pixels are plainly worse than boxes moved by half of one


def test_a_draw_of_the_images_is_what_pycocotools_says_of_the_drawn_images(scenes):
    labels, reference, _ = scenes
    drawn = np.random.default_rng(1).integers(0, IMAGES, IMAGES)
    # Scores that are all different: of equal ones the order decides, and a drawn set has another.
    spread = [
        np.column_stack([b[:, :4], b[:, 4] + 1e-6 * np.arange(len(b)) + 1e-4 * i, b[:, 5]])
        for i, b in enumerate(reference)
    ]
    weights = np.bincount(drawn, minlength=IMAGES).astype(float)[np.newaxis]
    columns, _ = Detection("map", READER, 0.25, range(CLASSES)).records(
        {"found": spread}, {"found": spread}, truth_of(objects(labels))
    )
    from qgate.measure.tasks.detection import _gathered

    mine = [average_precision(weights, _gathered(columns["found_r"], c)).mean() for c in range(CLASSES)]
    theirs = by_pycocotools([labels[i] for i in drawn], [spread[i] for i in drawn], range(CLASSES))[2]
    assert mine == pytest.approx(list(theirs), abs=1e-9)


def test_labels_of_other_images_are_found_by_chance_alone(scenes):
    labels, reference, candidate = scenes
    task = Detection("map50", READER, 0.25, range(CLASSES))
    good = run(task, labels, reference, candidate)["chance"]
    assert good["reference"] == pytest.approx(by_pycocotools(labels, reference, range(CLASSES))[1], abs=1e-12)
    others = [labels[i - 1] for i in range(IMAGES)]
    assert good["candidate"] == pytest.approx(by_pycocotools(others, reference, range(CLASSES))[1], abs=1e-12)
    assert good["low"] > 0.2
    moved = labels[3:] + labels[:3]
    shuffled = run(Detection("map50", READER, 0.25, range(CLASSES)), moved, reference, candidate)["chance"]
    assert shuffled["low"] < 0 < shuffled["high"]


def test_two_equal_models_differ_by_nothing_and_that_is_not_taken_for_certain(scenes):
    labels, reference, _ = scenes
    found = figures(run(Detection("map50", READER, 0.25, range(CLASSES)), labels, reference, reference))
    assert next(iter(found)) == "map50"
    assert found["map50"]["drop"] == found["same_boxes"]["drop"] == found["box_score"]["drop"] == 0
    assert found["map50"]["low"] < 0 < found["map50"]["high"]
    assert found["same_boxes"]["high"] > 0


def test_a_class_that_is_lost_shows_in_its_own_precision(scenes):
    labels, reference, _ = scenes
    blind = [boxes[boxes[:, 5] != 2] for boxes in reference]
    state = run(Detection("map", READER, 0.25, range(CLASSES)), labels, reference, blind)
    assert state["classes"]["2"]["candidate"] == 0
    assert state["classes"]["2"]["low"] > 0.1
    assert state["classes"]["1"]["drop"] == 0
    assert state["classes"]["2"]["n"] < IMAGES


def test_slices_are_judged_by_themselves_and_one_without_labels_has_nothing_to_lose(scenes):
    labels, reference, candidate = scenes
    places = np.array(["a"] * 20 + ["b"] * 19 + ["empty"])
    bare = [*labels[:-1], np.zeros((0, 6))]
    state = run(Detection("map", READER, 0.25, range(CLASSES)), bare, reference, candidate, places)
    assert state["slices"]["a"]["reference"] == pytest.approx(
        by_pycocotools(labels[:20], reference[:20], range(CLASSES))[0], abs=1e-12
    )
    assert (state["slices"]["empty"]["reference"], state["slices"]["empty"]["drop"]) == (0, 0)
    assert sum(each["n"] for each in state["slices"].values()) == IMAGES


def test_without_labels_the_boxes_of_both_are_compared(scenes):
    _, reference, _ = scenes
    moved = [boxes + np.array([0.2, 0, 0.2, 0, 0, 0]) for boxes in reference]
    moved = [np.column_stack([b[:, :4], b[:, 4] * 0.99, b[:, 5]]) for b in moved]
    found = figures(run(Detection("same_boxes", READER, 0.0001), None, reference, moved))
    assert found["same_boxes"]["candidate"] == 1
    assert 0.9 < found["box_iou"]["candidate"] < 1
    total = sum(boxes[:, 4].sum() for boxes in reference)
    assert found["box_score"]["drop"] == pytest.approx(0.01 * total / sum(map(len, reference)))
    gone = [boxes[1:] for boxes in reference]
    told = figures(run(Detection("same_boxes", READER, 0.0001), None, reference, gone))["same_boxes"]
    boxes, lost = sum(map(len, reference)), len(reference)
    assert told["drop"] == pytest.approx(lost / (2 * boxes - lost), abs=0.02)
    assert told["low"] > 0


def test_an_image_is_right_where_every_box_is_found_and_nothing_else():
    label = np.array([[0, 0, 10, 10, 1, 0.0]])
    hit, miss, sure = [0, 0, 10, 9, 0.9, 1], [20, 20, 30, 30, 0.9, 1], [20, 20, 30, 30, 0.1, 1]
    task = Detection("map", READER, 0.25, [1])
    for boxes, right in (([hit], True), ([hit, miss], False), ([hit, sure], True), ([sure], False)):
        columns, _ = task.records(
            {"found": [np.array(boxes)]}, {"found": [np.array(boxes)]}, truth_of(objects([label]))
        )
        assert task.right(columns)[0].tolist() == [right]


@pytest.mark.parametrize(
    ("form", "box"),
    [("xyxy", (1, 2, 5, 10)), ("yxyx", (2, 1, 10, 5)), ("xywh", (1, 2, 4, 8)), ("cxcywh", (3, 6, 4, 8))],
)
def test_every_format_is_the_same_box(form, box):
    assert corners(np.array([box], dtype=float), form).tolist() == [[1, 2, 5, 10]]


FOUR, SIX = ("b", (50, 4), "f4"), ("d", (50, 6), "f4")
SCORES, IDS = ("s", (50,), "f4"), ("c", (50,), "i8")


@pytest.mark.parametrize(
    ("outputs", "given", "found"),
    [
        ([FOUR, SCORES, IDS], {}, ("b", "s", "c")),
        ([SIX], {}, ("d", "", "")),
        ([SIX, ("n", (), "i4")], {}, ("d", "", "")),
        ([FOUR, SIX], {"output": "d"}, ("d", "", "")),
        ([FOUR, SCORES, ("k", (50,), "f4")], {"boxes": "b", "scores": "s", "classes": "k"}, ("b", "s", "k")),
        ([FOUR, SCORES, ("k", (50,), "f4")], {}, "not plain"),
        ([("raw", (84, 8400), "f4")], {}, "not plain"),
        (
            [("boxes", (4, 4), "f4"), ("scores", (4,), "f4"), ("labels", (4,), "i8")],
            {},
            ("boxes", "scores", "labels"),
        ),
        ([("boxes", (4, 4), "f4"), ("scores", (4,), "f4"), ("k", (4,), "i8")], {}, "not plain"),
        ([SIX], {"output": "e"}, "lacks"),
        ([FOUR], {"boxes": "b"}, "all of"),
        ([SIX], {"output": "d", "boxes": "d", "scores": "d", "classes": "d"}, "either"),
    ],
)
def test_the_outputs_are_found_or_it_is_said_why_not(outputs, given, found):
    shapes = [OutputShape(name, shape, np.dtype(kind)) for name, shape, kind in outputs]
    told = find_outputs(shapes, given)
    if isinstance(told, str):
        assert found in told
    else:
        assert (told.boxes, told.scores, told.classes) == found


BOX = [0.0, 0, 10, 10, 0.9, 1]


@pytest.mark.parametrize(
    ("rows", "kept"),
    [
        ([BOX, [0, 0, 0, 0, 0, 0]], 1),  # padding by a score of 0
        ([BOX, [0, 0, 0, 0, 0.5, -1]], 1),  # and by no class
        ([BOX, [math.nan, 0, 1, 1, 0, 1]], 1),  # padding may be anything
        ([BOX, [9, 9, 1, 1, 0.8, 1]], 2),  # a negative size meets nothing, and counts as wrong
        ([], 0),
        ([BOX, [math.nan, 0, 1, 1, 0.5, 1]], None),
        ([BOX, [0, 0, 1, 1, math.nan, 1]], None),
        ([BOX, [0, 0, math.inf, 1, 0.5, 1]], None),
        ([BOX, [0, 0, 1, 1, 0.5, 1.5]], None),
        ([BOX, [0, 0, 1, 1, 0.5, math.nan]], None),
    ],
)
def test_hostile_boxes_are_padding_wrong_or_no_answer(rows, kept):
    (found,) = READER.read({"found": [np.array(rows, dtype=np.float32).reshape(-1, 6)]}, 1)
    assert (None if found is None else len(found)) == kept


def test_a_million_boxes_of_a_class_are_its_hundred_best():
    rows = np.zeros((1_000_000, 6))
    rows[:, 4], rows[:, 5] = np.linspace(1, 0.1, 1_000_000), np.arange(1_000_000) % 3
    rows[:, 2:4] = 5
    (found,) = READER.read({"found": [rows]}, 1)
    assert len(found) == 3 * MOST
    assert found[:, 4].min() > 0.999


def test_boxes_without_a_finite_size_meet_nothing():
    labels = np.array([[0, 0, 10, 10, 0.0]])
    boxes = np.array([[0, 0, 1e308, 1e308, 0.9], [-1e308, -1e308, 1e308, 1e308, 0.8], [10, 10, 0, 0, 0.7]])
    found = match(boxes, labels)
    assert not found.hits.any()
    assert found.counted.all()


def test_a_model_without_an_answer_has_no_figures(scenes):
    labels, reference, candidate = scenes
    broken = [*candidate[:-1], np.full((1, 6), math.nan)]
    state = run(Detection("map", READER, 0.25, range(CLASSES)), labels, reference, broken)
    assert (state["broken"], state["n"], state["figures"]) == (1, IMAGES - 1, [])
    columns, fine = Detection("map", READER, 0.25, [0]).records(
        {"found": reference[:3]}, {"other": candidate[:3]}, truth_of(objects(labels[:3]))
    )
    assert not fine.any()
    assert not len(columns["same"])


def test_a_class_without_a_single_label_has_no_precision():
    nothing = ClassMatches(
        np.zeros(0, int), np.zeros((10, 0), bool), np.ones((10, 0), bool), np.array([0.0, 2.0])
    )
    told = average_precision(np.array([[1.0, 0.0], [1.0, 1.0]]), nothing)
    assert np.isnan(told[0]).all()
    assert (told[1] == 0).all()
    assert len(THRESHOLDS) == told.shape[1]


def test_an_own_function_decodes_what_is_no_box_yet():
    reader = BoxReader(None, "cxcywh", (lambda outputs: [row.T for row in outputs["raw"]], "decode.py:rows"))
    raw = np.array([[[5.0], [5], [10], [10], [0.9], [1]]])
    assert reader.read({"raw": raw}, 1)[0].tolist() == [[0, 0, 10, 10, 0.9, 1]]
    for function, says in (
        (lambda _: [], "boxes of 0 samples for 1"),
        (lambda _: ["no"], "no rows of numbers"),
        (lambda _: 5, "no rows of numbers"),
        (lambda _: [np.zeros((3, 5))], r"shape \[3, 5\]"),
    ):
        with pytest.raises(PluginError, match=says):
            BoxReader(None, "xyxy", (function, "decode.py:rows")).read({"raw": raw}, 1)


class Arrays:
    """A data set of arrays in memory."""

    label = "data.npz"

    def __init__(self, values):
        self.values = np.asarray(values)
        self.arrays = {"gt": ArraySpec(self.values.shape, self.values.dtype)}

    def whole(self, _name, _what):
        return self.values


def test_labels_are_rows_with_the_samples_number_or_padded_rows():
    rows = [[2, 0, 0, 4, 4, 1], [0, 1, 1, 2, 2, 0], [2, 5, 5, 6, 6, 0]]
    found, classes = read_boxes(Arrays(rows), "gt", 3, "xyxy")
    assert [each.tolist() for each in found] == [
        [[1, 1, 2, 2, 0, 0]],
        [],
        [[0, 0, 4, 4, 1, 0], [5, 5, 6, 6, 0, 0]],
    ]
    assert classes == (0, 1)
    padded = np.full((3, 2, 5), -1.0)
    padded[0, 0], padded[2] = [1, 1, 1, 1, 0], [[0, 0, 4, 4, 1], [5, 5, 1, 1, 0]]
    padded[1, 1, :4] = math.nan
    again, _ = read_boxes(Arrays(padded), "gt", 3, "xywh")
    assert [each.tolist() for each in again] == [each.tolist() for each in found]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([[3, 0, 0, 1, 1, 1]], "begin with other numbers than those of the 3 samples"),
        ([[0.5, 0, 0, 1, 1, 1]], "begin with other numbers"),
        ([[-1, 0, 0, 1, 1, 1]], "begin with other numbers"),
        ([[0, 0, 0, math.nan, 1, 1]], r"hold NaN or infinity \(sample 0\)"),
        ([[1, 5, 0, 1, 1, 1]], r"box of negative size as `xyxy` \(sample 1\)"),
        ([[0, 0, 0, 1, 1, 1.5]], "classes that are not whole"),
        ([[0, 0, 0, 1, 1, -1]], "name no box at all"),
        ([[0, 0, 0, 1, 1, 1, 1]], "name crowds alone"),
        ([[0, 0, 0, 1, 1]], "have 4 numbers for a box"),
        (np.zeros((2, 4, 5)), "are of 2 samples, the inputs of 3"),
        (np.zeros(3), r"shape \[3\]"),
        (np.zeros((0, 6)), "name no box at all"),
        (np.array([["a"]]), "dtype <U1"),
    ],
)
def test_labels_that_are_no_boxes_are_refused(values, says):
    with pytest.raises(DataError, match=says):
        read_boxes(Arrays(values), "gt", 3, "xyxy")


@pytest.mark.parametrize("form", ["xyxy", "xywh", "cxcywh"])
@pytest.mark.parametrize("far", [1e200, 1e308])
def test_boxes_whose_area_is_infinite_are_no_boxes(form, far):
    """The overlap of two of them is NaN, which passed for a match."""
    held = np.array([[[-far, -far, far, far, 0.9, 0], [0, 0, 10, 10, 0.8, 0]]])
    read = BoxReader(BoxOutputs("o"), form).read
    assert read({"o": held}, 1) == [None]
    (fine,) = read({"o": np.where(np.abs(held) > 100, 100.0, held)}, 1)
    assert fine is not None and len(fine) == 2
