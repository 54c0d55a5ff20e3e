"""The conversion of times to the canonical form: UTC with six digits, ``2018-02-01T09:00:00.000000Z``."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from logging_lib.profile.timestamps import format_time, parse_iso, parse_timestamp

MAX_AHEAD = timedelta(days=1)
"""How far in the future an event may be; one that is further is refused."""

_CANONICAL = re.compile(
    r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{6})?Z\Z",
    re.ASCII,
)


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
    """Normalize the time of a foreign event, in any form that ``parse_timestamp`` reads.

    Returns:
        The canonical form, or None if the value is not a time.

    Raises:
        TooFarAheadError: the time is more than a day after the arrival.
    """
    if type(value) is str and _is_canonical(value):
        text = value if len(value) == 27 else f"{value[:19]}.000000Z"
        if arrival is not None and text > arrival.latest_text:
            raise TooFarAheadError(text)
        return text
    moment = parse_timestamp(value)
    return None if moment is None else _check_not_ahead(moment, arrival)


def validate_time(value: Any, arrival: Arrival | None) -> str | None:
    """Validate the time of a canonical event, ISO 8601 with a zone; result and errors are as in ``normalize_time``.

    A time in canonical form is returned unchanged, with or without its six digits.
    """
    if type(value) is not str:
        return None
    if _is_canonical(value):
        if arrival is not None and value[:-1] > arrival.latest_text[:-1]:
            raise TooFarAheadError(value if len(value) == 27 else f"{value[:19]}.000000Z")
        return value
    moment = parse_iso(value)
    return None if moment is None else _check_not_ahead(moment, arrival)


class TooFarAheadError(ValueError):
    """The error for a time beyond the limit; the text is the time."""


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
