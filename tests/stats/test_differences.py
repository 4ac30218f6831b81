"""Intervals of paired differences against scipy, against simulations, and at their edges."""

import math

import numpy as np
import pytest
from scipy import stats

from qgate.stats.bootstrap import percentile_interval, resample_cells, resample_rows
from qgate.stats.differences import (
    extent_of_changes,
    of_counts,
    of_draws,
    of_means,
    of_ratio,
    of_roots,
)
from qgate.stats.intervals import wilson
from qgate.stats.multiplicity import sign_test, tarone_holm


def test_a_mean_is_a_paired_t_test():
    worse = np.random.default_rng(0).normal(0.1, 0.05, 40)
    found = of_means(worse)
    expected = stats.ttest_1samp(worse, 0.0)
    interval = expected.confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-4)
    assert of_means(np.array([1.0])).high == math.inf


def test_a_root_and_a_ratio_cover_the_truth():
    generator = np.random.default_rng(1)
    roots = ratios = 0
    for _ in range(200):
        noise = generator.standard_normal(200)
        a, b = noise**2, (1.1 * noise + 0.2 * generator.standard_normal(200)) ** 2
        found = of_roots(a, b)
        roots += found.low <= math.sqrt(1.21 + 0.04) - 1 <= found.high
        size = generator.integers(1, 9, 200).astype(float)
        told = of_ratio(generator.binomial(size.astype(int), 0.1) - 0.02 * size, size)
        ratios += told.low <= 0.08 <= told.high
    assert roots >= 180 and ratios >= 180


def test_one_sample_has_no_interval_and_none_no_size():
    for found in (of_means(np.ones(1)), of_roots(np.ones(1), np.ones(1)), of_ratio(np.ones(1), np.ones(1))):
        assert (found.low, found.high) == (-math.inf, math.inf)
    assert of_ratio(np.ones(3), np.zeros(3)).high == math.inf
    assert of_roots(np.zeros(3), np.zeros(3)).drop == 0.0
    assert of_roots(np.zeros(3), np.ones(3)).high == math.inf
    assert of_counts(0, 0, 0).high == 1.0


def test_a_share_never_drops_by_more_than_can_have_flipped():
    for lost, gained, n in ((0, 0, 50), (0, 9, 50), (3, 30, 100), (8, 0, 8)):
        found = of_counts(lost, gained, n)
        assert found.low <= found.drop <= found.high <= max(wilson(lost, n)[1], found.drop)
    assert of_counts(0, 0, 100).high > 0.03, "none seen in a hundred is not none at all"


def test_a_bootstrap_is_as_unsure_as_the_flips():
    sure = of_draws(0.0, np.zeros(1000), (0, 0), 50)
    assert (sure.low, sure.high) == (of_counts(0, 0, 50).low, of_counts(0, 0, 50).high)


def test_what_changes_a_little_is_not_as_unsure_as_what_flips():
    assert extent_of_changes(np.zeros(50)) == 1.0, "nothing changed, and nothing is known of how far it could"
    assert extent_of_changes(np.zeros(0)) == 1.0
    assert extent_of_changes(np.array([1.0, -1.0, 0.0, 1.0])) == 1.0, "right or wrong"
    assert extent_of_changes(np.full(200, -0.03)) == pytest.approx(0.03), "everything was seen"
    one = np.zeros(200)
    one[3] = 0.01
    assert 0.6 < extent_of_changes(one) < 1.0, "of those that did not change nothing is known"


def test_samples_that_all_change_a_little_are_as_unsure_as_their_mean():
    worse = np.random.default_rng(4).normal(0.03, 0.02, 300)
    draws = resample_rows(300, lambda w: w @ worse / 300)
    signs = int((worse > 0).sum()), int((worse < 0).sum())
    found = of_draws(worse.mean(), draws, signs, 300, extent_of_changes(worse))
    plain = of_means(worse)
    assert plain.high - plain.low <= found.high - found.low <= 1.6 * (plain.high - plain.low)
    assert found.low > 0.02
    flipped = of_draws(worse.mean(), draws, signs, 300)
    assert flipped.low < 0, "as if every sample were right or wrong"


def test_draws_are_the_same_every_time_and_of_the_right_spread():
    values = np.random.default_rng(2).random(60)
    mean = resample_rows(60, lambda w: w @ values / 60)
    assert (mean == resample_rows(60, lambda w: w @ values / 60)).all()
    assert mean.std() == pytest.approx(values.std() / math.sqrt(60), rel=0.1)
    cells = resample_cells(np.array([20, 40]), lambda w: w[:, 0] / 60)
    assert cells.std() == pytest.approx(math.sqrt(1 / 3 * 2 / 3 / 60), rel=0.1)
    low, high = percentile_interval(mean, 60)
    assert low < values.mean() < high
    assert percentile_interval(mean, 1) == (-math.inf, math.inf)


def test_the_sign_test_is_the_binomial():
    for lost, gained in ((9, 1), (0, 3), (5, 5), (600, 500)):
        expected = stats.binomtest(lost, lost + gained, alternative="greater").pvalue
        assert sign_test(lost, gained)[0] == pytest.approx(expected, rel=0.02)
    assert sign_test(0, 0) == (1.0, 1.0)
    assert sign_test(3, 1)[1] == 1 / 16


def test_a_class_that_is_lost_whole_is_seen_among_a_thousand():
    quiet = [sign_test(1, 0)] * 30 + [sign_test(0, 0)] * 969
    p, smallest = zip(*[sign_test(10, 0), *quiet], strict=True)
    adjusted = tarone_holm(p, smallest)
    assert adjusted[0] < 0.05
    assert min(adjusted[1:]) == 1.0
    assert 1000 * p[0] > 0.9, "Bonferroni would have missed it"


def test_chance_among_many_groups_is_seldom_an_alarm():
    generator = np.random.default_rng(4)
    alarms = 0
    for _ in range(300):
        flips = generator.multinomial(60, (0.05, 0.05, 0.9), size=40)
        p, smallest = zip(*(sign_test(int(a), int(b)) for a, b, _ in flips), strict=True)
        alarms += min(tarone_holm(p, smallest)) <= 0.05
    assert alarms <= 300 * 0.05 + 10


def test_holm_where_every_test_could_have_spoken():
    assert tarone_holm([0.01, 0.04, 0.03], [0.0] * 3) == pytest.approx([0.03, 0.06, 0.06])
    assert tarone_holm([], []) == []
