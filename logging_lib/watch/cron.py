"""Watcher's cron expressions: seconds minutes hours day-of-month month day-of-week [year]. Pure.

The dialect is Quartz's, not crontab's: seconds come first, a week begins on Sunday with 1, one of the two day
fields is ``?``, and ``L``, ``W`` and ``#`` name a month's last day, the nearest working day, and the n-th weekday.
Source: https://www.elastic.co/guide/en/elasticsearch/reference/current/api-conventions.html#api-cron-expressions
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from calendar import monthrange
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta

YEARS = (1970, 2199)
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_RANGE = re.compile(r"(?P<first>\*|\d+|[A-Z]{3})?(?:-(?P<last>\d+|[A-Z]{3}))?(?:/(?P<step>\d+))?")
_LAST_DAY = re.compile(r"L(?:-(?P<offset>\d+))?(?P<working>W)?")
_WORKING_DAY = re.compile(r"(?P<day>\d+)W")
_LAST_WEEKDAY = re.compile(r"(?P<day>[1-7]|[A-Z]{3})L")
_NTH_WEEKDAY = re.compile(r"(?P<day>[1-7]|[A-Z]{3})#(?P<nth>[1-5])")

Days = Callable[[int, int], list[int]]
"""The days of (year, month) on which an expression is due, in order."""


class CronError(ValueError):
    """Raised for an expression that Watcher would not accept; the message says which field is wrong and why."""


@dataclass(frozen=True)
class _Range:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


_SECONDS, _MINUTES, _HOURS = _Range("seconds", 0, 59), _Range("minutes", 0, 59), _Range("hours", 0, 23)
_DAYS = _Range("day of month", 1, 31)
_MONTH = _Range("month", 1, 12, _MONTHS)
_WEEKDAY = _Range("day of week", 1, 7, _WEEKDAYS)
_YEAR = _Range("year", *YEARS)


@dataclass(frozen=True)
class Cron:
    """A parsed expression. Its times are wall-clock times without a zone, whole seconds."""

    expression: str
    seconds: tuple[int, ...] = field(repr=False)
    minutes: tuple[int, ...] = field(repr=False)
    hours: tuple[int, ...] = field(repr=False)
    months: tuple[int, ...] = field(repr=False)
    years: tuple[int, ...] = field(repr=False)
    days: Days = field(repr=False, compare=False)

    @property
    def every_hour(self) -> bool:
        return len(self.hours) == 24

    def next(self, after: datetime) -> datetime | None:
        """Return the first time later than ``after``, or None if there is none until the year 2199."""
        moment = after.replace(microsecond=0) + timedelta(seconds=1)
        for year, month in self._months(moment.year, moment.month, step=1):
            for day in self.days(year, month):
                here = date(year, month, day)
                if here > moment.date():
                    return datetime.combine(here, time(self.hours[0], self.minutes[0], self.seconds[0]))
                if here == moment.date() and (time_of_day := self._at_or_after(moment.time())):
                    return datetime.combine(here, time_of_day)
        return None

    def latest(self, now: datetime) -> datetime | None:
        """Return the last time at or before ``now``, or None if there is none since 1970."""
        for year, month in self._months(now.year, now.month, step=-1):
            for day in reversed(self.days(year, month)):
                here = date(year, month, day)
                if here < now.date():
                    return datetime.combine(here, time(self.hours[-1], self.minutes[-1], self.seconds[-1]))
                if here == now.date() and (time_of_day := self._at_or_before(now.time())):
                    return datetime.combine(here, time_of_day)
        return None

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Yield the times later than ``after`` and not later than ``until``, in order."""
        time = self.next(after)
        while time is not None and time <= until:
            yield time
            time = self.next(time)

    def _months(self, year: int, month: int, *, step: int) -> Iterator[tuple[int, int]]:
        while YEARS[0] <= year <= YEARS[1]:
            if year in self.years and month in self.months:
                yield year, month
            month += step
            if not 1 <= month <= 12:
                year, month = year + step, 1 if step > 0 else 12

    def _at_or_after(self, moment: time) -> time | None:
        hour, minute, second = moment.hour, moment.minute, moment.second
        if hour in self.hours:
            if minute in self.minutes and (at := bisect_left(self.seconds, second)) < len(self.seconds):
                return time(hour, minute, self.seconds[at])
            if (at := bisect_right(self.minutes, minute)) < len(self.minutes):
                return time(hour, self.minutes[at], self.seconds[0])
        if (at := bisect_right(self.hours, hour)) < len(self.hours):
            return time(self.hours[at], self.minutes[0], self.seconds[0])
        return None

    def _at_or_before(self, moment: time) -> time | None:
        hour, minute, second = moment.hour, moment.minute, moment.second
        if hour in self.hours:
            if minute in self.minutes and (at := bisect_right(self.seconds, second)):
                return time(hour, minute, self.seconds[at - 1])
            if at := bisect_left(self.minutes, minute):
                return time(hour, self.minutes[at - 1], self.seconds[-1])
        if at := bisect_left(self.hours, hour):
            return time(self.hours[at - 1], self.minutes[-1], self.seconds[-1])
        return None


def parse(expression: str) -> Cron:
    """Parse an expression such as ``0 0/15 9-17 ? * MON-FRI``.

    Raises:
        CronError: a field is wrong; the message says which and how to write it.
    """
    fields = expression.upper().split()
    if not 6 <= len(fields) <= 7:
        raise CronError(
            f"{expression!r} has {len(fields)} fields: write seconds, minutes, hours, day of month, month, day of "
            "week and, if wanted, year, such as '0 0 12 * * ?' for each noon"
        )
    in_month, in_week = fields[3], fields[5]
    if (in_month == "?") == (in_week == "?"):
        raise CronError(f"{expression!r}: write '?' for exactly one of day of month and day of week")
    return Cron(
        " ".join(fields),
        seconds=_values(fields[0], _SECONDS),
        minutes=_values(fields[1], _MINUTES),
        hours=_values(fields[2], _HOURS),
        months=_values(fields[4], _MONTH),
        years=_values(fields[6] if len(fields) == 7 else "*", _YEAR),
        days=_days_of_month(in_month) if in_week == "?" else _days_of_week(in_week),
    )


def _values(text: str, allowed: _Range) -> tuple[int, ...]:
    return tuple(sorted({value for part in text.split(",") for value in _part(part, allowed)}))


def _part(text: str, allowed: _Range) -> Iterator[int]:
    match = _RANGE.fullmatch(text)
    if not text or match is None or (match["first"] is None and match["step"] is None):
        raise CronError(f"{allowed.name}: {text!r} is not a value, range (a-b) or step (a/n)")
    step = int(match["step"]) if match["step"] else 1
    if not 1 <= step <= allowed.high:
        raise CronError(f"{allowed.name}: the step of {text!r} is not between 1 and {allowed.high}")
    if match["first"] in (None, "*"):
        if match["last"]:
            raise CronError(f"{allowed.name}: {text!r}: a range begins with a value, not with '*'")
        yield from range(allowed.low, allowed.high + 1, step)
        return
    first = _number(match["first"], allowed)
    last = first
    if match["last"]:
        last = _number(match["last"], allowed)
    elif match["step"]:
        last = allowed.high
    size = allowed.high - allowed.low + 1
    if first > last and allowed is _YEAR:
        raise CronError(f"year: {text!r} ends before it begins")
    # As in Quartz, a range may wrap around: 22-2, NOV-FEB, FRI-MON.
    for offset in range(0, (last - first) % size + 1, step):
        yield (first - allowed.low + offset) % size + allowed.low


def _number(text: str, allowed: _Range) -> int:
    if text in allowed.names:
        return allowed.names.index(text) + 1
    if text.isdecimal() and allowed.low <= int(text) <= allowed.high:
        return int(text)
    names = f" or {allowed.names[0]}-{allowed.names[-1]}" if allowed.names else ""
    raise CronError(f"{allowed.name}: {text!r} is not between {allowed.low} and {allowed.high}{names}")


def _days_of_month(text: str) -> Days:
    if match := _LAST_DAY.fullmatch(text):
        offset, working = int(match["offset"] or 0), match["working"] is not None
        if offset > 30:
            raise CronError(f"day of month: {text!r}: go back at most 30 days from the last one")

        def last(year: int, month: int) -> list[int]:
            day = monthrange(year, month)[1] - offset
            return [] if day < 1 else [_working_day(year, month, day) if working else day]

        return last
    if match := _WORKING_DAY.fullmatch(text):
        wanted = _number(match["day"], _DAYS)
        return lambda year, month: (
            [_working_day(year, month, wanted)] if wanted <= monthrange(year, month)[1] else []
        )
    if "L" in text or "W" in text:
        raise CronError(
            f"day of month: {text!r}: 'L', 'LW', 'L-3' and '15W' stand alone, not in a list or range"
        )
    days = _values(text, _DAYS)
    return lambda year, month: [day for day in days if day <= monthrange(year, month)[1]]


def _days_of_week(text: str) -> Days:
    if match := _LAST_WEEKDAY.fullmatch(text):
        weekday = _number(match["day"], _WEEKDAY)
        return lambda year, month: _weekdays_of_month(year, month, weekday)[-1:]
    if match := _NTH_WEEKDAY.fullmatch(text):
        weekday, nth = _number(match["day"], _WEEKDAY), int(match["nth"])
        return lambda year, month: _weekdays_of_month(year, month, weekday)[nth - 1 : nth]
    if "#" in text or (text != "L" and re.search(r"(?<![A-Z])L|[1-7]L|[A-Z]{3}L", text)):
        raise CronError(
            f"day of week: {text!r}: '6L' and '6#3' stand alone, with a day of 1-7 and a week of 1-5"
        )
    weekdays = _values("SAT" if text == "L" else text, _WEEKDAY)
    return lambda year, month: sorted(
        day for number in weekdays for day in _weekdays_of_month(year, month, number)
    )


def _weekdays_of_month(year: int, month: int, weekday: int) -> list[int]:
    """List the days of the month that are this weekday; Sunday is 1."""
    begins, length = monthrange(year, month)  # Monday is 0
    first = (weekday - 2 - begins) % 7 + 1
    return list(range(first, length + 1, 7))


def _working_day(year: int, month: int, day: int) -> int:
    """Return the day from Monday to Friday nearest to this one, within the month."""
    weekday = date(year, month, day).weekday()
    if weekday == 5:
        return day - 1 if day > 1 else 3
    if weekday == 6:
        return day + 1 if day < monthrange(year, month)[1] else day - 2
    return day
