"""The parsing and formatting of durations (``15m``), date math (``now-1d/d``) and instants in Watcher. No I/O."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from logging_lib._util import datemath

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(\d+)(ms|s|m|h|d|w)")


def parse_duration(text: str, *, weeks: bool = True) -> timedelta:
    """Parse ``500ms``, ``5s``, ``15m``, ``6h``, ``7d`` or, if Watcher allows ``weeks`` here, ``2w``.

    Raises:
        ValueError: the text is anything else, for example a duration without a unit.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None or (match[2] == "w" and not weeks):
        units = "ms, s, m, h, d" + (" or w" if weeks else "")
        raise ValueError(
            f"{text!r} is not a duration: write a whole number and a unit ({units}), such as 15m"
        )
    try:
        return timedelta(seconds=int(match[1]) * _SECONDS[match[2]])
    except OverflowError:
        raise ValueError(f"{text!r:.60} is too long a duration: write a shorter one, such as 15m") from None


def format_duration(duration: timedelta) -> str:
    """Return the shortest exact form of a duration: 24 hours are ``1d``, and 90 seconds are ``90s``."""
    millis = round(duration / timedelta(milliseconds=1))
    for unit in ("d", "h", "m", "s"):
        size = round(_SECONDS[unit] * 1000)
        if millis and millis % size == 0:
            return f"{millis // size}{unit}"
    return f"{millis}ms"


def parse_instant(text: str) -> datetime:
    """Parse an ISO 8601 date or time; without an offset it is UTC.

    Raises:
        ValueError: the text is not an ISO 8601 date or time.
    """
    instant = datetime.fromisoformat(text)
    try:
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{text!r} is not a time between the years 1 and 9999 in UTC") from None


def format_instant(instant: datetime, *, timespec: str = "milliseconds") -> str:
    """Format an instant as Watcher does: in UTC, with ``Z``; ``timespec`` is that of ``isoformat``."""
    return instant.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def resolve_date_math(expression: str, now: datetime) -> datetime:
    """Return the instant of Elasticsearch's date math: ``now-5m``, ``2018-02-01T00:00:00Z||-1d/d``.

    Raises:
        ValueError: a part is wrong; the message names it.
    """
    return datemath.from_millis(datemath.evaluate(expression, now=datemath.to_millis(now)))
