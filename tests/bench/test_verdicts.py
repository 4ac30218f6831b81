"""The bench of verdicts: its oracle is its own, its counts are what they say, and a run goes on where it ended."""

import importlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch", reason="of the extra `torch`")

BENCH = Path(__file__).resolve().parents[2] / "bench"
NAMES = ("cases", "damage", "models", "nets", "oracle", "runs", "tables", "tools")


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(BENCH))
    try:
        found = {name: importlib.import_module(f"verdicts_{name}") for name in NAMES}
        yield SimpleNamespace(main=importlib.import_module("verdicts"), **found)
    finally:
        sys.path.remove(str(BENCH))


@pytest.fixture(scope="module")
def problem(bench):
    return bench.models.Problem(1, "mlp")


@pytest.fixture(scope="module")
def places(bench):
    return bench.models.Problem(2, "segmentation")


def outcome(bench, number, verdict, worse, *, honest=False, other=None, scheme="int8"):
    def told(word):
        return {p: {"verdict": word, "behaviour": word, "blocking": ["X"]} for p in bench.tables.PROFILES}

    truth = {"metric": "top1", "worse": worse, "worst_class": 0.0, "worst_slice": 0.0}
    found = bench.cases.Outcome(number, f"case {number}", honest, "tool", "mlp", "" if honest else "noise")
    found.truth, found.scheme, found.runs = truth, scheme, {"2 threads": told(verdict)}
    if other:
        found.runs["1 thread"] = told(other)
    return found


def test_blocks_and_misses_are_counted_by_what_is_true(bench):
    outcomes = [
        outcome(bench, 0, "FAIL", 0.0, honest=True),
        outcome(bench, 2, "PASS", 0.0, honest=True),
        outcome(bench, 4, "PASS", 0.0, honest=True, scheme="int4"),
        outcome(bench, 6, "PASS", 0.3, honest=True, other="PASS"),  # the oracle says that it is none
        outcome(bench, 1, "PASS", 0.3, other="FAIL"),
        outcome(bench, 3, "INCONCLUSIVE", 0.3),
        outcome(bench, 5, "FAIL", 0.001),
    ]
    lines = list(bench.tables.tables(outcomes))
    cells = next(line for line in lines if line.startswith("| balanced |")).split("|")
    assert [cell.split(" (")[0].strip() for cell in cells[2:7]] == ["1 of 2", "1 of 3", "2 of 3", "0", "1"]
    flips = next(line for line in lines if line.startswith("| 1 thread |"))
    assert "| 2 | 1 of 2 " in flips
    assert "- 0: case 0: X" in lines
    assert [line for line in lines if line.startswith("- 1: case 1 (15.00 times")]


def test_damage_is_what_a_profile_forbids_of_metric_class_or_slice(bench):
    truth = {"metric": "top1", "worse": 0.01, "worst_class": 0.0, "worst_slice": 0.0}
    assert bench.cases.severity(truth, "balanced", "int8") == pytest.approx(0.5)
    assert bench.cases.severity(truth, "strict", "int8") == pytest.approx(2)
    assert bench.cases.severity({**truth, "worst_class": 0.3}, "balanced", "int8") == pytest.approx(2)
    assert bench.cases.severity({**truth, "worst_slice": 0.6}, "balanced", "int8") == pytest.approx(4)
    assert bench.cases.severity(
        {**truth, "metric": "mae", "worse": 0.3}, "balanced", "int8"
    ) == pytest.approx(3)


def test_a_run_goes_on_where_it_ended_and_shares_leave_nothing_out(bench, tmp_path):
    path = tmp_path / "cases.jsonl"
    assert bench.main.load(path) == []
    whole = outcome(bench, 2, "PASS", 0.0, honest=True)
    line = json.dumps(asdict(whole))
    path.write_text(f"{line}\n{line[:50]}", encoding="utf-8")
    assert bench.main.load(path) == [whole]
    parts = [list(bench.main.numbers(6, 10, f"{i}/3")) for i in (1, 2, 3)]
    assert sorted(number for part in parts for number in part) == list(range(6, 16))
    assert all({number ^ 1 for number in part} == set(part) for part in parts)


def test_the_oracle_counts_for_itself(bench, problem, tmp_path):
    reference = bench.nets.write_model(problem.net, tmp_path / "reference.onnx")
    oracle = bench.oracle.Oracle(problem, reference, 3000)
    assert oracle.truth(reference).worse == 0
    worse = problem.net.copied()
    worse.weights["l0.w"][:] = 0
    truth = oracle.truth(bench.nets.write_model(worse, tmp_path / "worse.onnx"))
    assert truth.reference > 0.6 > 0.2 > truth.candidate
    assert truth.worse == pytest.approx(truth.reference - truth.candidate)
    assert truth.worst_class > truth.worse
    assert truth.samples == 3000


def test_the_oracle_counts_places_as_scikit_learn_does(bench):
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(3)
    scores, labels = random.standard_normal((20, 4, 9)), random.integers(0, 3, (20, 9))
    told, flat = scores.argmax(axis=1).reshape(-1), labels.reshape(-1)
    found = bench.oracle._overlaps(scores, labels)
    assert bench.oracle._whole(found) == pytest.approx(metrics.jaccard_score(flat, told, average="macro"))
    for each, value in enumerate(metrics.jaccard_score(flat, told, average=None)):
        assert bench.oracle._whole(found[..., [each]]) == pytest.approx(value)
    scores[:] = np.nan
    assert bench.oracle._whole(bench.oracle._overlaps(scores, labels)) == 0


def test_the_oracle_tells_the_worst_class_and_slice_of_images(bench, places, tmp_path):
    reference = bench.nets.write_model(places.net, tmp_path / "reference.onnx")
    oracle = bench.oracle.Oracle(places, reference, 2000)
    assert oracle.truth(reference).worst_class == oracle.truth(reference).worst_slice == 0
    worse = places.net.copied()
    worse.weights[f"{worse.layers[-1]}.b"][1] -= 100  # class 1 is never named again
    truth = oracle.truth(bench.nets.write_model(worse, tmp_path / "worse.onnx"))
    assert 0.6 < truth.reference < 0.9
    assert truth.worst_class > truth.worse > 0.2
    assert truth.worst_slice >= truth.worse


def test_kinds_that_are_not_asked_for_change_no_numbers(bench):
    kinds, cases = bench.models.KINDS, bench.cases
    asked = [(cases.honest_tool(pair), pair) for pair in range(60)]
    assert {cases.kind_of(pair, tool) for tool, pair in asked} == set(kinds)
    assert "segmentation" not in kinds
    only = ("segmentation",)
    assert {cases.kind_of(pair, cases.honest_tool(pair, only), only) for pair in range(60)} == set(only)


@pytest.mark.parametrize("kind", ["problem", "places"])
def test_weights_are_damaged_and_stronger_damage_is_more(bench, kind, request):
    problem = request.getfixturevalue(kind)
    for damage in bench.damage.DAMAGES:
        if damage.weights is None or damage.name == "bias dropped":
            continue
        if damage.kinds and problem.kind not in damage.kinds:
            continue
        moved = []
        for strength in (damage.ladder[0], damage.ladder[-1]):
            net = problem.net.copied()
            damage.weights(net, strength, np.random.default_rng(0), problem)
            moved.append(sum(float(np.abs(net.weights[k] - v).sum()) for k, v in problem.net.weights.items()))
        assert 0 < moved[0] < moved[1], damage.name


def test_finished_files_are_damaged(bench, problem, tmp_path):
    source, whole = bench.nets.write_model(problem.net, tmp_path / "m.onnx"), tmp_path / "whole.onnx"
    samples = problem.draw(64)[0]
    tool = bench.tools.TOOLS[0]
    tool.make(bench.tools.Job(problem.net, source, whole, samples))
    for damage in bench.damage.DAMAGES:
        if damage.file is not None:
            path = tmp_path / "damaged.onnx"
            path.write_bytes(whole.read_bytes())
            bench.damage.edit(damage, path, damage.ladder[-1], np.random.default_rng(0), problem.net)
            before, after = (bench.oracle.run(each, samples) for each in (whole, path))
            assert not np.array_equal(before, after), damage.name


def test_ranges_can_be_cut(bench, problem, tmp_path):
    import onnx
    from onnx import numpy_helper

    source, samples = bench.nets.write_model(problem.net, tmp_path / "m.onnx"), problem.draw(64)[0]
    scales = []
    for scale in (1.0, 0.5):
        path = tmp_path / f"{scale}.onnx"
        bench.tools.TOOLS[0].make(bench.tools.Job(problem.net, source, path, samples, scale))
        held = {each.name: each for each in onnx.load(path).graph.initializer}
        scales.append(float(numpy_helper.to_array(held["x_scale"])))
    assert scales[1] == pytest.approx(scales[0] / 2, rel=0.01)


def test_a_machine_is_asked_for_its_threads_and_nothing_stays_behind(bench, monkeypatch):
    asked = []
    monkeypatch.setattr(
        bench.runs.measuring, "run_child", lambda request, limits: asked.append(json.loads(request))
    )
    plain = bench.runs.measuring.run_child
    with bench.runs.machine(threads=4):
        bench.runs.measuring.run_child('{"threads": null, "seed": 1}', None)
    assert asked == [{"threads": 4, "seed": 1}]
    assert bench.runs.measuring.run_child is plain


def test_an_honest_case_passes_on_every_number_of_threads(bench, tmp_path):
    machines = [bench.cases.Machine("2 threads", 2), bench.cases.Machine("4 threads", 4)]
    found = bench.cases.generated(0, machines, tmp_path)
    assert not found.problem
    assert found.honest
    assert bench.cases.severity(found.truth, "balanced", found.scheme) < 1
    assert found.first["balanced"]["verdict"] == "PASS"
    assert (found.flips, found.moved) == ([], {"4 threads": 0})
