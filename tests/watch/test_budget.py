"""The chance that distributions are flagged by is no smaller than it says, at the levels that watches use."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from scipy.special import gammaln
from scipy.stats import dirichlet

from logging_lib.watch.scripts.measures import compute_chance

ROWS = 1e7
LEVELS = (1e-3, 1e-5, 1e-7)


def chance(shares: np.ndarray, counts: tuple[int, ...]) -> float:
    cells = [("", ROWS * share, float(count)) for share, count in zip(shares, counts, strict=True)]
    return compute_chance(cells, ROWS, float(sum(counts)))


def log_probability(shares: np.ndarray, counts: np.ndarray) -> np.ndarray:
    n = counts.sum(axis=-1)
    return gammaln(n + 1) - gammaln(counts + 1).sum(axis=-1) + (counts * np.log(shares)).sum(axis=-1)


def compositions(n: int, cells: int) -> Iterator[tuple[int, ...]]:
    if cells == 1:
        yield (n,)
        return
    for first in range(n + 1):
        for rest in compositions(n - first, cells - 1):
            yield (first, *rest)


@pytest.mark.parametrize(
    ("n", "shares"),
    [
        *((n, (rare / n, 1 - rare / n)) for n in (50, 60, 100, 200, 1000, 5000) for rare in (5, 10)),
        *((n, (share, 1 - share)) for n in (50, 200, 1000) for share in (0.2, 0.5)),
        (50, (0.1, 0.1, 0.8)),
        (60, (5 / 60, 0.4, 0.6 - 5 / 60)),
        (100, (0.05, 0.05, 0.9)),
    ],
)
def test_every_possible_window_is_flagged_at_most_as_often_as_stated(
    n: int, shares: tuple[float, ...]
) -> None:
    """By enumeration: PSI's own tail flags 86 times too often at n = 100, Pearson's 199 times at 1e-7."""
    q = np.array(shares)
    flagged = dict.fromkeys(LEVELS, 0.0)
    windows = np.array(list(compositions(n, len(shares))))
    for counts, log_p in zip(windows, log_probability(q, windows), strict=True):
        if log_p < -60:
            continue
        p = chance(q, tuple(counts))
        for level in LEVELS:
            flagged[level] += np.exp(log_p) if p < level else 0.0
    assert all(share <= 2 * level for level, share in flagged.items()), flagged


@pytest.mark.parametrize("n", [100, 400])
@pytest.mark.parametrize("cells", [6, 10])
def test_windows_of_many_bins_are_flagged_at_most_as_often_as_stated(n: int, cells: int) -> None:
    """By importance sampling from wider multinomials, whose own chances are drawn from a Dirichlet distribution."""
    rng = np.random.default_rng(n + cells)
    q = np.full(cells, 1 / cells)
    q[:-1] = np.maximum(5 / n, q[:-1] * rng.uniform(0.5, 1.0, cells - 1))
    q[-1] = 1 - q[:-1].sum()
    alpha = q * n / 4
    drawn = dirichlet.rvs(alpha, size=20_000, random_state=rng)
    counts = np.array([rng.multinomial(n, p) for p in drawn])
    total = alpha.sum()
    log_proposal = (
        gammaln(n + 1)
        + gammaln(total)
        - gammaln(n + total)
        + (gammaln(counts + alpha) - gammaln(alpha) - gammaln(counts + 1)).sum(axis=1)
    )
    weights = np.exp(log_probability(q, counts) - log_proposal)
    chances = np.array([chance(q, tuple(row)) for row in counts])
    for level in (1e-5, 1e-7):
        terms = np.where(chances < level, weights, 0.0)
        error = terms.std() / np.sqrt(len(terms))
        assert terms.mean() + 2 * error <= 2 * level, (level, terms.mean() / level, error / level)
        assert terms.mean() > 0.05 * level, "too few draws there to say anything"
