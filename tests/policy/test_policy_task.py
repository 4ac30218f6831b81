"""The task of a target: options that say nothing for its metric, labels that it needs, functions that belong to it."""

import pytest

from qgate.errors import PolicyError
from qgate.policy.load import load_policy


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ("{metric: top1, k: 3}", "`k` says nothing for the metric top1"),
        ("{metric: cer, text: argmax, blank: 0}", "a blank belongs to `text: ctc`"),
        ("{metric: topk, k: 0}", "must be more than 0"),
        ("{metric: accuracy}", "accuracy"),
        ("{metric: macro_f1}", "needs labels"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused(task, says):
    text = f"version: 1\ntargets:\n- {{name: a, candidate: a.onnx, reference: b.onnx, task: {task}}}\n"
    text = text if "labels" in says else text.replace("task:", "data: {inputs: d.npz, labels: y}, task:")
    with pytest.raises(PolicyError, match=says):
        load_policy(text.encode(), "qgate.yml")


def test_neighbours_need_no_labels():
    target = (
        "{name: a, candidate: a.onnx, reference: b.onnx, data: {inputs: d.npz}, task: {metric: neighbours}}"
    )
    text = f"version: 1\ntargets:\n- {target}\n"
    assert load_policy(text.encode(), "qgate.yml").targets[0].task.metric == "neighbours"


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ("{metric: python}", "needs a function"),
        ("{metric: top1, python: 'own.py:score'}", "has no use for a function"),
        ("{metric: decoded, python: 'own.py:decode', output: y}", "is given all outputs"),
        ("{metric: decoded, python: 'own.py:decode', better: lower}", "says nothing for the metric decoded"),
    ],
)
def test_a_function_belongs_to_its_metrics(task, says):
    data = "data: {inputs: d.npz, labels: y}"
    text = (
        f"version: 1\ntargets:\n- {{name: a, candidate: a.onnx, reference: b.onnx, {data}, task: {task}}}\n"
    )
    with pytest.raises(PolicyError, match=says):
        load_policy(text.encode(), "qgate.yml")
