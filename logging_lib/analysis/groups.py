"""Several samples of numbers at once: analysis of variance and its rank twin. scipy does the mathematics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import special, stats

from logging_lib.analysis.results import Effect, Test
from logging_lib.analysis.tables import noncentrality

Array = np.ndarray[Any, Any]


def anova(samples: Sequence[Array]) -> tuple[Test, Effect] | None:
    """Welch's analysis of variance, which does not need equal variances, and ω², the share of variance between
    the samples; None where a sample has fewer than two values or does not vary.

    ω² from the classical F (Hays 1963), its interval by the noncentral F distribution (Steiger 2004).
    """
    if any(len(sample) < 2 or sample.min() == sample.max() for sample in samples):
        return None
    made = stats.f_oneway(*samples, equal_var=False)
    k, n = len(samples), sum(map(len, samples))
    means = np.array([sample.mean() for sample in samples])
    sizes = np.array([len(sample) for sample in samples])
    within = sum(float(((sample - mean) ** 2).sum()) for sample, mean in zip(samples, means, strict=True))
    between = float(sizes @ (means - sizes @ means / n) ** 2)
    each = within / (n - k)
    omega = (between - (k - 1) * each) / (between + within + each)
    f = between / (k - 1) / each
    low, high = (one / (one + n) for one in _noncentral_f(f, k - 1, n - k))
    omega = max(0.0, omega)
    effect = Effect("omega_squared", omega, min(low, omega), max(high, omega))
    return Test("welch_anova", float(made.statistic), float(made.pvalue)), effect


def kruskal(samples: Sequence[Array]) -> tuple[Test, Effect] | None:
    """Kruskal-Wallis, and ε² = (H - k + 1) / (n - k), the share of the ranks' variance between the samples
    (Kelley 1935); None where all values are the same. The interval takes H as noncentral chi-squared."""
    k, n = len(samples), sum(map(len, samples))
    if n <= k or min(map(np.min, samples)) == max(map(np.max, samples)):
        return None
    made = stats.kruskal(*samples)
    epsilon = max(0.0, (made.statistic - k + 1) / (n - k))
    low, high = (min(1.0, one / n) for one in noncentrality(float(made.statistic), k - 1))
    effect = Effect("epsilon_squared", epsilon, min(low, epsilon), max(high, epsilon))
    return Test("kruskal_wallis", float(made.statistic), float(made.pvalue)), effect


def _noncentral_f(f: float, dfn: float, dfd: float) -> tuple[float, float]:
    if f * dfn > 1000:  # as chi-squared: dfd is large beside dfn, or f says enough
        return noncentrality(f * dfn, dfn)
    found = []
    for quantile in (0.975, 0.025):
        if special.fdtr(dfn, dfd, f) <= quantile:
            found.append(0.0)
        else:
            value = float(special.ncfdtrinc(dfn, dfd, quantile, f))
            found.append(value if math.isfinite(value) else 0.0)
    return found[0], max(found[1], found[0])
