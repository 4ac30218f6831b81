import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qgate.stats.decibel import cosine, relative_l2, sqnr_db
from qgate.stats.errors import BLOCK, PairErrors
from qgate.stats.paired import PairedCounts, Values

SUMS = ("rr", "cc", "rc", "dd", "relative")
floats = st.floats(width=32, allow_nan=True, allow_infinity=True)


@st.composite
def pairs(draw):
    shape = (draw(st.integers(1, 7)), draw(st.integers(1, 5)))
    return draw(arrays(np.float32, shape, elements=floats)), draw(arrays(np.float32, shape, elements=floats))


@settings(max_examples=80, deadline=None)
@given(pairs(), st.data())
def test_merged_shards_equal_the_whole(pair, data):
    reference, candidate = pair
    cut = data.draw(st.integers(0, len(reference)))
    whole, left, right = PairErrors(), PairErrors(), PairErrors()
    whole.add(reference, candidate, 0)
    left.add(reference[:cut], candidate[:cut], 0)
    right.add(reference[cut:], candidate[cut:], cut)
    for first, second in ((left, right), (right, left)):
        merged = dataclasses.replace(first)
        merged.merge(second)
        for field in dataclasses.fields(PairErrors):
            got, expected = getattr(merged, field.name), getattr(whole, field.name)
            if field.name in SUMS:
                scale = math.sqrt(whole.rr * whole.cc) if field.name == "rc" else abs(expected)
                assert got == pytest.approx(expected, rel=1e-12, abs=1e-12 * scale)
            else:
                assert got == expected, field.name


@settings(max_examples=60, deadline=None)
@given(pairs())
def test_the_sums_are_those_of_the_definition(pair):
    reference, candidate = (side.astype(np.float64) for side in pair)
    found = PairErrors()
    found.add(*pair, 0)
    fine = np.isfinite(reference) & np.isfinite(candidate)
    a, b = reference[fine], candidate[fine]
    assert found.elements == fine.sum()
    assert found.nonfinite_reference == (~np.isfinite(reference)).sum()
    assert found.nonfinite_candidate == (np.isfinite(reference) & ~np.isfinite(candidate)).sum()
    assert (
        found.differing == (~((reference == candidate) | (np.isnan(reference) & np.isnan(candidate)))).sum()
    )
    assert found.dd == pytest.approx(((a - b) ** 2).sum(), rel=1e-12)
    assert found.rr == pytest.approx((a**2).sum(), rel=1e-12)
    assert found.max_abs == (np.abs(a - b).max() if a.size else 0.0)
    assert math.isfinite(found.relative)


def test_a_planted_nan_is_counted_located_and_kept_out_of_the_sums():
    reference = np.ones((3, 4), np.float32)
    candidate = reference.copy()
    candidate[1, 2] = np.nan
    candidate[2, 0] = np.inf
    found = PairErrors()
    found.add(reference, candidate, first_sample=100)
    assert (found.nonfinite_candidate, found.first_sample, found.first_index) == (2, 101, 2)
    assert (found.elements, found.dd, found.differing) == (10, 0.0, 2)


def test_a_nan_that_both_have_is_no_difference():
    both = np.array([[np.nan, np.inf, 1.0]])
    found = PairErrors()
    found.add(both, both.copy(), 0)
    assert (found.nonfinite_reference, found.nonfinite_candidate, found.differing) == (2, 0, 0)


def test_the_worst_sample_is_the_noisiest_not_the_largest():
    reference = np.array([[100.0, 100.0], [0.1, 0.1]])
    candidate = np.array([[101.0, 100.0], [0.2, 0.1]])
    found = PairErrors()
    found.add(reference, candidate, 0)
    assert (found.max_sample, found.worst_sample) == (0, 1)


def test_rows_longer_than_a_block_are_summed_whole():
    generator = np.random.default_rng(0)
    reference = generator.standard_normal((2, BLOCK + 17)).astype(np.float32)
    candidate = reference + np.float32(0.01)
    candidate[1, BLOCK + 3] = 50
    found = PairErrors()
    found.add(reference, candidate, 0)
    exact = (reference.astype(np.float64) - candidate) ** 2
    assert found.dd == pytest.approx(exact.sum(), rel=1e-12)
    assert (found.max_sample, found.max_index) == (1, BLOCK + 3)
    assert found.elements == reference.size


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="shapes differ"):
        PairErrors().add(np.zeros((2, 3)), np.zeros((2, 4)), 0)


def test_float64_extremes_do_not_warn():
    found = PairErrors()
    found.add(np.array([[1e300, 1e300], [1e300, -1e300]]), np.array([[-1e300, 1.0], [1e300, 1e300]]), 0)
    assert found.dd == found.rr == math.inf
    assert found.max_abs == 2e300


@pytest.mark.parametrize(
    ("signal", "noise", "expected"),
    [(1.0, 0.0, math.inf), (0.0, 0.0, math.inf), (0.0, 1.0, -math.inf), (1e4, 1.0, 40.0), (1.0, 1.0, 0.0)],
)
def test_sqnr(signal, noise, expected):
    assert sqnr_db(signal, noise) == pytest.approx(expected)


def test_sqnr_refuses_what_is_no_sum_of_squares():
    with pytest.raises(ValueError, match="negative or NaN"):
        sqnr_db(math.nan, 1.0)


def test_cosine_and_relative_l2_at_zero():
    assert cosine(0.0, 0.0, 0.0) == 1.0
    assert cosine(1.0, 0.0, 0.0) == 0.0
    assert cosine(4.0, 9.0, -6.0) == -1.0
    assert relative_l2(0.0, 0.0) == 0.0
    assert relative_l2(0.0, 1.0) == math.inf
    assert relative_l2(4.0, 1.0) == 0.5


@settings(max_examples=40, deadline=None)
@given(arrays(np.bool_, st.tuples(st.just(2), st.integers(0, 20))), st.integers(0, 20))
def test_paired_counts_merge_exactly(outcomes, cut):
    whole, left, right = PairedCounts(), PairedCounts(), PairedCounts()
    whole.add(outcomes[0], outcomes[1])
    left.add(outcomes[0, :cut], outcomes[1, :cut])
    right.add(outcomes[0, cut:], outcomes[1, cut:])
    left.merge(right)
    assert left == whole
    assert whole.reference - whole.candidate == whole.lost - whole.gained


def test_values_merge():
    r = np.random.default_rng(1).random(50)
    first, second = Values(), Values()
    first.add(r[:20])
    second.add(r[20:])
    second.merge(first)
    assert second.quantiles(0.5, 0.99) == [float(q) for q in np.quantile(r, [0.5, 0.99])]
    with pytest.raises(ValueError, match="no values"):
        Values().quantiles(0.5)
