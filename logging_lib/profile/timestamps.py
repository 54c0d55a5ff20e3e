"""The parser of times in any form that services write, for the logger, foreign events and labels alike.

It is the twin of the parser in ``pipelines/ruby/ml_normalize/times.rb``.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from logging_lib.profile.coerce import parse_scalar

_HOUR, _SIXTY = r"(?:[01]\d|2[0-3])", r"[0-5]\d"
_FRACTION = r"(?:[.,](?P<fraction>\d{1,9}))?"
_ZONE = rf"(?: ?(?P<zone>[Zz]|UTC|GMT|[+-]{_HOUR}(?::?{_SIXTY})?))?"
_ISO = re.compile(
    r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)"
    rf"(?:[Tt ](?P<hour>{_HOUR}):(?P<minute>{_SIXTY})(?::(?P<second>{_SIXTY}){_FRACTION})?{_ZONE})?\Z",
    re.ASCII,
)
_BASIC = re.compile(
    r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)"
    rf"(?:[Tt](?P<hour>{_HOUR})(?P<minute>{_SIXTY})(?:(?P<second>{_SIXTY}){_FRACTION})?{_ZONE})?\Z",
    re.ASCII,
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_NAMED = re.compile(
    rf"(?:[A-Z][a-z]{{2}}, )?(?P<day>\d{{1,2}})[ /](?P<month>{'|'.join(_MONTHS)})[ /](?P<year>\d{{4}})"
    rf"[ :](?P<hour>{_HOUR}):(?P<minute>{_SIXTY}):(?P<second>{_SIXTY}){_FRACTION}{_ZONE}\Z",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SCALES = ((1e11, 10**9), (1e14, 10**6), (1e17, 10**3), (1e20, 1))


def parse_timestamp(value: Any) -> datetime | None:
    """Parse a time; without a zone it is UTC, and digits beyond microseconds are cut.

    Args:
        value: a datetime or date; a number since 1970 in s, ms, µs or ns, whose unit follows from its size; or a
            text that spells such a number, or is a time in ISO 8601 (extended or basic, ``T`` or a space, ``+01``,
            ``UTC``), as in Apache's logs (``10/Oct/2000:13:55:36 -0700``), or as in HTTP and email (``Tue, 10 Oct
            2000 13:55:36 GMT``).

    Returns:
        The time in UTC, or None if the value is not a time.
    """
    if isinstance(value, str):
        for form in (_ISO, _NAMED, _BASIC):
            match = form.match(value)
            if match is not None and (moment := _build(match)) is not None:
                return moment
        value = parse_scalar(value)  # eight digits that are not a date are a number
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return _parse_number(value)
    if isinstance(value, datetime):
        return _to_utc(value) if value == value else None  # NaT is not equal to itself
    return datetime.combine(value, time(), UTC) if isinstance(value, date) else None


def parse_iso(text: str) -> datetime | None:
    """Parse an ISO 8601 text that has a time of day after a ``T`` and a zone; return None if it is not one."""
    match = _ISO.match(text)
    if match is None or match["zone"] is None or text[10] not in "Tt":
        return None
    return _build(match)


def format_time(moment: datetime) -> str:
    """Format a time in UTC as in events, with six digits: ``2018-02-01T09:00:00.000000Z``."""
    return f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def _build(match: re.Match[str]) -> datetime | None:
    parts = match.groupdict()
    month, zone, fraction = parts["month"], parts["zone"], parts["fraction"]
    try:
        moment = datetime(
            int(parts["year"]),
            int(month) if month.isdigit() else _MONTHS.index(month) + 1,
            int(parts["day"]),
            int(parts["hour"] or 0),
            int(parts["minute"] or 0),
            int(parts["second"] or 0),
            int(f"{fraction[:6]:0<6}") if fraction else 0,
            UTC,
        )
        return moment if zone is None or zone[0] not in "+-" else moment - _parse_offset(zone)
    except (ValueError, OverflowError):
        return None


def _parse_offset(zone: str) -> timedelta:
    offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]) if len(zone) > 3 else 0)
    return -offset if zone[0] == "-" else offset


def _to_utc(moment: datetime) -> datetime | None:
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _parse_number(value: float) -> datetime | None:
    """Convert a number, whose unit follows from its size: seconds up to the year 5138."""
    for limit, nanoseconds in _SCALES:
        if abs(value) < limit:
            if isinstance(value, int):
                microseconds = value * nanoseconds // 1000
            elif nanoseconds == 1:
                microseconds = int(value) // 1000
            else:
                microseconds = round(value * nanoseconds / 1e3)
            try:
                return _EPOCH + timedelta(microseconds=microseconds)
            except OverflowError:
                return None
    return None
