"""Test samples of numbers: two by their distributions, ranks and means, several by analysis of variance.

The cost is in sorting two samples; one merge of the sorted values serves every measure of both. scipy computes what
it computes as fast; Kolmogorov-Smirnov's D and the Wasserstein distance come from the merge (see docs/design.md).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special, stats

from logging_lib.analysis.contingency import Z, noncentrality, risk_difference
from logging_lib.analysis.results import Effect, Test

Array = np.ndarray[Any, Any]
Z_OF_D = 2.3263478740408408
EXACT_TO = 10_000
"""The largest ``len(a) * len(b)`` for which the Kolmogorov-Smirnov test is exact."""


@dataclass(frozen=True, slots=True)
class MergedSamples:
    """Two sorted samples at their distinct values.

    Attributes:
        a, b: the samples, sorted, shapes (n,) and (m,).
        values: the distinct values, rising, shape (k,).
        ends_a: for each distinct value, how many values of the first sample are not above it, shape (k,).
        ends_b: the same for the second sample.
    """

    a: Array
    b: Array
    values: Array
    ends_a: Array
    ends_b: Array

    def counts(self) -> tuple[Array, Array]:
        """Count each distinct value in either sample; each of shape (k,)."""
        return np.diff(self.ends_a, prepend=0), np.diff(self.ends_b, prepend=0)


def merge(a: Array, b: Array) -> MergedSamples:
    """Merge two samples that are already sorted and have at least one value each; shapes (n,), (m,)."""
    values = np.concatenate([a, b])
    order = values.argsort(kind="stable")  # two runs: timsort merges them in linear time
    values = values[order]
    last = np.flatnonzero(values[1:] != values[:-1])
    last = np.append(last, len(values) - 1)
    ends_b = np.cumsum(order >= len(a), dtype=np.int64)[last]
    return MergedSamples(a, b, values[last], last + 1 - ends_b, ends_b)


def ks(merged: MergedSamples) -> tuple[Test, Effect]:
    """Test with Kolmogorov and Smirnov's D, two-sided, and give D an interval.

    p is exact for small samples, otherwise from the limiting distribution with scipy's own effective sample size.
    The interval is Newcombe's for the two shares of values below the point at which D occurs: D is asymptotically
    normal around a true difference (Raghavachari, Annals of Statistics 1, 1973). A 98 % interval covers about 95 %,
    because the point is not an arbitrary one, but the one with the largest difference.
    """
    n, m = len(merged.a), len(merged.b)
    gap = np.abs(merged.ends_a / n - merged.ends_b / m)
    at = int(gap.argmax())
    d = float(gap[at])
    if n * m <= EXACT_TO:
        p = _exact_p(merged.a, merged.b)
    else:
        larger, smaller = float(max(n, m)), float(min(n, m))
        p = float(np.clip(stats.kstwo.sf(d, np.round(larger * smaller / (larger + smaller))), 0, 1))
    below_a, below_b = int(merged.ends_a[at]), int(merged.ends_b[at])
    ends = risk_difference(np.array([[n - below_a, below_a], [m - below_b, below_b]]), z=Z_OF_D)
    low, high = sorted((abs(ends.low), abs(ends.high)))
    return Test("ks", d, p), Effect("ks_d", d, 0.0 if ends.low <= 0 <= ends.high else low, high)


def _exact_p(a: Array, b: Array) -> float:
    with warnings.catch_warnings(record=True) as failures:
        warnings.simplefilter("always")
        p = float(stats.ks_2samp(a, b, method="exact").pvalue)
    return 1.0 if failures else p  # scipy's exact method fails only for the least possible D


def mann_whitney(merged: MergedSamples) -> tuple[Test, Effect]:
    """Test with Mann and Whitney's U, by the normal approximation, and measure Cliff's delta.

    Delta is P(a > b) - P(a < b), the rank-biserial correlation; its interval: Feng and Cliff, Journal of Modern
    Applied Statistical Methods 3 (2004), with Cliff's consistent variance.
    """
    n, m = len(merged.a), len(merged.b)
    here_a, here_b = merged.counts()
    below_b, below_a = merged.ends_b - here_b, merged.ends_a - here_a
    p = 1.0  # also if all values are the same
    if len(merged.values) > 1:
        p = float(stats.mannwhitneyu(merged.a, merged.b, method="asymptotic").pvalue)
    u = float(here_a @ (below_b + here_b / 2.0))
    delta = 2 * u / (n * m) - 1
    low, high = _delta_interval(delta, n, m, here_a, here_b, below_a, below_b)
    return Test("mann_whitney", u, p), Effect("cliffs_delta", delta, low, high)


def _delta_interval(
    delta: float, n: int, m: int, here_a: Array, here_b: Array, below_a: Array, below_b: Array
) -> tuple[float, float]:
    if min(n, m) < 2:
        return -1.0, 1.0
    of_a = (2 * below_b + here_b - m) / m - delta  # a value of a against all of b, less the mean
    of_b = (n - 2 * below_a - here_a) / n - delta
    rows, columns = float(here_a @ of_a**2), float(here_b @ of_b**2)
    cells = n * m - float(here_a @ here_b.astype(float)) - n * m * delta**2
    variance = (m * m * rows + n * n * columns - cells) / (n * m * (n - 1.0) * (m - 1.0))
    variance = max(variance, (1 - delta**2) / (n * m - 1.0), 0.0)
    z = Z
    if abs(delta) == 1:
        lean = min(n, m)
        edge = (lean - z * z) / (lean + z * z)
        return (edge, 1.0) if delta > 0 else (-1.0, -edge)
    inner = z * math.sqrt(variance) * math.sqrt((1 - delta**2) ** 2 + z * z * variance)
    below = 1 - delta**2 + z * z * variance
    return max(-1.0, (delta - delta**3 - inner) / below), min(1.0, (delta - delta**3 + inner) / below)


@dataclass(frozen=True, slots=True)
class SampleMoments:
    """Size, mean and sample standard deviation."""

    count: int
    mean: float
    std: float


def measure_moments(values: Array) -> SampleMoments:
    """Measure the moments of a sample, shape (n,)."""
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return SampleMoments(len(values), float(values.mean()), spread)


def welch(a: SampleMoments, b: SampleMoments) -> tuple[Test, Effect] | None:
    """Test with Welch's t and measure Hedges' g, from moments alone.

    Return None if nothing varies or a sample has one value.

    g is (mean of b - mean of a) over the pooled standard deviation, times 1 - 3 / (4 df - 1); its interval: Hedges
    and Olkin, Statistical Methods for Meta-Analysis (1985), eq. 5.15.
    """
    if min(a.count, b.count) < 2:
        return None
    of_a, of_b = a.std**2 / a.count, b.std**2 / b.count
    if of_a + of_b <= 0:
        return None
    t = (b.mean - a.mean) / math.sqrt(of_a + of_b)
    share = of_a / (of_a + of_b)
    freedom = 1 / (share**2 / (a.count - 1) + (1 - share) ** 2 / (b.count - 1))
    p = float(2 * special.stdtr(freedom, -abs(t)))
    together = a.count + b.count - 2
    pooled = math.sqrt(((a.count - 1) * a.std**2 + (b.count - 1) * b.std**2) / together)
    g = (b.mean - a.mean) / pooled * (1 - 3 / (4 * together - 1))
    error = Z * math.sqrt(1 / a.count + 1 / b.count + g * g / (2 * (a.count + b.count)))
    return Test("welch", t, p), Effect("hedges_g", g, g - error, g + error)


def wasserstein(merged: MergedSamples) -> float:
    """Return the area between the distribution functions, in the values' unit (Vallender 1974)."""
    gap = np.abs(merged.ends_a / len(merged.a) - merged.ends_b / len(merged.b))[:-1]
    return float(gap @ np.diff(merged.values))


def cut(merged: MergedSamples, bins: int = 10) -> tuple[Array, Array]:
    """Cut both samples at the first one's quantiles and count the values between the edges.

    Returns:
        Edges, shape (k + 1,), the outermost at the extremes of both samples; counts, shape (2, k). A value that
        makes up more than a bin has its own bin, so k may be below ``bins``.
    """
    ranks = np.arange(1, bins) * len(merged.a) / bins
    at = np.searchsorted(merged.ends_a, ranks, side="left")
    inner = np.unique(at)
    inner = inner[inner < len(merged.values) - 1]
    ends = np.append(inner, len(merged.values) - 1)
    counts = np.stack([np.diff(merged.ends_a[ends], prepend=0), np.diff(merged.ends_b[ends], prepend=0)])
    edges = np.concatenate([merged.values[:1], merged.values[ends]])
    return edges, counts


def anova(samples: Sequence[Array]) -> tuple[Test, Effect] | None:
    """Test with Welch's analysis of variance, which does not need equal variances.

    Return None if a sample has fewer than two values or does not vary. The effect is ω², the share of variance
    between the samples, from the classical F (Hays 1963), its interval by the noncentral F distribution (Steiger
    2004).
    """
    if any(len(sample) < 2 or sample.min() == sample.max() for sample in samples):
        return None
    welch_f = stats.f_oneway(*samples, equal_var=False)
    k, n = len(samples), sum(map(len, samples))
    means = np.array([sample.mean() for sample in samples])
    sizes = np.array([len(sample) for sample in samples])
    within = sum(float(((sample - mean) ** 2).sum()) for sample, mean in zip(samples, means, strict=True))
    between = float(sizes @ (means - sizes @ means / n) ** 2)
    variance = within / (n - k)
    omega = (between - (k - 1) * variance) / (between + within + variance)
    f = between / (k - 1) / variance
    low, high = (end / (end + n) for end in _noncentral_f(f, k - 1, n - k))
    omega = max(0.0, omega)
    effect = Effect("omega_squared", omega, min(low, omega), max(high, omega))
    return Test("welch_anova", float(welch_f.statistic), float(welch_f.pvalue)), effect


def kruskal(samples: Sequence[Array]) -> tuple[Test, Effect] | None:
    """Test with Kruskal and Wallis' H; return None if all values are the same.

    The effect is ε² = (H - k + 1) / (n - k), the share of the ranks' variance between the samples (Kelley 1935).
    The interval treats H as noncentral chi-squared.
    """
    k, n = len(samples), sum(map(len, samples))
    if n <= k or min(map(np.min, samples)) == max(map(np.max, samples)):
        return None
    ranks = stats.kruskal(*samples)
    epsilon = max(0.0, (ranks.statistic - k + 1) / (n - k))
    low, high = (min(1.0, end / n) for end in noncentrality(float(ranks.statistic), k - 1))
    effect = Effect("epsilon_squared", epsilon, min(low, epsilon), max(high, epsilon))
    return Test("kruskal_wallis", float(ranks.statistic), float(ranks.pvalue)), effect


def _noncentral_f(f: float, dfn: float, dfd: float) -> tuple[float, float]:
    if f * dfn > 1000:  # as chi-squared: dfd is large beside dfn, or f says enough
        return noncentrality(f * dfn, dfn)
    ends = []
    for quantile in (0.975, 0.025):
        if special.fdtr(dfn, dfd, f) <= quantile:
            ends.append(0.0)
        else:
            value = float(special.ncfdtrinc(dfn, dfd, quantile, f))
            ends.append(value if math.isfinite(value) else 0.0)
    return ends[0], max(ends[1], ends[0])
