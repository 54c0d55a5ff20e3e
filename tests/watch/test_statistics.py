"""The statistics against scipy, and the properties that a decision needs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import betabinom

from logging_lib.watch.scripts.common import beta_binomial_tail, predictive
from tests.strategies import examples


@settings(max_examples=examples(300), deadline=None)
@given(st.integers(1, 5000), st.floats(0, 1), st.floats(0.01, 500), st.floats(0.01, 5000))
def test_the_tail_probability_agrees_with_scipy(trials: int, share: float, a: float, b: float) -> None:
    hits = round(share * trials)
    ours = beta_binomial_tail(hits, trials, a, b)
    if hits <= trials * a / (a + b) or hits == 0:
        assert ours == 1.0
        return
    # Not its sf, which is one minus a sum and has lost the digits that matter here.
    logs = betabinom.logpmf(np.arange(hits, trials + 1), trials, a, b)
    assert ours == pytest.approx(float(np.exp(logs).sum()), rel=1e-6, abs=1e-290)


@given(st.integers(2, 2000), st.floats(0.1, 50), st.floats(0.1, 500))
def test_more_hits_are_never_likelier(trials: int, a: float, b: float) -> None:
    tails = [beta_binomial_tail(hits, trials, a, b) for hits in range(0, trials + 1, max(1, trials // 50))]
    assert all(0 <= tail <= 1 for tail in tails)
    assert all(later <= earlier * (1 + 1e-9) for earlier, later in itertools.pairwise(tails))


def test_hits_are_limited_to_the_number_of_trials() -> None:
    assert beta_binomial_tail(6, 5, 1.0, 9.0) == 0.0
    assert beta_binomial_tail(0, 0, 1.0, 9.0) == 1.0


@given(st.integers(0, 1000), st.integers(0, 1000), st.floats(0, 0.9))
def test_the_predictive_distribution_has_jeffreys_mean_and_a_width_that_grows_with_dispersion(
    count: int, more: int, dispersion: float
) -> None:
    rows = count + more
    a, b = predictive(count, rows, dispersion)
    assert a > 0
    assert b > 0
    assert a / (a + b) == pytest.approx((count + 0.5) / (rows + 1))
    tight = sum(predictive(count, rows, 0.0))
    assert sum((a, b)) <= tight + 1e-9


def test_two_hits_of_150_at_a_rate_of_one_in_a_thousand_are_not_flagged() -> None:
    a, b = predictive(1, 1000, 0.0)
    z = (2 / 150 - 0.001) / math.sqrt(0.001 * 0.999 / 150)
    assert z > 4
    assert beta_binomial_tail(2, 150, a, b) > 0.01
