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
    "compared and missing": put(["result", "outputs", 0, "missing"], "why"),
    "right without reason": put(["result", "task", "total", "candidate"], 597),
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
