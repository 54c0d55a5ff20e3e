"""Functions that read a value as a profile does: whether it is missing, its canonical text or number, its words.

The logger, the fitting and the normalization all use them, so that a value means the same to each.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any, TypeGuard

NA_VALUES = ("", "-", "#N/A", "<NA>", "N/A", "NA", "NULL", "NaN", "NaT", "None", "n/a", "nan", "null")
"""Spellings of a missing value, unless a profile has its own."""

MAX_CHECKED_TEXT = 20_000
"""The number of characters of a text whose words are counted; the rest is ignored."""

_NUMBER = re.compile(r"[+-]?(?:0|[1-9]\d{0,40})(?:\.\d+)?(?:[eE][+-]?\d{1,3})?\Z", re.ASCII)
_BOOLEANS = {"true": True, "false": False, "True": True, "False": False, "TRUE": True, "FALSE": False}
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3]|[^\W_]+(?:['\u2019][^\W_]+)*")
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?\Z")


def split_words(text: str) -> list[str]:
    """Split a text into words in lower case: runs of letters and digits; each CJK character is a word."""
    return _WORD.findall(text.lower())


def category_text(value: Any) -> str | None:
    """Return the canonical text of a category, or None if the value cannot be a category.

    Text is returned unchanged; True becomes ``true``; a whole float is written as an integer, because pandas turns
    a column of integers with missing values into floats.
    """
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return number_text(value) if math.isfinite(value) else None
    return None


def number_text(value: float) -> str:
    """Format a number as people write it: ``50000``, not ``50000.0``; otherwise the shortest exact text."""
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return repr(float(value))


def to_epoch(value: Any) -> float | None:
    """Convert a date to seconds since 1970 UTC; return None if it is not a date. Without a zone, it is in UTC."""
    if isinstance(value, str):
        if _DATE.match(value) is None:
            return None
        try:
            value = datetime.fromisoformat(value.replace(",", "."))
        except ValueError:
            return None
    if isinstance(value, datetime):
        if value != value:  # NaT
            return None
        moment = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        return moment.timestamp()
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC).timestamp()
    return None


def format_epoch(seconds: float) -> str:
    """Format seconds since 1970 as the shortest ISO 8601 text in UTC, with microseconds only if there are any.

    A time before the year 1 or after 9999 becomes the nearest one within these years.
    """
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        moment = (datetime.max if seconds > 0 else datetime.min).replace(tzinfo=UTC)
    text = moment.isoformat(timespec="microseconds" if moment.microsecond else "seconds")
    return text.replace("+00:00", "Z")


def is_number(value: Any) -> TypeGuard[int | float]:
    """Return whether a value is an int or a float, but not a bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def parse_scalar(value: Any) -> Any:
    """Convert a text that spells a number or a boolean; return any other value unchanged.

    ``007`` is not a number: its zeros are significant.
    """
    if not isinstance(value, str):
        return value
    if _NUMBER.match(value) is None:
        return _BOOLEANS.get(value, value)
    number: float = float(value) if any(c in value for c in ".eE") else int(value)
    return number if math.isfinite(number) else value


def to_python(value: Any) -> Any:
    """Convert a scalar of numpy, pandas or decimal to Python's own type; return anything else unchanged."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, Decimal):
        return float(value) if value.is_finite() or value.is_infinite() else math.nan
    kind = type(value)
    if kind.__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        if kind.__name__ == "longdouble":  # its ``item()`` returns a longdouble again
            return float(value)
        return to_microseconds(value).item()
    return value


def to_microseconds(value: Any) -> Any:
    """Convert times in a numpy scalar or array to microseconds, which Python's own types can hold."""
    dtype_kind = value.dtype.kind
    return (
        value.astype("datetime64[us]" if dtype_kind == "M" else "timedelta64[us]")
        if dtype_kind in "Mm"
        else value
    )


def is_null(value: Any) -> bool:
    """Return whether a value is None, NaN, NaT or pandas' NA (without importing pandas)."""
    if value is None:
        return True
    kind = type(value)
    if kind.__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value
