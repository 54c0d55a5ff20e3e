"""The time that a service gives: read in any form, as in foreign events, and kept where it is not a time."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import logging_lib
from logging_lib.logger.event import to_timestamp
from logging_lib.normalize import Event, normalize
from logging_lib.profile.timestamps import format_time, parse_timestamp
from tests.strategies import values as any_values

Events = Callable[[Path], list[dict[str, Any]]]
TEN = datetime(2026, 3, 10, 10, tzinfo=UTC)
FORMS = {
    "epoch seconds": 1773136800,
    "epoch seconds with a fraction": 1773136800.0,
    "epoch milliseconds": 1773136800000,
    "epoch microseconds": 1773136800000000,
    "epoch nanoseconds": 1773136800000000000,
    "epoch seconds as text": "1773136800",
    "epoch milliseconds as text": "1773136800000",
    "numpy's number": np.int64(1773136800000),
    "numpy's time": np.datetime64("2026-03-10T10:00:00"),
    "pandas' time": pd.Timestamp("2026-03-10 11:00", tz="Europe/Berlin"),
    "a datetime": datetime(2026, 3, 10, 5, 30, tzinfo=timezone(timedelta(hours=-4, minutes=-30))),
    "a datetime without a zone": datetime(2026, 3, 10, 10),
    "ISO 8601": "2026-03-10T10:00:00.000Z",
    "hours of a zone": "2026-03-10T11:00:00+01",
    "lower case": "2026-03-10t10:00:00z",
    "basic format": "20260310T110000+0100",
    "basic format without seconds": "20260310T1000",
    "UTC after a space": "2026-03-10 10:00:00 UTC",
    "an offset after a space": "2026-03-10 12:00:00 +0200",
    "a comma": "2026-03-10 10:00:00,000",
    "Apache": "10/Mar/2026:03:00:00 -0700",
    "HTTP": "Tue, 10 Mar 2026 10:00:00 GMT",
    "email": "10 Mar 2026 11:00:00 +0100",
}
NO_TIMES = ["yesterday", "", "2026-02-30", "20260230T100000", "10/Mrz/2026:10:00:00 +0100", "2026-03-10 10:00 CET",
            "2026-03-10T24:00:00Z", True, math.nan, math.inf, 10**30, [1773136800], pd.NaT]  # fmt: skip


@pytest.mark.parametrize("given_", FORMS.values(), ids=FORMS.keys())
def test_a_time_in_any_form(given_: Any) -> None:
    assert parse_timestamp(given_.item() if isinstance(given_, np.generic) else given_) == TEN
    text = to_timestamp(given_)
    assert text is not None
    assert datetime.fromisoformat(text) == TEN


def test_a_date_is_its_midnight_in_utc() -> None:
    assert parse_timestamp(date(2026, 3, 10)) == parse_timestamp("20260310") == TEN.replace(hour=0)


@pytest.mark.parametrize("given_", NO_TIMES, ids=str)
def test_a_value_that_is_not_a_time_becomes_none(given_: Any) -> None:
    assert to_timestamp(given_) is None


@given(st.datetimes(timezones=st.timezones() | st.just(UTC)).filter(lambda moment: 2 < moment.year < 9999))
def test_each_form_of_a_moment_is_the_moment(moment: datetime) -> None:
    utc = moment.astimezone(UTC)
    whole = utc.replace(microsecond=0)
    assert parse_timestamp(moment) == utc
    assert parse_timestamp(format_time(utc)) == utc
    assert parse_timestamp(utc.isoformat(" ")) == utc
    assert (
        parse_timestamp(utc.strftime("%d/") + utc.strftime("%b/") + f"{utc.year:04}:{utc:%H:%M:%S} +0000")
        == whole
    )
    assert parse_timestamp(f"{utc.year:04}{utc:%m%dT%H%M%S}.{utc.microsecond:06}Z") == utc


@given(any_values)
def test_anything_is_a_time_or_none(value: Any) -> None:
    text = to_timestamp(value)
    assert text is None or datetime.fromisoformat(text).tzinfo is not None


_forms = st.sampled_from([form for form in FORMS.values() if type(form) in (str, int, float)])


@given(st.one_of(_forms, st.text(), st.integers(), st.floats(allow_nan=False, allow_infinity=False)))
def test_the_logger_and_foreign_events_read_the_same(value: Any) -> None:
    foreign = normalize({"model": "m", "inputs": {"a": 1}, "timestamp": value})
    text = to_timestamp(value)
    assert isinstance(foreign, Event) == (text is not None)
    if isinstance(foreign, Event):
        assert foreign.document["@timestamp"] == text


def test_an_unreadable_time_is_kept_and_counted(
    tmp_path: Path, spooled: Events, valid: Any, caplog: pytest.LogCaptureFixture
) -> None:
    log = logging_lib.configure(model="m", version="1", spool=tmp_path, report_every=None)
    with caplog.at_level(logging.WARNING, "logging_lib"):
        for _ in range(2):
            log.prediction({"a": 1}, prediction=1.0, timestamp="yesterday", tenant="x")
        log.label("r-1", 1.0, timestamp=[1])
        log.prediction({"a": 1}, prediction=1.0, timestamp=None)
        log.prediction({"a": 1}, prediction=1.0, timestamp=1773136800123)
    events = [valid(event) for event in spooled(tmp_path)]
    assert [event.get("labels") for event in events] == [
        *[{"tenant": "x", "timestamp": "yesterday"}] * 2, {"timestamp": "[1]"}, None, None
    ]  # fmt: skip
    assert events[-1]["@timestamp"] == "2026-03-10T10:00:00.123000Z"
    assert log.stats()["unreadable_times"] == 3
    assert [record.getMessage()[:34] for record in caplog.records] == ["timestamp: yesterday is not a time"]


def test_a_batch_has_a_time_for_each_row(tmp_path: Path, captured_predictions: list[dict[str, Any]]) -> None:
    log = logging_lib.configure(model="m", version="1", spool=tmp_path, report_every=None)
    times = pd.Series(pd.to_datetime(["2026-03-10 10:00", "2026-03-10 11:00", None]))
    log.predictions(pd.DataFrame({"a": [1, 2, 3]}), [1.0, 2.0, 3.0], timestamps=times, run="replay")
    assert [event["@timestamp"][:13] for event in captured_predictions[:2]] == [
        "2026-03-10T10",
        "2026-03-10T11",
    ]
    assert [event["labels"] for event in captured_predictions] == [
        *[{"run": "replay"}] * 2, {"run": "replay", "timestamp": "null"}
    ]  # fmt: skip
    assert log.stats()["unreadable_times"] == 1


def test_a_batch_keeps_and_counts_an_unreadable_time(
    tmp_path: Path, captured_predictions: list[dict[str, Any]], profile: Any, training: pd.DataFrame
) -> None:
    log = logging_lib.configure(
        model="loans", version="1", profile=profile, spool=tmp_path, report_every=None
    )
    frame = training[list(profile.features)].head(3000).astype({"income": object})
    frame.iloc[5, frame.columns.get_loc("income")] = "much"  # a row that is built by itself
    log.predictions(frame, [1.0] * len(frame), timestamp="yesterday")
    assert {event["labels"]["timestamp"] for event in captured_predictions} == {"yesterday"}
    assert log.stats()["unreadable_times"] == len(captured_predictions) == len(frame)
