"""Find terms in the encodings of mails and links, and say which bytes of the file to overwrite. Pure.

A part of a mail may be base64 or quoted-printable, a link is percent-encoded: a term in it has other bytes, and may
hold line breaks.
"""

from __future__ import annotations

import base64
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

MASK = "#"

PERCENT = re.compile(rb"%(?:25)*([0-9A-Fa-f]{2})")
"""One byte of a link, also of a link within another, whose percent sign is itself encoded."""
QUOTED_PRINTABLE = re.compile(rb"=([0-9A-Fa-f]{2})|=[ \t]*\r?\n|\?=(?:\r?\n)?[ \t]=\?[!->@-~]+\?[qQ]\?")
"""One byte of a mail's part or header, or a line break that does not count."""
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{8,}(?:\r?\n[A-Za-z0-9+/]+)*={0,2}")
# Bytes around a short term, which must be text: a decoded word or image may contain "7" by chance.
_SHORT, _CONTEXT = 5, 12
_NO_TEXT = re.compile(rb"[^\t\n\r -~\x80-\xff]")
_BREAK = re.compile(rb"[\r\n]+")

Location = tuple[int, int]
"""(offset, length)"""


class Span(NamedTuple):
    """Bytes of a file to overwrite with ``text``, repeated if it is not ``length`` bytes long."""

    offset: int
    length: int
    text: str

    def bytes(self) -> bytes:
        encoded = self.text.encode()
        return encoded if len(encoded) == self.length else encoded * self.length


class DecodedText:
    """Decoded bytes, and the position of each of them in the encoded ones.

    Args:
        raw: the encoded bytes.
        escape: matches an escaped byte, with its hexadecimal digits as the group, or an escape for no byte.
    """

    def __init__(self, raw: bytes, escape: re.Pattern[bytes]) -> None:
        decoded, end = bytearray(), 0
        self._starts: list[int] = []
        self._pieces: list[
            tuple[int, int]
        ] = []  # the offset in ``raw``; the length of an escape, 0 for plain bytes
        for match in escape.finditer(raw):
            if match.start() > end:
                self._add(len(decoded), end, 0)
                decoded += raw[end : match.start()]
            if match[1] is not None:
                self._add(len(decoded), match.start(), match.end() - match.start())
                decoded.append(int(match[1], 16))
            end = match.end()
        self._add(len(decoded), end, 0)
        decoded += raw[end:]
        self.data = bytes(decoded)

    def _add(self, start: int, offset: int, length: int) -> None:
        self._starts.append(start)
        self._pieces.append((offset, length))

    def locate(self, start: int, length: int) -> Iterator[Location]:
        """Yield the locations of decoded bytes in the encoded ones; breaks between them are left out."""
        for index in range(start, start + length):
            piece = bisect_right(self._starts, index) - 1
            offset, escaped = self._pieces[piece]
            yield (offset, escaped) if escaped else (offset + index - self._starts[piece], 1)


def find_in_base64(data: bytes, find: Callable[[bytes], Iterable[Location]]) -> Iterator[Span]:
    """Yield the spans that mask in base64 what ``find`` finds in the decoded bytes."""
    for match in _BASE64.finditer(data):
        lines = [*_BREAK.finditer(match[0])]
        letters = _BREAK.sub(b"", match[0]).rstrip(b"=")
        # A word may precede the encoded lines: try each alignment if there are several lines.
        for phase in range(4 if lines else 1):
            encoded = letters[phase:]
            decoded = base64.b64decode(encoded[: len(encoded) // 4 * 4] + _pad(encoded))
            masked = bytearray(decoded)
            for start, length in find(decoded):
                around = (max(0, start - _CONTEXT), start + length + _CONTEXT)
                if length > _SHORT or not _NO_TEXT.search(decoded, *around):
                    masked[start : start + length] = MASK.encode() * length
            if masked == decoded:
                continue
            new_letters = letters[:phase] + base64.b64encode(masked)[: len(encoded)]
            yield from _replacements(match, new_letters)


def _pad(encoded: bytes) -> bytes:
    """Return the last, incomplete four letters with their padding; a single letter encodes no byte."""
    rest = encoded[len(encoded) // 4 * 4 :]
    return rest + b"=" * (4 - len(rest)) if len(rest) > 1 else b""


def _replacements(match: re.Match[bytes], new_letters: bytes) -> Iterator[Span]:
    start = 0
    for line in re.finditer(rb"[A-Za-z0-9+/]+", match[0]):
        new = new_letters[start : start + len(line[0])]
        start += len(line[0])
        if new != line[0][: len(new)]:
            yield Span(match.start() + line.start(), len(new), new.decode("ascii"))
