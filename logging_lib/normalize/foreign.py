"""An event of a service that does not use this library → canonical form."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from logging_lib.capture.checks import MAX_CATEGORY, Checked, Checker
from logging_lib.capture.event import ECS, duration_ns
from logging_lib.capture.output import Output
from logging_lib.capture.values import MAX_ITEMS, jsonable
from logging_lib.normalize.names import with_plain_names
from logging_lib.normalize.parsing import SPACE
from logging_lib.normalize.payloads import unwrap
from logging_lib.normalize.refusal import RefusedError, json_text, shown
from logging_lib.normalize.times import Arrival, TooFarAheadError, canonical_time
from logging_lib.profile.values import spelled
from logging_lib.schema import SCHEMA_VERSION

MAX_INPUTS = 10_000
"""An event with more inputs, or more fields beside them, is refused."""
MAX_TEXT = 32_766
"""Characters of a text that are kept: as many as Lucene's longest term has bytes."""
MAX_ID = 512
"""Bytes of an id that Elasticsearch takes; a longer one is hashed."""

ALIASES: Mapping[str, tuple[str, ...]] = {
    "model": ("model", "model_name", "ml_model", "modelName"),
    "version": ("model_version", "version", "modelVersion"),
    "inputs": ("inputs", "features", "input", "instance"),
    "prediction": ("prediction", "output", "predicted", "result"),
    "timestamp": ("@timestamp", "timestamp", "time", "ts", "date", "timestamp_ms", "request_time"),
    "id": ("event_id", "id", "uuid", "databricks_request_id"),
    "request": ("request_id", "requestId", "correlation_id", "client_request_id"),
    "duration": ("duration", "latency"),
    "duration_ms": ("duration_ms", "latency_ms", "execution_time_ms", "execution_duration_ms"),
    "service": ("service", "app", "application"),
    "score": ("score", "probability", "confidence"),
    "scores": ("scores", "probabilities"),
    "sampling": ("sampling_fraction", "sample_rate"),
}
"""Our name → the keys that foreign events may use for it; the first one that an event has counts."""

_OURS = {alias: name for name, aliases in ALIASES.items() for alias in aliases}
_PLAIN_OUTPUT = Output(None)
_WITHOUT_CONTEXT = frozenset(("model", "version", "inputs", "prediction", "timestamp", "score", "scores"))
_INFINITE = ("Infinity", "-Infinity")
_PLAIN_STARTS = frozenset(string.ascii_letters + "_") - frozenset("tTfF")
"""What begins with one of these is not blank and spells neither a number nor a boolean."""
_SAFE = 2**63

Checks = Callable[[str, str], Checker | None]
"""A function that finds the checker of a model (name, version), or returns None."""


def canonical_of(
    document: dict[str, Any],
    raw: bytes,
    arrival: Arrival | None,
    na_values: frozenset[str],
    checks: Checks | None,
) -> dict[str, Any]:
    """The canonical event.

    Raises:
        RefusedError: ``no_model``, ``no_inputs``, ``no_timestamp``, ``timestamp``, ``future``,
            ``too_many_fields`` or ``batch``.
    """
    given, rest = _known_keys(document)
    if type(given.get("inputs")) is not dict:
        given, rest = _known_keys(unwrap(document))
    take = given.get
    model, version = _model(given, rest)
    inputs = take("inputs")
    if type(inputs) is not dict:
        raise RefusedError(
            "no_inputs", f"no inputs: one of {', '.join(ALIASES['inputs'])} must hold an object"
        )
    if len(inputs) > MAX_INPUTS or len(rest) > MAX_INPUTS:
        raise RefusedError(
            "too_many_fields", f"{max(len(inputs), len(rest))} fields; at most {MAX_INPUTS} are taken"
        )
    when = _timestamp(take("timestamp"), arrival)
    inputs = with_plain_names(inputs)
    long = len(raw) > MAX_TEXT
    checker = checks(model, version) if checks is not None else None
    if checker is None:
        typed, profile = _typed(inputs, na_values, long), {"status": "none"}
    else:
        checked = checker(inputs)
        typed, profile = checked.input_document(), {"id": checker.id, "status": "matched"}
    ml: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "model": {"name": model, "version": version, "role": "live"},
        "profile": profile,
        "sample": {"weight": 1.0},
        "input": typed,
    }
    about: dict[str, Any] = {
        "id": content_id(raw),
        "kind": "event",
        "dataset": "ml.prediction",
        "outcome": "success",
    }
    if arrival is not None:
        about["ingested"] = arrival.text
    made: dict[str, Any] = {"@timestamp": when, "message": "prediction", "ecs": ECS, "event": about, "ml": ml}
    if checker is not None:
        _add_checks(checked, ml)
    _add_output(given, rest, _PLAIN_OUTPUT if checker is None else checker.output, ml)
    if not given.keys() <= _WITHOUT_CONTEXT:
        _add_context(given, rest, made)
    if rest:
        made["labels"] = {
            name: label(value, long) if type(value) is not str or long else value
            for name, value in with_plain_names(rest).items()
        }
    return made


def content_id(raw: bytes) -> str:
    """An id that the same content always gets."""
    return sha256(raw.strip(SPACE)).hexdigest()[:32]


def label(value: Any, long: bool = True) -> str:
    """The value of one of ``labels.*``: text as it is, anything else as JSON; what is over-long is cut."""
    text = value if isinstance(value, str) else json_text(jsonable(value, max_text=MAX_TEXT))
    return cut(text) if long else text


def cut(text: str) -> str:
    """The text, with a mark where it was cut."""
    return (
        text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}<cut: {len(text) - MAX_TEXT} more characters>"
    )


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


def _typed(inputs: Mapping[str, Any], na_values: frozenset[str], long: bool) -> dict[str, Any]:
    """``ml.input.*`` without a profile: by the values' own types; an NA spelling is null, under ``other``."""
    numeric: dict[str, Any] = {}
    category: dict[str, Any] = {}
    text: dict[str, Any] = {}
    boolean: dict[str, Any] = {}
    other: dict[str, Any] = {}
    for name, value in inputs.items():
        kind = type(value)
        if kind is str:
            if not value or value in na_values:
                other[name] = None
                continue
            if value[0] in _PLAIN_STARTS:  # neither blank nor the spelling of anything
                if len(value) <= MAX_CATEGORY:
                    category[name] = value
                else:
                    text[name] = cut(value) if long else value
                continue
            if value.isspace():
                other[name] = None
                continue
            value = spelled(value)
            kind = type(value)
        if kind is float:
            numeric[name] = value
        elif kind is int:
            numeric[name] = value if -_SAFE < value < _SAFE else jsonable(value)
        elif kind is str:
            if len(value) <= MAX_CATEGORY:
                category[name] = value
            else:
                text[name] = cut(value) if long else value
        elif kind is bool:
            boolean[name] = value
        else:
            other[name] = jsonable(value, max_text=MAX_TEXT)
    made = {"numeric": numeric, "category": category, "text": text, "boolean": boolean, "other": other}
    return {path: values for path, values in made.items() if values}


def _add_checks(checked: Checked, ml: dict[str, Any]) -> None:
    if checked.failed:
        ml["check"] = checked.check_document()
    if checked.tokens:
        ml["text"] = checked.text_document()


def _add_output(given: Mapping[str, Any], rest: dict[str, Any], place: Output, ml: dict[str, Any]) -> None:
    """``ml.prediction.*``; what has no place in it becomes a label."""
    output, scores, score = given.get("prediction"), given.get("scores"), given.get("score")
    if type(output) is float and scores is None and score is None:  # the ordinary regression
        ml["prediction"] = place(output, None, None)
        return
    score = spelled(score)
    if score is not None and not _is_number(score):
        rest["score"], score = score, None
    if scores is not None and not isinstance(scores, dict | list):
        rest["scores"], scores = scores, None
    for name, value in (("prediction", output), ("scores", scores)):
        if not _fits(value):
            rest[name] = value  # noqa: PERF403 - seldom any
    if isinstance(output, list) and len(output) == 1:
        output = output[0]
    output = spelled(output)
    if type(output) is str:
        output = cut(output)
    if output is not None or scores is not None or score is not None:
        made = place(output, score, scores)
        if "scores" in made:
            made["scores"] = with_plain_names(made["scores"])
        ml["prediction"] = made


def _fits(value: Any) -> bool:
    """False for what ``ml.prediction`` cannot hold whole."""
    if isinstance(value, str):
        return value not in _INFINITE
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return True
    return len(value) <= MAX_ITEMS and all(map(_is_number, value))


def _is_number(value: Any) -> bool:
    return type(value) is float or type(value) is int


def _add_context(given: Mapping[str, Any], rest: dict[str, Any], made: dict[str, Any]) -> None:
    """Id, request, duration, service, weight; what cannot be one becomes a label."""
    take, about, ml = given.get, made["event"], made["ml"]
    if (own := take("id")) not in (None, ""):
        about["id"] = label(own)
        if len(about["id"].encode()) > MAX_ID:
            rest["event_id"] = own
            about["id"] = content_id(about["id"].encode())
    if (request := take("request")) is not None:
        ml["request"] = {"id": label(request)}
    for name, in_seconds in (("duration", 1), ("duration_ms", 1000)):
        if (given_duration := take(name)) is not None:
            seconds = spelled(given_duration)
            duration = duration_ns(seconds / in_seconds if _is_number(seconds) else None)
            if duration is None:
                rest[name] = given_duration
            else:
                about["duration"] = duration
    if (service := take("service")) is not None:
        of_service = service.get("name") if isinstance(service, dict) else service
        if isinstance(of_service, str) and of_service:
            made["service"] = {"name": cut(of_service)}
        if not isinstance(service, str) and service != {"name": of_service}:
            rest["service"] = service
    if (sampling := take("sampling")) is not None:
        fraction = spelled(sampling)
        if _is_number(fraction) and 0 < fraction <= 1 and 1 / fraction <= 1e9:
            ml["sample"]["weight"] = 1.0 / fraction
        else:
            rest["sampling"] = sampling


def _model(given: Mapping[str, Any], rest: dict[str, Any]) -> tuple[str, str]:
    model, version = given.get("model"), given.get("version")
    if type(model) is dict:
        if not model.keys() <= {"name", "version"}:
            rest["model"] = model
        version = model.get("version", version)
        model = model.get("name")
    if model in (None, ""):
        raise RefusedError("no_model", f"no model: one of {', '.join(ALIASES['model'])} must name it")
    return (
        model if type(model) is str else label(model),
        "unknown" if version in (None, "") else version if type(version) is str else label(version),
    )


def _timestamp(value: Any, arrival: Arrival | None) -> str:
    if value is None:
        if arrival is None:
            raise RefusedError(
                "no_timestamp", f"no time: one of {', '.join(ALIASES['timestamp'])} must hold it"
            )
        return arrival.text
    try:
        when = canonical_time(value, arrival)
    except TooFarAheadError as time:
        raise RefusedError("future", f"the time {time} is more than a day ahead of arrival") from None
    if when is None:
        raise RefusedError(
            "timestamp", f"the time {shown(value)} is neither ISO 8601 nor a number since 1970"
        )
    return when
