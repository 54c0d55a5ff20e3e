"""Recognition of values that are not spelled as in JSON: ``1,234``, ``$12``, ``03/14/2018``, ``yes``, ``?``.

By default a profile does not take such a text for a number, because the service may send the text. If ``kind`` in
``profile.yml`` says that it sends numbers (dates, booleans), the texts of training are read by these rules.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from logging_lib.profile.coerce import to_epoch
from logging_lib.profile.model import Kind

MOSTLY = 0.9
"""The share of texts with a spelling from which the column has that spelling."""
MAX_TRIED = 1000
"""The maximum number of distinct texts of a column that are tried."""
_PLACEHOLDERS = frozenset({
    "?", "??", "???", ".", "..", "...", "--", "---", "*", "**", "n.a.", "n.a", "n/a", "na", "none", "null", "nil",
    "missing", "unknown", "unk", "undefined", "unspecified", "not available", "not applicable", "not known",
    "no data", "no value", "#div/0!", "#value!", "#ref!", "#name?", "#num!", "(null)", "(none)", "(blank)",
    "(missing)", "[null]", "<null>", "<none>", "<missing>", "\\n",
})  # fmt: skip
THOUSANDS, DECIMAL_COMMA = "a thousands separator", "a decimal comma"
CURRENCY, PERCENT = "a currency", "a percent sign"
BOOLEAN_WORDS = (("no", "yes"), ("n", "y"), ("f", "t"), ("false", "true"), ("off", "on"))
_CODE = re.compile(r"0\d+", re.ASCII)
_MONEY = r"(?:[$€£¥₹]|USD|EUR|GBP|JPY|CHF|CNY|INR|AUD|CAD|SEK|NOK|DKK|PLN|CZK|BRL|MXN|ZAR)"
_POINT = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d*)?|\.\d+"
_COMMA = r"\d{1,3}(?:[. '\u00a0\u202f]\d{3})+(?:,\d+)?|\d+(?:,\d*)?|,\d+"
_NUMBER = {
    mark: re.compile(
        rf"(?P<sign>[+-]?)\s?(?P<before>{_MONEY}?)\s?(?P<minus>-?)(?P<digits>{digits})(?P<power>[eE][+-]?\d{{1,3}})?"
        rf"\s?(?P<after>{_MONEY}|%)?",
        re.ASCII,
    )
    for mark, digits in ((".", _POINT), (",", _COMMA))
}
_DATES = (
    "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%d.%m.%Y", "%m-%d-%Y", "%d-%m-%Y", "%m/%d/%y", "%d/%m/%y", "%d.%m.%y",
    "%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y",
)  # fmt: skip
_TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
_DATE = re.compile(
    r"\d{1,4}[/.-]\d{1,2}[/.-]\d{1,4}\b|\d{1,2}[ -][A-Za-z]{3,9}[ -]\d|[A-Za-z]{3,9} \d{1,2},? \d"
)


class NumberSpelling(NamedTuple):
    """The spelling of a column's numbers.

    Attributes:
        mark: the decimal mark, ``.`` or ``,``.
        traits: the differences from plain numbers, such as ``a currency``; empty for plain numbers.
    """

    mark: str
    traits: tuple[str, ...]

    def read(self, text: str) -> float | None:
        """Read a number without its currency, percent sign and separators; return None if it is not a number."""
        match = _NUMBER[self.mark].fullmatch(text.strip())
        if match is None:
            return None
        digits = re.sub(
            r"[, '\u00a0\u202f]" if self.mark == "." else r"[. '\u00a0\u202f]", "", match["digits"]
        )
        minus = "-" if "-" in (match["sign"], match["minus"]) else ""
        return float(f"{minus}{digits.replace(',', '.')}{match['power'] or ''}")


def is_placeholder(text: str) -> bool:
    """Return whether a text usually stands for a missing value, such as ``?`` or ``unknown``."""
    return text.strip().casefold() in _PLACEHOLDERS


def is_padded(text: str) -> bool:
    """Return whether a text is a code of digits whose leading zeros a number would lose, such as ``02139``."""
    return _CODE.fullmatch(text) is not None


def find_number_spelling(texts: Sequence[str], *, usual_mark: str = ".") -> NumberSpelling | None:
    """Find the spelling of numbers that most texts have; return None if there is none.

    Args:
        texts: the distinct texts.
        usual_mark: the decimal mark if either is possible, as in ``1,234``.
    """
    tried = _choose(texts)
    matches = {mark: [pattern.fullmatch(text.strip()) for text in tried] for mark, pattern in _NUMBER.items()}
    counts = {mark: sum(match is not None for match in matches[mark]) for mark in matches}
    mark = max(counts, key=lambda candidate: (counts[candidate], candidate == usual_mark))
    if not tried or counts[mark] < MOSTLY * len(tried):
        return None
    separators = "".join(match["digits"] for match in matches[mark] if match is not None)
    ends = Counter((match["before"] or match["after"] or "") for match in matches[mark] if match is not None)
    traits = []
    if re.search(r"," if mark == "." else r"[. '\u00a0\u202f]", separators):
        traits.append(THOUSANDS)
    if mark == "," and "," in separators:
        traits.append(DECIMAL_COMMA)
    if set(ends) - {"", "%"}:
        traits.append(CURRENCY)
    if "%" in ends:
        traits.append(PERCENT)
    return NumberSpelling(mark, tuple(traits))


def find_date_formats(texts: Sequence[str]) -> list[str]:
    """Find the formats of ``strptime`` with which most texts are dates, the best first.

    Several are returned if they read equally many texts, but differ, as in the day and month of ``03/04/2018``.
    """
    tried = _choose(texts)
    if not tried or sum(_DATE.match(text.strip()) is not None for text in tried) < MOSTLY * len(tried):
        return []
    formats: dict[
        tuple[datetime | None, ...], str
    ] = {}  # result → format: two formats read "3 May" in the same way
    for form in (day + time for day in _DATES for time in _TIMES):
        if read_date(tried[0], form) is not None or read_date(tried[-1], form) is not None:
            formats.setdefault(tuple(read_date(text, form) for text in tried), form)
    counts = {form: sum(moment is not None for moment in moments) for moments, form in formats.items()}
    best = max(counts.values(), default=0)
    return [form for form in counts if counts[form] == best] if best >= MOSTLY * len(tried) else []


def find_boolean_words(texts: Iterable[str]) -> tuple[str, str] | None:
    """Return the words for false and true if the distinct texts are two such words, otherwise None."""
    words = {text.strip().casefold() for text in texts}
    return next((pair for pair in BOOLEAN_WORDS if words == {*pair}), None)


def read_as(kind: Kind, texts: list[Any]) -> list[Any]:
    """Read the distinct texts of a column as its configured kind; return those that cannot be read unchanged.

    Raises:
        ValueError: the day and the month of dates cannot be distinguished.
    """
    if not texts or not all(isinstance(text, str) for text in texts):
        return texts
    if kind == "numeric" and (spelling := find_number_spelling(texts)) is not None:
        return [text if (number := spelling.read(text)) is None else number for text in texts]
    if kind == "boolean" and (words := find_boolean_words(texts)) is not None:
        return [text.strip().casefold() == words[1] for text in texts]
    if kind == "date" and all(to_epoch(text) is None for text in texts[:MAX_TRIED]):
        formats = find_date_formats(texts)
        if len(formats) > 1:
            raise ValueError(
                f"day and month of {texts[0]!r} cannot be distinguished; write dates as 2018-01-31"
            )
        if formats:
            return [read_date(text, formats[0]) or text for text in texts]
    return texts


def read_date(text: str, form: str) -> datetime | None:
    """Read a date by a format of ``strptime``, as UTC; return None if it does not fit."""
    try:
        return datetime.strptime(text.strip(), form).replace(tzinfo=UTC)
    except ValueError:
        return None


def _choose(texts: Sequence[str]) -> Sequence[str]:
    """Choose up to ``MAX_TRIED`` texts, evenly."""
    return texts[:: max(1, -(-len(texts) // MAX_TRIED))]
