"""Backtests of the past: their period, their clock, their rates and their axis."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.watch.backtest.arrivals import search_arrivals
from logging_lib.watch.backtest.backtest import Backtest
from logging_lib.watch.backtest.event_time import EventTimeStore, were_loaded_later
from logging_lib.watch.backtest.page import render_page
from tests.watch.test_end_to_end import EVENTS, ONSET, START, call, events, fitted, spool

__all__ = ["call", "fitted", "spool"]
Call = Callable[..., Result]
DAY = timedelta(days=1)
LAST = START + timedelta(seconds=30 * (EVENTS - 1))
LATER = datetime(2020, 5, 6, 7, 8, tzinfo=UTC)


def arrived(document: dict[str, Any], moment: datetime | None, **event: Any) -> dict[str, Any]:
    about = {**document["event"], **event}
    about.pop("ingested")
    return {
        **document,
        "event": about if moment is None else {**about, "ingested": moment.isoformat()},
    }


def write(folder: Path, documents: list[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "loaded.jsonl").write_text("".join(json.dumps(document) + "\n" for document in documents))
    return folder


def replay(call: Call, *arguments: object) -> dict[str, Any]:
    given = ("backtest", *arguments, "--every", "15m", "--watch", "na-spike", "--json")
    result: dict[str, Any] = json.loads(call(*given).stdout)
    return result


def finds_the_incident(result: dict[str, Any]) -> bool:
    (alert,) = result["alerts"]
    return ONSET < datetime.fromisoformat(alert["time"]) <= ONSET + timedelta(minutes=45)


def test_a_past_ends_with_its_last_prediction(call: Call, spool: Path, fitted: Path) -> None:
    """The logger's own events of the day on which the past was logged do not stretch it; that they are is said."""
    health = {**next(events()), "@timestamp": LATER.isoformat()}
    del health["ml"]["check"]
    write(spool, [arrived(health, LATER, id="h", dataset="ml.health")])
    given = (spool, "--profile", fitted)
    shown = call("backtest", *given, "--every", "15m", "--watch", "uptime").stderr
    assert "Other events than predictions arrived until 2020-05-06T07:08:00.000Z" in shown
    result = replay(call, *given)
    assert datetime.fromisoformat(result["end"]) == LAST
    assert result["ticks"] < 30
    assert finds_the_incident(result)
    assert result["days_with_traffic"] == 1
    later = replay(call, *given, "--until", "2020-05-07")
    assert later["end"] == "2020-05-07T00:00:00.000Z"


def test_a_store_that_was_loaded_later_counts_from_the_events_own_time(
    call: Call, tmp_path: Path, fitted: Path
) -> None:
    with EmbeddedStore(tmp_path / "store") as store:
        store.index("logs-ml.prediction-default", (arrived(one, None) for one in events()), now=LATER)
    given = ("--store", tmp_path / "store", "--profile", fitted)
    result = replay(call, *given)
    assert result["clock"] == "event"
    assert (result["start"], result["ticks"] > 10) == ("2018-02-01T09:00:00.000Z", True)
    assert finds_the_incident(result)
    shown = call("backtest", *given, "--every", "15m", "--watch", "na-spike").stderr
    assert "they count from their own time" in shown


@pytest.mark.parametrize("moment", [LATER, None], ids=["loaded at once", "without arrival"])
def test_files_and_folders_are_replayed_on_the_same_clock(
    call: Call, tmp_path: Path, fitted: Path, moment: datetime | None
) -> None:
    documents = [arrived(one, moment) for one in events()]
    assert finds_the_incident(replay(call, write(tmp_path / "files", documents), "--profile", fitted))
    write(tmp_path / "store" / "logs-ml.prediction-default", documents)
    result = replay(call, "--store", tmp_path / "store", "--profile", fitted)
    assert finds_the_incident(result)
    assert result["clock"] == "event"


def test_events_that_arrived_as_they_happened_count_from_their_arrival(
    call: Call, spool: Path, fitted: Path
) -> None:
    assert replay(call, spool, "--profile", fitted)["clock"] == "arrival"


@pytest.mark.parametrize(
    ("happened", "arrival", "later"),
    [
        ((0, 50, 100), (1, 51, 101), False),
        ((0, 50, 100), (80, 80, 80), True),  # at once
        ((0, 50, 100), (80, 85, 95), False),
        ((0, 50, 100), (90_000_000, 90_000_050, 90_000_100), True),  # 25 hours late
        ((7, 7, 7), (8, 8, 8), False),
        ((0, 50, 100), (), True),
        ((), (), False),
    ],
)
def test_event_time_is_used_if_arrival_says_nothing(
    happened: tuple[float, ...], arrival: tuple[float, ...], later: bool
) -> None:
    assert were_loaded_later(happened, arrival) is later


def test_arrivals_are_those_of_the_clock_that_is_used() -> None:
    with EmbeddedStore(None) as store:
        store.index("logs-ml.prediction-default", (arrived(one, None) for one in events()), now=LATER)
        for each in (store, EventTimeStore(store)):
            asked = search_arrivals(each)
            assert asked.loaded_later is (each is store)
        assert search_arrivals(EmbeddedStore(None)).first is None


def test_days_without_predictions_do_not_dilute_the_rate() -> None:
    """A day counts from the start of the replay; the last one by its length, and all of them at least as one."""
    hours = frozenset(START + timedelta(hours=hour) for hour in (-0.5, 3, 23, 24 * 40, 24 * 40 + 5))
    replayed = Backtest(("w",), START, START + 40.25 * DAY, 9, (), {}, traffic=hours)
    assert replayed.days_with_traffic == 1.25
    assert Backtest(("w",), START, START + 40.25 * DAY, 9, (), {}).days_with_traffic == 40.25
    assert Backtest(("w",), START, START, 1, (), {}, traffic=hours).days_with_traffic == 1


@pytest.mark.parametrize(
    ("days", "year", "label"), [(3, 2018, "1 Feb"), (3, 2026, "1 Feb 2018"), (400, 2018, "1 Feb 2018")]
)
def test_the_axis_names_years_that_are_not_the_present_one(days: int, year: int, label: str) -> None:
    replayed = Backtest(("w",), START, START + days * DAY, 9, (), {})
    text = render_page(replayed, events=9, now=datetime(year, 6, 1, tzinfo=UTC))
    labels = re.findall(r'<text class="soft"[^>]*>([^<]*)</text>', text)
    assert labels[0] == label
    assert all(bool(re.search(r"\d{4}$", one)) is (label != "1 Feb") for one in labels if one)
