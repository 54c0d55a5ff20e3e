"""The conversion of Elasticsearch's dates and date math to milliseconds since 1970 and back.

Elasticsearch's ``date`` has a resolution of milliseconds; finer parts are truncated towards the past.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND: Final = timedelta(milliseconds=1)
NO_TIME: Final = timedelta()
DEFAULT_FORMAT: Final = "strict_date_optional_time||epoch_millis"

_ISO = re.compile(
    r"(?P<y>\d{4})(?:-(?P<M>\d\d)(?:-(?P<d>\d\d)"
    r"(?:T(?:(?P<H>\d\d)(?::(?P<m>\d\d)(?::(?P<s>\d\d)(?:[.,](?P<S>\d{1,9}))?)?)?"
    r"(?P<X>Z|[+-]\d\d(?::?\d\d)?)?)?)?)?)?",
    re.ASCII,
)
_MILLIS = re.compile(r"(-?\d{1,18})(?:\.(\d*))?", re.ASCII)
_MATH = re.compile(r"([/+-])(\d{0,9})([yMwdhHms])", re.ASCII)
_OFFSET = re.compile(r"([+-])(\d\d)(?::?(\d\d))?", re.ASCII)
_INTERVAL = re.compile(r"([+-]?)(\d{1,15})(ms|s|m|h|d)", re.ASCII)

_SECONDS = {"s": 1, "m": 60, "h": 3600, "H": 3600, "d": 86400, "w": 604800}
_CYCLE_MS = 146_097 * 86_400_000
_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def to_millis(moment: datetime) -> int:
    """Return milliseconds since 1970, floored; a naive ``datetime`` is UTC."""
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH) // MILLISECOND


def from_millis(millis: float, zone: tzinfo = UTC) -> datetime:
    return (EPOCH + timedelta(milliseconds=int(millis))).astimezone(zone)


def time_zone(text: str) -> tzinfo:
    """Parse ``UTC``, ``Z``, ``+01:00`` or ``Europe/Berlin``. Raises ValueError."""
    if text in ("Z", "UTC"):
        return UTC
    match = _OFFSET.fullmatch(text)
    if match:
        sign, hours, minutes = match[1], int(match[2]), int(match[3] or 0)
        offset = timedelta(hours=hours, minutes=minutes)
        return timezone(-offset if sign == "-" else offset)
    try:
        return ZoneInfo(text)
    except (KeyError, OSError, ValueError):
        raise ValueError(f"unknown time zone {text!r}") from None


def interval(text: str) -> int:
    """Parse ``90s``, ``5m`` or ``-1h`` to milliseconds. Raises ValueError."""
    match = _INTERVAL.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not an interval such as 90s, 15m, 1h or 1d")
    millis = int(match[2]) * _UNIT_MS[match[3]]
    return -millis if match[1] == "-" else millis


def evaluate(
    text: str, *, now: int, round_up: bool = False, zone: tzinfo = UTC, pattern: str = DEFAULT_FORMAT
) -> int:
    """Evaluate a date with optional math (``now-15m/m``, ``2018-02-01||+1d/d``) to milliseconds since 1970.

    Args:
        now: the time of ``now``, in milliseconds since 1970.
        round_up: whether a rounded date, or one without a time, means its last millisecond (``gt``, ``lte``), not
            its first (``gte``, ``lt``). A missing month or day is the first one in both cases.
        zone: the time zone of dates without an offset, and of rounding.
        pattern: the formats to try, separated by ``||``.

    Raises:
        ValueError: the text is not a date in any of these formats.
    """
    if text.startswith("now"):
        return _maths(text, text[3:], from_millis(now, zone), round_up=round_up)
    anchor, divider, maths = text.partition("||")
    if not divider:
        return parse(text, pattern=pattern, zone=zone, round_up=round_up)
    start = parse(anchor, pattern=pattern, zone=zone)
    return _maths(text, maths, from_millis(start, zone), round_up=round_up)


def parse(text: str, *, pattern: str = DEFAULT_FORMAT, zone: tzinfo = UTC, round_up: bool = False) -> int:
    """Parse a date without math to milliseconds since 1970. Raises ValueError."""
    for single_format in pattern.split("||"):
        millis = _parse_one(text, single_format, zone, round_up)
        if millis is not None:
            return millis
    raise ValueError(f"{text!r} is not a date in the format {pattern}")


def _parse_one(text: str, pattern: str, zone: tzinfo, round_up: bool) -> int | None:
    if pattern in ("epoch_millis", "epoch_second"):
        number = _MILLIS.fullmatch(text)
        if not number:
            return None
        below = number[1].startswith("-") and (number[2] or "").strip("0") != ""
        return (int(number[1]) - below) * (1000 if pattern == "epoch_second" else 1)
    if pattern in ("strict_date_optional_time", "date_optional_time", "strict_date_optional_time_nanos"):
        match = _ISO.fullmatch(text)
    else:
        match = re.fullmatch(_pattern_regex(pattern), text, re.ASCII)
    if not match:
        return None
    part = {"y": "1970", **{key: value for key, value in match.groupdict().items() if value is not None}}
    year, month, day = int(part["y"]), int(part.get("M", 1)), int(part.get("d", 1))
    nanos = part.get("S", "999999999" if round_up else "0").ljust(9, "0")
    offset = part.get("X")
    try:
        moment = datetime(
            year,
            month,
            day,
            int(part.get("H", 23 if round_up else 0)),
            int(part.get("m", 59 if round_up else 0)),
            int(part.get("s", 59 if round_up else 0)),
            int(nanos[:6]),
            tzinfo=time_zone(offset) if offset else zone,
        )
    except ValueError:
        return None
    return to_millis(moment)


def _maths(text: str, maths: str, moment: datetime, *, round_up: bool) -> int:
    zone = moment.tzinfo
    position = 0
    try:
        while position < len(maths):
            step = _MATH.match(maths, position)
            if not step:
                raise ValueError(f"{text!r}: {maths[position:]!r} is not date math")
            operator, number, unit = step[1], int(step[2] or 1), step[3]
            if operator == "/":
                if number != 1:
                    raise ValueError(f"{text!r}: rounding takes one unit only")
                moment = floor(moment, unit)
                if round_up:
                    moment = add(moment, unit, 1)
                    moment = (moment.astimezone(UTC) - MILLISECOND).astimezone(zone)
            else:
                moment = add(moment, unit, -number if operator == "-" else number)
            position = step.end()
    except OverflowError:
        raise ValueError(f"{text!r} is outside the years 1 to 9999") from None
    return to_millis(moment)


def floor(moment: datetime, unit: str) -> datetime:
    """Return the start of the year, month, quarter, week (Monday), day, hour, minute or second."""
    if unit in "hHms":
        zone = moment.tzinfo
        shift = moment.utcoffset() or timedelta()
        local = to_millis(moment.astimezone(UTC)) + shift // MILLISECOND
        size = _SECONDS[unit] * 1000
        return from_millis(local - local % size - shift // MILLISECOND, zone or UTC)
    moment = moment.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if unit == "w":
        return moment - timedelta(days=moment.weekday())
    if unit == "M":
        return moment.replace(day=1)
    if unit == "q":
        return moment.replace(month=(moment.month - 1) // 3 * 3 + 1, day=1)
    if unit == "y":
        return moment.replace(month=1, day=1)
    return moment


def add(moment: datetime, unit: str, number: int) -> datetime:
    """Add units to a time; calendar steps keep the local time, and steps of hours or less are exact."""
    if unit == "y":
        return _add_months(moment, 12 * number)
    if unit == "q":
        return _add_months(moment, 3 * number)
    if unit == "M":
        return _add_months(moment, number)
    if unit in "wd":
        return moment + timedelta(seconds=_SECONDS[unit] * number)
    exact = moment.astimezone(UTC) + timedelta(seconds=_SECONDS[unit] * number)
    return exact.astimezone(moment.tzinfo)


def _add_months(moment: datetime, number: int) -> datetime:
    year, month = divmod(moment.year * 12 + moment.month - 1 + number, 12)
    if not 1 <= year <= 9999:
        raise OverflowError
    following = datetime(year + month // 11, (month + 1) % 12 + 1, 1) if year < 9999 or month < 11 else None
    last = (following - timedelta(days=1)).day if following else 31
    return moment.replace(year=year, month=month + 1, day=min(moment.day, last))


_TOKENS = {
    "yyyy": r"(?P<y>\d{4})", "uuuu": r"(?P<y>\d{4})", "MM": r"(?P<M>\d\d)", "dd": r"(?P<d>\d\d)",
    "HH": r"(?P<H>\d\d)", "mm": r"(?P<m>\d\d)", "ss": r"(?P<s>\d\d)", "SSS": r"(?P<S>\d{3})",
    "XXX": r"(?P<X>Z|[+-]\d\d:\d\d)", "X": r"(?P<X>Z|[+-]\d\d)",
}  # fmt: skip
_PATTERN = re.compile(r"'([^']*)'|([A-Za-z])\2*|[^A-Za-z']")


def _pattern_regex(pattern: str) -> str:
    parts = []
    for match in _PATTERN.finditer(_java_pattern(pattern)):
        token = match[0]
        if match[2]:
            parts.append(_TOKENS[token])
        else:
            parts.append(re.escape(match[1] if match[1] is not None else token))
    return "".join(parts)


_NAMED = {
    "date": "yyyy-MM-dd", "strict_date": "yyyy-MM-dd", "date_hour_minute": "yyyy-MM-dd'T'HH:mm",
    "date_hour_minute_second": "yyyy-MM-dd'T'HH:mm:ss", "year_month": "yyyy-MM",
    "strict_year_month": "yyyy-MM", "year": "yyyy", "strict_year": "yyyy", "basic_date": "yyyyMMdd",
    "date_time": "yyyy-MM-dd'T'HH:mm:ss.SSSXXX", "strict_date_time": "yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
    "hour_minute": "HH:mm", "hour_minute_second": "HH:mm:ss",
}  # fmt: skip


def _java_pattern(pattern: str) -> str:
    pattern = _NAMED.get(pattern, pattern)
    for match in _PATTERN.finditer(pattern):
        if match[2] and match[0] not in _TOKENS:
            raise ValueError(f"the date format {pattern!r} is not known here (at {match[0]!r})")
    if sum(len(match[0]) for match in _PATTERN.finditer(pattern)) != len(pattern):
        raise ValueError(f"the date format {pattern!r} has an open quote")
    return pattern


def check_format(pattern: str) -> None:
    """Raise ValueError unless all formats, separated by ``||``, can be parsed and rendered."""
    for single_format in pattern.split("||"):
        if single_format not in _BUILT_IN:
            _pattern_regex(single_format)


_BUILT_IN = frozenset({"epoch_millis", "epoch_second", "strict_date_optional_time", "date_optional_time"})


@lru_cache(maxsize=4096)
def render(millis: float, pattern: str = DEFAULT_FORMAT, zone: tzinfo = UTC) -> str:
    """Format a date as Elasticsearch does: ``2018-02-01T09:00:00.000Z``, or by another format."""
    first = pattern.split("||")[0]
    if first == "epoch_millis":
        return str(int(millis))
    if first == "epoch_second":
        return str(int(millis) // 1000)
    try:
        moment = from_millis(millis, zone)
    except OverflowError:
        return _far(int(millis))
    if first in _BUILT_IN:
        return f"{moment.replace(tzinfo=None).isoformat(timespec='milliseconds')}{_offset(moment)}"
    values = {
        "yyyy": f"{moment.year:04}", "uuuu": f"{moment.year:04}", "MM": f"{moment.month:02}",
        "dd": f"{moment.day:02}", "HH": f"{moment.hour:02}", "mm": f"{moment.minute:02}",
        "ss": f"{moment.second:02}", "SSS": f"{moment.microsecond // 1000:03}",
        "XXX": _offset(moment), "X": _offset(moment)[:3],
    }  # fmt: skip
    return "".join(
        values[match[0]] if match[2] else match[1] if match[1] is not None else match[0]
        for match in _PATTERN.finditer(_java_pattern(first))
    )


def _far(millis: int) -> str:
    """Format a time outside the years 1 to 9999, such as a sum of dates: the calendar repeats after 400 years."""
    cycles, rest = divmod(millis, _CYCLE_MS)
    moment = EPOCH + timedelta(milliseconds=rest)
    year = moment.year + 400 * cycles
    sign = "+" if year > 9999 else "-" if year < 0 else ""
    return f"{sign}{abs(year):04}-{moment.isoformat(timespec='milliseconds')[5:23]}Z"


def _offset(moment: datetime) -> str:
    offset = moment.utcoffset() or timedelta()
    if not offset:
        return "Z"
    sign = "-" if offset < timedelta() else "+"
    minutes = abs(offset) // timedelta(minutes=1)
    return f"{sign}{minutes // 60:02}:{minutes % 60:02}"
