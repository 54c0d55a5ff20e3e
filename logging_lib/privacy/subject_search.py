"""Find one person's traces in events and texts: which events are theirs, and where a text names them. Pure.

Texts are overwritten in place with as many bytes as before, so that a file can be cleaned while others read and
append to it, and a shipper's offsets stay valid.
"""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from logging_lib.privacy.encodings import (
    MASK,
    PERCENT,
    QUOTED_PRINTABLE,
    DecodedText,
    Location,
    Span,
    find_in_base64,
)
from logging_lib.schema import DATASETS, tokens

_WORD = re.compile(rb"[0-9A-Za-z_\-]{4,}")
_WORD_BYTE = rb"[0-9A-Za-z_\-]"


@dataclass
class SubjectTraces:
    """The texts and ids that identify the person.

    Attributes:
        hashes: ``ml.subject.hash``, with the present key and without one.
        texts: the subject's id and other texts that only this person has, such as an address.
        fields: an event is this person's if one of these fields equals one of the texts.
        events: ids of the person's events.
        requests: their request ids; other people's events may share one.
    """

    hashes: frozenset[str]
    texts: frozenset[str] = frozenset()
    fields: tuple[str, ...] = ()
    events: set[str] = field(default_factory=set)
    requests: set[str] = field(default_factory=set)
    profiles: dict[str, str] = field(default_factory=dict)
    """Old and new ids of profiles in which texts are masked."""

    def owns(self, event: Mapping[str, Any]) -> bool:
        """Return whether an event is about this person, and must be deleted."""
        ml = _as_object(event.get("ml"))
        about = _as_object(ml.get("subject")).get("hash")
        if about is not None:
            return about in self.hashes
        return (
            _as_object(event.get("event")).get("id") in self.events
            or _as_object(ml.get("prediction")).get("id") in self.events
            or _as_object(ml.get("request")).get("id") in self.requests
            or any(value in self.texts for name in self.fields for value in _values_at(event, name))
        )

    def add_ids(self, event: Mapping[str, Any]) -> bool:
        """Add the ids of an event that is this person's; return whether it is."""
        if not self.owns(event):
            return False
        if event["event"].get("dataset") == "ml.prediction":
            if identity := _as_object(event.get("event")).get("id"):
                self.events.add(identity)
            if request := _as_object(_as_object(event.get("ml")).get("request")).get("id"):
                self.requests.add(request)
        return True

    def finder(self, *, ids: bool) -> TermFinder:
        """Return a finder of the person in texts; with ``ids``, by the ids of events and requests, too."""
        return TermFinder(self.hashes | self.texts | (self.events | self.requests if ids else set()))


class TermFinder:
    """Finds terms in bytes, as whole words, in the spellings of our file formats, and percent-encoded in links.

    A term of digits only or of fewer than four characters is found only as a whole JSON text or as a token's value
    (``"7"``, ``id=7``): as a number it could be any count, and a masked number is not valid JSON.
    """

    def __init__(self, terms: Iterable[str]) -> None:
        self._words: set[bytes] = set()
        others: set[bytes] = set()
        for term in filter(None, terms):
            for spelling in _spellings(term):
                if spelling.isdigit() or len(spelling) < 4:
                    others.add(rb'(?<=["=])%b(?=["\\])' % re.escape(spelling))
                elif _WORD.fullmatch(spelling):
                    self._words.add(spelling)
                else:
                    others.add(rb"(?<!%b)%b(?!%b)" % (_WORD_BYTE, re.escape(spelling), _WORD_BYTE))
        longest_first = sorted(others, key=lambda other: len(bytes(other)), reverse=True)
        self._others = re.compile(b"|".join(longest_first)) if others else None

    def find_spans(self, data: bytes, start: int = 0) -> Iterator[Location]:
        """Yield (offset, length) of each term in the data; the data's first byte has the offset ``start``."""
        yield from self._find_plain(data, start)
        if b"%" in data:
            text = DecodedText(data, PERCENT)
            for location in self._find_plain(text.data, 0):
                yield from ((start + offset, length) for offset, length in text.locate(*location))

    def find_encoded_spans(self, data: bytes) -> Iterator[Span]:
        """Yield the spans that mask each term in a text, which may be a mail: quoted-printable and base64, too."""
        yield from (Span(*location, MASK) for location in self.find_spans(data))
        if b"=" in data:
            text = DecodedText(data, QUOTED_PRINTABLE)
            for location in self.find_spans(text.data):
                yield from (Span(*place, MASK) for place in text.locate(*location))
        yield from find_in_base64(data, self.find_spans)

    def _find_plain(self, data: bytes, start: int) -> Iterator[Location]:
        if self._words:
            for match in _WORD.finditer(data):
                if match[0] in self._words:
                    yield start + match.start(), len(match[0])
        if self._others is not None:
            for match in self._others.finditer(data):
                yield start + match.start(), len(match[0])

    def mentions(self, data: bytes) -> bool:
        return next(self.find_spans(data), None) is not None

    def mask(self, data: bytes) -> bytes:
        """Return the data with each term's bytes replaced by ``MASK``."""
        masked = bytearray(data)
        for offset, length in self.find_spans(data):
            masked[offset : offset + length] = MASK.encode() * length
        return bytes(masked)

    def is_in_document(self, document: Any) -> bool:
        """Return whether a JSON document mentions a term; a dead letter's base64 is decoded for it."""
        if self.mentions(orjson.dumps(document)):
            return True
        original = original_bytes(document) if isinstance(document, Mapping) else None
        return original is not None and self.mentions(original)


def original_bytes(event: Mapping[str, Any]) -> bytes | None:
    """Return the bytes that a dead letter holds as base64, or None."""
    if _as_object(_as_object(event.get("ml")).get("deadletter")).get("encoding") != "base64":
        return None
    try:
        return base64.b64decode(str(_as_object(event.get("event")).get("original", "")))
    except (binascii.Error, ValueError):
        return None


def find_line_spans(
    line: bytes, start: int, traces: SubjectTraces, people: TermFinder, all_terms: TermFinder
) -> list[Span]:
    """Return the spans to overwrite in one line of JSON lines.

    The person's own events and dead letters are blanked, and readers skip blank lines; mentions elsewhere are
    masked. In other people's events a shared request id is kept.
    """
    event = parse_event(line)
    if event is None:
        spans = all_terms.find_encoded_spans(line)
        return [Span(start + offset, length, text) for offset, length, text in spans]
    theirs = traces.owns(event)
    if not theirs and event["event"]["dataset"] == "ml.deadletter":
        theirs = all_terms.is_in_document(event)
    if theirs:
        return [Span(start, len(line), " ")]
    return [Span(*location, MASK) for location in people.find_spans(line, start)]


def parse_event(line: bytes) -> dict[str, Any] | None:
    """Parse one of our events; return None if the line is something else."""
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if isinstance(event, dict) and _as_object(event.get("event")).get("dataset") in DATASETS:
        return event
    return None


def _spellings(term: str) -> set[bytes]:
    """Return a term's spellings in JSON, JSON within JSON, HTML, a mail's header and a token."""
    text = term.encode("utf-8", "surrogatepass")
    spellings = {text, html.escape(term).encode("utf-8", "surrogatepass"), tokens.escape(term).encode()}
    spellings.add(term.replace(" ", "+").encode("utf-8", "surrogatepass"))  # in a link's query
    for ascii_only in (True, False):
        once = json.dumps(term, ensure_ascii=ascii_only)[1:-1]
        twice = json.dumps(once, ensure_ascii=ascii_only)[1:-1]
        spellings |= {once.encode("utf-8", "surrogatepass"), twice.encode("utf-8", "surrogatepass")}
    return spellings


def _as_object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _values_at(document: Mapping[str, Any], name: str) -> Iterator[Any]:
    """Yield the values at a dotted name; keys may contain dots themselves."""
    if name in document:
        value = document[name]
        yield from value if isinstance(value, list) else (value,)
    for key, value in document.items():
        if isinstance(value, Mapping) and name.startswith(f"{key}."):
            yield from _values_at(value, name[len(key) + 1 :])
