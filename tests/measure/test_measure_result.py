"""A child may lie within the schema and nowhere else."""

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qgate.errors import MeasureError
from qgate.measure.answer import answer
from qgate.measure.request import PairRequest, Tap
from qgate.measure.result import parse_answer
from qgate.sandbox.limits import Limits


@pytest.fixture(scope="module")
def honest():
    from pathlib import Path

    folder = Path(__file__).parents[2] / "examples" / "digits"
    request = PairRequest(
        candidate=folder / "digits_int8_pc.onnx",
        reference=folder / "digits_fp32.onnx",
        inputs=folder / "digits_test.npz",
        labels="label",
        taps=(Tap("logits", -1.0, 1.0, "scale"),),
    )
    return json.loads(answer(request.to_json(), lambda done, total: None))


def put(path, value):
    def change(raw):
        target = raw
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value

    return change


LIES = {
    "another schema": put(["schema"], "qgate-child/v2"),
    "neither": put(["result"], None),
    "both": put(["error"], {"kind": "memory"}),
    "unknown key": put(["result", "verdict"], "PASS"),
    "no samples": put(["result", "samples"], 0),
    "fractional samples": put(["result", "samples"], 1.5),
    "text for a count": put(["result", "samples"], "597"),
    "negative count": put(["result", "outputs", 0, "errors", "elements"], -1),
    "more than were run": put(["result", "outputs", 0, "errors", "samples"], 10_000),
    "negative energy": put(["result", "outputs", 0, "errors", "dd"], -1.0),
    "NaN energy": put(["result", "outputs", 0, "errors", "dd"], "nan"),
    "agreement above all": put(["result", "outputs", 0, "classes", "agree"], 600),
    "missing divergence": put(["result", "outputs", 0, "classes", "kl_max"], None),
    "top five of more": put(["result", "outputs", 0, "classes", "agree_top"], 600),
    "more ranked than seen": put(["result", "outputs", 0, "classes", "ranked"], 600),
    "a probability that grows by two": put(["result", "outputs", 0, "classes", "change_min"], 2.0),
    "changes out of order": put(["result", "outputs", 0, "classes", "change"], [0.5, 0.0, 0.1]),
    "no change of probability": put(["result", "outputs", 0, "classes", "change"], None),
    "confidences of fewer rows": put(["result", "outputs", 0, "classes", "confidence", "seen"], 596),
    "a distance above one": put(["result", "outputs", 0, "spread", "ks"], 1.5),
    "a negative index": put(["result", "outputs", 0, "spread", "psi"], -1.0),
    "a NaN distance": put(["result", "outputs", 0, "spread", "wasserstein"], "nan"),
    "more kept than fit": put(["result", "outputs", 0, "spread", "n"], 2**20),
    "more kept than seen": put(["result", "outputs", 0, "spread", "seen"], 1),
    "more seen than there are": put(["result", "outputs", 0, "spread", "seen"], 10**6),
    "errors out of order": put(["result", "outputs", 0, "spread", "errors"], [0.1, 0.05, 0.1]),
    "an error beyond the largest": put(["result", "outputs", 0, "spread", "errors"], [0.1, 0.1, 1e9]),
    "figures of an edge that was not run": put(["result", "edges", 0, "reason"], "why"),
    "an edge refused without a word": put(["result", "edges", 0, "refused"], True),
    "an edge of another output": put(["result", "edges", 0, "output"], 1),
    "an edge with NaN": put(["result", "edges", 0, "noise"], "nan"),
    "more edges than there are": lambda raw: raw["result"]["edges"].extend(raw["result"]["edges"][:1]),
    "negative energy of a batch": put(["result", "outputs", 0, "batch"], [1.0, -1.0]),
    "compared and missing": put(["result", "outputs", 0, "missing"], "why"),
    "right without reason": put(["result", "task", "figures", 0, "candidate"], 1.0),
    "a drop outside of its interval": put(["result", "task", "figures", 0, "low"], 0.9),
    "a drop of other values": put(["result", "task", "figures", 2, "reference"], 0.1),
    "more flips than samples": put(["result", "task", "figures", 1, "lost"], 598),
    "a metric that is no word": put(["result", "task", "figures", 1, "metric"], "a b"),
    "figures of fewer samples": put(["result", "task", "figures", 1, "n"], 596),
    "a class of more than all": put(["result", "task", "classes", "3", "n"], 598),
    "outcomes of fewer samples": put(["result", "task", "outcomes", "n"], 596),
    "outcomes that are no base64": put(["result", "task", "outcomes", "reference"], "*" * 100),
    "outcomes that are short": put(["result", "task", "outcomes", "candidate_answers"], "AAAA"),
    "more answers changed than there are": put(["result", "task", "changes"], 598),
    "confusion of more than changed": put(["result", "task", "confusion"], [[1, 2, 597]]),
    "task of more samples": put(["result", "task", "broken"], 1),
    "another task's record": put(["result", "task", "kind"], "mae"),
    "more outside than inside": put(["result", "taps", 0, "outside"], 2**40),
    "a name of a megabyte": put(["result", "outputs", 0, "name"], "x" * 2**20),
    "a million problems": put(["result", "problems"], [["a", "b"]] * 10**4),
    "a wrong timing": put(["result", "timings"], {"load": -1}),
}


def test_the_honest_answer_is_taken(honest):
    assert parse_answer(json.dumps(honest).encode(), "m").result.samples == 597


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_outside_the_schema_is_refused(lie, honest):
    raw = copy.deepcopy(honest)
    LIES[lie](raw)
    with pytest.raises(MeasureError, match="malformed data") as caught:
        parse_answer(json.dumps(raw).encode(), "models/m.onnx")
    assert caught.value.where == "models/m.onnx"
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("payload", [b"", b"[]", b"null", b"{", b"\xff\xfe", b'{"a": NaN}', b"[" * 100_000])
def test_what_is_not_json_is_refused(payload):
    with pytest.raises(MeasureError, match="malformed data"):
        parse_answer(payload, "m")


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_random_json_is_refused_and_never_crashes(value):
    with pytest.raises(MeasureError):
        parse_answer(json.dumps(value).encode(), "m")


def test_a_request_survives_its_journey(tmp_path):
    request = PairRequest(
        candidate=tmp_path / "c.onnx",
        reference=tmp_path / "r.onnx",
        io_map={"a": "b"},
        io_optional=("sr",),
        io_types={"a": "uint8"},
        taps=(Tap("t", -1.0, 2.0, "s", "n"),),
        limits=Limits(memory_mb=5),
    )
    assert PairRequest.from_json(request.to_json()) == request
