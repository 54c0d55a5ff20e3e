"""Numbers, times and hostile names as people read them. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from logging_lib.dashboards.words import BIN_WORDS, interval
from logging_lib.watch.templating import Medium

MAX_SHOWN = 80
CHECK_WORDS = {
    "missing": "missing",
    "absent": "key not there",
    "unseen": "value unknown to training",
    "out_of_range": "outside training's range",
    "not_finite": "infinite",
    "wrong_type": "of another type",
    "oov": "mostly unknown words",
    "unexpected": "not in the profile",
}


def short(text: str, most: int = MAX_SHOWN) -> str:
    """A name from the logs on one line, without control characters or marks that turn text around, and cut."""
    safe = Medium.HEADER.escape(text)
    return safe if len(safe) <= most else safe[: most - 1] + "…"


def counted(number: float, noun: str) -> str:
    """``1 prediction``, ``6,605 predictions``."""
    return f"{number:,.0f} {noun}{'' if round(number) == 1 else 's'}"


def listed(names: Sequence[str], most: int) -> str:
    """``a``, ``a and b``, ``a, b, c and 4 more``."""
    if len(names) > most + 1:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def percent(share: float | None) -> str:
    """``5.3 %``; what is below a tenth of a percent keeps one figure."""
    if share is None:
        return "—"
    if share == 0:
        return "0 %"
    value = share * 100
    return f"{value:.1f} %" if value >= 0.1 else "< 0.1 %"


def number(value: float | None) -> str:
    """Four significant figures, thousands divided."""
    if value is None:
        return "—"
    if value == 0:
        return "0"
    if abs(value) >= 1000 and abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def milliseconds(value: float | None) -> str:
    """``1.2 ms``, ``3.4 s``."""
    if value is None:
        return "—"
    return f"{value / 1000:.3g} s" if value >= 1000 else f"{value:.3g} ms"


def duration(seconds: float | None) -> str:
    """``45 s``, ``12 min``, ``3.5 h``, ``2 days``."""
    if seconds is None:
        return "—"
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 86_400:.3g} days"


def day_and_hour(moment: datetime) -> str:
    """``1 Feb 2018, 09:00``."""
    at = moment.astimezone(UTC)
    return f"{at.day} {at:%b %Y, %H:%M}"


def evidence(text: str) -> str:
    """A watch's own words, its instants and powers of ten as people read them: ``2 Feb 2018, 10:36``, ``10⁻⁷``."""
    text = _INSTANT.sub(_short_instant, text)
    return _POWER.sub(lambda found: "10" + found[1].translate(_RAISED), text)


def instant(text: str) -> str:
    """An instant of an event or a profile; what is none stays as it is."""
    return _INSTANT.sub(_short_instant, text)


def _short_instant(found: re.Match[str]) -> str:
    try:
        return day_and_hour(datetime.fromisoformat(found[0]))
    except ValueError:
        return found[0]


_INSTANT = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:\d\d)")
_POWER = re.compile(r"\b10\^(-?\d+)\b")
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def bin_label(name: str, kind: str, *, special: bool) -> str:
    """A bin for an axis or a table: ``32k to 40.3k``, ``missing``, a category as it is."""
    if special:
        return BIN_WORDS.get(name, name)
    return short(interval(name) if kind in ("numeric", "text", "date") else name, 40)
