"""What running costs, measured on real models and told apart from noise."""

import json
import math

import numpy as np
import pytest

from qgate.errors import MeasureError
from qgate.measure.cost_runs import measure_costs
from qgate.measure.describe_costs import cost_measurements, parse_cost
from qgate.measure.pair import PairRequest
from qgate.stats.intervals import median_interval

WIDE = "g (float[N,700] x) => (float[N,700] y) {h = MatMul(x, w)  y = MatMul(h, w)}"


def test_a_model_that_does_half_as_much_takes_less_of_everything(model, data):
    weight = np.random.default_rng(0).standard_normal((1500, 1500)).astype(np.float32) / 40
    once = "g (float[N,1500] x) => (float[N,1500] y) {y = MatMul(x, w)}"
    many = "g (float[N,1500] x) => (float[N,1500] y) {" + "".join(
        f"h{i} = MatMul({'x' if not i else f'h{i - 1}'}, w{i}) " for i in range(8)
    )
    many += " y = MatMul(h7, w8)}"
    request = PairRequest(
        reference=model("reference", many, **{f"w{i}": weight + np.float32(i / 1000) for i in range(9)}),
        candidate=model("candidate", once, w=weight),
        inputs=data(x=np.ones((20, 1500), np.float32)),
    )
    found = {each.name: each for each in measure_costs(request)}
    latency = found["cost.latency_ratio"]
    assert not latency.not_measured, latency.not_measured
    assert latency.value < 0.6 and latency.low <= latency.value <= latency.high < 1
    assert latency.n >= 7 and latency.detail["reference_s"] > latency.detail["candidate_s"]
    assert found["cost.batch_time_ratio"].detail["samples"] == 16
    assert found["cost.memory_ratio"].value < 0.6
    assert found["cost.load_ratio"].value > 0
    assert not any(each.deterministic for each in found.values()), "nothing of it is ever in a baseline"


def test_a_model_that_is_refused_is_a_reason_and_no_figure(model, data, stage):
    broken = stage / "broken.onnx"
    broken.write_bytes(b"no model")
    good = model("good", WIDE, w=np.eye(700, dtype=np.float32))
    inputs = data(x=np.ones((2, 700), np.float32))
    (found,) = measure_costs(PairRequest(reference=good, candidate=broken, inputs=inputs))
    assert found.name == "cost.latency_ratio" and found.not_measured


HONEST = {"turns": [{"samples": 1, "reference": [0.1, 0.2], "candidate": [0.1, 0.1]}]}


@pytest.mark.parametrize(
    "change",
    [
        {"turns": [{"samples": 0, "reference": [0.1], "candidate": [0.1]}]},
        {"turns": [{"samples": 1, "reference": [0.1], "candidate": [0.1, 0.2]}]},
        {"turns": [{"samples": 1, "reference": [0.0], "candidate": [0.1]}]},
        {"turns": [{"samples": 1, "reference": [], "candidate": []}]},
        {"turns": HONEST["turns"] * 3},
        {"memory": -1},
        {"load": math.inf},
        {"verdict": "PASS"},
    ],
)
def test_a_lie_is_refused(change):
    told = {"schema": "qgate-child/v1", "cost": {**HONEST, **change}}
    with pytest.raises(MeasureError):
        parse_cost(json.dumps(told).encode(), "m.onnx")


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"[]", b'{"schema": "qgate-child/v1", "error": {"kind": "memory"}}']
)
def test_what_is_no_cost_is_refused(payload):
    with pytest.raises(MeasureError):
        parse_cost(payload, "m.onnx")


def test_memory_that_is_lost_in_that_of_the_libraries_is_not_told():
    told = {"schema": "qgate-child/v1", "cost": {"turns": [], "load": 0.1, "memory": 4096}}
    alone = parse_cost(json.dumps(told).encode(), "m")
    turns = parse_cost(json.dumps({"schema": "qgate-child/v1", "cost": HONEST}).encode(), "m")
    found = {m.name: m for m in cost_measurements(turns, {"reference": alone, "candidate": alone})}
    assert found["cost.memory_ratio"].not_measured
    assert found["cost.load_ratio"].value == 1.0
    assert (found["cost.latency_ratio"].low, found["cost.latency_ratio"].high) == (-math.inf, math.inf)


def test_the_interval_of_a_median_covers_it_as_often_as_it_should():
    generator = np.random.default_rng(0)
    for n in (7, 20, 101):
        covered = sum(
            low <= 0 <= high
            for _, low, high in (median_interval(generator.standard_cauchy(n).tolist()) for _ in range(400))
        )
        assert covered >= 370, n
    assert median_interval([1.0, 2.0, 9.0]) == (2.0, -math.inf, math.inf)
    with pytest.raises(ValueError, match="no values"):
        median_interval([])
