"""Detection end to end: a detector with its NonMaxSuppression in the sandbox, labels in every form."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from qgate.errors import DataError
from qgate.measure.belief import _may_be_boxes
from qgate.measure.box_rows import folded, read_coco
from qgate.measure.images import moved
from qgate.measure.open_data import files_beside, open_data
from qgate.measure.preprocessing import Preprocessing
from qgate.measure.request import PairRequest

COUNT = 30
STEPS = Preprocessing((64, 64), filter="nearest", classes=("red", "green"))


@pytest.fixture
def pair(stage, detector):
    """A detector and one whose green is half blind."""

    def fade(weight):
        weight = weight.copy()
        weight[1] *= 0.5
        return weight

    return {
        "reference": detector.write_detector(stage / "reference.onnx"),
        "candidate": detector.write_detector(stage / "candidate.onnx", fade),
    }


@pytest.fixture(scope="module")
def scenes(detector):
    return detector.pictures(COUNT)


def rows(labels):
    numbered = [np.column_stack([np.full(len(own), i), own]) for i, own in enumerate(labels)]
    return np.concatenate(numbered)


def test_a_detector_is_judged_by_its_boxes(pair, scenes, data, measure, detector):
    images, labels = scenes
    place = np.where(np.arange(COUNT) % 2, "day", "night")
    result, found = measure(
        **pair,
        inputs=data(x=detector.arrays(images), gt=rows(labels), place=place),
        labels="gt",
        slices="place",
        task="map",
    )
    reference, drop = found[("task.metric_reference", None)], found[("task.metric_drop", None)]
    assert reference.value > 0.4
    assert found[("task.map50_reference", None)].value > 0.9
    assert drop.low > 0.1
    assert drop.detail["metric"] == "map"
    lost = found[("task.class_recall_drop", "label=1")]
    assert (lost.value, lost.low > 0) == (pytest.approx(reference.value, abs=0.3), True)
    assert abs(found[("task.class_recall_drop", "label=0")].value) < 1e-9
    assert {at for name, at in found if name == "task.slice_drop"} == {"place=day", "place=night"}
    assert found[("task.images_right_drop", None)].value > 0.1
    assert found[("task.same_boxes_drop", None)].value > 0.1
    assert ("task.answers_changed", None) not in found
    assert result.outcomes.n == COUNT
    assert result.outcomes.right("candidate") != result.outcomes.right("reference")


def test_every_form_of_labels_says_the_same(pair, scenes, data, measure, stage, detector):
    images, labels = scenes
    x = detector.arrays(images)
    coco = detector.write_coco(stage, images, labels)
    padded = np.full((COUNT, 3, 5), -1.0)
    for i, own in enumerate(labels):
        padded[i, : len(own)] = own
    lines = stage / "boxes.csv"
    with lines.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["picture", "x1", "y1", "x2", "y2", "class"])
        for i, own in enumerate(labels):
            name = f"pictures/{i:04}.png"
            writer.writerows(
                [[name, *each[:4], ("red", "green")[int(each[4])]] for each in own] or [[name, *[""] * 5]]
            )
    columns = stage / "boxes.parquet"
    table = {"x": [each.reshape(-1).tolist() for each in x], "gt": [own.tolist() for own in labels]}
    parquet.write_table(pa.table({"gt": table["gt"]}), columns)
    with open_data(columns) as file:
        lengths, held = file.ragged("gt")
    assert lengths.tolist() == [len(own) for own in labels]
    assert held.tolist() == np.concatenate(labels).tolist()
    wanted = None
    for request in (
        {"inputs": data(x=x, gt=padded), "labels": "gt"},
        {"inputs": coco, "labels": "boxes", "images": STEPS},
        {"inputs": lines, "labels": "boxes", "images": STEPS},
    ):
        _, found = measure(**pair, task="map", **request)
        told = [
            found[(f"task.{each}", None)].value for each in ("metric_reference", "metric_drop", "map50_drop")
        ]
        wanted = wanted or told
        assert told == wanted, request


def test_without_labels_boxes_of_both_are_compared(pair, scenes, data, measure, detector):
    result, found = measure(**pair, inputs=data(x=detector.arrays(scenes[0])), task="same_boxes")
    assert found[("task.metric_candidate", None)].value < 0.9
    assert found[("task.metric_reference", None)].value == 1.0
    assert found[("task.box_iou_candidate", None)].value == pytest.approx(1.0)
    assert found[("task.box_score_drop", None)].value > 0.01
    assert result.outcomes.right("candidate") != result.outcomes.right("reference")


def test_rows_of_boxes_are_compared_by_the_task_and_never_row_by_row(pair, scenes, data, measure, detector):
    """What NonMaxSuppression leaves differs in number and order between honest models."""
    found = measure(**pair, inputs=data(x=detector.arrays(scenes[0])), task="same_boxes")[1]
    for name in ("boxes", "scores", "classes"):
        assert found[("output.same_boxes", name)].value == found[("task.metric_candidate", None)].value
    assert not [
        name
        for name, _ in found
        if name in ("output.sqnr_db", "output.shape_mismatch", "output.differing_share")
    ]


@pytest.mark.parametrize(
    ("asked", "name", "may"),
    [
        ({"task": "map"}, "boxes", True),
        ({"task": "top1"}, "boxes", False),
        ({"task": "map", "task_output": "found"}, "boxes", False),
        ({"task": "map", "task_output": "found"}, "found", True),
        ({"task": "map", "task_options": {"boxes": "b", "scores": "s", "classes": "c"}}, "c", True),
        ({"task": "map", "task_options": {"boxes": "b", "scores": "s", "classes": "c"}}, "other", False),
        ({"task": "map", "code": {"task": None}}, "boxes", False),
    ],
)
def test_a_child_cannot_pass_another_output_off_as_boxes(asked, name, may):
    assert _may_be_boxes(PairRequest(candidate=Path("c"), **asked), name) == may


def test_boxes_follow_an_image_into_the_form_that_the_model_takes(scenes, stage, pair, measure, detector):
    """Pictures of other sizes, stretched to the model's: the labels are stretched with them."""
    coco = detector.write_coco(stage, *scenes, sizes=[(128, 64), (64, 192), (64, 64)])
    _, found = measure(**pair, inputs=coco, labels="boxes", images=STEPS, task="map50")
    assert found[("task.metric_reference", None)].value > 0.9


def test_boxes_are_cut_where_the_image_is():
    steps = Preprocessing((100, 100), shorter=100)
    boxes = np.array([[0, 0, 40, 50], [150, 10, 250, 60], [0, 0, 400, 200.0]])
    cut, left = moved(boxes, (400, 200), steps)  # half the size, and 50 pixels off at either side
    assert cut.tolist() == [[0, 0, 0, 25], [25, 5, 75, 30], [0, 0, 100, 100]]
    assert left.tolist() == [False, True, True]


def test_a_class_is_the_position_of_its_id_its_own_id_or_declared(scenes, stage, detector):
    coco = detector.write_coco(stage, *scenes)
    first = scenes[1][next(i for i, own in enumerate(scenes[1]) if len(own))][0]
    for classes, name, wanted in (
        (("red", "green"), "boxes", (0, 1)),
        ((), "boxes", (1, 0)),  # ids 7 and 3
        ((), "boxes.ids", (7, 3)),
        ((), "boxes.relative.ids", (7, 3)),
    ):
        with open_data(coco, images=replace(STEPS, classes=classes)) as file:
            assert set(file.arrays) >= {"image", "boxes", "boxes.ids"}
            lengths, held = file.ragged(name)
        labels = list(reversed(scenes[1]))  # ids of images fall
        assert lengths.tolist() == [len(own) for own in labels]
        assert {int(each) for each in held[:, 4]} == set(wanted)
        kinds = [wanted[int(each)] for own in labels for each in own[:, 4]]
        assert held[:, 4].tolist() == kinds
        corners = np.concatenate(labels)[:, :4] / (64 if "relative" in name else 1)
        assert held[:, :4] == pytest.approx(corners)
    assert first.shape == (5,)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "no annotations in COCO's form"),
        ("[]", "no annotations"),
        ("[" * 100_000, "no annotations"),
        ('{"images": [], "annotations": [], "categories": []}', "names no images"),
        ('{"images": [{"id": 1, "file_name": 5}], "annotations": [], "categories": []}', "no text"),
        (
            '{"images": [{"id": 1.5, "file_name": "a.png"}], "annotations": [], "categories": []}',
            "no whole number",
        ),
        (
            '{"images": [{"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}], "annotations": [], "categories": []}',
            "two with one id",
        ),
        (
            '{"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1}], '
            '"annotations": [{"image_id": 2, "category_id": 1, "bbox": [0, 0, 1, 1]}]}',
            "an image or a category that there is not",
        ),
        (
            '{"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1}], '
            '"annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1]}]}',
            r"annotations\[0\]\.bbox is no four numbers",
        ),
        *(
            (
                '{"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1}], "annotations": '
                '[{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}, '
                f'{{"image_id": 1, "category_id": 1, "bbox": {box}}}]}}',
                r"annotations\[1\]\.bbox is no four numbers within",
            )
            for box in (
                f"[{10**400}, 1, 2, 3]",
                "[1e308, 1, 1e308, 3]",
                "[NaN, 1, 2, 3]",
                "[0, 1, 2, Infinity]",
                "[0, 1, 2, true]",
                '"0123"',
                "null",
                '{"a": 1, "b": 2, "c": 3, "d": 4}',
            )
        ),
        ('{"images": [' + "{}," * 1_000_000 + "{}]}", "more than 1,000,000. Leave out the segmentations"),
        ('{"images": [' + "0," * 4_000_001 + "0]}", "has 4,000,001 commas, more than 4,000,000"),
        (" " * (2**25 + 1), "has more than 32 MiB"),
    ],
)
def test_annotations_that_are_none_are_refused(stage, text, says):
    path = stage / "a.json"
    path.write_text(text)
    with pytest.raises(DataError, match=says):
        read_coco(path, "a.json")


def test_images_that_annotations_name_must_lie_below_them(stage):
    path = stage / "a.json"
    path.write_text('{"images": [{"id": 1, "file_name": "../b.png"}], "annotations": [], "categories": []}')
    with pytest.raises(DataError, match="no plain path below"):
        files_beside(path, "a.json", replace(STEPS, classes=()))


COLUMNS = {"image": ["a.png", "a.png", "b.png"], "x1": ["1", "2", ""], "y1": ["1", "2", ""], "x2": ["3", "4", ""],
           "y2": ["3", "4", ""], "class": ["0", "1", ""]}  # fmt: skip


def test_lines_of_one_sample_are_one_sample():
    columns, held = folded(COLUMNS, "d.csv")
    assert columns == {"image": ["a.png", "b.png"]}
    assert held.lengths.tolist() == [2, 0]
    assert held.rows.tolist() == [[1, 1, 3, 3, 0, 0], [2, 2, 4, 4, 1, 0]]
    plain = {"image": ["a.png"], "label": ["1"]}
    assert folded(plain, "d.csv") == (plain, None)


@pytest.mark.parametrize(
    ("change", "classes", "says"),
    [
        ({"image": ["a.png", "b.png", "a.png"]}, (), "lines of one sample in several places"),
        ({"x1": ["one", "2", ""]}, (), "box in line 2 that is no four numbers"),
        ({"x1": ["", "2", ""]}, (), "box in line 2 that is no four numbers"),
        ({"x2": ["3", "inf", ""]}, (), "box in line 3 that is NaN, infinite or beyond"),
        ({"y1": ["nan", "2", ""]}, (), "box in line 2 that is NaN, infinite or beyond"),
        ({"y1": ["-1e300", "2", ""]}, (), "box in line 2 that is NaN, infinite or beyond"),
        ({"crowd": ["nan", "0", ""]}, (), "box in line 2 that is NaN"),
        ({"class": ["cat", "dog", ""]}, ("cat",), "the class 'dog', which is none"),
    ],
)
def test_lines_that_are_no_boxes_are_refused(change, classes, says):
    with pytest.raises(DataError, match=says):
        folded({**COLUMNS, **change}, "d.csv", classes)


def test_boxes_are_labels_of_no_other_task(scenes, stage, pair, measure, detector):
    coco = detector.write_coco(stage, *scenes)
    with pytest.raises(DataError, match="are boxes, which only a task of boxes has"):
        measure(**pair, inputs=coco, labels="boxes", images=STEPS, task="top1")
    with pytest.raises(DataError, match="are corners by their columns"):
        measure(
            **pair,
            inputs=coco,
            labels="boxes",
            images=STEPS,
            task="map",
            task_options={"label_format": "xywh"},
        )
    with pytest.raises(DataError, match="task map needs the output 'nothing', which the reference lacks"):
        measure(**pair, inputs=coco, labels="boxes", images=STEPS, task="map", task_output="nothing")
