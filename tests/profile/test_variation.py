"""Natural variation: what is measured of streams of known kinds, and what odd times lead to."""

from __future__ import annotations

from math import isfinite, isnan, sqrt
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from logging_lib import profile as profiles
from logging_lib.cli.app import app
from logging_lib.profile.config import Config
from logging_lib.profile.distances import SMALL_BIN, Distances, measure_bins
from logging_lib.profile.model import DEFAULT_FEATURE, Profile, Variation
from logging_lib.profile.variation import DEFAULT_LEVEL, RowStates, measure_variation
from logging_lib.profile.words import describe_variation
from logging_lib.watch.scripts.bins import ExpectedBins, ObservedBins
from logging_lib.watch.scripts.measures import (
    Deviation,
    Thresholds,
    measure_psi,
    measure_rare,
    measure_shift,
    measure_spread,
)
from tools.draw_variation import measure_days

MONDAY = 1_767_571_200.0  # 2026-01-05 00:00 UTC
DAY = 86_400.0
DECILES = np.array([NormalDist().inv_cdf(i / 10) for i in range(1, 10)])
DAYS = 56


def list_times(days: float, per_day: int) -> np.ndarray:
    return MONDAY + np.arange(int(days * per_day)) * DAY / per_day


def count_days(seconds: np.ndarray) -> np.ndarray:
    return ((seconds - MONDAY) // DAY).astype(int)


def describe_rows(values: np.ndarray, name: str = "x") -> RowStates:
    """A number with a standard normal distribution, in ten bins."""
    return RowStates(name, np.searchsorted(DECILES, values), 10, is_ordered=True)


def measure(seconds: np.ndarray, *states: RowStates, timezone: str = "UTC") -> Variation:
    variation = measure_variation(seconds, list(states), timezone)
    assert variation is not None
    return variation


def compute_limit(variation: Variation, measure: str, name: str, window: str, per_window: float) -> float:
    """A day after training, of a very large one."""
    numbers = variation.measures[measure][name][window]
    square = numbers.variance + numbers.growth + 1 / per_window
    return variation.levels[window] * numbers.factor * sqrt(square)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_stream_that_only_chance_changes_has_next_to_no_variance(seed: int) -> None:
    seconds = list_times(DAYS, 480)
    variation = measure(seconds, describe_rows(np.random.default_rng(seed).normal(size=len(seconds))))
    for measure_name in ("psi", "shift", "spread"):
        for numbers in variation.measures[measure_name]["x"].values():
            assert numbers.variance < 0.01
            assert numbers.growth * 30 < 0.01
            assert numbers.factor < 1.5
    assert all(2 < level < 7 for level in variation.levels.values())
    assert not variation.notes


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_tenth_of_the_rows_gives_the_same_variance_and_limits_wider_by_chance_only(seed: int) -> None:
    """Raw quantiles would hide a shift at ten times the traffic and flag chance at a tenth."""
    weather = 0.4 * np.random.default_rng(seed).normal(size=DAYS)
    rng = np.random.default_rng(seed + 100)
    many, few = (
        measure(seconds, describe_rows(rng.normal(size=len(seconds)) + weather[count_days(seconds)]))
        for seconds in (list_times(DAYS, 4800), list_times(DAYS, 480))
    )
    for measure_name in ("shift", "psi"):
        of_many, of_few = (v.measures[measure_name]["x"]["24h"] for v in (many, few))
        assert of_few.variance == pytest.approx(of_many.variance, rel=0.25)
        assert of_few.factor == pytest.approx(of_many.factor, rel=0.25)
        limits = [compute_limit(v, measure_name, "x", "24h", 480) for v in (many, few)]
        assert limits[1] == pytest.approx(limits[0], rel=0.3)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_random_walk_grows_with_the_days(seed: int) -> None:
    rng = np.random.default_rng(seed)
    seconds = list_times(DAYS, 480)
    walk = np.cumsum(0.1 * rng.normal(size=DAYS))
    variation = measure(seconds, describe_rows(rng.normal(size=len(seconds)) + walk[count_days(seconds)]))
    for window in ("6h", "24h"):
        assert variation.measures["shift"]["x"][window].growth > 0.0003
    assert variation.measures["psi"]["x"]["24h"].growth > 0


def test_the_rhythm_of_the_week_is_followed_if_it_is_more_than_chance_and_not_a_clock() -> None:
    rng = np.random.default_rng(1)
    seconds = list_times(DAYS, 4800)
    hour = (seconds - MONDAY) // 3600 % 24
    by_day = np.where((hour >= 8) & (hour < 20), 0.7, -0.7)
    weekend = np.where(count_days(seconds) % 7 >= 5, 1.0, 0.0)
    variation = measure(
        seconds,
        describe_rows(rng.normal(size=len(seconds)) + by_day, "by_day"),
        describe_rows(rng.normal(size=len(seconds)) + weekend, "weekend"),
        describe_rows(rng.normal(size=len(seconds)), "chance"),
        RowStates("hour", hour.astype(int), 24, is_ordered=True),
    )
    assert variation.rhythm is not None
    assert set(variation.rhythm.bins) == {"by_day", "weekend"}
    assert set(variation.rhythm.measures["shift"]) == {"by_day", "weekend"}
    for name in ("by_day", "weekend"):
        without = variation.measures["shift"][name]["3h"].variance
        assert variation.rhythm.measures["shift"][name]["3h"].variance < 0.1 * without


def test_a_rhythm_is_followed_although_an_early_reference_had_no_weekend() -> None:
    """Of three weeks the first quarter ends on a Saturday: it says nothing of Sundays, and the later ones do."""
    seconds = list_times(20, 4800)
    hour = (seconds - MONDAY) // 3600 % 24
    values = np.random.default_rng(1).normal(size=len(seconds)) + np.where(
        (hour >= 8) & (hour < 20), 0.7, -0.7
    )
    category = np.where(np.arange(len(seconds)) % 50 == 0, 0, np.searchsorted(DECILES[2:8], values) + 1)
    state = RowStates("category", category, 8, is_ordered=False)
    rhythm = measure(seconds, describe_rows(values), state).rhythm
    assert rhythm is not None
    assert set(rhythm.bins) == {"x", "category"}
    for features in rhythm.measures.values():
        for windows in features.values():
            assert all(isfinite(number) for numbers in windows.values() for number in numbers)


def test_the_rhythm_is_that_of_the_time_zone() -> None:
    """Nine o'clock in Kolkata is half past three in UTC."""
    seconds = list_times(28, 4800)
    at_nine = seconds[(seconds - MONDAY + 5.5 * 3600) // 3600 % 24 == 9]
    state = describe_rows(np.random.default_rng(1).normal(size=len(at_nine)))
    for timezone, hours in (("UTC", {3, 4}), ("Asia/Kolkata", {9})):
        rhythm = measure(at_nine, state, timezone=timezone).rhythm
        assert rhythm is not None
        assert rhythm.timezone == timezone
        assert {hour % 24 for hour, traffic in enumerate(rhythm.traffic) if traffic} == hours


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_fault_of_a_day_within_training_is_noted_and_leaves_other_features_alone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    seconds = list_times(DAYS, 480)
    values, others = rng.normal(size=(2, len(seconds)))
    faulty = values + np.where(count_days(seconds) == 30, 2.0, 0.0)
    other = describe_rows(others, "other")
    clean = measure(seconds, describe_rows(values, "faulty"), other)
    variation = measure(seconds, describe_rows(faulty, "faulty"), other)
    assert not clean.notes
    (note,) = variation.notes
    assert note.startswith("faulty is unusual within training, in the 24h from 2026-02-04T00:00:00Z")
    for measure_name in ("psi", "shift", "spread"):
        assert variation.measures[measure_name]["other"] == clean.measures[measure_name]["other"]
    # Only the level is shared, and it is bounded.
    for window, level in clean.levels.items():
        assert variation.levels[window] < 1.35 * level
    assert compute_limit(variation, "shift", "other", "24h", 480) < 0.25


def fit(frame: pd.DataFrame, **config: str) -> Profile:
    return profiles.fit(frame, model="m", version="1", config=Config(time="at", **config))


def make_frame(days: float = 20, per_day: int = 200, start: str = "2026-01-05") -> pd.DataFrame:
    rng = np.random.default_rng(4)
    rows = int(days * per_day)
    at = pd.Timestamp(start, tz="UTC") + pd.to_timedelta(np.arange(rows) * DAY / per_day, unit="s")
    return pd.DataFrame(
        {
            "number": rng.normal(size=rows),
            "kind": rng.choice(["a", "b", "c"], rows),
            "constant": 1.0,
            "at": at,
        }
    )


def test_less_than_a_day_has_the_default_and_says_so() -> None:
    variation = fit(make_frame(0.5)).variation
    assert variation is not None
    assert variation.source == "default"
    assert variation.until == "2026-01-05T11:52:48Z"
    assert set(variation.levels.values()) == {DEFAULT_LEVEL}
    assert set(variation.measures["shift"]) == {DEFAULT_FEATURE}
    assert variation.notes == (
        "training covers 11.9 hours, less than a day: a stated default says how much traffic varies by itself",
    )


def test_less_than_two_weeks_is_measured_without_a_rhythm_and_says_so() -> None:
    variation = fit(make_frame(6)).variation
    assert variation is not None
    assert variation.source == "training"
    assert variation.rhythm is None
    assert any(note.startswith("training covers 6.0 days, fewer than 14") for note in variation.notes)


def test_few_rows_over_many_days_have_the_default() -> None:
    variation = fit(make_frame(60, 1)).variation
    assert variation is not None
    assert variation.source == "default"
    assert "no window of training has enough rows" in variation.notes[0]


@pytest.mark.parametrize("wrong", ["0001-01-01", "1970-01-01", "9999-12-31"])
def test_a_placeholder_among_the_times_has_the_default_and_says_so(wrong: str) -> None:
    frame = make_frame().astype({"at": str})
    frame.loc[7, "at"] = wrong
    variation = fit(frame).variation
    assert variation is not None
    assert variation.source == "default"
    (note,) = variation.notes
    assert wrong in note
    assert "leave out rows whose times are wrong" in note


def test_unsorted_rows_have_the_variation_of_sorted_ones() -> None:
    frame = make_frame()
    assert fit(frame.sample(frac=1, random_state=1)).variation == fit(frame).variation


def test_duplicates_and_gaps_are_measured() -> None:
    frame = make_frame()
    day = (frame["at"] - frame["at"].iloc[0]).dt.days
    twice = pd.concat([frame, frame])
    hourly = frame.assign(at=frame["at"].dt.floor("h"))
    gappy = frame[(day < 5) | (day >= 12)]
    for odd in (twice, hourly, gappy):
        variation = fit(odd).variation
        assert variation is not None
        assert variation.source == "training"
        assert all(1 < level < 10 for level in variation.levels.values())
    assert fit(gappy).variation.rhythm.longest_gap > 100  # type: ignore[union-attr]


def test_mixed_zones_are_one_clock() -> None:
    frame = make_frame()
    zones = ["UTC", "Europe/Berlin", "Asia/Kolkata"]
    moments = [moment.tz_convert(zones[i % 3]) for i, moment in enumerate(frame["at"])]
    as_objects = frame.assign(at=pd.Series(moments, dtype=object))
    as_texts = frame.assign(at=[moment.isoformat() for moment in moments])
    expected = fit(frame).variation
    assert fit(as_objects).variation == expected
    assert fit(as_texts).variation == expected


@pytest.mark.parametrize("value", [None, "yesterday", 1_767_571_200, float("nan")])
def test_an_invalid_time_is_named(value: object) -> None:
    frame = make_frame(2)
    frame["at"] = frame["at"].astype(object)
    frame.loc[3, "at"] = value  # type: ignore[assignment, call-overload]
    with pytest.raises(profiles.ProfileError, match=r"the time column 'at' holds .*, which is not a date"):
        fit(frame)


def test_training_in_other_proportions_than_traffic_is_not_equal_to_it() -> None:
    """With all rows of one class and a tenth of the other, days are still compared with days drawn alike."""
    rng = np.random.default_rng(3)
    frame = make_frame(30, 2000)
    kept = (frame["kind"] == "a") | (rng.random(len(frame)) < 0.1)
    drawn, all_rows = fit(frame[kept]).variation, fit(frame).variation
    assert drawn is not None
    assert all_rows is not None
    for variation in (drawn, all_rows):
        assert variation.measures["psi"]["kind"]["24h"].variance < 0.001


BINS = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 200)), min_size=2, max_size=12).filter(
    lambda pairs: sum(m for m, _ in pairs) > 0 and sum(n for _, n in pairs) >= 20
)
ZERO = Thresholds(1.0, 0.0, float("-inf"), 0.0, SMALL_BIN, float("-inf"), 0.0, 0.0, 0.0)


def measure_served(pairs: list[tuple[int, int]]) -> tuple[ExpectedBins, ObservedBins]:
    names = [f"[{i},{i + 1})" for i in range(len(pairs))]
    expected = ExpectedBins({name: float(m) for name, (m, _) in zip(names, pairs, strict=True)}, names)
    return expected, ObservedBins({name: float(n) for name, (_, n) in zip(names, pairs, strict=True) if n})


@given(pairs=BINS)
@example(pairs=[(40, 2)] * 10)
@example(pairs=[(40, 25), (0, 0)])
def test_fitting_measures_the_distances_of_the_watches(pairs: list[tuple[int, int]]) -> None:
    """Or a limit would be one of another distance."""
    reference, observed = np.array(pairs, dtype=float).T[:, None, :]
    fitted = measure_bins(reference, observed, is_ordered=True)
    expected, counts = measure_served(pairs)

    def compare(name: str, served: Deviation | None) -> None:
        distances = fitted.get(name, Distances(np.array([np.nan]), np.array([np.nan])))
        if served is None:
            return
        assert distances.distance[0] == pytest.approx(served.distance, abs=1e-9)
        assert distances.noise[0] == pytest.approx(served.noise)

    compare("psi", measure_psi(ZERO, expected, counts, None))
    compare("shift", measure_shift(ZERO, expected, counts, None))
    compare("spread", measure_spread(ZERO, expected, counts, None))
    if measure_psi(ZERO, expected, counts, None) is None:  # all bins are one, or all values are in one bin
        assert not fitted["psi"].distance[0] > 0
        has_large = (observed.sum() * reference / reference.sum() >= 5).any()
        assert isnan(fitted["psi"].distance[0]) != has_large
    if measure_shift(ZERO, expected, counts, None) is None:
        assert "shift" not in fitted or isnan(fitted["shift"].distance[0])


@given(pairs=BINS)
def test_fitting_measures_the_largest_rise_of_a_rare_bin(pairs: list[tuple[int, int]]) -> None:
    """The watch takes the bin with the least chance, whose rise is no larger; with one rare bin it is the same."""
    reference, observed = np.array(pairs, dtype=float).T[:, None, :]
    fitted = measure_bins(reference, observed, is_ordered=True)
    expected, counts = measure_served(pairs)
    served = measure_rare(ZERO, expected, counts, None)
    if served is None:
        return
    largest = fitted["rare"].distance[0]
    assert served.distance <= largest + 1e-9
    if sum(0 < m <= SMALL_BIN * expected.rows for m, _ in pairs) == 1 and all(m > 0 for m, _ in pairs):
        assert served.distance == pytest.approx(largest)


def test_the_variation_is_described_in_words() -> None:
    fitted = fit(make_frame(30, 2000))
    assert " sd from day to day; a shift is seen from " in describe_variation(fitted, "number")
    assert "its shares move by a PSI of " in describe_variation(fitted, "kind")
    assert describe_variation(fitted, "constant") == ""
    restless = make_frame(30, 2000)
    restless["number"] += restless["at"].dt.day % 7
    assert describe_variation(fit(restless), "number").endswith(
        " sd from day to day; no shift of a day is seen"
    )


def test_a_feature_with_the_default_variation_says_so() -> None:
    """A category has no shift, and a constant no change."""
    frame = make_frame(2).drop(columns="at")
    fitted = profiles.fit(frame, model="m", version="1")
    assert describe_variation(fitted, "number") == (
        "is taken to move by 0.25 sd from day to day; a shift is seen from 0.77"
    )
    assert describe_variation(fitted, "kind").startswith(
        "its shares are taken to move by a PSI of 0.029 from day"
    )
    assert describe_variation(fitted, "constant") == ""


def test_show_prints_the_words_and_the_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    fitted = fit(make_frame(6))
    profiles.save(fitted, tmp_path / "p.json")
    shown = CliRunner().invoke(app, ["profile", "show", str(tmp_path / "p.json")])
    assert shown.exit_code == 0, shown.output
    assert "varies by itself" in shown.output
    assert describe_variation(fitted, "number") in shown.output
    assert "note: training covers 6.0 days" in shown.output


def test_a_profile_keeps_the_variation(tmp_path: Path) -> None:
    for fitted in (fit(make_frame()), fit(make_frame(0.5))):
        profiles.save(fitted, tmp_path / "p.json")
        assert profiles.load(tmp_path / "p.json") == fitted


def fit_by_command(folder: Path, frame: pd.DataFrame, *options: str) -> tuple[int, str]:
    frame.to_csv(folder / "t.csv", index=False)
    command = [
        "profile",
        "fit",
        f"{folder}/t.csv",
        "--model",
        "m",
        "--version",
        "1",
        "-o",
        f"{folder}/p.json",
    ]
    done = CliRunner().invoke(app, [*command, *options])
    return done.exit_code, done.output


def test_an_unknown_time_zone_is_named_with_the_most_similar_one(tmp_path: Path) -> None:
    code, said = fit_by_command(tmp_path, make_frame(2), "--time", "at", "--timezone", "Europe/Berln")
    assert code == 2
    assert "--timezone: 'Europe/Berln' is not a time zone; did you mean 'Europe/Berlin'?" in said
    with pytest.raises(profiles.ProfileError, match="did you mean 'Europe/Berlin'"):
        fit(make_frame(2), timezone="Europe/Berln")


def test_a_time_zone_needs_times(tmp_path: Path) -> None:
    code, said = fit_by_command(tmp_path, make_frame(2), "--timezone", "Europe/Berlin")
    assert code == 2
    assert "--timezone needs --time" in said


def test_fit_says_which_variation_it_uses(tmp_path: Path) -> None:
    code, said = fit_by_command(tmp_path, make_frame(0.5), "--time", "at")
    assert code == 0
    assert "note: training covers 11.9 hours, less than a day" in said
    assert "give --time" not in said
    code, said = fit_by_command(tmp_path, make_frame(0.5))
    assert code == 0
    assert "a default is used for how much the traffic varies by itself; give --time" in said


def test_the_picture_shows_one_fault_among_days_that_are_natural() -> None:
    days = measure_days()
    assert [day.fault for day in days if day.is_served and abs(day.distance) > day.limit] == [True]
    assert sum(abs(day.distance) > day.chance for day in days) > len(days) / 2
    assert sum(abs(day.distance) > 1.9 * day.chance for day in days) == 19  # p = 1e-6; the page says so


def test_events_in_clusters_widen_windows_of_few_events_and_not_those_of_many() -> None:
    """40 events an hour by night and 4,000 by day, in clusters of ten: a variance would be that of the nights."""
    rng = np.random.default_rng(3)
    hours = np.arange(DAYS * 24)
    clusters = np.where(hours % 24 < 12, 4, 400)
    hour = np.repeat(hours, clusters * 10)
    values = np.repeat(rng.normal(size=clusters.sum()), 10)
    seconds = MONDAY + hour * 3600.0 + rng.uniform(0, 3600, size=len(hour))
    order = np.argsort(seconds)
    numbers = measure(seconds[order], describe_rows(values[order])).measures["shift"]["x"]["1h"]
    assert 5 < numbers.design_effect < 15
    assert numbers.variance < 0.01


def test_as_many_events_in_each_window_say_nothing_of_clusters() -> None:
    rng = np.random.default_rng(4)
    seconds = list_times(DAYS, 480)
    weather = 0.4 * rng.normal(size=DAYS)
    variation = measure(seconds, describe_rows(rng.normal(size=len(seconds)) + weather[count_days(seconds)]))
    assert variation.measures["shift"]["x"]["24h"].design_effect == 1.0
    assert variation.measures["shift"]["x"]["24h"].variance > 0.05
