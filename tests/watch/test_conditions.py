"""Watcher's conditions and times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logging_lib._util.times import (
    format_duration,
    format_instant,
    parse_duration,
    parse_instant,
    resolve_date_math,
)
from logging_lib.watch.conditions import ConditionError, compare, is_met, resolve_path
from logging_lib.watch.model import OPERATORS, Condition, ScheduleModel
from logging_lib.watch.model.schedule import find_due_time, floor_to_interval, iter_scheduled_times

CONTEXT: dict[str, Any] = {
    "ctx": {
        "execution_time": "2018-02-01T12:00:00.000Z",
        "payload": {
            "n": 5,
            "five": "5",
            "yes": True,
            "big": 12345678901,
            "half": 0.5,
            "at": 1517486390000,
            "last": "2018-02-01T11:58:00.000Z",
            "hits": {"hits": [{"_id": "a"}, {"_id": "b"}]},
            "buckets": [{"doc_count": 3, "key": "a"}, {"doc_count": 30, "key": "b"}],
            "none": [],
        },
    }
}


def met(**condition: Any) -> bool:
    return is_met(Condition.model_validate(condition), CONTEXT)


def test_always_and_never_conditions() -> None:
    """Without data they say what they are called."""
    assert met(always={})
    assert not met(never={})


@pytest.mark.parametrize(
    ("path", "operator", "value", "expected"),
    [
        ("n", "eq", 5, True),
        ("n", "eq", "5", True),
        ("n", "eq", 5.0, True),
        ("n", "not_eq", 6, True),
        ("n", "gt", 4, True),
        ("n", "gt", 5, False),
        ("n", "gte", 5, True),
        ("n", "lt", "10", False),
        ("n", "gt", "10", True),
        ("five", "eq", 5, True),
        ("five", "lt", 10, True),
        ("yes", "eq", "true", True),
        ("yes", "not_eq", "true", False),
        ("yes", "eq", 1, False),
        ("big", "gte", "{{ctx.payload.five}}", False),
        ("big", "gt", "1", True),
        ("half", "eq", "0.5", True),
        ("at", "gte", "<{now-5m}>", True),
        ("n", "lte", 4, False),
        ("n", "gt", "four", False),
        ("hits.hits.1._id", "eq", "b", True),
        ("hits.hits.1._id", "gt", "a", True),
        ("hits.hits.2._id", "eq", None, True),
        ("nothing", "gt", 0, False),
        ("nothing", "lt", 0, False),
        ("nothing", "not_eq", 0, True),
        ("hits.hits.0", "eq", {"_id": "a"}, True),
        ("last", "gte", "<{now-5m}>", True),
        ("last", "gte", "<{now-1m}>", False),
        ("n", "eq", "{{ctx.payload.n}}", True),
        ("n", "gt", "{{ctx.payload.buckets.0.doc_count}}", True),
    ],
)
def test_conditions_that_compare_a_value(path: str, operator: str, value: Any, expected: bool) -> None:
    """By the type of the right side; missing values are never ordered."""
    assert met(compare={f"ctx.payload.{path}": {operator: value}}) is expected


@pytest.mark.parametrize(
    ("operand", "expected"),
    [
        ({"path": "doc_count", "gte": {"value": 25}}, True),
        ({"path": "doc_count", "gte": {"value": 25, "quantifier": "all"}}, False),
        ({"path": "doc_count", "gte": {"value": 3, "quantifier": "all"}}, True),
        ({"path": "absent", "gte": {"value": 3}}, False),
        ({"path": "absent", "not_eq": {"value": 3}}, False),
        ({"path": "key", "not_eq": {"value": 3}}, False),
    ],
)
def test_conditions_that_compare_an_array(operand: dict[str, Any], expected: bool) -> None:
    """Some is the default quantifier."""
    assert met(array_compare={"ctx.payload.buckets": operand}) is expected


def test_conditions_that_compare_an_empty_array() -> None:
    """``all`` holds for an empty list and without one, as in Watcher; anything else is an error."""
    for quantifier, expected in (("some", False), ("all", True)):
        operand = {"path": "x", "gt": {"value": 0, "quantifier": quantifier}}
        assert met(array_compare={"ctx.payload.none": operand}) is expected
        assert met(array_compare={"ctx.payload.absent": operand}) is expected
    with pytest.raises(ConditionError, match=r"ctx\.payload\.n is not an array"):
        met(array_compare={"ctx.payload.n": {"gt": {"value": 0}}})


anything = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers())
)


@given(anything, anything)
def test_comparing_never_fails_and_is_consistent(left: Any, right: Any) -> None:
    """Exactly one of eq and not_eq; gte is gt or eq where things can be ordered."""
    results = {operator: compare(operator, left, right) for operator in OPERATORS}
    assert results["eq"] != results["not_eq"]
    assert not (results["gt"] and results["lt"])
    if results["gt"]:
        assert results["gte"]
        assert not results["lte"]


def test_paths_through_a_value_that_is_not_an_object_find_nothing() -> None:
    """A scalar has no parts."""
    assert resolve_path("a.b.0", {"a": 3}) is None


def test_durations_are_parsed() -> None:
    """Read and written in Watcher's units."""
    for text, seconds in (("500ms", 0.5), ("90s", 90), ("15m", 900), ("6h", 21600), ("7d", 604800)):
        assert parse_duration(text) == timedelta(seconds=seconds)
        assert format_duration(parse_duration(text)) == text
    assert parse_duration("1w") == timedelta(days=7)
    assert format_duration(timedelta()) == "0ms"
    for wrong in ("", "5", "m", "-5m", "1.5h", "5 m", "5minutes"):
        with pytest.raises(ValueError, match="is not a duration"):
            parse_duration(wrong)


def test_instants_are_parsed() -> None:
    """Always UTC, with milliseconds and Z."""
    assert format_instant(parse_instant("2018-02-01T13:00:00+01:00")) == "2018-02-01T12:00:00.000Z"
    assert parse_instant("2018-02-01") == datetime(2018, 2, 1, tzinfo=UTC)


def test_dates_in_conditions_may_use_date_math() -> None:
    """As Elasticsearch reads it."""
    now = datetime(2018, 3, 31, 12, 34, 56, tzinfo=UTC)
    assert resolve_date_math("now-1h/h", now) == datetime(2018, 3, 31, 11, tzinfo=UTC)
    assert resolve_date_math("2018-03-31||-1M", now) == datetime(2018, 2, 28, tzinfo=UTC)
    for wrong in ("yesterday", "now-5x", "2018-02-30", "now||-1d", "2018-01-01-1d"):
        with pytest.raises(ValueError):
            resolve_date_math(wrong, now)


@given(st.integers(1, 10**6), st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)))
def test_scheduled_times_are_aligned_and_run_once(seconds: int, moment: datetime) -> None:
    """A scheduled time is not later than now, less than an interval old, and due only once."""
    interval, now = timedelta(seconds=seconds), moment.replace(tzinfo=UTC)
    scheduled = floor_to_interval(interval, now)
    assert timedelta() <= now - scheduled < interval
    assert (scheduled - datetime(1970, 1, 1, tzinfo=UTC)) % interval == timedelta()
    schedule = ScheduleModel.model_validate({"interval": seconds}).schedule
    assert find_due_time(schedule, None, now) == scheduled
    assert find_due_time(schedule, scheduled, now) is None
    assert find_due_time(schedule, scheduled, scheduled + interval) == scheduled + interval
    assert list(iter_scheduled_times(schedule, scheduled, scheduled + 2 * interval)) == [
        scheduled + interval,
        scheduled + 2 * interval,
    ]
