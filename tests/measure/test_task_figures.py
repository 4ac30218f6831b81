"""Figures of every task against well-kept libraries and against definitions, on records cut anyhow."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from qgate.measure.behaviour import TaskPlan, TaskRecord
from qgate.measure.tasks.base import Options
from qgate.measure.tasks.classification import Classification
from qgate.measure.tasks.embedding import Embedding
from qgate.measure.tasks.regression import Regression
from qgate.measure.tasks.segmentation import Segmentation
from qgate.measure.tasks.text import Written
from qgate.measure.tasks.tokens import Tokens
from qgate.records import Outcomes


def run(task, reference, candidate, truth, slices=None, cuts=(7, 30)):
    """The state of a task whose samples came in several chunks."""
    plan = TaskPlan(task, 0, truth, slices)
    whole = plan.start()
    edges = (0, *(cut for cut in cuts if cut < len(reference)), len(reference))
    for first, last in pairwise(edges):
        part = plan.start()
        part.add(reference[first:last], candidate[first:last], first)
        whole.merge(part)
    return whole.state()


def by_metric(state):
    return {each["metric"]: each for each in state["figures"]}


@pytest.fixture(scope="module")
def scores():
    generator = np.random.default_rng(3)
    truth = generator.integers(0, 7, 400)
    reference = generator.standard_normal((400, 7)) + 2.5 * np.eye(7)[truth]
    return truth, reference, reference + 0.7 * generator.standard_normal((400, 7))


def test_classification_is_what_scikit_learn_says(scores):
    truth, reference, candidate = scores
    found = by_metric(run(Classification("macro_f1", "scores", 3, 7), *scores[1:], truth))
    assert list(found) == ["macro_f1", "top1", "top3", "balanced_accuracy", "ece"]
    for side, values in (("reference", reference), ("candidate", candidate)):
        told = values.argmax(axis=1)
        assert found["macro_f1"][side] == pytest.approx(metrics.f1_score(truth, told, average="macro"))
        assert found["balanced_accuracy"][side] == pytest.approx(metrics.balanced_accuracy_score(truth, told))
        assert found["top1"][side] == pytest.approx(metrics.accuracy_score(truth, told))
        top = metrics.top_k_accuracy_score(truth, values, k=3)
        assert found["top3"][side] == pytest.approx(top)
    for figure in found.values():
        assert figure["low"] < figure["drop"] < figure["high"]
        assert abs(figure["drop"]) == pytest.approx(abs(figure["reference"] - figure["candidate"]))


def test_classes_that_are_predicted_and_no_label_count_for_f1():
    scores = np.eye(4)[[0, 1, 3, 3]]
    truth = np.array([0, 1, 1, 0])
    found = by_metric(run(Classification("macro_f1", "scores", 5, 4), scores, scores, truth))
    told = metrics.f1_score(truth, [0, 1, 3, 3], average="macro")
    assert found["macro_f1"]["reference"] == pytest.approx(told)
    assert "top5" not in found


def test_the_calibration_error_is_that_of_its_bins(scores):
    truth, reference, _ = scores
    found = by_metric(run(Classification("ece", "scores", 5, 7), reference, reference / 3, truth))
    chances = np.exp(reference) / np.exp(reference).sum(axis=1, keepdims=True)
    sure, right = chances.max(axis=1), chances.argmax(axis=1) == truth
    total = 0.0
    for low in np.arange(4) / 4:
        held = (sure > low) & (sure <= low + 1 / 4)
        total += abs(sure[held].sum() - right[held].sum())
    assert found["ece"]["reference"] == pytest.approx(total / 400)
    assert found["top1"]["drop"] == 0
    assert found["ece"]["drop"] > 0, "a model that doubts what it knows is worse calibrated"


def test_records_do_not_depend_on_how_samples_are_cut(scores):
    truth, reference, candidate = scores
    task = Classification("balanced_accuracy", "scores", 3, 7)
    slices = np.where(np.arange(400) % 3, "day", "night")
    assert run(task, reference, candidate, truth, slices) == run(
        task, reference, candidate, truth, slices, (1, 399)
    )


def test_what_did_not_change_is_not_certain():
    scores, truth = np.eye(2)[np.arange(40) % 2], np.arange(40) % 2
    for metric in ("macro_f1", "balanced_accuracy", "top1"):
        found = by_metric(run(Classification(metric, "scores", 5, 2), scores, scores, truth))[metric]
        assert found["drop"] == 0
        assert found["high"] > 0.05, "one sample in twenty could be lost, and forty would not show it"


@pytest.mark.parametrize("metric", ["macro_f1", "balanced_accuracy", "ece"])
def test_the_bootstrap_covers_the_truth(metric):
    """The drop of a large sample lies within the intervals of small ones, nearly as often as it should."""
    generator = np.random.default_rng(5)

    def draw(n):
        truth = generator.integers(0, 4, n)
        reference = generator.standard_normal((n, 4)) + 1.5 * np.eye(4)[truth]
        return truth, reference, reference + 0.8 * generator.standard_normal((n, 4))

    task = Classification(metric, "scores", 5, 4)
    truth, *sides = draw(100_000)
    columns, _ = task.records(*sides, truth)
    right = task.figure(columns).drop
    if metric == "ece":  # with as few bins as a small sample has
        halves = {side: columns[f"sure_{side}"] > 0.5 for side in "rc"}
        gaps = {side: columns[f"sure_{side}"] - (columns[f"class_{side}"] == truth) for side in "rc"}
        error = {s: abs(gaps[s][halves[s]].sum()) + abs(gaps[s][~halves[s]].sum()) for s in "rc"}
        right = (error["c"] - error["r"]) / len(truth)
    covered = 0
    for _ in range(100):
        truth, *sides = draw(250)
        found = task.figure(task.records(*sides, truth)[0])
        covered += found.low <= right <= found.high
    assert covered >= 86


def test_a_prediction_that_is_not_finite_is_wrong():
    record = TaskRecord(TaskPlan(Classification("top1", "scores", 5, 2), 0, np.array([0, 1])))
    record.add(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[np.nan, 0.0], [0.0, 1.0]]), 0)
    found = record.state()
    assert (found["figures"][0]["lost"], found["figures"][0]["candidate"]) == (1, 0.5)
    assert found["confusion"] == [[0, -1, 1]]


def test_which_answers_turn_into_which_is_told_and_kept(scores):
    truth, reference, candidate = scores
    found = run(Classification("top1", "scores", 5, 7), reference, candidate, truth)
    a, b = reference.argmax(axis=1), candidate.argmax(axis=1)
    assert found["changes"] == np.count_nonzero(a != b)
    first, second, count = found["confusion"][0]
    assert count == np.count_nonzero((a == first) & (b == second)) > 0
    kept = Outcomes.model_validate(found["outcomes"])
    assert kept.answers("reference") == tuple(a) and kept.answers("candidate") == tuple(b)
    assert kept.right("reference") == list(a == truth)
    assert kept.right("candidate") == list(b == truth)
    assert len(found["outcomes"]["candidate"]) == 68, "fifty bytes for four hundred samples"


def test_regression_is_what_scikit_learn_says():
    generator = np.random.default_rng(0)
    truth = generator.standard_normal((90, 3))
    a, b = (truth + scale * generator.standard_normal((90, 3)) for scale in (0.2, 0.3))
    found = by_metric(run(Regression("r2", truth.mean(axis=0)), a, b, truth))
    assert list(found) == ["r2", "mae", "rmse"]
    for side, values in (("reference", a), ("candidate", b)):
        r2 = metrics.r2_score(truth, values, multioutput="variance_weighted")
        assert found["r2"][side] == pytest.approx(r2)
        assert found["mae"][side] == pytest.approx(metrics.mean_absolute_error(truth, values))
        assert found["rmse"][side] == pytest.approx(math.sqrt(metrics.mean_squared_error(truth, values)))
    assert all(each["drop"] > 0 for each in found.values())
    expected = stats.ttest_rel(np.abs(b - truth).mean(axis=1), np.abs(a - truth).mean(axis=1))
    interval = expected.confidence_interval()
    assert (found["mae"]["low"], found["mae"]["high"]) == pytest.approx(
        (interval.low, interval.high), abs=1e-4
    )


def test_an_error_that_is_not_finite_is_broken_not_dropped():
    record = TaskRecord(TaskPlan(Regression("mae", np.zeros(1)), 0, np.zeros((2, 1))))
    record.add(np.array([[1.0], [2.0]]), np.array([[np.inf], [1.0]]), 0)
    found = record.state()
    assert (found["broken"], found["n"], found["figures"]) == (1, 1, [])


def test_perplexity_is_the_exponent_of_the_mean_loss_of_the_judged_tokens():
    generator = np.random.default_rng(0)
    logits = generator.standard_normal((12, 5, 9))
    noisy = logits + 0.3 * generator.standard_normal((12, 5, 9))
    truth = generator.integers(0, 9, (12, 5))
    truth[0, :3], truth[1, 0] = -100, 8
    found = by_metric(run(Tokens("perplexity", "scores", 8), logits, noisy, truth, cuts=(5,)))
    judged = (truth >= 0) & (truth != 8)
    for side, values in (("reference", logits), ("candidate", noisy)):
        loss = metrics.log_loss(truth[judged], _softmax(values[judged]), labels=range(9))
        assert found["perplexity"][side] == pytest.approx(math.exp(loss))
    same = (logits.argmax(axis=2) == noisy.argmax(axis=2))[judged].mean()
    assert found["same_top"]["candidate"] == pytest.approx(same)
    p, q = _softmax(logits[judged]), _softmax(noisy[judged])
    assert found["divergence"]["candidate"] == pytest.approx(stats.entropy(p, q, axis=1).mean())


def _softmax(values):
    shifted = np.exp(values - values.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def test_neighbours_are_those_of_scikit_learn():
    from sklearn.neighbors import NearestNeighbors

    generator = np.random.default_rng(1)
    truth = generator.integers(0, 12, 150)
    vectors = generator.standard_normal((12, 16))[truth] + 0.9 * generator.standard_normal((150, 16))
    noisy = vectors + 0.4 * generator.standard_normal((150, 16))
    found = by_metric(run(Embedding("recall_at_k", 2), vectors, noisy, truth))
    near = {}
    for side, values in (("reference", vectors), ("candidate", noisy)):
        search = NearestNeighbors(n_neighbors=3, metric="cosine").fit(values)
        near[side] = search.kneighbors(values, return_distance=False)[:, 1:]
        hits = (truth[near[side]] == truth[:, np.newaxis]).any(axis=1)
        assert found["recall_at_2"][side] == pytest.approx(hits.mean())
    same = (near["reference"][:, 0] == near["candidate"][:, 0]).mean()
    assert found["neighbours"]["candidate"] == pytest.approx(same, abs=0.02), "near ties apart"
    assert by_metric(run(Embedding("neighbours", 2), vectors, vectors, None))["neighbours"]["candidate"] == 1


@pytest.mark.parametrize("as_scores", [True, False])
def test_intersections_are_those_of_scikit_learn(as_scores):
    generator = np.random.default_rng(2)
    truth = generator.integers(0, 3, (20, 6, 6))
    truth[0, 0] = 255
    a, b = (np.where(generator.random(truth.shape) < share, truth % 255, 1) for share in (0.9, 0.7))
    sides = [np.moveaxis(np.eye(3)[each], -1, 1) if as_scores else each for each in (a, b)]
    state = run(Segmentation("miou", 3, 255), *sides, truth)
    found, held = by_metric(state), truth != 255
    for side, told in (("reference", a), ("candidate", b)):
        scores = metrics.jaccard_score(truth[held], told[held], average=None)
        assert found["miou"][side] == pytest.approx(scores.mean())
        assert state["classes"]["2"][side] == pytest.approx(scores[2])
        assert found["pixel_accuracy"][side] == pytest.approx((truth == told)[held].mean())


def blurred(share, seed=6, n=120):
    """Labels with classes in halves, and what a model that errs in a share of the places answers."""
    generator = np.random.default_rng(seed)
    truth = np.where(np.arange(12) < generator.integers(3, 10, (n, 1, 1)), 0, 1) + np.zeros(
        (n, 12, 12), np.int64
    )
    return truth, np.where(generator.random(truth.shape) < share, 1 - truth, truth)


def test_many_small_changes_of_places_are_told_as_what_they_are():
    """The interval is that of a plain paired bootstrap over the images, not one of images that are right or wrong."""
    truth, reference = blurred(0.05)
    candidate = np.where(blurred(0.03, seed=7)[1] != blurred(0.03, seed=7)[0], 1 - reference, reference)
    found = by_metric(run(Segmentation("miou", 2, None), reference, candidate, truth))["miou"]

    def overlaps(told):
        return np.array(
            [
                [((t == c) & (y == c)).sum() for c in (0, 1)] + [((t == c) | (y == c)).sum() for c in (0, 1)]
                for t, y in zip(told, truth, strict=True)
            ]
        )

    def mean(parts):
        whole = parts.sum(axis=0)
        return (whole[:2] / whole[2:]).mean()

    a, b, generator = overlaps(reference), overlaps(candidate), np.random.default_rng(0)
    drawn = [mean(a[k]) - mean(b[k]) for k in generator.integers(0, len(a), (2000, len(a)))]
    low, high = np.quantile(drawn, (0.025, 0.975))
    assert found["drop"] == pytest.approx(mean(a) - mean(b))
    assert found["low"] <= low + 0.1 * (high - low) and high - 0.1 * (high - low) <= found["high"]
    assert found["high"] - found["low"] < 4 * (high - low)
    assert found["low"] > 0.02, "a drop of four points is told"


def test_segmentation_that_did_not_change_is_not_certain():
    truth, told = blurred(0.05, n=40)
    state = run(Segmentation("miou", 2, None), told, told, truth)
    assert by_metric(state)["miou"]["drop"] == 0
    assert by_metric(state)["miou"]["high"] > 0.05, (
        "one image in twenty could be lost, and forty would not show it"
    )


def test_a_class_that_no_label_names_is_an_error_of_the_model_and_no_broken_sample():
    truth, told = blurred(0.05)
    strange = told.copy()
    strange[:, 0, 0] = 7
    state = run(Segmentation("miou", 2, None), told, strange, truth)
    assert state["broken"] == 0
    found = by_metric(state)
    each = metrics.jaccard_score(truth.reshape(-1), strange.reshape(-1), labels=[0, 1], average=None)
    assert found["miou"]["candidate"] == pytest.approx(each.mean())
    assert found["miou"]["drop"] < 0.01, "one place in 144 is no class"
    assert found["pixel_accuracy"]["drop"] > 0
    assert list(state["classes"]) == ["0", "1"]
    assert run(Segmentation("miou", 2, None), told, told - 1, truth)["broken"] == len(truth)


def test_texts_are_read_and_compared_by_their_edits():
    rows = np.array([[1, 1, 0, 1, 2], [2, 0, 0, 3, 3]])
    logits = np.eye(4)[rows]
    truth = np.array([[1, 1, 2], [2, 3, -1]])
    found = run(Written("cer", Options(text="ctc", blank=0)), logits, logits, truth, cuts=())
    assert [each["reference"] for each in found["figures"]] == [0.0, 1.0], "repeats and blanks are no symbols"
    other = np.eye(4)[np.array([[1, 1, 0, 1, 3], [2, 0, 0, 3, 3]])]
    found = by_metric(run(Written("cer", Options(text="ctc", blank=0)), logits, other, truth, cuts=()))
    assert found["cer"]["candidate"] == pytest.approx(1 / 5)
    assert (found["exact_match"]["lost"], found["exact_match"]["candidate"]) == (1, 0.5)
    ids = by_metric(run(Written("cer", Options(text="ids")), rows, rows, truth, cuts=()))
    assert ids["cer"]["reference"] == pytest.approx((2 + 3) / 5), (
        "zero is a symbol where nothing says otherwise"
    )


def test_a_sample_that_no_task_can_read_is_broken():
    for task, truth in (
        (Written("cer", Options()), np.zeros((3, 2), np.int64)),
        (Tokens("perplexity", "scores", None), np.zeros((3, 2), np.int64)),
        (Segmentation("miou", 3, None), np.zeros((3, 2), np.int64)),
        (Classification("top1", "scores", 5, 2), np.zeros(3, np.int64)),
    ):
        record = TaskRecord(TaskPlan(task, 0, truth))
        good, bad = np.zeros((3, 2, 3)), [np.zeros((2, 3)), np.full((2, 3), np.nan), np.zeros((4, 3))]
        record.add(good, bad, 0)
        assert record.state()["figures"] == []
        assert record.broken >= 1


def known(metric):
    """A task, what a model answers that knows its labels, and these labels."""
    generator = np.random.default_rng(8)
    if metric in ("mae", "rmse", "r2"):
        truth = generator.standard_normal((200, 2))
        task = Regression(metric, truth.mean(axis=0))
        return task, truth + 0.5 * generator.standard_normal((200, 2)), truth
    if metric == "recall_at_k":
        truth = generator.integers(0, 8, 200)
        return Embedding(metric, 1), np.eye(8)[truth] + 0.2 * generator.standard_normal((200, 8)), truth
    if metric == "perplexity":
        truth = generator.integers(0, 12, (60, 5))
        return (
            Tokens(metric, "scores", None),
            2 * np.eye(12)[truth] + generator.standard_normal((60, 5, 12)),
            truth,
        )
    if metric in ("miou", "pixel_accuracy"):
        truth = generator.integers(0, 3, (60, 4, 4))
        scores = np.moveaxis(np.eye(3)[truth], -1, 1) + 0.4 * generator.standard_normal((60, 3, 4, 4))
        return Segmentation(metric, 3, None), scores, truth
    if metric in ("cer", "exact_match"):
        truth = generator.integers(1, 30, (60, 6))
        return Written(metric, Options()), np.eye(30)[truth], truth
    truth = generator.choice(6, 200, p=(0.4, 0.2, 0.1, 0.1, 0.1, 0.1))
    return (
        Classification(metric, "scores", 2, 6),
        2 * np.eye(6)[truth] + generator.standard_normal((200, 6)),
        truth,
    )


METRICS = (
    *(
        "top1",
        "topk",
        "balanced_accuracy",
        "macro_f1",
        "ece",
        "mae",
        "rmse",
        "r2",
        "recall_at_k",
        "perplexity",
    ),
    *("miou", "pixel_accuracy", "cer", "exact_match"),
)


@pytest.mark.parametrize("metric", METRICS)
def test_labels_that_belong_are_told_from_those_that_do_not(metric):
    task, outputs, truth = known(metric)
    belongs = run(task, outputs, outputs, truth)["chance"]
    assert belongs["low"] > 0
    assert belongs["reference"] != belongs["candidate"]
    dealt = np.random.default_rng(1).permutation(len(truth))
    shuffled = run(task, outputs, outputs, truth[dealt])["chance"]
    assert shuffled["low"] <= 0


def test_chance_is_what_knows_nothing_of_the_inputs(scores):
    truth, reference, _ = scores
    labels, counts = np.unique(truth, return_counts=True)
    share = counts.max() / len(truth)
    most = labels[counts.argmax()]
    for metric, wanted in (
        ("top1", share),
        ("ece", share),
        ("topk", np.sort(counts)[-3:].sum() / len(truth)),
        ("balanced_accuracy", 1 / 7),
        ("macro_f1", metrics.f1_score(truth, np.full(len(truth), most), average="macro")),
    ):
        found = run(Classification(metric, "scores", 3, 7), reference, reference, truth)["chance"]
        assert found["candidate"] == pytest.approx(wanted), metric
    values = np.random.default_rng(0).standard_normal(50)[:, np.newaxis]
    task = Regression("rmse", values.mean(axis=0))
    assert run(task, values, values, values)["chance"]["candidate"] == pytest.approx(values.std())


def test_without_labels_there_is_no_chance():
    vectors = np.random.default_rng(0).standard_normal((30, 4))
    assert run(Embedding("neighbours", 1), vectors, vectors, None)["chance"] is None
