"""Each statistic against scipy, or against the figures that R's functions give (their call stands beside them)."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from scipy.spatial import distance

from logging_lib.analysis import contingency, numeric_tests
from logging_lib.analysis.comparison import detectable
from tests.strategies import examples

Array = np.ndarray[Any, Any]

SAMPLES = st.lists(
    st.one_of(st.floats(-1e6, 1e6).map(lambda x: round(x, 6)), st.integers(-5, 5).map(float)),
    min_size=1,
    max_size=40,
)


def merged(a: list[float] | Array, b: list[float] | Array) -> numeric_tests.MergedSamples:
    return numeric_tests.merge(np.sort(np.asarray(a, dtype=float)), np.sort(np.asarray(b, dtype=float)))


@settings(max_examples=examples(200), deadline=None)
@given(SAMPLES, SAMPLES)
def test_tests_of_two_samples_agree_with_scipy(a: list[float], b: list[float]) -> None:
    """D, U, the Wasserstein distance and their p-values, with and without ties."""
    made = merged(a, b)
    found, effect = numeric_tests.ks(made)
    with warnings.catch_warnings(record=True) as gave_up:
        warnings.simplefilter("always")
        theirs = stats.ks_2samp(a, b, method="exact")
    assert found.statistic == pytest.approx(theirs.statistic, abs=1e-12)
    if not gave_up:  # its exact method fails where D is the least there can be
        assert found.p == pytest.approx(theirs.pvalue, abs=1e-9)
    assert effect.low - 1e-12 <= effect.value <= effect.high + 1e-12
    u, delta = numeric_tests.mann_whitney(made)
    scipys = stats.mannwhitneyu(a, b, method="asymptotic")
    assert u.statistic == scipys.statistic
    if math.isfinite(scipys.pvalue):  # not where all values are the same
        assert u.p == pytest.approx(scipys.pvalue, abs=1e-9)
    assert -1 <= delta.low <= delta.high <= 1
    pairs = np.sign(np.subtract.outer(np.array(a), np.array(b)))
    assert delta.value == pytest.approx(pairs.mean(), abs=1e-12)
    assert numeric_tests.wasserstein(made) == pytest.approx(
        stats.wasserstein_distance(a, b), rel=1e-9, abs=1e-9
    )


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(150, 900), st.integers(150, 900))
def test_tests_of_large_samples_agree_with_scipy(seed: int, n: int, m: int) -> None:
    """The limiting distribution of D is scipy's own; Welch's t is scipy's."""
    random = np.random.default_rng(seed)
    a, b = random.normal(size=n), random.normal(0.1, 1.2, m)
    theirs = stats.ks_2samp(a, b, method="asymp")
    assert numeric_tests.ks(merged(a, b))[0].p == pytest.approx(theirs.pvalue, rel=1e-9)
    made = numeric_tests.welch(numeric_tests.measure_moments(a), numeric_tests.measure_moments(b))
    assert made is not None
    t = stats.ttest_ind(b, a, equal_var=False)
    assert (made[0].statistic, made[0].p) == pytest.approx((t.statistic, t.pvalue), rel=1e-9)


def test_cliffs_delta_has_cliffs_variance() -> None:
    """By the definition, over all pairs: Cliff 1993, eq. 3; the interval Feng and Cliff 2004, eq. 5."""
    random = np.random.default_rng(4)
    a, b = random.integers(0, 12, 23).astype(float), random.integers(2, 14, 31).astype(float)
    d = np.sign(np.subtract.outer(a, b))
    n, m, delta = len(a), len(b), d.mean()
    rows, columns = ((d.mean(axis=axis) - delta) ** 2 for axis in (1, 0))
    variance = (m**2 * rows.sum() + n**2 * columns.sum() - ((d - delta) ** 2).sum()) / (
        n * m * (n - 1) * (m - 1)
    )
    z = stats.norm.isf(0.025)
    inner = z * math.sqrt(variance) * math.sqrt((1 - delta**2) ** 2 + z**2 * variance)
    below = 1 - delta**2 + z**2 * variance
    _, effect = numeric_tests.mann_whitney(merged(a, b))
    assert effect.value == pytest.approx(delta)
    assert effect.low == pytest.approx((delta - delta**3 - inner) / below)
    assert effect.high == pytest.approx((delta - delta**3 + inner) / below)


def test_hedges_g_agrees_with_a_published_example() -> None:
    """Means 10 and 11, standard deviation 2, 20 rows each: d = 0.5, J = 1 - 3 / 151."""
    made = numeric_tests.welch(numeric_tests.SampleMoments(20, 10, 2), numeric_tests.SampleMoments(20, 11, 2))
    assert made is not None
    g = made[1]
    assert g.value == pytest.approx(0.5 * (1 - 3 / 151))
    half = 1.959964 * math.sqrt(0.1 + g.value**2 / 80)
    assert (g.low, g.high) == pytest.approx((g.value - half, g.value + half), rel=1e-6)


TABLE = np.array([[762, 327, 468], [484, 239, 477]])
"""R's own example of chisq.test: party identification by gender (Agresti 2007, p. 39)."""


def test_chi_squared_agrees_with_r() -> None:
    """chisq.test(M): X-squared = 30.07, df = 2, p-value = 2.954e-07; DescTools::GTest(M): G = 30.017."""
    test, _, _ = contingency.association(TABLE)
    assert (test.statistic, test.p) == (pytest.approx(30.070, abs=1e-3), pytest.approx(2.954e-07, rel=1e-3))
    g, _, _ = contingency.association(TABLE, test="g")
    assert g.statistic == pytest.approx(30.017, abs=1e-3)


@settings(max_examples=examples(100), deadline=None)
@given(st.integers(2, 3), st.integers(2, 8), st.integers(0, 2**32))
def test_tests_of_tables_agree_with_scipy(samples: int, categories: int, seed: int) -> None:
    table = np.random.default_rng(seed).integers(20, 200, (samples, categories))
    for name, power in (("chi2", "pearson"), ("g", "log-likelihood")):
        test, _, _ = contingency.association(table, test=name)
        theirs = stats.chi2_contingency(table, correction=False, lambda_=power)
        assert (test.statistic, test.p) == pytest.approx((theirs.statistic, theirs.pvalue), rel=1e-8)
    assert contingency.jensen_shannon(table[:2]) == pytest.approx(
        distance.jensenshannon(table[0], table[1], base=2)
    )


def test_fishers_exact_test_agrees_with_r() -> None:
    """fisher.test(matrix(c(3, 1, 1, 3), 2)): p-value = 0.4857 (the tea taster)."""
    test, _, _ = contingency.association(np.array([[3, 1], [1, 3]]))
    assert test.name == "fisher"
    assert test.p == pytest.approx(0.4857, abs=1e-4)


def test_sparse_cells_are_permuted_in_small_samples() -> None:
    """The permutation p is near that of the exact test: fisher.test(M) of this table gives p = 0.002427, by scipy's
    own enumeration."""
    table = np.array([[8, 2, 0, 1], [1, 3, 5, 2]])
    exact = stats.fisher_exact(table, method=stats.MonteCarloMethod(rvs=None, n_resamples=9999)).pvalue
    test, _, tested = contingency.association(table, seed=1)
    assert test.note == "by permutation"
    assert tested.shape == (2, 4)
    assert test.p == pytest.approx(exact, abs=0.02)
    assert contingency.association(table, seed=1)[0].p == test.p


def test_sparse_cells_are_pooled_in_large_samples() -> None:
    table = np.array([[5000, 3000, 3, 2, 1, 2], [5100, 2900, 2, 4, 0, 1]])
    test, _, tested = contingency.association(table)
    assert test.note == "4 sparse categories pooled"
    assert tested.sum() == table.sum()
    expected = np.outer(tested.sum(axis=1), tested.sum(axis=0)) / tested.sum()
    assert expected.min() >= contingency.MIN_EXPECTED


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 5000)), min_size=2, max_size=30))
def test_pooling_loses_no_row_and_leaves_no_sparse_cell(cells: list[tuple[int, int]]) -> None:
    table = np.array(cells).T
    if table.sum(axis=1).min() < 20:
        return
    made = contingency.pool(table[:, table.sum(axis=0) > 0])
    assert made.sum(axis=1).tolist() == table.sum(axis=1).tolist()
    if made.shape[1] > 1:
        expected = np.outer(made.sum(axis=1), made.sum(axis=0)) / made.sum()
        assert expected.min() >= contingency.MIN_EXPECTED


def test_cramers_v_corrected_for_bias() -> None:
    """Of equal samples it is Bergsma's; it does not depend on how many rows one of them has; it covers."""
    table = np.array([[300, 200, 100], [200, 200, 200]])
    chi2, n = stats.chi2_contingency(table, correction=False).statistic, table.sum()
    phi = max(0, chi2 / n - 2 / (n - 1))
    expected = math.sqrt(phi / (min(2 - 1 / (n - 1), 3 - 4 / (n - 1)) - 1))
    v = contingency.cramers_v(table)
    assert v.value == pytest.approx(expected)
    assert v.low < v.value < v.high
    more = contingency.cramers_v(table * np.array([[1000], [1]]))
    assert more.value == pytest.approx(v.value, abs=0.02)


@pytest.mark.parametrize("chi2", [0.5, 3.0, 20.0, 300.0, 900.0, 5000.0, 1e6])
@pytest.mark.parametrize("freedom", [1, 4, 30])
def test_the_noncentrality_is_that_of_its_quantiles(chi2: float, freedom: int) -> None:
    """ncx2.cdf of the ends is 0.975 and 0.025, or the end is 0."""
    low, high = contingency.noncentrality(chi2, freedom)
    for end, quantile in ((low, 0.975), (high, 0.025)):
        if end == 0:
            assert special.chdtr(freedom, chi2) <= quantile
        else:
            assert stats.ncx2.cdf(chi2, freedom, end) == pytest.approx(quantile, abs=2e-3)


def test_intervals_of_shares_agree_with_references() -> None:
    """Newcombe 1998: (56/70, 48/80) by method 10 is 0.0524 to 0.3339; Wilson of 81/263 is 0.2553 to 0.3662."""
    effect = contingency.risk_difference(np.array([[32, 48], [14, 56]]))
    assert (effect.value, effect.low, effect.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)
    assert contingency.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    h = contingency.cohens_h(np.array([[60, 40], [50, 50]]))
    assert h.value == pytest.approx(2 * (math.asin(math.sqrt(0.5)) - math.asin(math.sqrt(0.4))))


def test_psi_and_its_expected_value_by_chance() -> None:
    """0.1 against 0.2 and 0.9 against 0.8: 0.1 ln 2 + (-0.1) ln(8/9); by chance (bins - 1)(1/n + 1/m)."""
    table = np.array([[100_000, 900_000], [200_000, 800_000]])
    assert contingency.psi(table) == pytest.approx(0.1 * math.log(2) - 0.1 * math.log(8 / 9), rel=1e-4)
    random = np.random.default_rng(5)
    found = [
        contingency.psi(np.stack([random.multinomial(n, [0.1] * 10) for n in (800, 1200)]))
        for _ in range(1000)
    ]
    usual = contingency.psi_by_chance(np.array([[80] * 10, [120] * 10]))
    assert np.mean(found) == pytest.approx(usual, rel=0.08)


def test_tests_of_several_samples_agree_with_scipy() -> None:
    random = np.random.default_rng(6)
    samples = [random.normal(i * 0.3, 1 + i / 2, 60 + 20 * i) for i in range(4)]
    made = numeric_tests.kruskal(samples)
    theirs = stats.kruskal(*samples)
    assert made is not None
    assert (made[0].statistic, made[0].p) == (theirs.statistic, theirs.pvalue)
    analysis = numeric_tests.anova(samples)
    welch = stats.f_oneway(*samples, equal_var=False)
    assert analysis is not None
    assert (analysis[0].statistic, analysis[0].p) == (welch.statistic, welch.pvalue)
    n, f = sum(map(len, samples)), stats.f_oneway(*samples).statistic
    assert analysis[1].value == pytest.approx(3 * (f - 1) / (3 * (f - 1) + n))
    for effect in (made[1], analysis[1]):
        assert effect.low <= effect.value <= effect.high
    assert numeric_tests.anova([np.ones(5), np.ones(5), np.ones(5)]) is None
    assert numeric_tests.kruskal([np.ones(5), np.ones(5), np.ones(5)]) is None


def test_welchs_anova_agrees_with_r() -> None:
    """oneway.test(weight ~ group, PlantGrowth): F = 5.181, denom df = 17.128, p-value = 0.01739; kruskal.test:
    chi-squared = 7.9882, p-value = 0.01842."""
    plants = [
        np.array([4.17, 5.58, 5.18, 6.11, 4.50, 4.61, 5.17, 4.53, 5.33, 5.14]),
        np.array([4.81, 4.17, 4.41, 3.59, 5.87, 3.83, 6.03, 4.89, 4.32, 4.69]),
        np.array([6.31, 5.12, 5.54, 5.50, 5.37, 5.29, 4.92, 6.15, 5.80, 5.26]),
    ]
    analysis, ranks = numeric_tests.anova(plants), numeric_tests.kruskal(plants)
    assert analysis is not None
    assert ranks is not None
    assert (analysis[0].statistic, analysis[0].p) == pytest.approx((5.181, 0.01739), abs=1e-3)
    assert (ranks[0].statistic, ranks[0].p) == pytest.approx((7.9882, 0.01842), abs=1e-4)


def test_welchs_t_test_agrees_with_r() -> None:
    """t.test(extra ~ group, sleep): t = -1.8608, df = 17.776, p-value = 0.07939; wilcox.test: W = 25.5,
    p-value = 0.06933."""
    one = np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
    two = np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])
    made = numeric_tests.welch(numeric_tests.measure_moments(one), numeric_tests.measure_moments(two))
    assert made is not None
    assert (made[0].statistic, made[0].p) == pytest.approx((1.8608, 0.07939), abs=1e-4)
    u, _ = numeric_tests.mann_whitney(merged(one, two))
    assert (u.statistic, u.p) == pytest.approx((25.5, 0.06933), abs=1e-5)


def test_the_detectable_shift_is_cohens() -> None:
    """power.t.test(power = 0.8, delta = 0.5, sd = 1): n = 63.77 a sample."""
    assert detectable(64, 64) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_intervals_contain_the_true_value_as_often_as_stated(shift: float) -> None:
    """Of 1,000 samples the 95 % intervals of g, delta and D hold the true value in 93 % or more; D's, which cannot
    be below 0, is tested at a true difference alone."""
    random = np.random.default_rng(8)
    true_delta = -2 * stats.norm.cdf(shift / math.sqrt(2)) + 1
    true_d = 2 * stats.norm.cdf(shift / 2) - 1
    held = np.zeros(3)
    for _ in range(1000):
        a, b = np.sort(random.normal(size=300)), np.sort(random.normal(shift, 1, 200))
        both = numeric_tests.merge(a, b)
        made = numeric_tests.welch(numeric_tests.measure_moments(a), numeric_tests.measure_moments(b))
        assert made is not None
        for i, (effect, value) in enumerate(
            (
                (made[1], shift),
                (numeric_tests.mann_whitney(both)[1], true_delta),
                (numeric_tests.ks(both)[1], true_d),
            )
        ):
            held[i] += effect.low <= value <= effect.high
    assert (held[:2] >= 930).all()
    if shift:
        assert held[2] >= 930
