"""Convert times of any format to the canonical form: UTC with six digits, ``2018-02-01T09:00:00.000000Z``."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from logging_lib.profile.coerce import parse_scalar

MAX_AHEAD = timedelta(days=1)
"""An event further in the future is refused."""

_CLOCK = r"(?:[01]\d|2[0-3]):[0-5]\d"
_ISO = re.compile(
    rf"\d{{4}}-\d\d-\d\d(?:[T ]{_CLOCK}(?::[0-5]\d(?P<fraction>[.,]\d{{1,9}})?)?"
    rf"(?P<zone>Z|[+-](?:[01]\d|2[0-3]):?[0-5]\d)?)?\Z",
    re.ASCII,
)
_CANONICAL = re.compile(rf"\d{{4}}-\d\d-\d\dT{_CLOCK}:[0-5]\d(?:\.\d{{6}})?Z\Z", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SCALES = ((1e11, 10**9), (1e14, 10**6), (1e17, 10**3), (1e20, 1))


def parse_iso(text: str, *, require_zone: bool = False) -> datetime | None:
    """Parse an ISO 8601 text; None where it is not one.

    Args:
        text: a date, or a date and time; digits beyond microseconds are cut; without a zone it is UTC.
        require_zone: refuse a text without a time of day and a zone.
    """
    if _CANONICAL.match(text) is None:
        match = _ISO.match(text)
        if match is None or (require_zone and (match["zone"] is None or text[10] != "T")):
            return None
        fraction = match["fraction"]
        if fraction is not None:  # six digits, as every version of Python reads
            start, end = match.span("fraction")
            text = f"{text[:start]}.{fraction[1:7]:0<6}{text[end:]}"
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


class Arrival:
    """The time at which an event arrived, and the latest time that the event may have."""

    __slots__ = ("latest", "latest_text", "text")

    def __init__(self, now: datetime) -> None:
        now = now.astimezone(UTC)
        self.text = format_time(now)
        self.latest = now + MAX_AHEAD
        self.latest_text = format_time(self.latest)


get_arrival = lru_cache(64)(Arrival)
"""Many events arrive in the same batch, at the same time."""


def normalize_time(value: Any, arrival: Arrival | None) -> str | None:
    """Normalize the time of a foreign event: ISO 8601, or a number since 1970 in s, ms, µs or ns, also as text.

    Returns:
        The canonical form, or None where the value is not a time.

    Raises:
        TooFarAheadError: it is more than a day after the arrival.
    """
    if type(value) is str:
        if _is_canonical(value):
            text = value if len(value) == 27 else f"{value[:19]}.000000Z"
            if arrival is not None and text > arrival.latest_text:
                raise TooFarAheadError(text)
            return text
        value = parse_scalar(value)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    moment = parse_iso(value) if isinstance(value, str) else _parse_number(value)
    return None if moment is None else _check_not_ahead(moment, arrival)


def validate_time(value: Any, arrival: Arrival | None) -> str | None:
    """Validate the time of a canonical event, ISO 8601 with a zone; the result and the errors as above.

    A time that has the canonical form is returned as it is, with or without its six digits.
    """
    if type(value) is not str:
        return None
    if _is_canonical(value):
        if arrival is not None and value[:-1] > arrival.latest_text[:-1]:
            raise TooFarAheadError(value if len(value) == 27 else f"{value[:19]}.000000Z")
        return value
    moment = parse_iso(value, require_zone=True)
    return None if moment is None else _check_not_ahead(moment, arrival)


class TooFarAheadError(ValueError):
    """The time is beyond the limit; the text is the time."""


def _is_canonical(text: str) -> bool:
    return _CANONICAL.match(text) is not None and _is_date(text[:10])


@lru_cache(1024)
def _is_date(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _check_not_ahead(moment: datetime, arrival: Arrival | None) -> str:
    text = format_time(moment)
    if arrival is not None and moment > arrival.latest:
        raise TooFarAheadError(text)
    return text


def format_time(moment: datetime) -> str:
    """Format a time in UTC in the canonical form."""
    return f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


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
