"""Inputs at the edge: what is made of the first sample, what both models say, and what is told of it."""

import numpy as np
import pytest

from qgate.errors import MeasureError
from qgate.measure.belief import require_belief
from qgate.measure.pair import PairRequest, Tap, measure_pair
from qgate.measure.request import EDGES
from qgate.measure.result import parse_answer

X = np.random.default_rng(0).uniform(0.1, 1.0, (6, 3, 4, 5)).astype(np.float32)
IMAGE = "g (float[N,3,H,W] x) => (float[N,3,H,W] y) {{y = {}}}"


def edges(**request):
    measured = measure_pair(PairRequest(**request)).measurements
    found = {kind: {} for kind in EDGES}
    for each in measured:
        if each.name.startswith("edge."):
            found[each.at.slice.removeprefix("edge: ")][each.name.removeprefix("edge.")] = each
    return found


def test_the_same_model_answers_every_edge_alike(model, data):
    root = model("r", IMAGE.format("Abs(x)"))
    found = edges(reference=root, candidate=root, inputs=data(x=X))
    for kind in EDGES:
        assert found[kind]["answered"].value is True, kind
        assert found[kind]["signal_db"].value == np.inf, kind
        assert set(found[kind]) == {"answered", "signal_db"}


def test_what_is_fed_is_what_is_said(model, data):
    """A candidate that is off by one on every element: the noise is the number of elements."""
    reference, candidate = (
        model("r", IMAGE.format("Identity(x)")),
        model("c", IMAGE.format("Add(x, o)"), o=np.float32(1)),
    )
    found = edges(
        reference=reference, candidate=candidate, inputs=data(x=X), taps=(Tap("x", -3.0, 9.0, "s"),)
    )
    usual = float((X.astype(np.float64) ** 2).mean())
    for kind, mean_square in {
        "zeros": 0.0,
        "ones": 1.0,
        "lowest": 9.0,
        "highest": 81.0,
        "constant": 9.0,
    }.items():
        assert found[kind]["signal_db"].value == pytest.approx(
            10 * np.log10(max(mean_square, usual)), abs=1e-4
        ), kind
    kept = X[:1].astype(np.float64).copy()
    kept[:, 1:] = 0
    channel = max(float((kept**2).mean()), usual)
    assert found["one channel"]["signal_db"].value == pytest.approx(10 * np.log10(channel), abs=1e-4)


def test_an_overflow_that_only_the_candidate_has_is_counted(model, data):
    reference = model("r", IMAGE.format("Identity(x)"))
    candidate = model("c", IMAGE.format("Mul(x, f)"), f=np.float32(1e36))
    taps = (Tap("x", 0.0, 4e4, "s"),)
    found = edges(reference=reference, candidate=candidate, inputs=data(x=X), taps=taps)
    assert found["highest"]["nonfinite_candidate"].value == 60
    assert "nonfinite_candidate" not in found["ones"]


def test_a_size_that_only_the_candidate_refuses_is_told(model, data):
    reference = model("r", "g (float[N,L] x) => (float[N,L] y) {y = Neg(x)}")
    candidate = model("c", "g (float[N,L] x) => (float[N,L] y) {y = Add(x, b)}", b=np.zeros(5, np.float32))
    found = edges(reference=reference, candidate=candidate, inputs=data(x=X[:, 0, 0]))
    assert found["largest"]["answered"].value is False
    assert found["largest"]["answered"].detail["reason"]
    # One element spreads over the five that the candidate adds: it answers, in another shape.
    assert found["smallest"]["shape_mismatch"].value == 1
    assert found["smallest"]["signal_db"].not_measured


def test_what_the_reference_refuses_and_what_does_not_apply_is_not_measured(model, data):
    fixed = model("f", "g (float[N,4] x) => (float[N,2] y) {y = MatMul(x, w)}", w=np.ones((4, 2), np.float32))
    found = edges(reference=fixed, candidate=fixed, inputs=data(x=X[:, 0, :, 0]))
    for kind in ("one channel", "smallest", "largest"):
        assert found[kind]["answered"].not_measured == "no input is of that kind"
    picky = model("p", "g (float[N,L] x) => (float[N,L] y) {y = Add(x, b)}", b=np.zeros(5, np.float32))
    found = edges(reference=picky, candidate=picky, inputs=data(x=X[:, 0, 0]))
    assert found["largest"]["answered"].not_measured.startswith("the reference does not take it: ")


def test_whole_numbers_stay_as_they_are_and_bytes_count_as_numbers(model, data):
    lookup = model(
        "l", "g (int64[N,3] x) => (float[N,3] y) {y = Gather(t, x)}", t=np.arange(7, dtype=np.float32)
    )
    found = edges(reference=lookup, candidate=lookup, inputs=data(x=np.full((3, 3), 5)))
    assert {found[kind]["answered"].value for kind in EDGES} == {None}
    image = model("i", "g (uint8[N,3] x) => (float[N,3] y) {y = Cast<to = 1>(x)}")
    found = edges(reference=image, candidate=image, inputs=data(x=np.full((3, 3), 200, np.uint8)))
    assert found["highest"]["answered"].value is True


def test_what_lies_outside_of_the_calibration_is_marked(model, data):
    root = model("r", IMAGE.format("Abs(x)"))
    found = edges(reference=root, candidate=root, inputs=data(x=X * 0.4), taps=(Tap("x", 0.0, 0.5, "s"),))
    assert found["ones"]["signal_db"].detail["outside"] is True
    assert found["highest"]["signal_db"].detail["outside"] is False


def test_a_batch_of_a_dynamic_model_is_measured_and_of_no_other(digits, measure):
    request = {
        "reference": digits / "digits_fp32.onnx",
        "candidate": digits / "digits_dyn.onnx",
        "inputs": digits / "digits_test.npz",
    }
    _, found = measure(**request, dynamic=True)
    assert 30 < found[("output.batch_effect_db", "logits")].value < 80
    _, found = measure(**request)
    assert ("output.batch_effect_db", "logits") not in found


def test_edges_that_were_not_asked_for_or_left_out_are_a_lie(digits):
    import json

    from qgate.measure.answer import answer

    request = PairRequest(
        reference=digits / "digits_fp32.onnx", candidate=digits / "digits_int8_pc.onnx", samples=4
    )
    raw = json.loads(answer(request.to_json(), lambda done, total: None))
    require_belief(request, parse_answer(json.dumps(raw).encode(), "m").result, None, "m")
    raw["result"]["edges"].pop()
    with pytest.raises(MeasureError, match="inputs at the edge"):
        require_belief(request, parse_answer(json.dumps(raw).encode(), "m").result, None, "m")
    raw["result"]["edges"] = []
    raw["result"]["outputs"][0]["batch"] = [1.0, 0.0]
    with pytest.raises(MeasureError, match="inputs at the edge"):
        require_belief(request, parse_answer(json.dumps(raw).encode(), "m").result, None, "m")
    unasked = PairRequest(**{**request.__dict__, "edges": False})
    with pytest.raises(MeasureError, match="a batch's effect"):
        require_belief(unasked, parse_answer(json.dumps(raw).encode(), "m").result, None, "m")
