"""Any JSON event → a canonical event, or a dead letter that says why. Pure: no I/O, no clock.

The Python twin of ``pipelines/ruby/ml_normalize.rb``; ``pipelines/cases/`` says what both must do. An event that
carries ``ml.schema_version`` is ours: it is checked for what every event must have, and its inputs are never
altered. Any other is foreign, and needs a model and inputs under one of the names in ``ALIASES``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from logging_lib.logger.event import build_dead_letter
from logging_lib.logger.jsonlines import MAX_LINE as MAX_BYTES
from logging_lib.logger.jsonlines import Line
from logging_lib.logger.values import to_jsonable
from logging_lib.normalize.canonical import validate
from logging_lib.normalize.errors import NormalizeError
from logging_lib.normalize.foreign import ALIASES, MAX_INPUTS, MAX_TEXT, Checks, hash_content, to_canonical
from logging_lib.normalize.parsing import MAX_DEPTH, parse
from logging_lib.normalize.times import MAX_AHEAD, get_arrival
from logging_lib.profile.coerce import NA_VALUES

__all__ = [
    "ALIASES",
    "MAX_AHEAD",
    "MAX_BYTES",
    "MAX_DEPTH",
    "MAX_INPUTS",
    "MAX_TEXT",
    "Checks",
    "DeadLetter",
    "Event",
    "normalize",
    "normalize_line",
    "refuse",
]

_NA = frozenset(NA_VALUES)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Event:
    """A canonical event."""

    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that was refused, as a document of the dead-letter stream.

    ``reason`` is short and stable (``not_json``), the document's ``error.message`` is for people.
    """

    document: dict[str, Any]
    reason: str


def normalize(
    raw: bytes | str | Mapping[str, Any],
    *,
    now: datetime | None = None,
    na_values: frozenset[str] = _NA,
    checks: Checks | None = None,
) -> Event | DeadLetter:
    """Turn one event into its canonical form.

    Args:
        raw: one line of JSON, or the parsed object.
        now: when it arrived, in UTC: its ``event.ingested``, the time of a foreign event that carries none, and
            the limit for times in the future. Without it, none of these is applied and an event without a time is
            refused.
        na_values: spellings of a missing value in foreign events without a profile.
        checks: finds the profile's checks (``Checker(profile, foreign=True)``) for a foreign event; without
            them it stays unchecked.
    """
    if not isinstance(raw, bytes):
        raw = _to_bytes(raw)
    arrival = None if now is None else get_arrival(now)
    try:
        document, mended = parse(raw)
        ml = document.get("ml")
        if type(ml) is dict and "schema_version" in ml:
            if mended:
                raise NormalizeError("not_json", "not JSON (RFC 8259, in UTF-8)", "parse")
            return Event(validate(document, ml, len(raw), arrival))
        return Event(to_canonical(document, raw, arrival, na_values, checks))
    except NormalizeError as refused:
        return refuse(raw, refused.reason, str(refused), now=now, stage=refused.stage)


def refuse(
    raw: bytes | str | Mapping[str, Any],
    reason: str,
    message: str,
    *,
    now: datetime | None = None,
    stage: str = "normalize",
) -> DeadLetter:
    """The dead letter of an event that cannot be used."""
    original = raw if isinstance(raw, bytes) else _to_bytes(raw)
    document = build_dead_letter(error_type=reason, message=message, original=original, stage=stage, now_ns=0)
    document["@timestamp"] = get_arrival(_EPOCH if now is None else now).text
    document["event"]["id"] = hash_content(original)
    if now is not None:
        document["event"]["ingested"] = document["@timestamp"]
    return DeadLetter(document, reason)


def normalize_line(
    line: Line, *, now: datetime | None = None, checks: Checks | None = None
) -> Event | DeadLetter:
    """``normalize`` for a line of a file: a dead letter says in which file and where it stood.

    A torn last line is used if it is whole JSON all the same.
    """
    if line.fault == "too_large":
        made: Event | DeadLetter = refuse(
            line.data, "too_large", f"the line has more than {MAX_BYTES} bytes", now=now, stage="parse"
        )
    else:
        made = normalize(line.data, now=now, checks=checks)
    if isinstance(made, DeadLetter):
        reason = "torn" if line.fault == "torn" and made.reason == "not_json" else made.reason
        made.document["error"]["type"] = reason
        made.document["log"] = {"file": {"path": str(line.path)}, "offset": line.offset}
        return DeadLetter(made.document, reason)
    return made


def _to_bytes(raw: str | Mapping[str, Any]) -> bytes:
    if isinstance(raw, str):
        return raw.encode("utf-8", "surrogatepass")
    try:
        return orjson.dumps(raw)
    except TypeError:
        return orjson.dumps(to_jsonable(raw))
