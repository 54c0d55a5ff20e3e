"""Turn any JSON event into a canonical event, or into a dead letter that says why. Pure: no I/O, no clock.

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

from logging_lib.capture.event import dead_letter
from logging_lib.capture.reading import MAX_LINE as MAX_BYTES
from logging_lib.capture.reading import Line
from logging_lib.capture.values import jsonable
from logging_lib.normalize.canonical import checked
from logging_lib.normalize.foreign import ALIASES, MAX_INPUTS, MAX_TEXT, Checks, canonical_of, content_id
from logging_lib.normalize.parsing import MAX_DEPTH, parse
from logging_lib.normalize.refusal import RefusedError
from logging_lib.normalize.times import MAX_AHEAD, arrival_at
from logging_lib.profile.values import NA_VALUES

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
    """A canonical event.

    Attributes:
        document: the event, ready to be indexed.
    """

    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that was refused.

    Attributes:
        document: for the dead-letter stream; its ``error.message`` is for people.
        reason: short and stable, such as ``not_json``.
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
        checks: finds the profile's checks for a foreign event; without them it stays unchecked.

    Returns:
        A dead letter if the event cannot be used. It never raises for what ``raw`` holds.
    """
    if not isinstance(raw, bytes):
        raw = _bytes_of(raw)
    arrival = None if now is None else arrival_at(now)
    try:
        document, mended = parse(raw)
        ml = document.get("ml")
        if type(ml) is dict and "schema_version" in ml:
            if mended:
                raise RefusedError("not_json", "not JSON (RFC 8259, in UTF-8)", "parse")
            return Event(checked(document, ml, len(raw), arrival))
        return Event(canonical_of(document, raw, arrival, na_values, checks))
    except RefusedError as refused:
        return refuse(raw, refused.reason, str(refused), now=now, stage=refused.stage)


def refuse(
    raw: bytes | str | Mapping[str, Any],
    reason: str,
    message: str,
    *,
    now: datetime | None = None,
    stage: str = "normalize",
) -> DeadLetter:
    """Build the dead letter of an event that cannot be used.

    Args:
        raw: the event; its bytes are kept.
        reason: short and stable, such as ``not_json``.
        message: what is wrong with it, for people.
        now: when it arrived, in UTC; default: 1970.
        stage: where it was refused: ``parse``, ``normalize`` or ``ship``.
    """
    original = raw if isinstance(raw, bytes) else _bytes_of(raw)
    document = dead_letter(error_type=reason, message=message, original=original, stage=stage, now_ns=0)
    document["@timestamp"] = arrival_at(_EPOCH if now is None else now).text
    document["event"]["id"] = content_id(original)
    if now is not None:
        document["event"]["ingested"] = document["@timestamp"]
    return DeadLetter(document, reason)


def normalize_line(
    line: Line, *, now: datetime | None = None, checks: Checks | None = None
) -> Event | DeadLetter:
    """Normalize a line of a file; a dead letter then names the file and the offset in bytes.

    A last line without a newline is used if it is whole JSON.

    Args:
        line: the bytes, the file, the offset.
        now: as for ``normalize``.
        checks: as for ``normalize``.
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


def _bytes_of(raw: str | Mapping[str, Any]) -> bytes:
    if isinstance(raw, str):
        return raw.encode("utf-8", "surrogatepass")
    try:
        return orjson.dumps(raw)
    except TypeError:
        return orjson.dumps(jsonable(raw))
