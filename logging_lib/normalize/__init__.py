"""Normalization of any JSON event to a canonical event, or to a dead letter with the reason. No I/O, no clock.

This is the Python twin of ``pipelines/ruby/ml_normalize.rb``; ``pipelines/cases/`` defines what both must do. An
event with ``ml.schema_version`` is canonical: its required fields are validated, and its inputs are never changed.
Any other event is foreign, and needs a model and inputs under one of the names in ``ALIASES``, or where a file of
aliases says. If it has none of them, but has a line in ``log`` or ``message``, as log shippers write it, the event
is in that line.
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
from logging_lib.normalize.aliases import ALIASES, Aliases, AliasesError, read_aliases
from logging_lib.normalize.canonical import validate
from logging_lib.normalize.containers import MAX_WRAPPERS, find_wrapped_line
from logging_lib.normalize.errors import NormalizeError
from logging_lib.normalize.foreign import MAX_INPUTS, MAX_TEXT, Checks, hash_content, to_canonical
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
    "Aliases",
    "AliasesError",
    "Checks",
    "DeadLetter",
    "Event",
    "normalize",
    "normalize_line",
    "read_aliases",
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
        document: the document for the dead-letter stream; its ``error.message`` is for people.
        reason: the reason, short and stable, such as ``not_json``.
    """

    document: dict[str, Any]
    reason: str


def normalize(
    raw: bytes | str | Mapping[str, Any],
    *,
    now: datetime | None = None,
    na_values: frozenset[str] = _NA,
    checks: Checks | None = None,
    aliases: Aliases | None = None,
) -> Event | DeadLetter:
    """Convert one event to its canonical form.

    Args:
        raw: one line of JSON, or the parsed object.
        now: when the event arrived, in UTC. It becomes ``event.ingested`` and the time of a foreign event without
            one, and limits times in the future. Without ``now`` none of these applies, and an event without a time
            is refused.
        na_values: spellings of a missing value in foreign events without a profile.
        checks: finds the profile's checks for a foreign event; without it, the event is not checked.
        aliases: where foreign events hold what the built-in names do not find, as ``read_aliases`` returns it.

    Returns:
        A dead letter if the event cannot be used; nothing is raised for any content of ``raw``.
    """
    return _normalize(
        raw if isinstance(raw, bytes) else _to_bytes(raw), now, na_values, checks, aliases, MAX_WRAPPERS
    )


def _normalize(
    raw: bytes,
    now: datetime | None,
    na_values: frozenset[str],
    checks: Checks | None,
    aliases: Aliases | None,
    wrappers: int,
) -> Event | DeadLetter:
    arrival = None if now is None else get_arrival(now)
    document: dict[str, Any] = {}
    try:
        document, repaired = parse(raw)
        ml = document.get("ml")
        if type(ml) is dict and "schema_version" in ml:
            if repaired:
                raise NormalizeError("not_json", "not JSON (RFC 8259, in UTF-8)", "parse")
            return Event(validate(document, ml, len(raw), arrival))
        return Event(to_canonical(document, raw, arrival, na_values, checks, aliases))
    except NormalizeError as error:
        wrapped = None
        if wrappers and error.reason in ("no_model", "no_inputs"):
            wrapped = find_wrapped_line(document)
        if wrapped is None:
            return refuse(raw, error.reason, str(error), now=now, stage=error.stage)
    name, line = wrapped
    result = _normalize(line, now, na_values, checks, aliases, wrappers - 1)
    if isinstance(result, Event):
        return result
    message, stage = result.document["error"]["message"], result.document["ml"]["deadletter"]["stage"]
    return refuse(raw, result.reason, f"the line in `{name}`: {message}", now=now, stage=stage)


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
        reason: the reason, short and stable, such as ``not_json``.
        message: what is wrong with the event, for people.
        now: when the event arrived, in UTC; default: 1970.
        stage: the stage that refused it: ``parse``, ``normalize`` or ``ship``.
    """
    original = raw if isinstance(raw, bytes) else _to_bytes(raw)
    document = build_dead_letter(error_type=reason, message=message, original=original, stage=stage, now_ns=0)
    document["@timestamp"] = get_arrival(_EPOCH if now is None else now).text
    document["event"]["id"] = hash_content(original)
    if now is not None:
        document["event"]["ingested"] = document["@timestamp"]
    return DeadLetter(document, reason)


def normalize_line(
    line: Line, *, now: datetime | None = None, checks: Checks | None = None, aliases: Aliases | None = None
) -> Event | DeadLetter:
    """Normalize a line of a file; a dead letter names the file and the offset in bytes.

    A last line without a newline is used if it is complete JSON.

    Args:
        line: the line, with its file and offset.
        now: as for ``normalize``.
        checks: as for ``normalize``.
        aliases: as for ``normalize``.
    """
    if line.fault == "too_large":
        result: Event | DeadLetter = refuse(
            line.data, "too_large", f"the line has more than {MAX_BYTES} bytes", now=now, stage="parse"
        )
    elif line.fault == "damaged":
        result = refuse(
            line.data, "damaged", "the compressed file is damaged or cut here", now=now, stage="parse"
        )
    else:
        result = normalize(line.data, now=now, checks=checks, aliases=aliases)
    if isinstance(result, DeadLetter):
        reason = "torn" if line.fault == "torn" and result.reason == "not_json" else result.reason
        result.document["error"]["type"] = reason
        result.document["log"] = {"file": {"path": str(line.path)}, "offset": line.offset}
        return DeadLetter(result.document, reason)
    return result


def _to_bytes(raw: str | Mapping[str, Any]) -> bytes:
    if isinstance(raw, str):
        return raw.encode("utf-8", "surrogatepass")
    try:
        return orjson.dumps(raw)
    except TypeError:
        return orjson.dumps(to_jsonable(raw))
