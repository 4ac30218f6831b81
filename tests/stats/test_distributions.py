"""Each distance is that of its definition: against scipy, and by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.spatial.distance import jensenshannon

from qgate.stats.distributions import (
    PSI_LEAST,
    distances,
    jensen_shannon,
    kolmogorov_smirnov,
    stability_index,
    wasserstein,
)

sides = arrays(np.float64, st.tuples(st.just(2), st.integers(1, 60)), elements=st.integers(-8, 8).map(float))


@settings(max_examples=60, deadline=None)
@given(sides)
def test_ks_and_wasserstein_are_scipys(pair):
    a, b = pair
    expected = stats.ks_2samp(a, b, method="exact").statistic if len(a) > 1 else float(a[0] != b[0])
    assert kolmogorov_smirnov(a, b) == pytest.approx(expected, abs=1e-12)
    assert wasserstein(a, b) == pytest.approx(stats.wasserstein_distance(a, b), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(arrays(np.float64, st.tuples(st.just(2), st.integers(2, 300)), elements=st.floats(-50, 50, width=16)))
def test_jensen_shannon_is_scipys_over_the_bins_that_are_stated(pair):
    a, b = pair
    bins = min(64, math.ceil(2 * np.cbrt(len(a))))
    inner = np.linspace(a.min() / 2, a.max() / 2, bins + 1) * 2
    inner[0], inner[-1] = a.min(), np.nextafter(a.max(), np.inf)
    edges = np.concatenate([[-np.inf], inner, [np.inf]])
    p, q = ([np.count_nonzero((x >= lo) & (x < hi)) for lo, hi in itertools.pairwise(edges)] for x in (a, b))
    assert jensen_shannon(a, b) == pytest.approx(jensenshannon(p, q, base=2), abs=1e-7)


def test_the_stability_index_by_hand():
    reference = np.arange(100.0)
    assert stability_index(reference, reference) == 0.0
    # Ten of the lowest decile move to the highest: bins of 0 (half a value), 10 x 8 and 20 of 100.
    moved = np.concatenate([np.full(10, 99.0), reference[10:]])
    expected = (0.005 - 0.1) * math.log(0.005 / 0.1) + (0.2 - 0.1) * math.log(2)
    assert stability_index(reference, moved) == pytest.approx(expected, rel=1e-12)


def test_a_value_on_which_deciles_fall_together_is_a_bin_of_its_own():
    reference = np.concatenate([np.ones(95), np.zeros(5)])
    assert stability_index(reference, reference) == 0.0
    assert stability_index(reference, np.full(100, 0.4)) > 2
    assert stability_index(reference, np.full(100, 1.4)) > 2


def test_what_a_softmax_rounds_to_zero_has_not_moved():
    generator = np.random.default_rng(0)
    reference = np.concatenate([generator.random(900) * 1e-6, generator.random(100)])
    rounded = np.where(reference < 1e-3, 0.0, reference)
    found = distances(reference, rounded)
    assert (found.ks, found.js, found.psi) == (0.0, 0.0, 0.0)
    assert found.wasserstein < 1e-6
    assert kolmogorov_smirnov(reference, rounded) > 0.8, (
        "the bare statistic takes it for another distribution"
    )


def test_a_shift_shows_in_all_of_them():
    reference = np.random.default_rng(1).standard_normal(2000)
    found = distances(reference, reference + 1)
    assert found.wasserstein == pytest.approx(1.0)
    assert found.deviation == pytest.approx(1.0, abs=0.05)
    assert found.ks == pytest.approx(2 * stats.norm.cdf(0.5) - 1, abs=0.05)
    assert found.psi > 0.25
    assert 0.2 < found.js < 1


def test_few_values_have_no_stability_index_and_none_have_nothing():
    assert distances(np.arange(PSI_LEAST - 1.0), np.arange(PSI_LEAST - 1.0)).psi is None
    assert distances(np.arange(float(PSI_LEAST)), np.arange(float(PSI_LEAST))).psi == 0.0
    for distance in (kolmogorov_smirnov, jensen_shannon, wasserstein, stability_index, distances):
        with pytest.raises(ValueError, match="no values"):
            distance(np.zeros(0), np.zeros(0))
    for distance in (wasserstein, distances):
        with pytest.raises(ValueError, match="as many values"):
            distance(np.zeros(2), np.zeros(3))


@settings(max_examples=100, deadline=None)
@given(
    arrays(
        np.float64,
        st.tuples(st.just(2), st.sampled_from([1, 3, 120])),
        elements=st.floats(allow_nan=False, allow_infinity=False),
    )
)
def test_any_finite_values_give_figures_in_their_range(pair):
    found = distances(*pair)
    assert 0 <= found.ks <= 1
    assert 0 <= found.js <= 1
    assert found.wasserstein >= 0
    assert found.psi is None or 0 <= found.psi < math.inf
    assert found.deviation >= 0
