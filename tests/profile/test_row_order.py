"""What changes along the rows of training without times: only that is left to windows of a week."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logging_lib import profile as profiles
from logging_lib.profile.model import DEFAULT_FEATURE, PREDICTION
from logging_lib.profile.row_order import measure_stretches
from logging_lib.profile.words import describe_variation

ROWS = 9_000
DAY = np.arange(ROWS) // 300  # 30 days of 300 rows


def fit(**columns: object) -> profiles.Profile:
    data = pd.DataFrame(columns)
    return profiles.fit(data, model="m", version="1", target="y")


def test_hours_weekdays_and_weather_change_along_the_rows_and_independent_values_do_not() -> None:
    chance = np.random.default_rng(3)
    weather = np.repeat(chance.normal(size=ROWS // 300), 300)
    fitted = fit(
        hour=np.arange(ROWS) % 300 // 13,
        weekday=[f"day {day % 7}" for day in DAY],
        temperature=(weather + 0.1 * chance.normal(size=ROWS)).round(2),
        gust=np.where((weather > 0.5) | (chance.random(ROWS) < 0.1), 9.5 + chance.random(ROWS), np.nan),
        amount=chance.lognormal(3, 1, ROWS).round(2),
        channel=chance.choice(["web", "app"], ROWS),
        y=(weather + chance.normal(size=ROWS)).round(2),
    )
    variation = fitted.variation
    assert variation is not None
    moving = {"hour", "weekday", "temperature", PREDICTION}
    assert variation.measures["psi"].keys() == {DEFAULT_FEATURE, *moving}
    assert variation.measures["missing"].keys() == {DEFAULT_FEATURE, "gust"}
    for name in moving:
        assert variation.compute_limit(variation.measures["psi"][name]["24h"], "24h", 1.0, 0.0) > 20
        assert variation.measures["psi"][name]["7d"] == variation.measures["psi"][DEFAULT_FEATURE]["7d"]
    assert describe_variation(fitted, "hour") == (
        "changes along the rows of training; without times only a week is compared with it"
    )
    (note,) = variation.notes
    assert "the values change along the rows of training, so without times only a week is compared" in note
    assert "amount" not in note


def test_shuffled_rows_say_nothing_and_the_default_holds() -> None:
    weekday = np.random.default_rng(4).permutation([f"day {day % 7}" for day in DAY])
    variation = fit(weekday=weekday, y=np.random.default_rng(5).normal(size=ROWS)).variation
    assert variation is not None
    assert all(names.keys() == {DEFAULT_FEATURE} for names in variation.measures.values())
    assert variation.notes == ()


def test_a_profile_with_times_does_not_use_the_order_of_rows() -> None:
    times = pd.date_range("2026-01-01", periods=ROWS, freq="4min", tz="UTC")
    data = pd.DataFrame({"t": times, "weekday": [f"day {day % 7}" for day in DAY], "y": np.arange(ROWS) % 7})
    fitted = profiles.fit(data, model="m", version="1", target="y", config=profiles.Config(time="t"))
    assert fitted.variation is not None
    assert fitted.variation.source == "training"


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), number=st.integers(1, 30), rows=st.integers(0, 20_000))
def test_independent_rows_have_no_variance_of_stretches(seed: int, number: int, rows: int) -> None:
    chance = np.random.default_rng(seed)
    shares = chance.dirichlet(np.full(number, 0.3))
    bins = chance.choice(number, size=rows, p=shares)
    bins[chance.random(rows) < 0.1] = -1
    assert measure_stretches(bins, number) == 0.0


@pytest.mark.parametrize("clump", [40, 300, 2_000])
def test_the_variance_of_clumps_is_found_at_their_length(clump: int) -> None:
    """Each clump has one value: the distance of a clump from all rows has a mean square of 1 for each bin."""
    values = np.random.default_rng(clump).integers(0, 5, 60_000 // clump + 1)
    variance = measure_stretches(np.repeat(values, clump)[:60_000], 5)
    assert variance == pytest.approx(1.0, rel=0.35)
