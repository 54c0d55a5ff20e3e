"""Parse ``trigger.schedule`` in Watcher's seven forms, and compute when a watch is due.

All functions are pure: the time is an argument. Scheduled times are whole seconds in UTC. Those of an interval are
counted from 1970, so that all runners agree on them; those of a calendar follow the clock of its time zone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, Protocol
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, model_validator

from logging_lib._util.times import format_duration, parse_duration
from logging_lib.watch import cron
from logging_lib.watch.cron import Cron
from logging_lib.watch.model.base import Model, fault, refuse_null

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEAR = timedelta(hours=3)  # longer than any clock change
_WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_LAST = 32  # as in Watcher, the last day of any month
_TIME = re.compile(r"(\d{1,2}):(\d{2})")
_OFFSET = re.compile(r"([+-])(\d{2}):?(\d{2})")
_KINDS = ("interval", "cron", "hourly", "daily", "weekly", "monthly", "yearly")


class Schedule(Protocol):
    """The interface of a schedule, which says when a watch is due."""

    def latest(self, now: datetime) -> datetime | None:
        """Return the last scheduled time at or before ``now``; None if there was none."""
        ...

    def next(self, after: datetime) -> datetime | None:
        """Return the first scheduled time after an instant; None if there is none."""
        ...


@dataclass(frozen=True)
class IntervalSchedule:
    """A schedule with a fixed interval."""

    length: timedelta

    def latest(self, now: datetime) -> datetime | None:
        return floor_to_interval(self.length, now)

    def next(self, after: datetime) -> datetime | None:
        return floor_to_interval(self.length, after) + self.length


@dataclass(frozen=True)
class CalendarSchedule:
    """A schedule at the times of cron expressions on the clock of a time zone.

    If the clock is set forward, a skipped time is moved later by the same amount. If it is set back, a time that it
    shows twice counts only the first time, unless the expression is due at every hour.
    """

    crons: tuple[Cron, ...]
    zone: tzinfo = UTC

    def latest(self, now: datetime) -> datetime | None:
        now = now.astimezone(UTC)
        times = [time for cron in self.crons if (time := self._latest(cron, now)) is not None]
        return max(times, default=None)

    def next(self, after: datetime) -> datetime | None:
        after = after.astimezone(UTC)
        times = [time for cron in self.crons if (time := self._next(cron, after)) is not None]
        return min(times, default=None)

    def _latest(self, cron: Cron, now: datetime) -> datetime | None:
        wall = self._wall(now)
        if self._clock_changes(now):
            near = self._instants(cron, cron.between(wall - _NEAR, wall + _NEAR))
            if past := [time for time in near if time <= now]:
                return max(past)
            wall -= _NEAR
        before = cron.latest(wall)
        return None if before is None else max(self._instants(cron, [before]))

    def _next(self, cron: Cron, after: datetime) -> datetime | None:
        wall = self._wall(after)
        if self._clock_changes(after):
            near = self._instants(cron, cron.between(wall - _NEAR, wall + _NEAR))
            if future := [time for time in near if time > after]:
                return min(future)
            wall += _NEAR
        following = cron.next(wall)
        return None if following is None else min(self._instants(cron, [following]))

    def _wall(self, instant: datetime) -> datetime:
        return instant.astimezone(self.zone).replace(tzinfo=None, fold=0)

    def _clock_changes(self, around: datetime) -> bool:
        """Return whether the zone's offset changes within a few hours of an instant."""
        before, after = (
            (around + shift).astimezone(self.zone).utcoffset() for shift in (-2 * _NEAR, 2 * _NEAR)
        )
        return before != after

    def _instants(self, cron: Cron, walls: Iterable[datetime]) -> list[datetime]:
        folds = (0, 1) if cron.every_hour else (0,)
        instants = []
        for wall in walls:
            for fold in folds:
                instant = wall.replace(tzinfo=self.zone, fold=fold).astimezone(UTC)
                # In a gap, fold 1 would be earlier by the same amount; only times that the clock shows count twice.
                if not fold or self._wall(instant) == wall:
                    instants.append(instant)
        return instants


def floor_to_interval(interval: timedelta, now: datetime) -> datetime:
    """Return the last instant at or before ``now`` that the interval divides, counted from 1970."""
    return now.astimezone(UTC) - (now - _EPOCH) % interval


def find_due_time(schedule: Schedule, last: datetime | None, now: datetime) -> datetime | None:
    """Return the scheduled time to run at ``now``, or None; of several missed ones only the latest.

    Args:
        last: the last scheduled time that was run, or None if there was none.
    """
    latest = schedule.latest(now)
    return latest if latest is not None and (last is None or latest > last) else None


def iter_scheduled_times(schedule: Schedule, after: datetime, until: datetime) -> Iterator[datetime]:
    """Yield the scheduled times after one instant up to another, which is included; oldest first."""
    time = schedule.next(after)
    while time is not None and time <= until:
        yield time
        time = schedule.next(time)


def _parse_interval(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise fault("duration", f"{value!r} is not an interval: write seconds or text such as '5m'")
    try:
        interval = timedelta(seconds=value) if isinstance(value, int) else parse_duration(value)
    except (ValueError, OverflowError) as error:
        raise fault("duration", str(error)) from error
    if interval < timedelta(seconds=1):
        raise fault("duration", "an interval is at least one second")
    return interval


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def _parse_crons(value: Any) -> Any:
    expressions = _as_list(value)
    for text in expressions:
        if not isinstance(text, str):
            raise fault("cron", f"{text!r} is not a cron expression: write text such as '0 0 12 * * ?'")
        try:
            cron.parse(text)
        except cron.CronError as error:
            raise fault("cron", str(error)) from error
    if not expressions:
        raise fault("cron", "the list of cron expressions is empty")
    return tuple(expressions)


def _parse_integer(value: Any, low: int, high: int, what: str) -> int:
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise fault("schedule", f"{value!r} is not {what} between {low} and {high}")
    return value


def _parse_minutes(value: Any) -> Any:
    return tuple(_parse_integer(minute, 0, 59, "a minute") for minute in _as_list(value)) or (0,)


def _parse_hours(value: Any) -> Any:
    return tuple(_parse_integer(hour, 0, 23, "an hour") for hour in _as_list(value)) or (0,)


def _parse_named(value: Any, names: tuple[str, ...], what: str) -> Any:
    """Number names from 1 on; Watcher accepts a name, its first three letters, or the number as number or text."""
    known = {name: index for index, name in enumerate(names, 1)}
    known |= {name[:3]: index for index, name in enumerate(names, 1)}
    numbers = []
    for item in _as_list(value):
        text = str(item).lower()
        number = known.get(text, int(text) if text.isdecimal() else 0)
        if isinstance(item, bool) or not 1 <= number <= len(names):
            raise fault("schedule", f"{item!r} is not {what}: write a name such as {names[1]!r}")
        numbers.append(number)
    return tuple(numbers)


def _parse_days(value: Any) -> Any:
    days = []
    for item in _as_list(value):
        day = {"first_day": 1, "last_day": _LAST}.get(str(item).lower())
        days.append(_parse_integer(item, 1, _LAST, "a day of a month") if day is None else day)
    return tuple(days)


def _parse_times(value: Any) -> Any:
    return tuple(_parse_time(item) for item in _as_list(value))


def _parse_time(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = {"noon": "12:00", "midnight": "00:00"}.get(value, value)
    match = _TIME.fullmatch(text)
    if match is None:
        raise fault("schedule", f"{value!r} is not a time of day: write hh:mm, 'noon' or 'midnight'")
    return {"hour": match[1], "minute": match[2]}


class Hourly(Model):
    minute: Annotated[tuple[int, ...], BeforeValidator(_parse_minutes)] = (0,)

    def crons(self) -> Iterator[str]:
        yield f"0 {_join_numbers(self.minute)} * * * ?"


class TimeOfDay(Model):
    """Hours and minutes of a day, which stand for all their combinations."""

    hour: Annotated[tuple[int, ...], BeforeValidator(_parse_hours)] = (0,)
    minute: Annotated[tuple[int, ...], BeforeValidator(_parse_minutes)] = (0,)

    def __str__(self) -> str:
        return f"0 {_join_numbers(self.minute)} {_join_numbers(self.hour)}"


Times = Annotated[tuple[TimeOfDay, ...], BeforeValidator(_parse_times)]
_MIDNIGHT = (TimeOfDay(),)


class Daily(Model):
    at: Times = _MIDNIGHT

    def crons(self) -> Iterator[str]:
        return (f"{time} * * ?" for time in self.at)


class Weekly(Model):
    """Days of the week, numbered from Sunday as 1; Monday at midnight is the default."""

    on: Annotated[
        tuple[int, ...], BeforeValidator(lambda v: _parse_named(v, _WEEKDAYS, "a day of the week"))
    ] = (2,)
    at: Times = _MIDNIGHT

    @model_validator(mode="before")
    @classmethod
    def _rename_keys(cls, value: Any) -> Any:
        return _rename_aliases(value, "day", "on", "time", "at")

    def crons(self) -> Iterator[str]:
        return (f"{time} ? * {_join_numbers(self.on)}" for time in self.at)


class Monthly(Model):
    on: Annotated[tuple[int, ...], BeforeValidator(_parse_days)] = (1,)
    at: Times = _MIDNIGHT

    @model_validator(mode="before")
    @classmethod
    def _rename_keys(cls, value: Any) -> Any:
        return _rename_aliases(value, "day", "on", "time", "at")

    def crons(self) -> Iterator[str]:
        return (f"{time} {day} * ?" for time in self.at for day in _days_of_month(self.on))


class Yearly(Model):
    months: Annotated[tuple[int, ...], BeforeValidator(lambda v: _parse_named(v, _MONTHS, "a month"))] = (
        Field((1,), alias="in")
    )
    on: Annotated[tuple[int, ...], BeforeValidator(_parse_days)] = (1,)
    at: Times = _MIDNIGHT

    @model_validator(mode="before")
    @classmethod
    def _rename_keys(cls, value: Any) -> Any:
        return _rename_aliases(value, "day", "on", "time", "at", "month", "in")

    def crons(self) -> Iterator[str]:
        return (
            f"{time} {day} {_join_numbers(self.months)} ?"
            for time in self.at
            for day in _days_of_month(self.on)
        )


def _rename_aliases(value: Any, *pairs: str) -> Any:
    """Rename Watcher's second names: ``day`` for ``on``, ``time`` for ``at``, ``month`` for ``in``."""
    if not isinstance(value, dict):
        return value
    names = dict(zip(pairs[::2], pairs[1::2], strict=True))
    return {names.get(key, key) if names.get(key) not in value else key: item for key, item in value.items()}


def _join_numbers(numbers: tuple[int, ...]) -> str:
    return ",".join(map(str, sorted(set(numbers))))


def _days_of_month(days: tuple[int, ...]) -> Iterator[str]:
    if numbered := tuple(day for day in days if day != _LAST):
        yield _join_numbers(numbered)
    if _LAST in days:
        yield "L"


def _parse_zone(text: str) -> tzinfo:
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
            "timezone", f"{text!r:.80} is not a time zone: write such as 'Europe/Berlin' or '+01:00'"
        ) from None


def _check_zone(value: Any) -> Any:
    _parse_zone(str(value))
    return value


_AsList = BeforeValidator(_as_list)


class ScheduleModel(Model):
    """One kind of schedule; the calendar kinds except ``hourly`` and ``daily`` may also be a list."""

    interval: Annotated[timedelta, BeforeValidator(_parse_interval)] | None = None
    cron: Annotated[tuple[str, ...], BeforeValidator(_parse_crons)] | None = None
    hourly: Hourly | None = None
    daily: Daily | None = None
    weekly: Annotated[tuple[Weekly, ...], _AsList] | None = None
    monthly: Annotated[tuple[Monthly, ...], _AsList] | None = None
    yearly: Annotated[tuple[Yearly, ...], _AsList] | None = None
    timezone: Annotated[str, BeforeValidator(_check_zone)] = "UTC"

    @model_validator(mode="after")
    def _check_kind(self) -> ScheduleModel:
        kinds = self.model_fields_set - {"timezone"}
        if len(kinds) != 1:
            there = ", ".join(sorted(kinds)) or "none"
            raise fault("schedule", f"give exactly one of {', '.join(_KINDS)}; there is {there}")
        refuse_null(self, *kinds)
        if self.interval is not None and "timezone" in self.model_fields_set:
            raise fault("schedule", "an interval has no time zone: leave 'timezone' out")
        if () in (self.weekly, self.monthly, self.yearly):
            raise fault("schedule", "the list of schedules is empty")
        return self

    @property
    def kind(self) -> str:
        return next(iter(self.model_fields_set - {"timezone"}))

    @cached_property
    def schedule(self) -> Schedule:
        """Return the schedule, which says when the watch is due."""
        if self.interval is not None:
            return IntervalSchedule(self.interval)
        texts: Iterable[str] = self.cron or ()
        if self.cron is None:
            settings = getattr(self, self.kind)
            parts = settings if isinstance(settings, tuple) else (settings,)
            texts = (text for part in parts for text in part.crons())
        return CalendarSchedule(tuple(map(cron.parse, texts)), _parse_zone(self.timezone))

    @cached_property
    def shortest_interval(self) -> timedelta:
        """Return the interval; for a calendar, the shortest time between two of its first 200 scheduled times."""
        if self.interval is not None:
            return self.interval
        begin = datetime(2024, 1, 1, tzinfo=UTC)
        intervals = []
        for first, second in pairwise(
            iter_scheduled_times(self.schedule, begin, begin + timedelta(days=366 * 5))
        ):
            intervals.append(second - first)
            if len(intervals) == 200:
                break
        return min(intervals, default=timedelta(days=366))

    def __str__(self) -> str:
        if self.interval is not None:
            return format_duration(self.interval)
        assert isinstance(self.schedule, CalendarSchedule)
        text = "; ".join(expression.expression for expression in self.schedule.crons)
        return text if "timezone" not in self.model_fields_set else f"{text} ({self.timezone})"


class Trigger(Model):
    schedule: ScheduleModel
