"""Times of Watcher's schedules, against the plainest way to find them: look at each minute."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logging_lib.watch import cron
from logging_lib.watch.model import ScheduleModel
from logging_lib.watch.model.schedule import find_due_time, iter_scheduled_times
from tests.strategies import examples

MINUTE = timedelta(minutes=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def first(document: dict[str, Any], after: str, count: int = 3) -> list[str]:
    schedule = ScheduleModel.model_validate(document).schedule
    times = iter_scheduled_times(schedule, at(after), at("2199-12-31"))
    return [f"{next(times):%Y-%m-%dT%H:%M:%S}" for _ in range(count)]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"cron": "0 5 9 * * ?"}, ["2024-02-28T09:05:00", "2024-02-29T09:05:00", "2024-03-01T09:05:00"]),
        ({"cron": "0 0-5 9 * * ?"}, ["2024-02-28T09:00:00", "2024-02-28T09:01:00", "2024-02-28T09:02:00"]),
        (
            {"cron": "0 0/20 9 ? * MON-FRI"},
            ["2024-02-28T09:00:00", "2024-02-28T09:20:00", "2024-02-28T09:40:00"],
        ),
        ({"cron": "0 0 0 L * ?"}, ["2024-02-29T00:00:00", "2024-03-31T00:00:00", "2024-04-30T00:00:00"]),
        ({"cron": "0 0 0 L-1 * ?"}, ["2024-03-30T00:00:00", "2024-04-29T00:00:00", "2024-05-30T00:00:00"]),
        ({"cron": "0 0 0 LW * ?"}, ["2024-02-29T00:00:00", "2024-03-29T00:00:00", "2024-04-30T00:00:00"]),
        ({"cron": "0 0 0 15W * ?"}, ["2024-03-15T00:00:00", "2024-04-15T00:00:00", "2024-05-15T00:00:00"]),
        ({"cron": "0 0 0 1W 6,9 ?"}, ["2024-06-03T00:00:00", "2024-09-02T00:00:00", "2025-06-02T00:00:00"]),
        ({"cron": "0 0 0 ? * 6L"}, ["2024-03-29T00:00:00", "2024-04-26T00:00:00", "2024-05-31T00:00:00"]),
        ({"cron": "0 0 0 ? * FRI#3"}, ["2024-03-15T00:00:00", "2024-04-19T00:00:00", "2024-05-17T00:00:00"]),
        ({"cron": "0 0 0 ? * 2#5"}, ["2024-04-29T00:00:00", "2024-07-29T00:00:00", "2024-09-30T00:00:00"]),
        ({"cron": "0 0 0 ? * L"}, ["2024-03-02T00:00:00", "2024-03-09T00:00:00", "2024-03-16T00:00:00"]),
        ({"cron": "0 0 22-2/2 ? 3 1"}, ["2024-03-03T00:00:00", "2024-03-03T02:00:00", "2024-03-03T22:00:00"]),
        (
            {"cron": "0 0 0 1 NOV-FEB ? 2025/2"},
            ["2025-01-01T00:00:00", "2025-02-01T00:00:00", "2025-11-01T00:00:00"],
        ),
        (
            {"cron": ["0 0 12 * * ?", "30 0 6 * * ?"]},
            ["2024-02-28T06:00:30", "2024-02-28T12:00:00", "2024-02-29T06:00:30"],
        ),
        ({"interval": "36h"}, ["2024-02-29T00:00:00", "2024-03-01T12:00:00", "2024-03-03T00:00:00"]),
        ({"hourly": {}}, ["2024-02-28T01:00:00", "2024-02-28T02:00:00", "2024-02-28T03:00:00"]),
        (
            {"hourly": {"minute": [45, 15]}},
            ["2024-02-28T00:15:00", "2024-02-28T00:45:00", "2024-02-28T01:15:00"],
        ),
        ({"daily": {}}, ["2024-02-29T00:00:00", "2024-03-01T00:00:00", "2024-03-02T00:00:00"]),
        (
            {"daily": {"at": ["noon", "midnight", "17:05"]}},
            ["2024-02-28T12:00:00", "2024-02-28T17:05:00", "2024-02-29T00:00:00"],
        ),
        (
            {"daily": {"at": {"hour": [0, 12], "minute": [0, 30]}}},
            ["2024-02-28T00:30:00", "2024-02-28T12:00:00", "2024-02-28T12:30:00"],
        ),
        ({"weekly": {}}, ["2024-03-04T00:00:00", "2024-03-11T00:00:00", "2024-03-18T00:00:00"]),
        (
            {"weekly": [{"on": "friday", "at": "17:00"}, {"day": ["tue", 7], "time": "noon"}]},
            ["2024-03-01T17:00:00", "2024-03-02T12:00:00", "2024-03-05T12:00:00"],
        ),
        (
            {"monthly": {"on": [10, "last_day"], "at": "9:30"}},
            ["2024-02-29T09:30:00", "2024-03-10T09:30:00", "2024-03-31T09:30:00"],
        ),
        (
            {"yearly": {"in": ["january", "jul", "12"], "on": 10, "at": "noon"}},
            ["2024-07-10T12:00:00", "2024-12-10T12:00:00", "2025-01-10T12:00:00"],
        ),
        (
            {"daily": {"at": "9:00"}, "timezone": "America/New_York"},
            ["2024-02-28T14:00:00", "2024-02-29T14:00:00", "2024-03-01T14:00:00"],
        ),
        (
            {"daily": {}, "timezone": "+05:30"},
            ["2024-02-28T18:30:00", "2024-02-29T18:30:00", "2024-03-01T18:30:00"],
        ),
    ],
    ids=str,
)
def test_each_kind_of_schedule_gives_its_times(schedule: dict[str, Any], expected: list[str]) -> None:
    """After the beginning of Wednesday, 28 February 2024."""
    assert first(schedule, "2024-02-28") == expected


def test_schedules_follow_a_changed_clock() -> None:
    """What it leaves out comes an hour later; what it shows twice comes once, but every hour comes always."""
    spring, autumn = "2024-03-30T12:00", "2024-10-26T12:00"
    berlin = {"timezone": "Europe/Berlin"}
    assert first({"daily": {"at": "2:30"}, **berlin}, spring, 2) == [
        "2024-03-31T01:30:00",
        "2024-04-01T00:30:00",
    ]
    assert first({"daily": {"at": "2:30"}, **berlin}, autumn, 2) == [
        "2024-10-27T00:30:00",
        "2024-10-28T01:30:00",
    ]
    hours = [f"2024-10-27T0{hour}:00:00" for hour in range(4)]
    assert first({"hourly": {}, **berlin}, "2024-10-26T23:00", 4) == hours
    assert first({"hourly": {}, **berlin}, "2024-03-30T23:30", 4) == [
        f"2024-03-31T0{hour}:00:00" for hour in range(4)
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("* * * * *", "has 5 fields"),
        ("0 0 0 * * *", r"write '\?' for exactly one"),
        ("0 0 0 ? * ?", r"write '\?' for exactly one"),
        ("60 0 0 * * ?", "seconds: '60' is not between 0 and 59"),
        ("0 0 24 * * ?", "hours: '24'"),
        ("0 0 0 0 * ?", "day of month: '0'"),
        ("0 0 0 1 13 ?", "month: '13' is not between 1 and 12 or JAN-DEC"),
        ("0 0 0 ? * 8", "day of week: '8'"),
        ("0 0 0 ? * FUN", "day of week: 'FUN'"),
        ("0 0 0 1,L * ?", "stand alone"),
        ("0 0 0 L-31 * ?", "at most 30 days"),
        ("0 0 0 ? * 2#6", "stand alone"),
        ("0 0 0 ? * 2#1,3#1", "stand alone"),
        ("0 0 0 ? * MONL,TUE", "stand alone"),
        ("0 */0 0 * * ?", "the step of"),
        ("0 *-5 0 * * ?", "begins with a value"),
        ("0 , 0 * * ?", "is not a value, range"),
        ("0 0 0 1 1 ? 2030-2020", "ends before it begins"),
    ],
)
def test_wrong_expressions_name_their_field(text: str, message: str) -> None:
    """And how to write it."""
    with pytest.raises(cron.CronError, match=message):
        cron.parse(text)


def field(low: int, high: int) -> st.SearchStrategy[str]:
    value = st.integers(low, high)
    part = st.one_of(
        st.just("*"),
        value.map(str),
        st.tuples(value, value).map(lambda pair: f"{pair[0]}-{pair[1]}"),
        st.tuples(st.sampled_from(["*", str(low), str(high // 2)]), st.integers(1, min(high, 9))).map(
            lambda pair: f"{pair[0]}/{pair[1]}"
        ),
    )
    return st.lists(part, min_size=1, max_size=3).map(",".join)


def values(text: str, low: int, high: int) -> set[int]:
    """The plain meaning of a field, written for the test alone."""
    numbers: set[int] = set()
    for part in text.split(","):
        head, _, step = part.partition("/")
        begin, _, end = head.partition("-")
        size = high - low + 1
        first_one = low if begin == "*" else int(begin)
        last = high if begin == "*" or (step and not end) else int(end or begin)
        span = (last - first_one) % size
        numbers |= {(first_one - low + k) % size + low for k in range(0, span + 1, int(step or 1))}
    return numbers


@st.composite
def expressions(draw: st.DrawFn) -> tuple[str, list[set[int]]]:
    minute, hour, day = draw(field(0, 59)), draw(field(0, 23)), draw(field(1, 31))
    weekday, month = draw(field(1, 7)), draw(field(1, 12))
    by_week = draw(st.booleans())
    text = f"0 {minute} {hour} {'?' if by_week else day} {month} {weekday if by_week else '?'}"
    days = set(range(1, 32)) if by_week else values(day, 1, 31)
    weekdays = values(weekday, 1, 7) if by_week else set(range(1, 8))
    return text, [values(minute, 0, 59), values(hour, 0, 23), days, values(month, 1, 12), weekdays]


def due(wall: datetime, parts: list[set[int]]) -> bool:
    minutes, hours, days, months, weekdays = parts
    return (
        wall.second == 0
        and wall.minute in minutes
        and wall.hour in hours
        and wall.day in days
        and wall.month in months
        and wall.isoweekday() % 7 + 1 in weekdays
    )


ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]


def looked_for(begin: datetime, end: datetime, parts: list[set[int]], zone: str) -> Iterator[datetime]:
    """Each minute whose clock shows a due time: the definition for expressions that are due at every hour."""
    now = begin
    while now <= end:
        if due(now.astimezone(ZoneInfo(zone)).replace(tzinfo=None), parts):
            yield now
        now += MINUTE


@settings(deadline=None, max_examples=30)
@given(expressions(), st.datetimes(datetime(2023, 1, 1), datetime(2025, 12, 31)))
def test_cron_times_are_those_that_each_minute_shows(
    given_expression: tuple[str, list[set[int]]], moment: datetime
) -> None:
    """In UTC: none is missed, none is added, going forward and back."""
    text, parts = given_expression
    begin = moment.replace(second=0, microsecond=0, tzinfo=UTC)
    end = begin + timedelta(days=2)
    schedule = ScheduleModel.model_validate({"cron": text}).schedule
    expected = list(looked_for(begin + MINUTE, end, parts, "UTC"))
    assert list(iter_scheduled_times(schedule, begin, end)) == expected
    latest = schedule.latest(end)
    assert (latest == expected[-1]) if expected else (latest is None or latest <= begin)
    assert find_due_time(schedule, latest, end) is None


@settings(deadline=None, max_examples=12)
@given(
    field(0, 59),
    st.sampled_from(ZONES),
    st.sampled_from(["2024-03-31T01:00", "2024-10-27T01:00", "2024-03-10T07:00", "2024-11-03T06:00"]),
    st.integers(-300, 300),
)
def test_an_hourly_schedule_follows_the_clock_through_its_changes(
    minute: str, zone: str, change: str, shift: int
) -> None:
    """Each instant at which the clock shows a due minute, twice shown ones twice."""
    parts = [values(minute, 0, 59), set(range(24)), set(range(1, 32)), set(range(1, 13)), set(range(1, 8))]
    begin = at(change) + timedelta(minutes=shift)
    end = begin + timedelta(hours=6)
    schedule = ScheduleModel.model_validate({"cron": f"0 {minute} * * * ?", "timezone": zone}).schedule
    expected = list(looked_for(begin + MINUTE, end, parts, zone))
    times = list(iter_scheduled_times(schedule, begin, end))
    if zone == "Australia/Lord_Howe":  # half an hour: what is left out comes later, at times of its own
        assert set(expected) <= set(times)
    else:
        assert times == expected
    if times:
        assert schedule.latest(end) == times[-1]


@settings(deadline=None, max_examples=examples(100))
@given(
    st.sampled_from(
        [
            {"daily": {"at": ["2:30", "noon"]}, "timezone": "Europe/Berlin"},
            {"weekly": {"on": ["sun", "mon"], "at": "1:15"}, "timezone": "America/New_York"},
            {"monthly": {"on": ["last_day", 5]}},
            {"cron": "0/20 * 2 ? * SUN"},
            {"interval": "7h"},
        ]
    ),
    st.datetimes(datetime(2023, 1, 1), datetime(2026, 1, 1)),
)
def test_latest_and_next_agree(schedule: dict[str, Any], moment: datetime) -> None:
    """Nothing is between them, and each scheduled time is its own latest."""
    times = ScheduleModel.model_validate(schedule).schedule
    now = moment.replace(tzinfo=UTC)
    latest, following = times.latest(now), times.next(now)
    assert latest is not None
    assert following is not None
    assert latest <= now < following
    assert times.next(latest) == following
    assert times.latest(following) == following
    assert times.latest(following - timedelta(seconds=1)) == latest
