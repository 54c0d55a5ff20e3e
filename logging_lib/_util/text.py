"""Functions that make text from logs safe for the place where it is shown. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

MAX_NAME: Final = 80
"""The maximum number of characters of a name on a page."""

CONTROLS: Final = (
    *(code for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n\r"),
    *range(0xD800, 0xE000),
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
)
"""C0 and C1 controls except tab and line ends, lone surrogates, and the marks that reverse or hide text."""

BREAKS: Final = dict.fromkeys(map(ord, "\r\n\t\x85\u2028\u2029"), " ")
"""The characters to replace so that an inserted value does not look like another line of its text."""

_ONE_LINE: Final = {**dict.fromkeys(CONTROLS, ""), **BREAKS}
_NO_XML: Final = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_HALF_CHARACTER: Final = re.compile("[\ud800-\udfff]")


def one_line(text: object) -> str:
    """Put a value on one line, without characters that affect a terminal, a mail header or a page."""
    return str(text).translate(_ONE_LINE)


def shorten(text: object, limit: int = MAX_NAME) -> str:
    """Put a value on one safe line of up to ``limit`` characters; an ellipsis marks a cut."""
    safe = one_line(text)
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"


def printable(text: str) -> str:
    """Replace every character that is not printable by a visible one, so that a reader sees that it was there."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def valid_xml(text: str) -> str:
    """Replace the characters that XML does not allow: any of them makes the SVG renderer end the whole process."""
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def find_half_characters(document: Any) -> list[tuple[tuple[str | int, ...], str]]:
    """Find the texts of a JSON document that UTF-8 cannot encode, because of one half of a surrogate pair.

    Returns:
        The path of each text (for a key, that of its object), and what to do about it.
    """
    try:
        json.dumps(document, ensure_ascii=False, default=str, skipkeys=True).encode()
    except UnicodeEncodeError:
        return [
            (path, f"{text!a:.80} has half of a surrogate pair: write the whole character")
            for path, text in _list_texts(document, ())
            if _HALF_CHARACTER.search(text)
        ]
    except RecursionError:  # a reader refuses such a deep document
        return []
    return []


def _list_texts(node: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(node, str):
        yield path, node
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield path, str(key)
            yield from _list_texts(value, path if _HALF_CHARACTER.search(str(key)) else (*path, key))
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from _list_texts(value, (*path, index))
