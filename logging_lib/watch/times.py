"""Durations (``15m``), date maths (``now-1d/d``) and instants as Watcher writes them. Pure: no clock."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(\d+)(ms|s|m|h|d|w)")
_DATE = re.compile(
    r"(?P<date>\d{4}(?:-\d\d(?:-\d\d(?:T\d\d(?::\d\d(?::\d\d(?:[.,]\d{1,9})?)?)?(?:Z|[+-]\d\d:?\d\d)?)?)?)?)"
    r"|(?P<millis>-?\d{5,16})"
)
_STEP = re.compile(r"(?P<sign>[+-])(?P<number>\d*)(?P<unit>[yMwdhHms])|/(?P<round>[yMwdhHms])")
_FIXED = {"w": "weeks", "d": "days", "h": "hours", "H": "hours", "m": "minutes", "s": "seconds"}


def parse_duration(text: str, *, weeks: bool = True) -> timedelta:
    """Read ``500ms``, ``5s``, ``15m``, ``6h``, ``7d`` or, where Watcher allows it, ``2w``.

    Raises:
        ValueError: for anything else, a duration without a unit included.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None or (match[2] == "w" and not weeks):
        units = "ms, s, m, h, d" + (" or w" if weeks else "")
        raise ValueError(f"{text!r} is no duration: write a whole number and a unit ({units}), such as 15m")
    return timedelta(seconds=int(match[1]) * _SECONDS[match[2]])


def format_duration(duration: timedelta) -> str:
    """The shortest exact way to write a duration: ``24h`` becomes ``1d``, 90 s stay ``90s``."""
    millis = round(duration / timedelta(milliseconds=1))
    for unit in ("d", "h", "m", "s"):
        size = round(_SECONDS[unit] * 1000)
        if millis and millis % size == 0:
            return f"{millis // size}{unit}"
    return f"{millis}ms"


def parse_instant(text: str) -> datetime:
    """Read an ISO 8601 date or time; without an offset it is UTC.

    Raises:
        ValueError: when it is none.
    """
    instant = datetime.fromisoformat(text)
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def format_instant(instant: datetime) -> str:
    """As Watcher writes instants: UTC, milliseconds, ``Z``."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def resolve_date_math(expression: str, now: datetime) -> datetime:
    """The instant that Elasticsearch's date maths means: ``now-5m``, ``2018-02-01T00:00:00Z||-1d/d``.

    Rounding (``/d``) is downward.

    Raises:
        ValueError: saying which part is wrong.
    """
    anchor, steps = _split(expression)
    instant = now.astimezone(UTC) if anchor == "now" else _anchor(anchor, expression)
    position = 0
    while position < len(steps):
        match = _STEP.match(steps, position)
        if match is None:
            raise ValueError(
                f"{expression!r}: {steps[position:]!r} is no date maths: write steps such as -15m, +1d or /h "
                "(units y M w d h m s)"
            )
        if match["round"]:
            instant = _round_down(instant, match["round"])
        else:
            number = int(match["number"] or 1)
            instant = _add(instant, -number if match["sign"] == "-" else number, match["unit"])
        position = match.end()
    return instant


def _split(expression: str) -> tuple[str, str]:
    if expression.startswith("now"):
        return "now", expression[3:]
    anchor, _, steps = expression.partition("||")
    return anchor, steps


def _anchor(text: str, expression: str) -> datetime:
    match = _DATE.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{expression!r}: {text!r} is neither 'now' nor an ISO date; date maths on a date is written "
            "2018-02-01T00:00:00Z||-1d"
        )
    if match["millis"]:
        return datetime.fromtimestamp(int(match["millis"]) / 1000, UTC)
    date = match["date"].replace(",", ".")
    for missing in ("-01", "-01"):
        if len(date) < 10:
            date += missing
    try:
        return parse_instant(date)
    except ValueError as error:
        raise ValueError(f"{expression!r}: {text!r} is no date: {error}") from error


def _add(instant: datetime, number: int, unit: str) -> datetime:
    try:
        if unit in _FIXED:
            return instant + timedelta(**{_FIXED[unit]: number})
        months = instant.year * 12 + instant.month - 1 + number * (12 if unit == "y" else 1)
        year, month = divmod(months, 12)
        day = min(instant.day, monthrange(year, month + 1)[1])
        return instant.replace(year=year, month=month + 1, day=day)
    except (OverflowError, ValueError) as error:
        raise ValueError(f"date maths leaves the calendar: {error}") from error


def _round_down(instant: datetime, unit: str) -> datetime:
    if unit == "s":
        return instant.replace(microsecond=0)
    if unit == "m":
        return instant.replace(second=0, microsecond=0)
    if unit in "hH":
        return instant.replace(minute=0, second=0, microsecond=0)
    day = instant.replace(hour=0, minute=0, second=0, microsecond=0)
    if unit == "d":
        return day
    if unit == "w":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if unit == "M" else day.replace(month=1, day=1)
