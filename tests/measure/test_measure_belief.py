"""An answer with anything changed in it is refused, or is one that the parent can write down; never a crash."""

import copy
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qgate.errors import MeasureError, QgateError
from qgate.measure import pair
from qgate.measure.answer import answer
from qgate.measure.belief import Known, require_belief
from qgate.measure.request import PairRequest, Tap
from qgate.measure.result import parse_answer
from qgate.report.canonical import canonical_json

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
REQUEST = PairRequest(
    candidate=DIGITS / "digits_int8_pc.onnx",
    reference=DIGITS / "digits_fp32.onnx",
    inputs=DIGITS / "digits_test.npz",
    labels="label",
    taps=(Tap("logits", -1.0, 1.0, "scale"),),
)
KNOWN = Known(inputs=("image",), outputs=("logits",), candidate_outputs=("logits",))


@pytest.fixture(scope="module")
def honest():
    return json.loads(answer(REQUEST.to_json(), lambda done, total: None))


def take(raw, request=REQUEST, known=KNOWN):
    """What the parent does with an answer, as far as the text of the report."""
    found = parse_answer(json.dumps(raw).encode(), "m")
    if found.error is not None:
        pair._raise(request, found.error)
    require_belief(request, found.result, known, "m")
    result = pair._assemble(request, found.result)
    return canonical_json([each.model_dump(mode="json") for each in result.measurements])


def places(value, path=()):
    """Every place in a tree of JSON."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from places(each, (*path, number))


VALUES = st.one_of(
    st.integers(-3, 700),
    st.sampled_from([2**31, 2**53 + 1, 2**62, 2**62 + 1, 2**63, -(2**63), 10**400]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 1e308, 5e-324, "nan", "inf", "-inf", "NaN", "1", ""]),
    st.text(max_size=8),
    st.sampled_from(["\n::error::x", "\x1b[2J", "\u202e", "a" * 5000, "logits"]),
    st.none(),
    st.booleans(),
    st.lists(st.integers(0, 3), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(0, 3), max_size=2),
)


def test_the_honest_answer_is_believed(honest):
    assert "output.sqnr_db" in take(honest)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_an_altered_answer_never_crashes_the_parent(honest, data):
    raw = copy.deepcopy(honest)
    for _ in range(data.draw(st.integers(1, 3))):
        found = list(places(raw))[1:]
        if not found:
            break
        path = data.draw(st.sampled_from(found))
        target = raw
        for key in path[:-1]:
            target = target[key]
        how = data.draw(st.sampled_from(["replace", "replace", "replace", "remove", "add", "repeat"]))
        if how == "replace":
            target[path[-1]] = data.draw(VALUES)
        elif how == "remove":
            del target[path[-1]]
        elif how == "add" and isinstance(target, dict):
            target[data.draw(st.text(max_size=5))] = data.draw(VALUES)
        elif isinstance(target, list):
            target.append(target[path[-1]])
    try:
        text = take(raw)
    except QgateError as error:
        assert "\n" not in error.what
        assert len(error.what) < 1000
        return
    assert "\\n::" not in text
    assert "\\u001b" not in text
    assert "\\u202e" not in text


def test_a_whole_answer_to_another_question_is_refused(honest):
    for change in (
        {"reference": None},
        {"inputs": None, "labels": None, "samples": 597},
        {"labels": None},
        {"task": "none"},
        {"task": "mae"},
        {"taps": ()},
        {"taps": REQUEST.taps * 2},
    ):
        asked = PairRequest(
            **{**{key: getattr(REQUEST, key) for key in REQUEST.__dataclass_fields__}, **change}
        )
        with pytest.raises(MeasureError, match="malformed data"):
            take(honest, asked)


@pytest.mark.parametrize(
    "known",
    [
        Known(("image",), ("other",), ("other",)),
        Known(("image",), ("logits", "second"), ("logits", "second")),
        Known(("image",), (), ()),
        Known(("image",), ("logits",), ("other",)),
    ],
)
def test_an_answer_about_another_interface_is_refused(honest, known):
    with pytest.raises(MeasureError, match="malformed data"):
        take(honest, REQUEST, known)


def test_the_number_of_samples_is_that_of_the_data(honest, tmp_path):
    import numpy as np

    path = tmp_path / "other.npz"
    np.savez(path, image=np.zeros((596, 1, 8, 8), np.float32), label=np.zeros(597, np.int64))
    asked = PairRequest(**{**{k: getattr(REQUEST, k) for k in REQUEST.__dataclass_fields__}, "inputs": path})
    with pytest.raises(MeasureError, match="another number of samples"):
        take(honest, asked)
    # Without the names of the inputs any array of that length could be one.
    assert take(honest, asked, None)


MALFORMED = {
    "classes that do not make up the whole": lambda r: r["task"]["classes"].pop("3"),
    "a slice": lambda r: r["task"].update(slices={"night": r["task"]["figures"][0]}),
    "an unfed candidate that answers": lambda r: r.update(unfed="it does not fit"),
    "a tap too few": lambda r: r.update(taps=[]),
    "a reason of its own": lambda r: r["outputs"][0].update(errors=None, classes=None, missing="all is well"),
    "more that differs than there is": lambda r: r["outputs"][0]["errors"].update(differing=2**40),
    "shapes that differ and do not": lambda r: r["outputs"][0].update(shapes=[[1], [2]]),
    "a remark of another kind": lambda r: r["problems"].append(["PASS", "all is well"]),
    "a thousand remarks": lambda r: r["problems"].extend([["data", "x"]] * 1000),
    "a step of another name": lambda r: r["timings"].update({"approved by": 1.0}),
    "a step without end": lambda r: r["timings"].update({"run": "inf"}),
    "a task without samples": lambda r: r["task"].update(
        n=0, figures=[], classes={}, confusion=[], changes=0, outcomes=None
    ),
}


@pytest.mark.parametrize("lie", MALFORMED)
def test_a_lie_that_the_parent_can_know_is_refused(lie, honest):
    raw = copy.deepcopy(honest)
    MALFORMED[lie](raw["result"])
    with pytest.raises(MeasureError, match="malformed data"):
        take(raw)


def test_a_lie_about_the_numbers_alone_is_believed(honest):
    """What remains to a child that was taken over, said as a test: the numbers themselves."""
    raw = copy.deepcopy(honest)
    raw["result"]["outputs"][0]["errors"]["dd"] *= 0.5
    assert take(raw) != take(honest)
