"""Translate Elasticsearch's wildcards and regular expressions to those of RE2, which DuckDB uses."""

from __future__ import annotations

import re
import string
from typing import Final

_FOLD: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_UNKNOWN_OPERATORS: Final = frozenset('~&<>#@"')


def fold_case(text: str) -> str:
    """Convert only ASCII letters to lower case, as ``case_insensitive`` does in Lucene."""
    return text.translate(_FOLD)


def fold_case_sql(value: str) -> str:
    return f"translate({value}, '{string.ascii_uppercase}', '{string.ascii_lowercase}')"


def quote_regex(text: str) -> str:
    """Return a regular expression that matches only this text."""
    return "".join(
        letter if letter.isalnum() or ord(letter) > 127 else rf"\x{{{ord(letter):x}}}" for letter in text
    )


def wildcard_regex(pattern: str) -> str:
    r"""Translate a wildcard pattern (``*``, ``?``, ``\`` as escape) to a regular expression.

    Use it for a full match with dot-all.
    """
    parts = []
    escaped = False
    for letter in pattern:
        if escaped:
            parts.append(quote_regex(letter))
            escaped = False
        elif letter == "\\":
            escaped = True
        else:
            parts.append({"*": ".*", "?": "."}.get(letter) or quote_regex(letter))
    if escaped:
        parts.append(quote_regex("\\"))
    return re.sub(r"(?:\.\*)+", ".*", "".join(parts))


def lucene_prefix(pattern: str) -> str | None:
    r"""Return the text before the ``.*`` of a Lucene expression such as ``income\=.*``; None for any other form."""
    match = _PREFIX.fullmatch(pattern)
    return None if match is None else re.sub(r"\\(.)", r"\1", match[1], flags=re.DOTALL)


_PREFIX: Final = re.compile(r"((?:[\w=%! ,:;'/-]|\\[^\w])*)\.\*", re.DOTALL)


def lucene_regex(pattern: str) -> str:
    """Translate a Lucene regular expression, for a full match with dot-all.

    Raises:
        ValueError: it uses operators that only Lucene has (``~ & < > # @ "``), or is not well formed.
    """
    parts = []
    place = 0
    in_class = False
    while place < len(pattern):
        letter = pattern[place]
        if letter == "\\":
            place += 1
            if place == len(pattern):
                raise ValueError("the expression ends with a backslash")
            following = pattern[place]
            parts.append("\\" + following if following in "dDwWsS" else quote_regex(following))
        elif in_class:
            in_class = letter != "]"
            parts.append(rf"\{letter}" if letter == "[" else letter)
        elif letter == "^" or letter == "$":
            parts.append(quote_regex(letter))
        elif letter in _UNKNOWN_OPERATORS:
            raise ValueError(f"Lucene's operator {letter!r} is not answered by the embedded store")
        elif letter == "(" and pattern[place + 1 : place + 2] == "?":
            raise ValueError("Lucene's expressions have no groups with flags")
        else:
            in_class = letter == "["
            parts.append(letter)
        place += 1
    return "".join(parts)
