"""Tasks of the trusted side's own code, in the sandbox, and what they may return."""

import numpy as np
import pytest

from qgate.errors import MeasureError
from qgate.measure.behaviour import TaskPlan
from qgate.measure.plugin import Plugin, PluginError
from qgate.measure.tasks.plugin import Decoded, Scored

TWO = "g (float[N,6] x) => (float[N,5] y, float[N,2] z) {y = MatMul(x, w)  z = MatMul(x, v)}"
CODE = """
import numpy as np

def right(outputs, labels):
    assert set(outputs) == {"y", "z"}
    return outputs["y"].argmax(axis=1) == labels

def distance(outputs, labels):
    return np.abs(outputs["z"]).sum(axis=1)

def words(outputs):
    return ["ab"[int(row.argmax())] + str(int(best)) for row, best in zip(outputs["z"], outputs["y"].argmax(axis=1))]

def broken(outputs, labels):
    raise ValueError("no such plate")
"""


@pytest.fixture
def pair(model, data, stage):
    generator = np.random.default_rng(7)
    x = generator.standard_normal((30, 6)).astype(np.float32)
    w, v = (
        generator.standard_normal((6, 5)).astype(np.float32),
        generator.standard_normal((6, 2)).astype(np.float32),
    )
    folder = stage / "code"
    folder.mkdir()
    (folder / "own.py").write_text(CODE)
    folder.chmod(0o755)
    (folder / "own.py").chmod(0o644)
    noise = generator.standard_normal((6, 5)).astype(np.float32)
    request = {
        "reference": model("reference", TWO, w=w, v=v),
        "candidate": model("candidate", TWO, w=w + 0.3 * noise, v=v),
        "inputs": data(x=x, label=(x @ w).argmax(axis=1), place=np.arange(30) % 2),
    }

    def with_code(function, **more):
        plugin = Plugin(folder, "own", function, False, f"own.py:{function}")
        return {**request, "code": {"task": plugin}, **more}

    return with_code


def test_a_function_scores_every_sample(pair, measure):
    result, found = measure(**pair("right", labels="label", slices="place", task="python"))
    drop = found[("task.metric_drop", None)]
    assert drop.detail["metric"] == "score"
    assert found[("task.metric_reference", None)].value == 1.0
    assert drop.value == found[("task.flips_to_wrong", None)].value / 30 > 0
    assert result.outcomes is None, "scores are no answers"
    assert {at for name, at in found if name == "task.slice_drop"} == {"place=0", "place=1"}


def test_lower_can_be_better_and_labels_are_not_needed(pair, measure):
    _, found = measure(**pair("distance", task="python", task_options={"better": "lower"}))
    drop = found[("task.metric_drop", None)]
    assert drop.detail["metric"] == "error"
    assert (drop.value, drop.low, drop.high) == (0.0, 0.0, 0.0)


def test_answers_are_compared_after_decoding(pair, measure):
    _, found = measure(**pair("words", task="decoded"))
    share = found[("task.metric_candidate", None)].value
    assert 0.5 < share < 1
    assert found[("task.metric_drop", None)].value == pytest.approx(1 - share)


def test_what_it_raises_is_told(pair, measure):
    with pytest.raises(MeasureError, match="broken raised ValueError: no such plate"):
        measure(**pair("broken", labels="label", task="python"))


OUTPUTS = {"y": np.zeros((3, 2))}


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ([1.0, 2.0], r"returned shape \[2\] for 3 samples"),
        ("abc", "no numbers"),
        (np.zeros((3, 1)), "shape"),
        (1.0, "shape"),
    ],
)
def test_scores_are_one_number_a_sample(told, says):
    with pytest.raises(PluginError, match=says):
        Scored(lambda *_: told, "own.py:score", lower=False).records(OUTPUTS, OUTPUTS, None)


def test_answers_are_one_for_each_sample_and_of_any_kind():
    with pytest.raises(PluginError, match="2 answers for 3 samples"):
        Decoded(lambda _: [1, 2], "own.py:decode").records(OUTPUTS, OUTPUTS, None)
    with pytest.raises(PluginError, match="no sequence"):
        Decoded(lambda _: 7, "own.py:decode").records(OUTPUTS, OUTPUTS, None)
    boxes = Decoded(lambda outputs: [np.arange(3), "plate", (1, 2)], "own.py:decode")
    assert boxes.records(OUTPUTS, OUTPUTS, None)[0]["same"].all()


def test_a_score_that_is_not_finite_is_broken():
    scores = iter([[1.0, 2.0, 3.0], [1.0, np.nan, 3.0]])
    record = TaskPlan(Scored(lambda *_: next(scores), "own.py:score", lower=False), None).start()
    record.add(OUTPUTS, OUTPUTS, 0)
    assert (record.broken, record.state()["figures"]) == (1, [])
