"""Parts of a measurement by themselves: they merge, they count, they say how far a run is."""

import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qgate.errors import DataError
from qgate.measure.activations import BLOCK, RangeUse
from qgate.measure.classes import ClassErrors, score_form
from qgate.measure.data import ArraySpec
from qgate.measure.feed import FeedMismatchError, Form, cast, plan_feeds
from qgate.measure.outputs import OutputErrors
from qgate.measure.progress import show_progress
from qgate.runtimes.base import TensorInfo
from qgate.stats.sketch import PairSketch

FLOAT = np.dtype(np.float32)
any_float = st.floats(width=32, allow_nan=True, allow_infinity=True)


@settings(max_examples=60, deadline=None)
@given(arrays(np.float32, st.tuples(st.integers(1, 8), st.integers(1, 6)), elements=any_float), st.data())
def test_range_use_merges(values, drawn):
    cut = drawn.draw(st.integers(1, len(values)))
    whole, left, right = (RangeUse(-1.0, 1.0) for _ in range(3))
    whole.add(values)
    left.add(values[:cut])
    if cut < len(values):
        right.add(values[cut:])
    left.merge(right)
    for name in ("elements", "nonfinite", "outside", "minimum", "maximum"):
        assert getattr(left, name) == getattr(whole, name)
    finite = values[np.isfinite(values)].astype(np.float64)
    assert whole.outside == ((finite < -1 - 2e-6) | (finite > 1 + 2e-6)).sum()
    assert whole.nonfinite == values.size - finite.size


@settings(max_examples=80, deadline=None)
@given(
    arrays(
        np.float32, st.integers(1, 12), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
    ),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
)
def test_what_is_outside_is_found_to_the_last_bit_of_the_range(values, one, other, touch):
    low, high = min(one, other), max(one, other)
    if touch:
        low = math.nextafter(float(values[0]), math.inf)
        high = max(high, low)
    use = RangeUse(low, high)
    use.add(values)
    exact = values.astype(np.float64)
    with np.errstate(over="ignore"):
        slack = 1e-6 * (high - low)
        lost = exact - np.clip(exact, low, high)
        assert use.outside == ((exact < low - slack) | (exact > high + slack)).sum()
        if use.outside:
            assert use.clipped_energy == pytest.approx(float(lost @ lost), rel=1e-12)


def test_range_use_counts_across_blocks():
    values = np.zeros(3 * BLOCK + 5, np.float32)
    values[[1, BLOCK, 3 * BLOCK + 4]] = [2, -3, 5]
    use = RangeUse(-1.0, 1.0)
    use.add(values.reshape(1, -1))
    assert (use.outside, use.minimum, use.maximum, use.elements) == (3, -3.0, 5.0, values.size)
    assert use.clipped_energy == pytest.approx(1 + 4 + 16)
    assert use.energy == pytest.approx(4 + 9 + 25)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8, np.uint8, np.bool_])
def test_range_use_takes_every_dtype(dtype):
    use = RangeUse(0.0, 1.0)
    use.add(np.array([[0, 1], [1, 0]], dtype))
    use.add(np.zeros((0, 3), dtype))
    assert (use.elements, use.outside) == (4, 0)


@settings(max_examples=50, deadline=None)
@given(
    arrays(
        np.float32, st.tuples(st.just(2), st.integers(1, 9), st.just(4)), elements=st.floats(-8, 8, width=32)
    ),
    st.data(),
)
def test_class_scores_merge(scores, drawn):
    cut = drawn.draw(st.integers(0, scores.shape[1]))
    whole, left, right = (ClassErrors("scores") for _ in range(3))
    whole.add(scores[0], scores[1], 0)
    left.add(scores[0, :cut], scores[1, :cut], 0)
    right.add(scores[0, cut:], scores[1, cut:], cut)
    right.merge(left)
    assert right.state().keys() == whole.state().keys()
    for key, value in whole.state().items():
        assert right.state()[key] == (pytest.approx(value, rel=1e-9) if key == "kl_mean" else value), key
    assert all(part.min(initial=0) >= 0 for part in whole.kl.parts)


def test_ties_go_to_the_lowest_class_and_near_ties_are_counted():
    classes = ClassErrors("scores")
    reference = np.array([[1.0, 1.0, 0.0], [5.0, 4.99, 0.0], [5.0, 0.0, 0.0]])
    candidate = np.array([[1.0, 1.0, 0.0], [4.99, 5.0, 0.0], [0.0, 5.0, 0.0]])
    classes.add(reference, candidate, 0)
    assert (classes.n, classes.agree, classes.near_ties) == (3, 1, 1)


def test_a_row_that_is_not_finite_disagrees_and_has_no_divergence():
    classes = ClassErrors("scores")
    classes.add(np.array([[1.0, 0.0], [np.nan, 0.0]]), np.array([[np.inf, 0.0], [1.0, 0.0]]), 0)
    assert (classes.n, classes.agree) == (1, 0)
    assert "kl_max" not in classes.state()


def test_an_exact_zero_of_a_quantized_softmax_is_no_infinite_divergence():
    classes = ClassErrors("probabilities")
    classes.add(np.array([[0.9, 0.1, 0.0]]), np.array([[1.0, 0.0, 0.0]]), 0)
    assert 0 < classes.kl_max < 2


@pytest.mark.parametrize(
    ("values", "form"),
    [
        ([0.25, 0.75], "probabilities"),
        ([math.log(0.25), math.log(0.75)], "log"),
        ([3.0, -1.0], None),
        ([1.0], None),
        ([math.nan, 1.0], None),
    ],
)
def test_what_class_scores_are_is_seen(values, form):
    assert score_form(np.array(values, np.float32)) == form


def test_outputs_of_changing_shape_are_compared_sample_by_sample():
    output = OutputErrors("boxes")
    output.add([np.ones((2, 4)), np.ones((3, 4))], [np.ones((2, 4)), np.ones((2, 4))], 10)
    assert (output.errors.samples, output.mismatched, output.first_mismatch) == (1, 1, 11)
    assert output.shapes == ((3, 4), (2, 4))


@pytest.mark.parametrize(
    ("declared", "shape", "form", "batch"),
    [
        (("N", 3), (5, 3), Form.BATCH, None),
        ((None, "h"), (5, 9), Form.BATCH, None),
        ((1, 3), (5, 3), Form.BATCH, 1),
        ((4, 3), (5, 3), Form.BATCH, 4),
        ((4, 3), (5, 4, 3), Form.ALONE, 1),
        ((), (5,), Form.ALONE, 1),
        ((), (), Form.CONSTANT, 1),
    ],
)
def test_how_an_array_meets_an_input(declared, shape, form, batch):
    plan = plan_feeds([TensorInfo("x", "float32", declared)], {"x": ArraySpec(shape, FLOAT)}, {}, {})
    assert (plan.inputs[0].form, plan.batch) == (form, batch)


def test_a_batch_symbol_on_another_axis_is_no_batch():
    inputs = [TensorInfo("x", "float32", ("b", 4)), TensorInfo("s", "float32", (2, "b", 8))]
    arrays_ = {"x": ArraySpec((5, 4), FLOAT), "s": ArraySpec((5, 2, 1, 8), FLOAT)}
    assert plan_feeds(inputs, arrays_, {}, {}).batch == 1


def test_fixed_batches_that_differ_are_refused():
    inputs = [TensorInfo("x", "float32", (2, 4)), TensorInfo("y", "float32", (3, 4))]
    specs = {name: ArraySpec((6, 4), FLOAT) for name in "xy"}
    with pytest.raises(FeedMismatchError, match="different fixed sizes"):
        plan_feeds(inputs, specs, {}, {})


@pytest.mark.parametrize(
    ("value", "dtype", "fits"),
    [
        (255.0, "uint8", True),
        (256.0, "uint8", False),
        (-1.0, "uint8", False),
        (1e5, "float16", False),
        (0.1, "float16", True),
    ],
)
def test_a_cast_is_checked(value, dtype, fits):
    if fits:
        assert cast(np.array([value]), np.dtype(dtype), "x").dtype == dtype
    else:
        with pytest.raises(DataError, match="cannot represent"):
            cast(np.array([value]), np.dtype(dtype), "x")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_a_line_now_and_then_where_there_is_no_terminal():
    now = iter([0.0, 1.0, 31.0, 40.0, 65.0, 70.0])
    stream = io.StringIO()
    with show_progress("plates\n::error::x", stream, lambda: next(now)) as show:
        for done in (5, 20, 50, 51, 55):
            show(done, 100)
    said = [f"plates ::error::x: {done} of 100 samples" for done in (20, 51)]
    assert stream.getvalue().splitlines() == said


def test_progress_is_a_bar_on_a_terminal():
    stream = Terminal()
    with show_progress("[bold]plates", stream) as show:
        show(3, 7)
    assert "[bold]plates" in stream.getvalue()
    assert "3/7" in stream.getvalue()


def test_the_five_highest_agree_in_any_order_and_with_ties_either_way():
    reference = np.array([[9.0, 8, 7, 6, 5, 0, 0]] * 4)
    candidate = np.array(
        [
            [5.0, 6, 7, 8, 9, 0, 0],  # the same five in another order
            [9.0, 8, 7, 6, 6, 6, 0],  # tied for the fifth place: one of the sets is the reference's
            [9.0, 8, 7, 6, 0, 5, 0],  # another fifth class
            [9.0, 8, 7, 6, 5, np.nan, 0],
        ]
    )
    classes = ClassErrors("scores")
    classes.add(reference, candidate, 0)
    assert (classes.ranked, classes.agree_top, classes.near_ties_top) == (4, 2, 0)
    near = ClassErrors("scores")
    near.add(np.array([[9.0, 8, 7, 6, 5, 4.99, 0]]), np.array([[9.0, 8, 7, 6, 4.99, 5, 0]]), 0)
    assert (near.agree_top, near.near_ties_top) == (0, 1)
    few = ClassErrors("scores")
    few.add(reference[:, :5], candidate[:, :5], 0)
    assert few.ranked == 0


def test_the_change_of_the_top_class_is_that_of_its_probability():
    classes = ClassErrors("probabilities")
    reference = np.array([[0.9, 0.1], [0.2, 0.8], [np.nan, 0.5], [0.5, 0.5]])
    candidate = np.array([[0.6, 0.4], [0.1, 0.9], [0.5, 0.5], [0.5, 0.5]])
    classes.add(reference, candidate, 10)
    state = classes.state()
    assert state["change_min"] == pytest.approx(-0.3)
    assert state["change_sample"] == 10
    assert state["change"] == pytest.approx(np.quantile([-0.3, 0.1, 0.0], [0.01, 0.5, 0.99]))
    assert (state["rows"], state["confidence"]["seen"]) == (3, 3)
    assert state["confidence"]["wasserstein"] == pytest.approx(0.2 / 3)  # .5 .8 .9 beside .5 .6 .9


def test_an_outputs_distribution_is_told_where_it_is_asked_for():
    asked, not_asked = OutputErrors("y", sketch=PairSketch()), OutputErrors("y")
    values = np.arange(200.0).reshape(20, 10)
    for output in (asked, not_asked):
        output.add(values, values + 3, 0)
    assert not_asked.state()["spread"] is None
    spread = asked.state()["spread"]
    assert (spread["n"], spread["seen"], spread["wasserstein"]) == (200, 200, 3.0)
    assert spread["errors"] == [3.0, 3.0, 3.0]
    empty = OutputErrors("y", sketch=PairSketch())
    empty.add(np.full((2, 3), np.nan), np.zeros((2, 3)), 0)
    assert empty.state()["spread"] is None
