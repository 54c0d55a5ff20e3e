"""The formats of numbers, times, durations, lists and bins, the same in pages, tables and sentences. No I/O."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Final

from logging_lib._util.text import shorten

NOTHING: Final = "—"

BIN_LABELS: Final[Mapping[str, str]] = {
    "!missing": "missing",
    "!absent": "key absent",
    "!unseen": "not in training",
    "!other": "rarer values",
    "!below": "below the range",
    "!above": "above the range",
    "!nonfinite": "infinite",
    "!type": "of the wrong type",
    "!hidden": "hidden",
}
CHECK_LABELS: Final[Mapping[str, str]] = {
    "missing": "missing",
    "absent": "key absent",
    "unseen": "value not in training",
    "out_of_range": "outside training's range",
    "not_finite": "infinite",
    "wrong_type": "of the wrong type",
    "oov": "mostly unknown words",
    "unexpected": "not in the profile",
}

_TIME = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:\d\d)")
_POWER = re.compile(r"\b10\^(-?\d+)\b")
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def format_number(value: float | None, digits: int = 4) -> str:
    """Format a number with ``digits`` significant digits and separated thousands: ``0.1234``, ``12,346``."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if value == 0:
        return "0"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.{digits}g}"


def format_compact(value: float) -> str:
    """Format a number for an axis: ``50k``, ``1.2M``, ``0.25``."""
    size = abs(value)
    for limit, divisor, unit in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if size >= limit:
            return f"{value / divisor:.4g}{unit}"
    return f"{value:.4g}"


def format_bytes(number: float) -> str:
    """Format a number of bytes: ``312 bytes``, ``11.3 kB``, ``1.07 GB``."""
    for limit, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(number) >= limit:
            return f"{number / limit:.3g} {unit}"
    return format_count(number, "byte")


def format_percent(share: float | None) -> str:
    """Format a share as ``5.3 %``, or as ``< 0.1 %`` if it is smaller."""
    if share is None:
        return NOTHING
    if share == 0:
        return "0 %"
    return f"{share * 100:.1f} %" if share >= 0.001 else "< 0.1 %"


def format_probability(p: float | None) -> str:
    """Format a probability; below one ten-thousandth, its digits are of no use."""
    if p is None or not math.isfinite(p):
        return NOTHING
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}" if p < 0.01 else f"{p:.2f}"


def format_count(number: float, noun: str) -> str:
    """Format a number with its noun: ``1 prediction``, ``6,605 predictions`` or ``2 watches``."""
    if round(number) != 1:
        noun += "es" if noun.endswith(("ch", "sh", "s", "x")) else "s"
    return f"{number:,.0f} {noun}"


def format_milliseconds(value: float | None) -> str:
    """Format a duration in milliseconds: ``1.2 ms`` or ``3.4 s``."""
    if value is None:
        return NOTHING
    return f"{value / 1000:.3g} s" if value >= 1000 else f"{value:.3g} ms"


def format_seconds(seconds: float | None) -> str:
    """Format a duration: ``45 s``, ``12 min``, ``3.5 h``, ``26 days 22 h``."""
    if seconds is None:
        return NOTHING
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.3g} {unit}"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} days {hours} h" if hours else f"{days} days"


def format_time(time: datetime) -> str:
    """Format a time in UTC to the minute: ``2018-02-01 09:00``."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M}"


def names_year(start: datetime, end: datetime, this_year: int) -> bool:
    """Return whether the days of a period need their year: it is not in this year, or it spans several years."""
    return {start.astimezone(UTC).year, end.astimezone(UTC).year} != {this_year}


def format_day(day: date, *, year: bool) -> str:
    """Format a day for an axis: ``4 Mar``, or ``4 Mar 2013``."""
    return f"{day.day} {day:%b %Y}" if year else f"{day.day} {day:%b}"


def shorten_times(text: str) -> str:
    """Format every ISO 8601 time within a text as ``format_time`` does; leave the rest unchanged."""
    return _TIME.sub(_short_time, text)


def _short_time(match: re.Match[str]) -> str:
    try:
        return format_time(datetime.fromisoformat(match[0]))
    except ValueError:
        return match[0]


def format_evidence(text: str) -> str:
    """Rewrite a watch's text with short times and superscript powers: ``2018-02-02 10:36``, ``10⁻⁷``."""
    return _POWER.sub(lambda match: "10" + match[1].translate(_RAISED), shorten_times(text))


def join_names(names: Sequence[str], limit: int) -> str:
    """Join names: ``a``, ``a and b``, or ``a, b, c and 4 more``."""
    if len(names) > limit + 1:
        return f"{', '.join(names[:limit])} and {len(names) - limit} more"
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def list_values(values: Iterable[object], limit: int = 5) -> str:
    """Format values in order, each cut to 60 characters: ``a, b and 3 more``."""
    texts = sorted(map(str, values))
    more = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return ", ".join(f"{text:.60}" for text in texts[:limit]) + more


def format_interval(text: str) -> str:
    """Format ``[32000,40300)`` as ``32k to 40.3k``, ``len:[10,20)`` as ``10 to 20 words``; return others unchanged.

    ``oov:[0,0.25)``, of a profile of an earlier version, is ``0 to 25 % unknown``.
    """
    inner = text.removeprefix("oov:").removeprefix("len:")
    if inner[:1] != "[" or inner[-1:] not in ("]", ")") or "," not in inner:
        return text
    low, _, high = inner[1:-1].rpartition(",")
    try:
        numbers = float(low), float(high)
    except ValueError:
        return f"{low[:10]} to {high[:10]}" if low[:4].isdecimal() and low[4:5] == "-" else text
    if text.startswith("oov:"):
        return f"{numbers[0] * 100:.0f} to {numbers[1] * 100:.0f} % unknown"
    ends = format_compact(numbers[0]), format_compact(numbers[1])
    interval = ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
    return interval if inner == text else f"{interval} words"


def format_bin(name: str, kind: str = "numeric", *, special: bool | None = None) -> str:
    """Format a bin for an axis or a table: ``32k to 40.3k``, ``missing``, a category unchanged.

    Args:
        name: the bin's part of its token, unescaped.
        kind: the kind of the feature; a category's name is never read as an interval.
        special: whether the name is that of a special bin; default: whether there is a special bin of that name.
    """
    if special or (special is None and name in BIN_LABELS):
        return BIN_LABELS.get(name, name)
    return shorten(format_interval(name) if kind in ("numeric", "text", "date") else name, 40)
