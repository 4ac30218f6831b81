import math

import pytest
from scipy import stats

from qgate.stats.intervals import mcnemar, paired_difference, student_quantile, wilson
from qgate.stats.power import detectable_mean, minimum_detectable_effect


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (3, 7), (596, 597), (1, 1000)])
def test_wilson_agrees_with_scipy(k, n):
    expected = stats.binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_nothing_says_nothing():
    assert wilson(0, 0) == (0.0, 1.0)


def test_tango_agrees_with_the_published_example():
    # Fagerland, Lydersen and Laake (2014), airway hyper-responsiveness before and after transplantation.
    low, high = paired_difference(1, 7, 21)
    assert (round(low, 3), round(high, 3)) == (-0.517, -0.026)


@pytest.mark.parametrize(
    ("lost", "gained", "n"), [(0, 0, 50), (5, 0, 5), (0, 5, 5), (3, 9, 200), (40, 2, 100)]
)
def test_tango_is_antisymmetric_and_covers_the_estimate(lost, gained, n):
    low, high = paired_difference(lost, gained, n)
    mirrored = paired_difference(gained, lost, n)
    assert -1.0 <= low <= (lost - gained) / n <= high <= 1.0
    assert (low, high) == pytest.approx((-mirrored[1], -mirrored[0]), abs=1e-9)
    assert high > low


def test_without_discordant_pairs_the_interval_narrows_with_the_samples():
    assert paired_difference(0, 0, 50)[1] == pytest.approx(1.959964**2 / (50 + 1.959964**2), abs=1e-6)
    assert paired_difference(0, 0, 5000)[1] < 0.001
    assert paired_difference(0, 0, 0) == (-1.0, 1.0)


@pytest.mark.parametrize(("lost", "gained"), [(0, 1), (5, 5), (12, 3), (20, 4), (1, 23)])
def test_mcnemar_is_exact_where_pairs_are_few(lost, gained):
    assert mcnemar(lost, gained) == pytest.approx(stats.binomtest(lost, lost + gained).pvalue, abs=1e-12)


@pytest.mark.parametrize(("lost", "gained"), [(20, 5), (13, 12), (300, 200)])
def test_mcnemar_is_continuity_corrected_where_pairs_are_many(lost, gained):
    statistic = (abs(lost - gained) - 1) ** 2 / (lost + gained)
    assert mcnemar(lost, gained) == pytest.approx(stats.chi2.sf(statistic, 1), abs=1e-12)


def test_mcnemar_of_two_equal_models_is_one():
    assert mcnemar(0, 0) == 1.0


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 6, 7, 10, 30, 1000])
def test_student_quantile_agrees_with_scipy(degrees):
    assert student_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), abs=1e-3)


def test_one_sample_has_no_interval():
    assert student_quantile(0) == math.inf


def test_ten_percent_discordant_pairs_need_thousands_of_samples_for_a_point():
    assert minimum_detectable_effect(10, 100) == pytest.approx(0.0886, abs=1e-4)
    assert minimum_detectable_effect(784, 7840) == pytest.approx(0.01, abs=1e-4)


def test_no_discordant_pair_is_not_infinite_power():
    assert 0 < minimum_detectable_effect(0, 597) < 0.01
    assert minimum_detectable_effect(0, 0) == math.inf
    assert detectable_mean(1.0, 1) == math.inf
    assert detectable_mean(1.0, 100) == pytest.approx(0.2802, abs=1e-4)
