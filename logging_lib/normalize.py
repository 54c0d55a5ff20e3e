"""Any JSON event → a canonical event, or a dead letter that says why. Pure: no I/O, no clock.

The Python twin of ``pipelines/``. An event that carries ``ml.schema_version`` is ours: it is checked for what
every event must have and never altered. Any other is foreign, and needs a model and inputs under one of the
names in ``ALIASES``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import orjson

from logging_lib.capture.checks import Checked, Checker, type_by_value
from logging_lib.capture.event import ECS, dead_letter, duration_ns, label_text, moment, timestamp
from logging_lib.capture.output import Output
from logging_lib.capture.reading import MAX_LINE as MAX_BYTES
from logging_lib.capture.reading import Line
from logging_lib.capture.values import jsonable, key_text
from logging_lib.profile.values import NA_VALUES, spelled
from logging_lib.schema import DATASETS, SCHEMA_VERSION

MAX_INPUTS = 10_000
"""An event with more inputs is refused."""
MAX_AHEAD = timedelta(days=1)
"""An event further in the future is refused."""

ALIASES: Mapping[str, tuple[str, ...]] = {
    "model": ("model", "model_name", "ml_model"),
    "version": ("model_version", "version"),
    "inputs": ("inputs", "features", "input", "instance"),
    "prediction": ("prediction", "output", "predicted", "result"),
    "timestamp": ("@timestamp", "timestamp", "time", "ts", "date"),
    "id": ("event_id", "id", "uuid"),
    "request": ("request_id", "requestId", "correlation_id"),
    "duration": ("duration", "latency"),
    "service": ("service", "app", "application"),
    "score": ("score", "probability", "confidence"),
    "scores": ("scores", "probabilities"),
}
"""Our name → the keys that foreign events may have it under; the first that is there counts."""

_OURS = {alias: name for name, aliases in ALIASES.items() for alias in aliases}
_SAME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z\Z", re.ASCII)
_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:\d\d)\Z", re.ASCII)
_NA = frozenset(NA_VALUES)
_PLAIN_OUTPUT = Output(None)

Checks = Callable[[str, str], Checker | None]
"""Finds the checker of a model's version, if there is one."""


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


class _RefusedError(Exception):
    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


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
        now: when it arrived: the time of a foreign event that carries none, and the limit for times in the
            future. Without it, neither is applied and an event without a time is refused.
        na_values: spellings of a missing value in foreign events without a profile.
        checks: finds the profile's checks (``Checker(profile, foreign=True)``) for a foreign event; without
            them it stays unchecked.
    """
    try:
        if isinstance(raw, str):
            raw = raw.encode("utf-8", "surrogatepass")
        elif not isinstance(raw, bytes):
            raw = _bytes_of(raw)
        document = _parse(raw)
        ml = document.get("ml")
        if isinstance(ml, dict) and "schema_version" in ml:
            return Event(_canonical(document, ml, now))
        return Event(_foreign(document, raw, now, na_values, checks))
    except _RefusedError as refused:
        return refuse(raw, refused.reason, str(refused), now=now)


def refuse(
    raw: bytes | str | Mapping[str, Any],
    reason: str,
    message: str,
    *,
    now: datetime | None = None,
    stage: str = "normalize",
) -> DeadLetter:
    """The dead letter of an event that cannot be used."""
    if isinstance(raw, Mapping):
        raw = _bytes_of(raw)
    original = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
    now_ns = int(now.timestamp() * 1e9) if now is not None else 0
    document = dead_letter(error_type=reason, message=message, original=original, stage=stage, now_ns=now_ns)
    document["event"]["id"] = _content_id(original)
    return DeadLetter(document, reason)


def _parse(raw: bytes) -> dict[str, Any]:
    if len(raw) > MAX_BYTES:
        raise _RefusedError("too_large", f"the event has {len(raw)} bytes; at most {MAX_BYTES} are taken")
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _RefusedError("not_json", f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise _RefusedError("not_an_object", f"a JSON {type(document).__name__}, not an object")
    return document


# ── ours ─────────────────────────────────────────────────────────────────────────────────────────────────


def _canonical(document: dict[str, Any], ml: dict[str, Any], now: datetime | None) -> dict[str, Any]:
    if ml["schema_version"] != SCHEMA_VERSION:
        raise _RefusedError(
            "schema_version",
            f"ml.schema_version is {ml['schema_version']!r}; this version of logging_lib reads {SCHEMA_VERSION}",
        )
    event = document.get("event")
    if not isinstance(event, dict) or not _filled(event.get("id")):
        raise _RefusedError("no_id", "event.id is missing")
    dataset = event.get("dataset")
    if dataset not in DATASETS:
        raise _RefusedError("dataset", f"event.dataset is {dataset!r}, none of {', '.join(DATASETS)}")
    if dataset == "ml.prediction":
        model = ml.get("model")
        if not isinstance(model, dict) or not _filled(model.get("name")) or not _filled(model.get("version")):
            raise _RefusedError("no_model", "ml.model.name or ml.model.version is missing")
    when = document.get("@timestamp")
    try:
        made_at = datetime.fromisoformat(when) if isinstance(when, str) and _ISO.match(when) else None
    except ValueError:
        made_at = None
    if made_at is None:
        raise _RefusedError("timestamp", f"@timestamp is {when!r}, which is no ISO 8601 date with a zone")
    _not_ahead(made_at, now)
    return document


def _filled(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _not_ahead(when: datetime, now: datetime | None) -> None:
    if now is not None and when > now + MAX_AHEAD:
        raise _RefusedError("future", f"the time {when.isoformat()} is more than a day ahead of arrival")


# ── foreign ──────────────────────────────────────────────────────────────────────────────────────────────


def _foreign(
    document: dict[str, Any],
    raw: bytes | Mapping[str, Any],
    now: datetime | None,
    na_values: frozenset[str],
    checks: Checks | None,
) -> dict[str, Any]:
    given, rest = _known_keys(document)
    take = given.get
    model, version = _model(take("model"), take("version"))
    inputs = take("inputs")
    if not isinstance(inputs, dict):
        raise _RefusedError(
            "no_inputs", f"no inputs: one of {', '.join(ALIASES['inputs'])} must hold an object"
        )
    if len(inputs) > MAX_INPUTS:
        raise _RefusedError("too_many_fields", f"{len(inputs)} inputs; at most {MAX_INPUTS} are taken")
    when, given_id = _timestamp(take("timestamp"), now), take("id")
    checker = checks(model, version) if checks is not None else None
    checked = _type_all(inputs, na_values) if checker is None else checker(inputs)
    ml: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "model": {"name": model, "version": version, "role": "live"},
        "profile": {"status": "none"} if checker is None else {"id": checker.id, "status": "matched"},
        "sample": {"weight": 1.0},
        "input": checked.input_document(),
    }
    if checked.failed:
        ml["check"] = checked.check_document()
    if checked.tokens:
        ml["text"] = checked.text_document()
    about: dict[str, Any] = {
        "id": label_text(given_id) if given_id not in (None, "") else _content_id(raw),
        "kind": "event",
        "dataset": "ml.prediction",
        "outcome": "success",
    }
    made: dict[str, Any] = {"@timestamp": when, "message": "prediction", "ecs": ECS, "event": about, "ml": ml}
    output, scores = take("prediction"), take("scores")
    if output is not None or scores is not None:
        place = _PLAIN_OUTPUT if checker is None else checker.output
        ml["prediction"] = place(spelled(output), spelled(take("score")), scores)
    if (request := take("request")) is not None:
        ml["request"] = {"id": label_text(request)}
    if (duration := duration_ns(take("duration"))) is not None:
        about["duration"] = duration
    if (service := take("service")) is not None:
        name = service.get("name") if isinstance(service, dict) else service
        made["service"] = {"name": label_text(name)}
    if rest:
        made["labels"] = {key_text(key): label_text(value) for key, value in rest.items()}
    return made


def _known_keys(document: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What stands under one of ``ALIASES``, by our name, and the rest."""
    given: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for key, value in document.items():
        name = _OURS.get(key)
        if name is None:
            rest[key] = value
        elif name not in given:
            given[name] = value
        else:  # two aliases of one name: the one that stands first in the list counts
            key, *others = (alias for alias in ALIASES[name] if alias in document)
            given[name] = document[key]
            rest.update((other, document[other]) for other in others)
    return given, rest


def _type_all(inputs: Mapping[Any, Any], na_values: frozenset[str]) -> Checked:
    typed = Checked()
    for key, value in inputs.items():
        if type(value) is str:
            value = None if value in na_values or not value.strip() else spelled(value)
        type_by_value(key if type(key) is str else key_text(key), value, typed)
    return typed


def _model(model: Any, version: Any) -> tuple[str, str]:
    if isinstance(model, dict):
        version = model.get("version", version)
        model = model.get("name")
    if model in (None, ""):
        raise _RefusedError("no_model", f"no model: one of {', '.join(ALIASES['model'])} must name it")
    return (
        model if type(model) is str else label_text(model),
        "unknown" if version in (None, "") else version if type(version) is str else label_text(version),
    )


def _timestamp(value: Any, now: datetime | None) -> str:
    if value is None:
        if now is None:
            raise _RefusedError(
                "no_timestamp", f"no time: one of {', '.join(ALIASES['timestamp'])} must hold it"
            )
        return timestamp(int(now.timestamp() * 1e9))
    if type(value) is str and _SAME.match(value) is not None:  # nothing to convert
        try:
            _not_ahead(datetime.fromisoformat(value), now)
        except ValueError:
            pass
        else:
            return value
    value = spelled(value)
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    when = _from_number(value) if numeric else moment(value)
    if when is None:
        raise _RefusedError("timestamp", f"the time {value!r} is neither ISO 8601 nor a number since 1970")
    _not_ahead(datetime.fromisoformat(when), now)
    return when


def _from_number(value: float) -> str | None:
    """A time since 1970 in s, ms, µs or ns, told apart by its size (seconds up to the year 5138)."""
    for limit, to_nanoseconds in ((1e11, 10**9), (1e14, 10**6), (1e17, 10**3), (1e20, 1)):
        if abs(value) < limit:
            try:
                exact = isinstance(value, int) or to_nanoseconds == 1
                nanoseconds = (
                    int(value) * to_nanoseconds if exact else round(value * to_nanoseconds / 1e3) * 1000
                )
                return timestamp(nanoseconds)
            except (ValueError, OverflowError, OSError):
                return None
    return None


def _bytes_of(document: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(document)
    except TypeError:
        return orjson.dumps(jsonable(document))


def _content_id(raw: bytes | Mapping[str, Any]) -> str:
    """An id that the same content always gets."""
    content = raw if isinstance(raw, bytes) else _bytes_of(raw)
    return sha256(content.strip()).hexdigest()[:32]


def normalize_line(
    line: Line, *, now: datetime | None = None, checks: Checks | None = None
) -> Event | DeadLetter:
    """``normalize`` for a line of a file: a dead letter says in which file and where it stood.

    A torn last line is used if it is whole JSON all the same.
    """
    if line.fault == "too_large":
        made: Event | DeadLetter = refuse(
            line.data, "too_large", f"the line has more than {MAX_BYTES} bytes", now=now
        )
    else:
        made = normalize(line.data, now=now, checks=checks)
    if isinstance(made, DeadLetter):
        reason = "torn" if line.fault == "torn" and made.reason == "not_json" else made.reason
        made.document["error"]["type"] = reason
        made.document["log"] = {"file": {"path": str(line.path)}, "offset": line.offset}
        return DeadLetter(made.document, reason)
    return made
