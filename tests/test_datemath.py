"""Dates and date maths: the values were checked against Elasticsearch 9.4.3."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from logging_lib._util import datemath

NOW = datemath.to_millis(datetime(2018, 3, 31, 15, 41, 27, 123456, tzinfo=UTC))


def evaluated(text: str, **options: object) -> str:
    return datemath.render(datemath.evaluate(text, now=NOW, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "down", "up"),
    [
        ("now", "2018-03-31T15:41:27.123Z", "2018-03-31T15:41:27.123Z"),
        ("now-15m/m", "2018-03-31T15:26:00.000Z", "2018-03-31T15:26:59.999Z"),
        ("now/d", "2018-03-31T00:00:00.000Z", "2018-03-31T23:59:59.999Z"),
        ("now/w", "2018-03-26T00:00:00.000Z", "2018-04-01T23:59:59.999Z"),
        ("now/M", "2018-03-01T00:00:00.000Z", "2018-03-31T23:59:59.999Z"),
        ("now/y", "2018-01-01T00:00:00.000Z", "2018-12-31T23:59:59.999Z"),
        ("now-1M", "2018-02-28T15:41:27.123Z", "2018-02-28T15:41:27.123Z"),
        ("now-1M/M+1d", "2018-02-02T00:00:00.000Z", "2018-03-01T23:59:59.999Z"),
        ("now+1y-2w+3h", "2019-03-17T18:41:27.123Z", "2019-03-17T18:41:27.123Z"),
        ("now-90s", "2018-03-31T15:39:57.123Z", "2018-03-31T15:39:57.123Z"),
        ("now-1H/h", "2018-03-31T14:00:00.000Z", "2018-03-31T14:59:59.999Z"),
        ("now-d", "2018-03-30T15:41:27.123Z", "2018-03-30T15:41:27.123Z"),
        ("2018-02-01T09:00:00Z||-24h/h", "2018-01-31T09:00:00.000Z", "2018-01-31T09:59:59.999Z"),
        ("2018-02||/M", "2018-02-01T00:00:00.000Z", "2018-02-28T23:59:59.999Z"),
        ("2016-02-29||+1y", "2017-02-28T00:00:00.000Z", "2017-02-28T00:00:00.000Z"),
        ("2018-02-01", "2018-02-01T00:00:00.000Z", "2018-02-01T23:59:59.999Z"),
        ("2018", "2018-01-01T00:00:00.000Z", "2018-01-01T23:59:59.999Z"),
        ("2018-02-01T09", "2018-02-01T09:00:00.000Z", "2018-02-01T09:59:59.999Z"),
        ("2018-02-01T09:00:00.1+01:00", "2018-02-01T08:00:00.100Z", "2018-02-01T08:00:00.100Z"),
        ("1517475600000", "2018-02-01T09:00:00.000Z", "2018-02-01T09:00:00.000Z"),
        ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z"),
    ],
)
def test_times_are_rounded_down_and_up(text: str, down: str, up: str) -> None:
    assert (evaluated(text), evaluated(text, round_up=True)) == (down, up)


def test_times_are_rounded_in_a_time_zone() -> None:
    """Days are local days: on 2018-03-25 the clocks in Berlin go forward."""
    zone = ZoneInfo("Europe/Berlin")
    assert evaluated("2018-03-25||/d", zone=zone) == "2018-03-24T23:00:00.000Z"
    assert evaluated("2018-03-25||+1d/d", zone=zone) == "2018-03-25T22:00:00.000Z"
    assert evaluated("2018-03-25||+24h", zone=zone) == "2018-03-25T23:00:00.000Z"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "now-",
        "now-1x",
        "now/2d",
        "now--1d",
        "2018-13-01",
        "2018-02-30",
        "2018-2-1",
        "2018-02-01||x",
        "now-99999y",
        "2018-02-01 09:00:00",
        "٢٠١٨-02-01",
        "now/d/",
        "2018-02-01T09:00:00Z+1d",
    ],
)
def test_text_that_is_not_a_date_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"date|outside|rounding"):
        evaluated(text)


def test_dates_are_printed_in_each_format() -> None:
    assert evaluated("01/02/2018 10:30", pattern="dd/MM/yyyy HH:mm") == "2018-02-01T10:30:00.000Z"
    assert evaluated("1517475600", pattern="yyyy-MM-dd||epoch_second") == "2018-02-01T09:00:00.000Z"
    moment = datemath.parse("2018-02-01T09:05:07.008Z")
    assert datemath.render(moment, "yyyy-MM-dd'T'HH:mm:ss.SSSXXX") == "2018-02-01T09:05:07.008Z"
    assert datemath.render(moment, "dd.MM.uuuu") == "01.02.2018"
    assert datemath.render(moment, "epoch_millis") == "1517475907008"
    with pytest.raises(ValueError, match="not known"):
        datemath.check_format("EEE, d MMM")


def test_moments_outside_the_years_of_datetime() -> None:
    """A sum of dates is one: Elasticsearch writes it with a sign."""
    assert datemath.render(455260222925196) == "+16396-08-15T13:02:05.196Z"


@pytest.mark.parametrize(
    ("text", "millis"), [("90s", 90_000), ("-1h", -3_600_000), ("+2d", 172_800_000), ("5ms", 5)]
)
def test_intervals_are_parsed_to_milliseconds(text: str, millis: int) -> None:
    assert datemath.interval(text) == millis
