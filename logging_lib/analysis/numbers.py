"""Two samples of numbers: one merge of the sorted values gives every measure of two samples.

Sorting is what costs; the two-sample statistics are then sums over the merged values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special, stats

from logging_lib.analysis.results import Effect, Test
from logging_lib.analysis.tables import Z, risk_difference

Array = np.ndarray[Any, Any]
Z_OF_D = 2.3263478740408408
EXACT_TO = 10_000
"""``len(a) * len(b)`` up to which the Kolmogorov-Smirnov test is exact."""


@dataclass(frozen=True, slots=True)
class Merged:
    """Two sorted samples at their distinct values.

    Attributes:
        values: the distinct values, rising, shape (k,).
        ends_a: how many values of the first sample are not above each, shape (k,).
        ends_b: the same of the second sample.
    """

    values: Array
    ends_a: Array
    ends_b: Array

    @property
    def n(self) -> int:
        return int(self.ends_a[-1])

    @property
    def m(self) -> int:
        return int(self.ends_b[-1])

    def counts(self) -> tuple[Array, Array]:
        """How often each distinct value is in either sample, each of shape (k,)."""
        return np.diff(self.ends_a, prepend=0), np.diff(self.ends_b, prepend=0)


def merge(a: Array, b: Array) -> Merged:
    """Merge two samples that are sorted already and have at least one value each; shapes (n,), (m,)."""
    both = np.concatenate([a, b])
    order = both.argsort(kind="stable")  # two runs: timsort merges them in linear time
    both = both[order]
    last = np.flatnonzero(both[1:] != both[:-1])
    last = np.append(last, len(both) - 1)
    ends_b = np.cumsum(order >= len(a), dtype=np.int64)[last]
    return Merged(both[last], last + 1 - ends_b, ends_b)


def ks(merged: Merged) -> tuple[Test, Effect]:
    """Kolmogorov-Smirnov, two-sided, and D with an interval.

    p: exact for small samples, otherwise by the limiting distribution with scipy's own effective sample size.
    The interval is Newcombe's for the two shares of values below the point where D is: D is asymptotically normal
    around a true difference (Raghavachari, Annals of Statistics 1, 1973). Taken at 98 % it makes about 95 %, for
    that point is not any one, but the one with the largest difference.
    """
    n, m = merged.n, merged.m
    gap = np.abs(merged.ends_a / n - merged.ends_b / m)
    at = int(gap.argmax())
    d = float(gap[at])
    if n * m <= EXACT_TO:
        # scipy counts lattice paths; any two samples with this D give it what it needs.
        p = _ks_exact(d, n, m)
    else:
        larger, smaller = float(max(n, m)), float(min(n, m))
        p = float(np.clip(stats.kstwo.sf(d, np.round(larger * smaller / (larger + smaller))), 0, 1))
    below_a, below_b = int(merged.ends_a[at]), int(merged.ends_b[at])
    ends = risk_difference(np.array([[n - below_a, below_a], [m - below_b, below_b]]), z=Z_OF_D)
    low, high = sorted((abs(ends.low), abs(ends.high)))
    return Test("ks", d, p), Effect("ks_d", d, 0.0 if ends.low <= 0 <= ends.high else low, high)


def _ks_exact(d: float, n: int, m: int) -> float:
    """P(D >= d) for samples without ties, by counting the paths that stay within (Hodges 1958, section 3)."""
    limit = d - 1e-12
    row = np.zeros(m + 1)
    for i in range(n + 1):
        inside = np.abs(i / n - np.arange(m + 1) / m) < limit
        if i == 0:
            row = np.cumprod(inside).astype(float)
            continue
        left = 0.0
        for j in range(m + 1):
            if not inside[j]:
                left = 0.0
            elif j == 0:
                left = row[0]
            else:
                # the share of paths through (i - 1, j) and (i, j - 1), as probabilities of an urn
                left = row[j] * i / (i + j) + left * j / (i + j)
            row[j] = left
    return float(min(1.0, max(0.0, 1.0 - row[m])))


def mann_whitney(merged: Merged) -> tuple[Test, Effect]:
    """Mann-Whitney U with the normal approximation, corrected for ties and continuity, and Cliff's delta.

    Delta is P(a > b) - P(a < b), the rank-biserial correlation; its interval: Feng and Cliff, Journal of Modern
    Applied Statistical Methods 3 (2004), with Cliff's consistent variance.
    """
    n, m = merged.n, merged.m
    here_a, here_b = merged.counts()
    below_b, below_a = merged.ends_b - here_b, merged.ends_a - here_a
    u = float(here_a @ (below_b + here_b / 2.0))
    total = n + m
    ties = (here_a + here_b).astype(float)
    spread = (
        n * m / 12.0 * (total + 1 - float((ties * (ties * ties - 1)).sum()) / (total * max(total - 1, 1)))
    )
    p = 1.0
    if spread > 0:
        z = (abs(u - n * m / 2.0) - 0.5) / math.sqrt(spread)
        p = float(min(1.0, 2 * stats.norm.sf(z)))
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
class Of:
    """Size, mean and sample standard deviation."""

    count: int
    mean: float
    std: float


def of(values: Array) -> Of:
    """The moments of a sample, shape (n,)."""
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return Of(len(values), float(values.mean()), spread)


def welch(a: Of, b: Of) -> tuple[Test, Effect] | None:
    """Welch's t-test and Hedges' g, from moments alone; None where nothing varies or a sample has one value.

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


def wasserstein(merged: Merged) -> float:
    """The area between the distribution functions, in the values' unit (Vallender 1974)."""
    gap = np.abs(merged.ends_a / merged.n - merged.ends_b / merged.m)[:-1]
    return float(gap @ np.diff(merged.values))


def cut(merged: Merged, bins: int = 10) -> tuple[Array, Array]:
    """Edges at the first sample's quantiles, and the counts between them.

    Returns:
        Edges, shape (k + 1,), the outermost at the extremes of both samples; counts, shape (2, k). Values that
        make up more than a bin have one of their own, so k may be below ``bins``.
    """
    wanted = np.arange(1, bins) * merged.n / bins
    at = np.searchsorted(merged.ends_a, wanted, side="left")
    inner = np.unique(at)
    inner = inner[inner < len(merged.values) - 1]
    ends = np.append(inner, len(merged.values) - 1)
    counts = np.stack([np.diff(merged.ends_a[ends], prepend=0), np.diff(merged.ends_b[ends], prepend=0)])
    edges = np.concatenate([merged.values[:1], merged.values[ends]])
    return edges, counts
