"""Tasks end to end: real models in the sandbox, labels from a data set."""

from dataclasses import fields
from typing import get_args

import numpy as np
import pytest

from qgate.commands import options
from qgate.errors import DataError
from qgate.measure import request, result
from qgate.measure.choose_task import Chooser, OutputShape
from qgate.measure.task import TASKS, plan_task
from qgate.measure.tasks import boxes, readings
from qgate.measure.tasks.base import Options
from qgate.policy import schema
from qgate.policy.values import BoxFormat, Derivation, Metric, Scheme

VECTOR = "g (float[N,6] x) => (float[N,5] y) {y = MatMul(x, w)}"
ROWS = "g (float[N,4,6] x) => (float[N,4,5] y) {y = MatMul(x, w)}"
PLANES = "g (float[N,6,4,4] x) => (float[N,3,4,4] y) {y = Conv(x, w)}"
GENERATOR = np.random.default_rng(11)
TRUTHS = {
    "macro_f1": lambda y: y.argmax(axis=1),
    "neighbours": lambda y: None,
    "recall_at_k": lambda y: y.argmax(axis=1),
    "r2": lambda y: y + 0.1,
    "perplexity": lambda y: y.argmax(axis=2),
    "exact_match": lambda y: y.argmax(axis=2),
    "miou": lambda y: y.argmax(axis=1),
}


@pytest.mark.parametrize("metric", TRUTHS)
def test_a_task_is_measured_in_the_sandbox(metric, model, data, measure):
    rows, planes = metric in ("perplexity", "exact_match"), metric == "miou"
    text = ROWS if rows else PLANES if planes else VECTOR
    weight = GENERATOR.standard_normal((3, 6, 1, 1) if planes else (6, 5)).astype(np.float32)
    x = GENERATOR.standard_normal((40, 4, 6) if rows else (40, 6, 4, 4) if planes else (40, 6))
    x = x.astype(np.float32)
    y = np.einsum("nihw,oi->nohw", x, weight[:, :, 0, 0]) if planes else x @ weight
    truth = TRUTHS[metric](y)
    arrays = {"x": x, "place": np.where(np.arange(40) < 20, "a", "b")}
    if truth is not None:
        arrays["truth"] = truth
    result, found = measure(
        reference=model("reference", text, w=weight),
        candidate=model("candidate", text, w=weight + np.float32(0.05)),
        inputs=data(**arrays),
        labels="truth" if truth is not None else None,
        slices="place",
        task=metric,
        task_options={"k": 2} if metric == "recall_at_k" else {},
    )
    drop = found[("task.metric_drop", None)]
    assert drop.n == result.data.samples == 40
    assert drop.low <= drop.value <= drop.high
    assert drop.detail["metric"] == ("recall_at_2" if metric == "recall_at_k" else metric)
    perfect = {"perplexity": None, "recall_at_k": None, "r2": None}
    if metric not in perfect:
        assert found[("task.metric_reference", None)].value == 1.0
    assert found[("task.mde", None)].value > 0
    assert {at for name, at in found if name == "task.slice_drop"} == {"place=a", "place=b"}


def test_the_policy_knows_every_metric():
    assert set(Metric.__args__) == {*TASKS, "none"}
    # Rooms that may not import each other, or must start quickly, have these words of their own.
    assert tuple(map(get_args, (Metric, Scheme, Derivation))) == (
        options.TASKS,
        options.SCHEMES,
        options.DERIVATIONS,
    )
    assert {*request.UNLABELLED, "none"} == set(schema.UNLABELLED)
    assert request.BOXES == schema.BOXES
    assert set(schema.OPTIONS) == {each.name for each in fields(Options)}
    assert boxes.FORMATS == get_args(BoxFormat) == get_args(result.BoxFormat)
    assert get_args(result.Scale) == readings.SCALES


SCORES = OutputShape("y", (5,), np.dtype("f4"))
PLANE = OutputShape("p", (3, 4, 4), np.dtype("f4"))
TEXT = OutputShape("t", (7, 5), np.dtype("f4"))


@pytest.mark.parametrize(
    ("metric", "output", "truth", "options", "says"),
    [
        ("macro_f1", SCORES, np.full(3, 5), {}, "range from 5 to 5"),
        ("macro_f1", SCORES, np.full(3, 0.5), {}, "not one whole number"),
        ("perplexity", TEXT, np.full((3, 7), 0.5), {}, "not whole numbers"),
        ("recall_at_k", PLANE, np.zeros(3, int), {}, "need vectors"),
        ("recall_at_k", SCORES, np.zeros((3, 2), int), {}, "not one whole number"),
        ("perplexity", TEXT, np.full((3, 7), 5), {}, "reach 5, the model has 5 tokens"),
        ("perplexity", TEXT, np.full((3, 7), -100), {}, "name no token"),
        ("perplexity", TEXT, np.zeros((3, 6), int), {}, r"need logits of \[6\] positions"),
        ("miou", PLANE, np.full((3, 4, 4), 255), {"ignore": 255}, "name no class"),
        ("miou", PLANE, np.full((3, 4, 4), 255), {}, "reach 255, the model has 3 classes"),
        ("miou", PLANE, np.zeros((3, 5, 4), int), {}, r"need classes of \[5, 4\] places"),
        ("cer", TEXT, np.zeros(3, int), {}, "not a row of symbols"),
        ("cer", SCORES, np.zeros((3, 2), int), {}, "need scores of symbols"),
        ("cer", TEXT, np.zeros((3, 2), int), {"text": "ids"}, "need ids of symbols"),
        ("mae", SCORES, np.zeros((3, 2)), {}, "fit no output"),
        ("bleu", SCORES, np.zeros(3, int), {}, "which there is not"),
    ],
)
def test_labels_that_do_not_fit_are_refused(metric, output, truth, options, says):
    with pytest.raises(DataError, match=says):
        Chooser("data.npz", "truth", [output], None, Options.of(options)).choose(metric, truth)


def test_of_several_outputs_the_first_that_fits_is_taken_and_told():
    choose = Chooser("data.npz", "", [PLANE, SCORES, SCORES], None)
    task, position, truth = choose.choose("neighbours", None)
    assert (task.metric, position, truth) == ("neighbours", 1, None)
    assert "several outputs" in choose.remarks[0]


@pytest.mark.parametrize(("elements", "fits"), [(536, True), (537, False)])
def test_more_vectors_than_are_held_are_refused(elements, fits):
    class Wanted:
        label = "data.npz"

    outputs = [OutputShape("v", (elements,), np.dtype("f4"))]
    asked = {"labels": None, "slices": None, "task": "neighbours", "wanted_output": None, "outputs": outputs}
    if fits:
        assert plan_task(Wanted(), count=500_000, **asked)[0].task.metric == "neighbours"
        return
    with pytest.raises(
        DataError, match=r"500,000 samples take 2.0 GiB, and 2 GiB are held. Give 499,8\d\d samples"
    ):
        plan_task(Wanted(), count=500_000, **asked)
