"""What is true of a candidate: both models on samples that qgate never sees, counted with numpy alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from verdicts_models import DOMAINS, Problem

ORACLE = 50_000
ONE_BY_ONE = 10_000
"""Samples of dynamically quantized models: their answers depend on the batch, so each sample is run alone."""

GALLERY = 1000
"""Neighbours are sought among so many, as qgate is given; the figure is the mean over all such groups."""

BATCH = 2500


@dataclass(frozen=True)
class Truth:
    """How much worse the candidate is.

    Args:
        reference: The reference's metric; ``candidate`` likewise.
        worse: Drop of the metric, or growth of an error as a share of the reference's.
        worst_class: The worst class's drop of recall, or of intersection over union; 0 for tasks without classes.
        worst_slice: The worst slice's drop or growth.
        samples: How many it was measured on.
    """

    reference: float
    candidate: float
    worse: float
    worst_class: float
    worst_slice: float
    samples: int


class Oracle:
    """Samples of a problem, and what the reference says of them.

    Args:
        problem: The task.
        reference: Its model.
        count: How many samples are drawn.
    """

    def __init__(self, problem: Problem, reference: Path, count: int = ORACLE) -> None:
        self._problem = problem
        self._x, self._y, self._domain = problem.draw(count)
        self._scores = self._of(run(reference, self._x), count)

    def truth(self, candidate: Path, most: int = ORACLE) -> Truth:
        """The truth of a candidate, on the first samples of at most ``most``."""
        alone = any(node.op_type == "DynamicQuantizeLinear" for node in onnx.load(candidate).graph.node)
        count = min(len(self._x), most, ONE_BY_ONE if alone else most)
        mine = self._of(run(candidate, self._x[:count], 1 if alone else BATCH), count)
        base = self._scores[:count]
        error = self._problem.task == "mae"
        slices = [self._domain[:count] == each for each in range(DOMAINS)]
        return Truth(
            _whole(base), _whole(mine), _worse(base, mine, error=error),
            max((_worse(*pair, error=error) for pair in self._by_class(base, mine)), default=0.0),
            max(_worse(base[each], mine[each], error=error) for each in slices), count,
        )  # fmt: skip

    def _by_class(self, base: np.ndarray, mine: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """What both have of each class."""
        for each in range(self._problem.classes):
            if self._problem.task == "miou":
                yield base[..., [each]], mine[..., [each]]
            elif self._problem.task == "top1":
                held = self._y[: len(base)] == each
                yield base[held], mine[held]

    def _of(self, out: np.ndarray, count: int) -> np.ndarray:
        """Of each sample: right or wrong, or its mean error; or what it has in common with the labels, see ``_overlaps``."""
        y = self._y[:count]
        if self._problem.task == "miou":
            return _overlaps(out.reshape(count, self._problem.classes, -1), y.reshape(count, -1))
        if self._problem.task == "mae":
            return np.asarray(np.abs(out - y).mean(axis=1), np.float64)
        if self._problem.task == "top1":
            return np.asarray(out.argmax(axis=1) == y, np.float64)
        return np.concatenate([_nearest(out[part], y[part]) for part in _groups(count)])


def _whole(scores: np.ndarray) -> float:
    """The metric of samples: their mean, or the mean of the classes' intersections over unions, each summed first."""
    if scores.ndim == 1:
        return float(scores.mean())
    both, either = scores.sum(axis=0)
    there = either > 0
    return float((both[there] / either[there]).mean())


def _overlaps(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Places of each class that both name and that either names, [samples, 2, classes].

    Args:
        scores: Of each class at each place, [samples, classes, places]; a place without a number is of no class.
        labels: The class of each place, [samples, places].
    """
    told = np.where(np.isfinite(scores).all(axis=1), scores.argmax(axis=1), -1)
    found = np.zeros((len(labels), 2, scores.shape[1]))
    for each in range(scores.shape[1]):
        said, true = told == each, labels == each
        found[:, 0, each] = np.count_nonzero(said & true, axis=1)
        found[:, 1, each] = np.count_nonzero(said | true, axis=1)
    return found


def _worse(base: np.ndarray, mine: np.ndarray, *, error: bool) -> float:
    before, after = _whole(base), _whole(mine)
    if not np.isfinite(after):
        return float("inf")
    return (after - before) / before if error else before - after


def _groups(count: int) -> Iterator[slice]:
    for start in range(0, count, GALLERY):
        yield slice(start, min(start + GALLERY, count))


def _nearest(vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether the nearest other vector, by cosine, is of the same class."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(length > 0, length, 1)
    near = unit @ unit.T
    np.fill_diagonal(near, -2)
    return np.asarray(labels[near.argmax(axis=1)] == labels, np.float64)


def run(model: Path, x: np.ndarray, batch: int = BATCH) -> np.ndarray:
    """The model's output, [samples, elements], with products of bytes that do not saturate."""
    session = _session(model)
    given = session.get_inputs()[0]
    half = given.type == "tensor(float16)"
    found = []
    for start in range(0, len(x), batch):
        part = x[start : start + batch]
        found.append(session.run(None, {given.name: part.astype(np.float16) if half else part})[0])
    out: np.ndarray = np.concatenate(found).astype(np.float32)
    return out.reshape(len(x), -1)


def _session(model: Path) -> Any:
    """Some valid files fail in the rewrite for exact products: those run as they are written."""
    levels = onnxruntime.GraphOptimizationLevel
    for level in (levels.ORT_ENABLE_ALL, levels.ORT_DISABLE_ALL):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        options.graph_optimization_level = level
        options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception:
            if level == levels.ORT_DISABLE_ALL:
                raise
    raise AssertionError
