"""Arrays whose type or form nobody chose become what the model takes; what somebody chose does not."""

import math

import numpy as np
import pytest

from qgate.errors import DataError
from qgate.measure.data import ArraySpec
from qgate.measure.unchosen import as_taken, taken
from qgate.runtimes.base import TensorInfo

TABLE = "g (float[N,1] a, float[N,1] b) => (float[N,1] y) {x = Concat<axis = 1>(a, b) y = MatMul(x, w)}"
PLAIN = "g (float[N,2] x) => (float[N,2] y) {y = Identity(x)}"


def becomes(dtype, wanted, shape=(9, 2), takes=("N", 2), declared=()):
    spec = ArraySpec(shape, np.dtype(dtype))
    found = as_taken({"x": spec}, [("x", TensorInfo("i", wanted, takes))], declared).get("x", spec)
    return str(found.dtype), found.shape


@pytest.mark.parametrize(
    ("stored", "wanted", "given"),
    [
        ("float64", "float32", "float32"),
        (">f8", "float16", "float16"),
        ("int64", "float32", "float32"),
        ("int64", "int32", "int32"),
        ("int64", "uint8", "uint8"),
        ("float64", "int64", "float64"),
        ("int64", "bool", "int64"),
        ("uint8", "float32", "uint8"),
        ("int32", "int64", "int32"),
        ("float32", "float16", "float32"),
        ("bool", "float32", "bool"),
        ("float64", "bfloat16", "float64"),
    ],
)
def test_the_types_that_nobody_chooses_become_the_inputs(stored, wanted, given):
    assert becomes(stored, wanted)[0] == given
    declared = str(np.dtype(stored))
    assert becomes(stored, wanted, declared=("x",))[0] == declared, "what io.types declares stays as it is"


@pytest.mark.parametrize(
    ("shape", "takes", "given"),
    [
        ((9,), ("N", 1), (9, 1)),
        ((9,), (1, 1, 1), (9, 1, 1)),
        ((9,), ("N",), (9,)),
        ((9,), ("N", 2), (9,)),
        ((9,), ("N", "M"), (9,)),
        ((9,), ("N", None), (9,)),
        ((9, 1), ("N", 1), (9, 1)),
        ((), ("N", 1), ()),
    ],
)
def test_a_number_a_sample_is_a_value_a_sample(shape, takes, given):
    assert becomes("float32", "float32", shape, takes)[1] == given


def test_the_first_input_that_an_array_feeds_decides():
    spec = {"x": ArraySpec((9, 2), np.dtype(np.float64))}
    takes = [("x", TensorInfo("i", "float32", ("N", 2))), ("x", TensorInfo("j", "float16", ("N", 2)))]
    assert as_taken(spec, takes, ())["x"].dtype == np.float32
    assert as_taken(spec, [("y", TensorInfo("i", "float32", ("N", 2)))], ()) == {}


@pytest.mark.parametrize(
    ("values", "dtype", "kept"),
    [
        ([0.1, 1e-300], np.float32, [np.float32(0.1), 0]),
        ([2**53 + 1], np.float32, [2**53]),
        ([-128, 127], np.int8, [-128, 127]),
        ([128], np.int8, None),
        ([-1], np.uint8, None),
        ([1e39], np.float32, None),
        ([70000], np.float16, None),
    ],
)
def test_values_are_rounded_and_never_cut(values, dtype, kept):
    stored, spec = np.array(values), ArraySpec((len(values), 1), np.dtype(dtype))
    if kept is None:
        with pytest.raises(DataError, match=r"'x' holds values that .* cannot represent") as caught:
            taken(stored, spec, "x", "t.csv")
        assert caught.value.where == "t.csv"
        return
    found = taken(stored, spec, "x", "t.csv")
    assert (found.dtype, found.shape) == (np.dtype(dtype), (len(values), 1))
    assert found[:, 0].tolist() == [pytest.approx(each) for each in kept]


def test_columns_of_a_table_feed_inputs_of_one_value(model, stage, measure):
    """Whole numbers in one column, fractions in the other: both are float32 columns of the model."""
    weight = np.array([[2], [3]], np.float32)
    path = stage / "t.csv"
    path.write_text("a,b\n" + "".join(f"{i},{i / 8}\n" for i in range(40)))
    path.chmod(0o644)
    pair = {"reference": model("r", TABLE, w=weight), "candidate": model("c", TABLE, w=weight)}
    result, found = measure(**pair, inputs=path, edges=True)
    assert result.data.samples == 40
    assert found[("output.sqnr_db", "y")].value == math.inf
    detail = found[("output.max_abs", "y")].detail
    assert (detail["reference_min"], detail["reference_max"]) == (0, 39 * 2 + 39 / 8 * 3)
    assert any(name.startswith("edge") for name, _ in found), (
        "whole numbers are taken for floats at the edges too"
    )


def test_doubles_are_what_their_float32_is(model, data, measure):
    reference = model("r", PLAIN)
    x = np.random.default_rng(0).standard_normal((20, 2))
    narrow, wide = (
        measure(reference=reference, candidate=reference, inputs=data(x=x.astype(dtype)))[1]
        for dtype in (np.float32, np.float64)
    )
    assert {key: m.value for key, m in narrow.items()} == {key: m.value for key, m in wide.items()}
    with pytest.raises(DataError, match="'x' holds values that float32 cannot represent"):
        measure(reference=reference, candidate=reference, inputs=data(x=x * 1e39))


def test_a_candidate_of_another_type_is_not_fed_what_it_takes(model, data, measure):
    """The reference's input decides: what differs from it is declared, or it is a difference."""
    reference = model("r", PLAIN)
    candidate = model("c", "g (uint8[N,2] x) => (float[N,2] y) {y = Cast<to = 1>(x)}")
    result, found = measure(
        reference=reference, candidate=candidate, inputs=data(x=np.ones((4, 2), np.int64))
    )
    assert found[("output.sqnr_db", "y")].value is None
    assert any(
        "the input 'x' takes uint8" in message for kind, message in result.problems if kind == "interface"
    )
