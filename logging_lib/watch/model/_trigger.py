"""``trigger``: Watcher's seven ways to write a schedule, each read into slots."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, model_validator

from logging_lib._util.times import format_duration, parse_duration
from logging_lib.watch import cron
from logging_lib.watch.model._base import Model, fault
from logging_lib.watch.schedule import Calendar, Interval, Schedule, slots

_WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_LAST = 32  # as in Watcher: the last day of a month, whichever it is
_TIME = re.compile(r"(\d{1,2}):(\d{2})")
_OFFSET = re.compile(r"([+-])(\d{2}):?(\d{2})")
_KINDS = ("interval", "cron", "hourly", "daily", "weekly", "monthly", "yearly")


def _interval(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise fault("duration", f"{value!r} is no interval: write seconds or text such as '5m'")
    try:
        interval = timedelta(seconds=value) if isinstance(value, int) else parse_duration(value)
    except (ValueError, OverflowError) as error:
        raise fault("duration", str(error)) from error
    if interval < timedelta(seconds=1):
        raise fault("duration", "an interval is at least one second")
    return interval


def _list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def _crons(value: Any) -> Any:
    found = _list(value)
    for text in found:
        if not isinstance(text, str):
            raise fault("cron", f"{text!r} is no cron expression: write text such as '0 0 12 * * ?'")
        try:
            cron.parse(text)
        except cron.CronError as error:
            raise fault("cron", str(error)) from error
    if not found:
        raise fault("cron", "the list of cron expressions is empty")
    return tuple(found)


def _whole(value: Any, low: int, high: int, what: str) -> int:
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise fault("schedule", f"{value!r} is no {what} between {low} and {high}")
    return value


def _minutes(value: Any) -> Any:
    return tuple(_whole(each, 0, 59, "minute") for each in _list(value)) or (0,)


def _hours(value: Any) -> Any:
    return tuple(_whole(each, 0, 23, "hour") for each in _list(value)) or (0,)


def _named(value: Any, names: tuple[str, ...], what: str) -> Any:
    """Numbers from 1 on; Watcher takes a name, its first three letters, or the number, as number or text."""
    known = {name: index for index, name in enumerate(names, 1)}
    known |= {name[:3]: index for index, name in enumerate(names, 1)}
    found = []
    for each in _list(value):
        text = str(each).lower()
        number = known.get(text, int(text) if text.isdecimal() else 0)
        if isinstance(each, bool) or not 1 <= number <= len(names):
            raise fault("schedule", f"{each!r} is no {what}: write a name such as {names[1]!r}")
        found.append(number)
    return tuple(found)


def _days(value: Any) -> Any:
    found = []
    for each in _list(value):
        named = {"first_day": 1, "last_day": _LAST}.get(str(each).lower())
        found.append(_whole(each, 1, _LAST, "day of a month") if named is None else named)
    return tuple(found)


def _times(value: Any) -> Any:
    return tuple(_time(each) for each in _list(value))


def _time(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    named = {"noon": "12:00", "midnight": "00:00"}.get(value, value)
    match = _TIME.fullmatch(named)
    if match is None:
        raise fault("schedule", f"{value!r} is no time of day: write hh:mm, 'noon' or 'midnight'")
    return {"hour": match[1], "minute": match[2]}


class Hourly(Model):
    minute: Annotated[tuple[int, ...], BeforeValidator(_minutes)] = (0,)

    def crons(self) -> Iterator[str]:
        yield f"0 {_joined(self.minute)} * * * ?"


class TimeOfDay(Model):
    """All combinations of its hours and minutes."""

    hour: Annotated[tuple[int, ...], BeforeValidator(_hours)] = (0,)
    minute: Annotated[tuple[int, ...], BeforeValidator(_minutes)] = (0,)

    def __str__(self) -> str:
        return f"0 {_joined(self.minute)} {_joined(self.hour)}"


Times = Annotated[tuple[TimeOfDay, ...], BeforeValidator(_times)]
_MIDNIGHT = (TimeOfDay(),)


class Daily(Model):
    at: Times = _MIDNIGHT

    def crons(self) -> Iterator[str]:
        return (f"{time} * * ?" for time in self.at)


class Weekly(Model):
    """Days are numbered from Sunday, 1; Monday at midnight is the default."""

    on: Annotated[tuple[int, ...], BeforeValidator(lambda v: _named(v, _WEEKDAYS, "day of the week"))] = (2,)
    at: Times = _MIDNIGHT

    @model_validator(mode="before")
    @classmethod
    def _day(cls, value: Any) -> Any:
        return _alias(value, "day", "on", "time", "at")

    def crons(self) -> Iterator[str]:
        return (f"{time} ? * {_joined(self.on)}" for time in self.at)


class Monthly(Model):
    on: Annotated[tuple[int, ...], BeforeValidator(_days)] = (1,)
    at: Times = _MIDNIGHT

    @model_validator(mode="before")
    @classmethod
    def _day(cls, value: Any) -> Any:
        return _alias(value, "day", "on", "time", "at")

    def crons(self) -> Iterator[str]:
        return (f"{time} {day} * ?" for time in self.at for day in _in_month(self.on))


class Yearly(Model):
    months: Annotated[tuple[int, ...], BeforeValidator(lambda v: _named(v, _MONTHS, "month"))] = Field(
        (1,), alias="in"
    )
    on: Annotated[tuple[int, ...], BeforeValidator(_days)] = (1,)
    at: Times = _MIDNIGHT

    @model_validator(mode="before")
    @classmethod
    def _day(cls, value: Any) -> Any:
        return _alias(value, "day", "on", "time", "at", "month", "in")

    def crons(self) -> Iterator[str]:
        return (f"{time} {day} {_joined(self.months)} ?" for time in self.at for day in _in_month(self.on))


def _alias(value: Any, *pairs: str) -> Any:
    """Watcher's second names: ``day`` for ``on``, ``time`` for ``at``, ``month`` for ``in``."""
    if not isinstance(value, dict):
        return value
    names = dict(zip(pairs[::2], pairs[1::2], strict=True))
    return {names.get(key, key) if names.get(key) not in value else key: each for key, each in value.items()}


def _joined(numbers: tuple[int, ...]) -> str:
    return ",".join(map(str, sorted(set(numbers))))


def _in_month(days: tuple[int, ...]) -> Iterator[str]:
    if numbered := tuple(day for day in days if day != _LAST):
        yield _joined(numbered)
    if _LAST in days:
        yield "L"


def _zone(text: str) -> tzinfo:
    if text.upper() in ("UTC", "Z"):
        return UTC
    if match := _OFFSET.fullmatch(text):
        shift = timedelta(hours=int(match[2]), minutes=int(match[3]))
        if shift < timedelta(hours=24):
            return timezone(-shift if match[1] == "-" else shift)
    try:
        return ZoneInfo(text)
    except (ValueError, OSError, KeyError):
        raise fault(
            "timezone", f"{text!r:.80} is no time zone: write such as 'Europe/Berlin' or '+01:00'"
        ) from None


def _zone_name(value: Any) -> Any:
    _zone(str(value))
    return value


_Lists = BeforeValidator(_list)


class ScheduleModel(Model):
    """One kind of schedule; of the calendar ones but ``hourly`` and ``daily`` also a list."""

    interval: Annotated[timedelta, BeforeValidator(_interval)] | None = None
    cron: Annotated[tuple[str, ...], BeforeValidator(_crons)] | None = None
    hourly: Hourly | None = None
    daily: Daily | None = None
    weekly: Annotated[tuple[Weekly, ...], _Lists] | None = None
    monthly: Annotated[tuple[Monthly, ...], _Lists] | None = None
    yearly: Annotated[tuple[Yearly, ...], _Lists] | None = None
    timezone: Annotated[str, BeforeValidator(_zone_name)] = "UTC"

    @model_validator(mode="after")
    def _one_kind(self) -> ScheduleModel:
        given = self.model_fields_set - {"timezone"}
        if len(given) != 1:
            there = ", ".join(sorted(given)) or "none"
            raise fault("schedule", f"give exactly one of {', '.join(_KINDS)}; there is {there}")
        if self.interval is not None and "timezone" in self.model_fields_set:
            raise fault("schedule", "an interval has no time zone: leave 'timezone' out")
        if () in (self.weekly, self.monthly, self.yearly):
            raise fault("schedule", "the list of schedules is empty")
        return self

    @property
    def kind(self) -> str:
        return next(iter(self.model_fields_set - {"timezone"}))

    @cached_property
    def slots(self) -> Schedule:
        """The schedule as what gives slots."""
        if self.interval is not None:
            return Interval(self.interval)
        texts: Iterable[str] = self.cron or ()
        if self.cron is None:
            given = getattr(self, self.kind)
            parts = given if isinstance(given, tuple) else (given,)
            texts = (text for part in parts for text in part.crons())
        return Calendar(tuple(map(cron.parse, texts)), _zone(self.timezone))

    @cached_property
    def every(self) -> timedelta:
        """The interval; of a calendar the shortest time between two of its slots, as far as a year shows it."""
        if self.interval is not None:
            return self.interval
        begin = datetime(2024, 1, 1, tzinfo=UTC)
        found = []
        for first, second in pairwise(slots(self.slots, begin, begin + timedelta(days=366 * 5))):
            found.append(second - first)
            if len(found) == 200:
                break
        return min(found, default=timedelta(days=366))

    def __str__(self) -> str:
        if self.interval is not None:
            return format_duration(self.interval)
        assert isinstance(self.slots, Calendar)
        text = "; ".join(each.expression for each in self.slots.crons)
        return text if "timezone" not in self.model_fields_set else f"{text} ({self.timezone})"


class Trigger(Model):
    schedule: ScheduleModel
