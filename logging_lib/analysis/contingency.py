"""Test counts by category and sample: sparse and large tables, effect sizes, distances."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import special, stats
from scipy.spatial import distance

from logging_lib.analysis.results import Effect, Test

Array = np.ndarray[Any, Any]

MIN_EXPECTED = 5.0
"""Cells with fewer expected rows are sparse (Cochran 1954)."""

PERMUTED_TO = 2000
"""A sparse table of at most this many rows is tested by permutation instead of pooled cells."""

RESAMPLES = 2000
Z = 1.959963984540054
"""The normal distribution's 97.5 % quantile, for 95 % intervals."""

SMOOTHING = 0.5
"""Added to every cell before a distance takes logarithms (Jeffreys' prior)."""


def association(table: Array, *, test: str = "chi2", seed: int = 0) -> tuple[Test, Effect, Array]:
    """Test whether the samples have the same shares.

    Args:
        table: counts, shape (samples, categories); each sample has some, each category may be empty.
        test: ``chi2`` (Pearson) or ``g`` (likelihood ratio).
        seed: the seed of the permutations.

    Returns:
        The test, Cramér's V, and the table that was tested: sparse categories are pooled in its last column.
        A 2 x 2 table with sparse cells gets Fisher's exact test, a larger one with up to ``PERMUTED_TO`` rows a
        permutation test with fixed margins.
    """
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return Test(test, 0.0, 1.0, note="one value only"), Effect("cramers_v", 0.0, 0.0, 0.0), table
    sparse = _expected(table).min() < MIN_EXPECTED
    if sparse and table.shape == (2, 2):
        exact = stats.fisher_exact(table)
        return Test("fisher", float(exact.statistic), float(exact.pvalue)), cramers_v(table), table
    if sparse and table.sum() <= PERMUTED_TO:
        statistic = float(_statistic(table, test))
        random = stats.random_table(table.sum(axis=1), table.sum(axis=0), seed=seed)
        resampled = np.array([_statistic(sample, test) for sample in random.rvs(RESAMPLES)])
        # Phipson and Smyth 2010: the table itself is one of the permutations, so p is never 0.
        p = (float((resampled >= statistic - 1e-9).sum()) + 1) / (RESAMPLES + 1)
        return Test(test, statistic, p, note="by permutation"), cramers_v(table), table
    note = ""
    if sparse:
        pooled = pool(table)
        note = f"{table.shape[1] - pooled.shape[1] + 1} sparse categories pooled"
        table = pooled
        if table.shape[1] < 2:
            return Test(test, 0.0, 1.0, note=note), Effect("cramers_v", 0.0, 0.0, 0.0), table
    statistic = float(_statistic(table, test))
    freedom = (table.shape[0] - 1) * (table.shape[1] - 1)
    return (
        Test(test, statistic, float(special.chdtrc(freedom, statistic)), note=note),
        cramers_v(table),
        table,
    )


def pool(table: Array) -> Array:
    """Pool the rarest categories until no cell is sparse; shape (samples, fewer categories)."""
    order = np.argsort(table.sum(axis=0), kind="stable")[::-1]
    table = table[:, order]
    smallest = _expected(table).min(axis=0)
    frequent = int((smallest >= MIN_EXPECTED).sum())
    while True:
        rare = table[:, frequent:].sum(axis=1, keepdims=True)
        if not rare.any():
            return table[:, :frequent]
        pooled = np.concatenate([table[:, :frequent], rare], axis=1)
        if frequent == 0 or _expected(pooled)[:, -1].min() >= MIN_EXPECTED:
            return pooled
        frequent -= 1


def _expected(table: Array) -> Array:
    total = table.sum()
    expected: Array = np.outer(table.sum(axis=1), table.sum(axis=0)) / total
    return expected


def _statistic(table: Array, test: str) -> float:
    expected = _expected(table)
    if test == "g":
        return float(2 * special.xlogy(table, table / expected).sum())
    return float(((table - expected) ** 2 / expected).sum())


def cramers_v(table: Array) -> Effect:
    """Return Cramér's V of samples of equal size with these shares, corrected for its bias.

    The plain V of the same difference shrinks as one sample grows beside the other, but an effect size must not
    depend on the number of sampled rows. For samples of equal size it is the plain V. Corrected as by Bergsma
    (Journal of the Korean Statistical Society 42, 2013); the interval is that of the noncentral chi-squared
    distribution (Smithson 2003, chapter 4).
    """
    r, k = table.shape
    sizes = table.sum(axis=1)
    if min(r, k) < 2 or sizes.min() < 1:
        return Effect("cramers_v", 0.0, 0.0, 0.0)
    n = float(r * stats.hmean(sizes))
    shares = table / sizes[:, None]
    chi2 = _statistic(shares * (n / r), "chi2")
    freedom, room = (r - 1) * (k - 1), min(r, k) - 1
    r_, k_ = r - (r - 1) ** 2 / max(n - 1, 1), k - (k - 1) ** 2 / max(n - 1, 1)
    v = math.sqrt(max(0.0, chi2 / n - freedom / max(n - 1, 1)) / max(min(r_, k_) - 1, 1e-12))
    low, high = (math.sqrt(end / (n * room)) for end in noncentrality(chi2, freedom))
    return Effect("cramers_v", min(v, 1.0), min(low, v, 1.0), min(max(high, v), 1.0))


def noncentrality(chi2: float, freedom: float) -> tuple[float, float]:
    """Return the noncentralities under which ``chi2`` is the 97.5 % and the 2.5 % quantile.

    From 1,000 on, use the normal approximation, mean freedom + λ and variance 2 (freedom + 2 λ), because the exact
    inversion takes long and gains nothing.
    """
    if chi2 + freedom > 1000:
        z2 = Z * Z
        middle, root = (
            chi2 - freedom + 2 * z2,
            math.sqrt(max(0.0, (chi2 - freedom + 2 * z2) ** 2 - (chi2 - freedom) ** 2 + 2 * freedom * z2)),
        )
        return max(0.0, middle - root), max(0.0, middle + root)
    low, high = (
        0.0
        if special.chdtr(freedom, chi2) <= quantile
        else max(0.0, float(special.chndtrinc(chi2, freedom, quantile)))
        for quantile in (0.975, 0.025)
    )
    return low, high


def risk_difference(table: Array, *, z: float = Z) -> Effect:
    """Return, for a 2 x 2 table, the second column's share in the second sample minus that in the first.

    The interval is Newcombe's (Statistics in Medicine 17, 1998, method 10).
    """
    (_, hits_a), (_, hits_b) = table.tolist()
    n, m = (int(total) for total in table.sum(axis=1))
    a, b = hits_a / n, hits_b / m
    (low_a, high_a), (low_b, high_b) = wilson(hits_a, n, z=z), wilson(hits_b, m, z=z)
    low = (b - a) - math.hypot(b - low_b, high_a - a)
    high = (b - a) + math.hypot(high_b - b, a - low_a)
    return Effect("risk_difference", b - a, low, high)


def cohens_h(table: Array) -> Effect:
    """Return, for a 2 x 2 table, Cohen's h between the shares of the second column, second sample minus first
    (Cohen 1988, chapter 6): the arcsine makes its variance 1/n + 1/m whatever the shares."""
    (_, hits_a), (_, hits_b) = table.tolist()
    n, m = (int(total) for total in table.sum(axis=1))
    h = 2 * (math.asin(math.sqrt(hits_b / m)) - math.asin(math.sqrt(hits_a / n)))
    error = Z * math.sqrt(1 / n + 1 / m)
    return Effect("cohens_h", h, h - error, h + error)


def wilson(hits: float, trials: float, *, z: float = Z) -> tuple[float, float]:
    """Return the interval of a share, 95 % by default (Wilson, JASA 22, 1927).

    Weighted labels have an effective number of trials that is not whole; scipy's interval needs whole ones.
    """
    if trials <= 0:
        return 0.0, 1.0
    z2 = z * z
    middle = (hits + z2 / 2) / (trials + z2)
    half = z / (trials + z2) * math.sqrt(max(hits * (trials - hits) / trials + z2 / 4, 0.0))
    # Without hits the lower end is 0, and without misses the upper end is 1; rounding would leave about 5e-20.
    low = 0.0 if hits <= 0 else max(0.0, middle - half)
    high = 1.0 if hits >= trials else min(1.0, middle + half)
    return low, high


def psi(table: Array) -> float:
    """Return the population stability index of two samples' bins, shape (2, bins).

    It is Σ (b - a) ln(b / a) over the shares, with ``SMOOTHING`` rows added to each bin.
    """
    a, b = _shares(table)
    return float(((b - a) * np.log(b / a)).sum())


def psi_by_chance(table: Array) -> float:
    """Return the index's mean if nothing differs: (bins - 1) (1/n + 1/m) (Yurdakul 2018)."""
    n, m = table.sum(axis=1)
    return float((table.shape[1] - 1) * (1 / n + 1 / m))


def jensen_shannon(table: Array) -> float:
    """Return the Jensen-Shannon distance of two samples' shares, shape (2, bins): 0 to 1, logarithms to base 2."""
    with np.errstate(invalid="ignore"):  # rounding can make the divergence of nearly equal shares negative
        return float(np.nan_to_num(distance.jensenshannon(table[0], table[1], base=2)))


def _shares(table: Array) -> tuple[Array, Array]:
    smooth = table.astype(float) + SMOOTHING
    a, b = smooth / smooth.sum(axis=1, keepdims=True)
    return a, b
