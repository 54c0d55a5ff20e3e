"""The detection benchmark: its faults, which of them are to be found, and both kinds of streams in a backtest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmarks.detection import detectable, report, shuffled
from benchmarks.detection.datasets import REPORTING, STREAMS, TUNING
from benchmarks.detection.detectable import ABSENT, FAULTS, NEW, Cell, Days, alter
from benchmarks.detection.faults import FAULTS as SHUFFLED_FAULTS
from benchmarks.detection.natural import Served
from benchmarks.detection.streams import claims_stream

FEATURES = {
    "unseen category, 5 %": ("type",),
    "NA +10 points": ("in_order",),
    "vanished column": ("hour",),
    "unit change": ("price",),
    "respelling": ("type",),
    "lost join: missing": ("price", "type"),
    "lost join: constant": ("price", "type"),
}


@pytest.fixture(scope="module")
def pizza() -> Served:
    served = Served("pizza", 0)
    served.rows = served.rows[served.rows["time"] < served.rows["time"].iloc[0] + pd.Timedelta(days=4)]
    return served


def cell_of(fault: str, served: Served) -> Cell:
    return Cell("pizza", 0, fault, FEATURES[fault], served.rows["time"].iloc[300].isoformat())


def test_streams_for_tuning_and_for_reporting_are_different() -> None:
    assert len(STREAMS) == len(TUNING) + len(REPORTING)
    assert sum(stream.serve * stream.folds for stream in REPORTING) >= 40


def test_weeks_of_a_fold_follow_its_training() -> None:
    for number in range(STREAMS["pizza"].folds):
        training, served = STREAMS["pizza"].fold(number)
        assert training["time"].is_monotonic_increasing
        assert training["time"].iloc[-1] < served["time"].iloc[0]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_changes_its_features_of_the_events_that_it_hits(fault: str, pizza: Served) -> None:
    cell = cell_of(fault, pizza)
    altered, hit = alter(cell, pizza.fold.training, pizza.rows)
    others = [name for name in pizza.rows if name not in cell.features]
    pd.testing.assert_frame_equal(altered[others], pizza.rows[others])
    for name in cell.features:
        before, after = pizza.rows[name], altered[name]
        assert (after[~hit] == before[~hit]).all()
        if fault != "lost join: constant":
            assert not (after[hit] == before[hit]).any()
    share = {"unseen category, 5 %": 0.05, "NA +10 points": 0.1}.get(fault)
    assert share is None or hit.mean() == pytest.approx(share, abs=0.03)
    if fault.startswith("unseen"):
        assert set(altered["type"][hit]) == {NEW}
    if fault == "vanished column":
        assert set(altered["hour"]) == {ABSENT}


def test_a_fault_that_training_shows_on_some_day_need_not_be_found() -> None:
    times = pd.date_range("2015-01-01", periods=4000, freq="30min", tz="UTC")
    numbers = np.random.default_rng(1).normal(size=4000)
    rows = pd.DataFrame({"time": times, "price": numbers, "type": "veggie", "target": 1.0})
    cell = Cell("pizza", 0, "NA +10 points", ("price",), times[3900].isoformat())
    assert Days(rows[:3800]).excludes(cell, rows[3800:]) == ""
    rows.loc[1000:1100, "price"] = np.nan
    assert "in training up to" in Days(rows[:3800]).excludes(cell, rows[3800:])
    assert "it hits" in Days(rows[:3800]).excludes(cell, rows[3899:3902])


def test_the_list_of_detectable_faults_is_that_of_the_script() -> None:
    stream = replace(STREAMS["pizza"], folds=1)
    listed = [cell for cell in detectable.load() if (cell.stream, cell.fold) == ("pizza", 0)]
    assert list(detectable.cells([stream])) == listed


@pytest.mark.slow
def test_a_fault_of_a_natural_stream_is_found_by_its_feature(pizza: Served) -> None:
    record = pizza._fault(cell_of("vanished column", pizza))
    assert record["found"]
    assert record["watch"] == "vanished-feature"
    assert record["hours"] < 24


@pytest.mark.slow
def test_a_fault_of_a_shuffled_stream_is_found_by_its_feature() -> None:
    fault = next(each for each in SHUFFLED_FAULTS if each.name == "vanished column")
    record = shuffled.faulty(shuffled.prepare(claims_stream()), fault, 0)
    assert record["watch"] == "vanished-feature"
    assert record["events"] <= 50


def test_a_peer_has_its_best_threshold() -> None:
    records = [{"fault": "", "score": score, "failed": ""} for score in (0.1, 0.2, 5.0, 0.3)]
    records += [{"fault": "unit change", "score": score, "failed": ""} for score in (0.4, 2.0)]
    records += [{"fault": "vanished column", "score": None, "failed": "a column is missing"}]
    assert report._best(records) == [3, 3, 1, 4]


def test_no_alert_in_three_months_is_at_most_one_a_month() -> None:
    weeks = 3 * report.MONTH_WEEKS
    rate = report._rate([{"weeks": weeks, "alerts": []}])
    assert rate["a_month"] == 0
    assert rate["at_most"] == pytest.approx(3.0 / 3, abs=0.01)
