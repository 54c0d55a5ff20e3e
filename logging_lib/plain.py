"""Texts of the logs without what acts where they are shown. Pure, and below all rooms."""

from __future__ import annotations

import re

_NO_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def printable(text: str) -> str:
    """On one line, without what steers a terminal or the direction of writing."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def in_xml(text: str) -> str:
    """Without the characters that XML lacks: at one of those, the renderer of drawings ends the whole process."""
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
