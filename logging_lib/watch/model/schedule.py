"""Read ``trigger.schedule`` in Watcher's seven ways to write one, and compute when a watch is due.

Pure: the time is an argument. Scheduled times are instants in UTC, whole seconds. Those of an interval are counted
from 1970, so that all runners agree on them; those of a calendar are read off the clock of its time zone.
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
from logging_lib.watch.model.base import Model, fault

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEAR = timedelta(hours=3)  # longer than any clock change


class Schedule(Protocol):
    """A watch's ``trigger.schedule``."""

    def latest(self, now: datetime) -> datetime | None:
        """The last slot at or before ``now``; None when there never was one."""
        ...

    def next(self, after: datetime) -> datetime | None:
        """The first slot after an instant; None when there is no further one."""
        ...


@dataclass(frozen=True)
class Interval:
    """Every so long."""

    length: timedelta

    def latest(self, now: datetime) -> datetime | None:
        return latest_slot(self.length, now)

    def next(self, after: datetime) -> datetime | None:
        return latest_slot(self.length, after) + self.length


@dataclass(frozen=True)
class Calendar:
    """At the times of cron expressions on the clock of a time zone.

    Where a clock is set forward, a time that it leaves out is taken as much later. Where it is set back, a time
    that it shows twice counts once, the first time, unless the expression is due at every hour.
    """

    crons: tuple[Cron, ...]
    zone: tzinfo = UTC

    def latest(self, now: datetime) -> datetime | None:
        now = now.astimezone(UTC)
        found = [slot for cron in self.crons if (slot := self._latest(cron, now)) is not None]
        return max(found, default=None)

    def next(self, after: datetime) -> datetime | None:
        after = after.astimezone(UTC)
        found = [slot for cron in self.crons if (slot := self._next(cron, after)) is not None]
        return min(found, default=None)

    def _latest(self, cron: Cron, now: datetime) -> datetime | None:
        wall = self._wall(now)
        if self._clock_changes(now):
            near = self._instants(cron, cron.between(wall - _NEAR, wall + _NEAR))
            if past := [slot for slot in near if slot <= now]:
                return max(past)
            wall -= _NEAR
        before = cron.latest(wall)
        return None if before is None else max(self._instants(cron, [before]))

    def _next(self, cron: Cron, after: datetime) -> datetime | None:
        wall = self._wall(after)
        if self._clock_changes(after):
            near = self._instants(cron, cron.between(wall - _NEAR, wall + _NEAR))
            if future := [slot for slot in near if slot > after]:
                return min(future)
            wall += _NEAR
        following = cron.next(wall)
        return None if following is None else min(self._instants(cron, [following]))

    def _wall(self, instant: datetime) -> datetime:
        return instant.astimezone(self.zone).replace(tzinfo=None, fold=0)

    def _clock_changes(self, around: datetime) -> bool:
        """Whether the zone's offset changes within a few hours of an instant."""
        before, after = (
            (around + shift).astimezone(self.zone).utcoffset() for shift in (-2 * _NEAR, 2 * _NEAR)
        )
        return before != after

    def _instants(self, cron: Cron, walls: Iterable[datetime]) -> list[datetime]:
        folds = (0, 1) if cron.every_hour else (0,)
        found = []
        for wall in walls:
            for fold in folds:
                instant = wall.replace(tzinfo=self.zone, fold=fold).astimezone(UTC)
                # In a gap, fold 1 would be as much earlier; only what the clock does show counts twice.
                if not fold or self._wall(instant) == wall:
                    found.append(instant)
        return found


def latest_slot(interval: timedelta, now: datetime) -> datetime:
    """The last instant at or before ``now`` that the interval divides, counted from 1970 as all slots are."""
    return now.astimezone(UTC) - (now - _EPOCH) % interval


def due_slot(schedule: Schedule, last: datetime | None, now: datetime) -> datetime | None:
    """The slot that is to be run at ``now``, or None; of several missed ones only the latest is run.

    Args:
        last: the slot that was run last, None when there was none.
    """
    slot = schedule.latest(now)
    return slot if slot is not None and (last is None or slot > last) else None


def slots(schedule: Schedule, after: datetime, until: datetime) -> Iterator[datetime]:
    """All slots after one instant up to another, which is included; oldest first."""
    slot = schedule.next(after)
    while slot is not None and slot <= until:
        yield slot
        slot = schedule.next(slot)


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
