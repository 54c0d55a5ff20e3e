"""The statistics by which watches decide. Each names its source and has a twin in ``watchers/scripts``."""

from __future__ import annotations

from math import exp, lgamma, log

MAX_TERMS = 100_000


def predictive(count: float, rows: float, dispersion: float) -> tuple[float, float]:
    """Return the beta distribution (a, b) of the rate that a window will have, from held-out rows.

    The mean is Jeffreys' estimate, (count + 1/2) / (rows + 1). The width comes from two parts that add up on
    the scale of the intraclass correlation 1 / (a + b + 1): what ``rows`` rows leave uncertain, 1 / (rows + 2),
    and how much the rate varies between blocks of time, ``dispersion``.

    Source: Gelman et al., Bayesian Data Analysis, 3rd ed., section 2.4 (posterior under Jeffreys' prior);
    Skellam, JRSS B 10 (1948) (beta-binomial as a mixture).
    """
    mean = (count + 0.5) / (rows + 1.0)
    correlation = min(1.0 / (rows + 2.0) + dispersion, 0.999)
    weight = 1.0 / correlation - 1.0
    return mean * weight, (1.0 - mean) * weight


def beta_binomial_tail(hits: int, trials: int, a: float, b: float) -> float:
    """Compute P(X >= hits) for X ~ beta-binomial(trials, a, b): exact, by summing the terms upwards.

    Args:
        hits: what was observed, 0 to ``trials``.
        trials: the number of events.
        a: first parameter of the beta distribution, > 0.
        b: second parameter, > 0.

    Returns:
        A probability, 0 to 1; ``1`` at or below the mean, where nobody asks for an alarm.
    """
    if hits <= 0 or hits <= trials * a / (a + b):
        return 1.0
    if hits > trials:
        return 0.0
    term = total = 1.0
    for i in range(hits, min(trials, hits + MAX_TERMS)):
        term *= (trials - i) / (i + 1.0) * (i + a) / (trials - i - 1.0 + b)
        total += term
        if term < total * 1e-13:
            break
    log_first = (
        lgamma(trials + 1.0)
        - lgamma(hits + 1.0)
        - lgamma(trials - hits + 1.0)
        + lgamma(hits + a)
        + lgamma(trials - hits + b)
        - lgamma(trials + a + b)
        - lgamma(a)
        - lgamma(b)
        + lgamma(a + b)
    )
    return min(1.0, exp(log_first + log(total)))


def log_gamma(x: float) -> float:
    """Compute ln Γ(x) for x > 0 as the Painless scripts do, which have no library function for it.

    Source: Abramowitz and Stegun 6.1.41 (Stirling's series) from 10 upwards, the recurrence below.
    """
    shift, y = 0.0, x
    while y < 10.0:
        shift += log(y)
        y += 1.0
    r = 1.0 / (y * y)
    inner = 1.0 / 1680.0 - r * (1.0 / 1188.0 - r * (691.0 / 360360.0 - r / 156.0))
    series = (1.0 / 12.0 - r * (1.0 / 360.0 - r * (1.0 / 1260.0 - r * inner))) / y
    return (y - 0.5) * log(y) - y + 0.91893853320467274178 + series - shift
