"""The conversion of events from services that do not use this library to canonical form."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from logging_lib.logger.checks import MAX_CATEGORY, Checker, CheckResult
from logging_lib.logger.event import ECS, to_nanoseconds
from logging_lib.logger.output import OutputEncoder
from logging_lib.logger.values import cut_text, to_jsonable
from logging_lib.normalize.aliases import ALIASES, Aliases
from logging_lib.normalize.errors import NormalizeError, quote_value, to_json_text
from logging_lib.normalize.names import with_safe_names
from logging_lib.normalize.parsing import SPACE, is_filled
from logging_lib.normalize.payloads import unpack_tensors, unwrap
from logging_lib.normalize.times import Arrival, TooFarAheadError, normalize_time
from logging_lib.profile.coerce import parse_scalar
from logging_lib.schema import SCHEMA_VERSION

MAX_INPUTS = 10_000
"""The maximum number of inputs, and of other fields; an event with more is refused."""
MAX_TEXT = 32_766
"""The maximum length of a text in characters; longer ones are cut. Lucene's longest term has as many bytes."""
MAX_ID = 512
"""The longest id that Elasticsearch accepts, in bytes; a longer one is hashed."""

STATUSES = ("status_code", "http_status", "status")
"""Keys of a call's status, which stays a label. From 400, or if it is in ``FAILED``, the prediction failed."""
FAILED = ("error", "failed", "failure")

_NAME_OF_ALIAS = {alias: name for name, aliases in ALIASES.items() for alias in aliases}
_PLAIN_OUTPUT = OutputEncoder(None)
_WITHOUT_CONTEXT = frozenset(("model", "version", "inputs", "prediction", "timestamp", "score", "scores"))
_INFINITE = ("Infinity", "-Infinity")
_PLAIN_STARTS = frozenset(string.ascii_letters + "_") - frozenset("ItTfF")
"""A text that begins with one of these is not blank and spells neither a number nor a boolean."""
_SAFE = 2**63

Checks = Callable[[str, str], Checker | None]
"""A function that finds the checker of a model (name, version), or returns None."""


def to_canonical(
    document: dict[str, Any],
    raw: bytes,
    arrival: Arrival | None,
    na_values: frozenset[str],
    checks: Checks | None,
    aliases: Aliases | None = None,
) -> dict[str, Any]:
    """Build the canonical event.

    Raises:
        NormalizeError: ``no_model``, ``no_inputs``, ``no_timestamp``, ``timestamp``, ``future``,
            ``too_many_fields``, ``batch`` or ``names``.
    """
    if aliases is None:
        fields, extra_fields = _split_known_keys(document)
        if type(fields.get("inputs")) is not dict:
            fields, extra_fields = _split_known_keys(unwrap(document, ALIASES["inputs"]))
    else:
        fields, extra_fields = _split_by_aliases(document, aliases)
    get = fields.get
    model, version = _read_model(fields, extra_fields, aliases)
    inputs = get("inputs")
    if type(inputs) is not dict:
        raise NormalizeError(
            "no_inputs", f"no inputs: one of {_list_names('inputs', aliases)} must hold an object"
        )
    if len(inputs) > MAX_INPUTS or len(extra_fields) > MAX_INPUTS:
        raise NormalizeError(
            "too_many_fields", f"{max(len(inputs), len(extra_fields))} fields; at most {MAX_INPUTS} are taken"
        )
    timestamp = _read_timestamp(get("timestamp"), arrival, aliases)
    inputs = with_safe_names(inputs)
    is_long = len(raw) > MAX_TEXT
    checker = checks(model, version) if checks is not None else None
    if checker is None:
        input_document, profile = _type_inputs(inputs, na_values, is_long), {"status": "none"}
    else:
        result = checker(inputs)
        input_document, profile = result.input_document(), {"id": checker.id, "status": "matched"}
    ml: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "model": {"name": model, "version": version, "role": "live"},
        "profile": profile,
        "sample": {"weight": 1.0},
        "input": input_document,
    }
    event_fields: dict[str, Any] = {
        "id": hash_content(raw),
        "kind": "event",
        "dataset": "ml.prediction",
        "outcome": "success",
    }
    if arrival is not None:
        event_fields["ingested"] = arrival.text
    event: dict[str, Any] = {
        "@timestamp": timestamp,
        "message": "prediction",
        "ecs": ECS,
        "event": event_fields,
        "ml": ml,
    }
    if checker is not None:
        _add_checks(result, ml)
    _add_output(fields, _PLAIN_OUTPUT if checker is None else checker.output, ml)
    if extra_fields or not fields.keys() <= _WITHOUT_CONTEXT:
        _add_context(fields, extra_fields, event)
        _add_failure(fields, extra_fields, na_values, event)
    if extra_fields:
        event["labels"] = {
            name: to_label(value, is_long) if type(value) is not str or is_long else value
            for name, value in with_safe_names(extra_fields).items()
        }
    return event


def hash_content(raw: bytes) -> str:
    """Compute an id from the content, which is always the same for the same content."""
    return sha256(raw.strip(SPACE)).hexdigest()[:32]


def to_label(value: Any, is_long: bool = True) -> str:
    """Convert a value to one of ``labels.*``: text unchanged, anything else as JSON; a long text is cut."""
    text = value if isinstance(value, str) else to_json_text(to_jsonable(value, max_text=MAX_TEXT))
    return cut_text(text, MAX_TEXT) if is_long else text


def _split_by_aliases(document: Mapping[str, Any], aliases: Aliases) -> tuple[dict[str, Any], dict[str, Any]]:
    """Do as ``_split_known_keys``, with the aliases of a file."""
    found, document = aliases.extract(document)
    names = aliases.built_in(found)
    fields, extra_fields = _split_known_keys(document, names)
    if "inputs" not in found and "inputs" not in aliases.replaced and type(fields.get("inputs")) is not dict:
        fields, extra_fields = _split_known_keys(unwrap(document, ALIASES["inputs"]), names)
    fields |= found
    for name, value in aliases.defaults.items():
        if not is_filled(fields.get(name)):
            fields[name] = value
    return fields, extra_fields


def _list_names(name: str, aliases: Aliases | None) -> str:
    return ", ".join(ALIASES[name] if aliases is None else aliases.names_of(name))


def _split_known_keys(
    document: Mapping[str, Any], names: Mapping[str, str] = _NAME_OF_ALIAS
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split the event into the fields under one of ``ALIASES``, by canonical name, and the other fields."""
    fields: dict[str, Any] = {}
    extra_fields: dict[str, Any] = {}
    for key, value in document.items():
        name = names.get(key)
        if name is None:
            extra_fields[key] = value
        elif name not in fields:
            fields[name] = value
        else:  # there are two aliases of one name: the first one in the list with a value is used
            aliases = [alias for alias in ALIASES[name] if alias in document]
            key, *others = sorted(aliases, key=lambda alias: not is_filled(document[alias]))
            fields[name] = document[key]
            extra_fields.update((other, document[other]) for other in others)
    return fields, extra_fields


def _type_inputs(inputs: Mapping[str, Any], na_values: frozenset[str], is_long: bool) -> dict[str, Any]:
    """Build ``ml.input.*`` without a profile, by the values' own types; an NA spelling is null under ``other``."""
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
                    text[name] = cut_text(value, MAX_TEXT) if is_long else value
                continue
            if value.isspace():
                other[name] = None
                continue
            if value in _INFINITE:
                other[name] = value
                continue
            value = parse_scalar(value)
            kind = type(value)
        if kind is float:
            numeric[name] = value
        elif kind is int:
            numeric[name] = value if -_SAFE < value < _SAFE else to_jsonable(value)
        elif kind is str:
            if len(value) <= MAX_CATEGORY:
                category[name] = value
            else:
                text[name] = cut_text(value, MAX_TEXT) if is_long else value
        elif kind is bool:
            boolean[name] = value
        else:
            other[name] = to_jsonable(value, max_text=MAX_TEXT)
    by_kind = {"numeric": numeric, "category": category, "text": text, "boolean": boolean, "other": other}
    return {path: values for path, values in by_kind.items() if values}


def _add_checks(result: CheckResult, ml: dict[str, Any]) -> None:
    if result.failed:
        ml["check"] = result.check_document()
    if result.tokens:
        ml["text"] = result.text_document()


def _add_output(fields: Mapping[str, Any], encode_output: OutputEncoder, ml: dict[str, Any]) -> None:
    """Add ``ml.prediction.*``."""
    output, scores, score = fields.get("prediction"), fields.get("scores"), fields.get("score")
    if type(output) is float and scores is None and score is None:  # the ordinary regression
        ml["prediction"] = encode_output(output, None, None)
        return
    output = parse_scalar(encode_output.unwrap(unpack_tensors(output)))
    if output is not None or scores is not None or score is not None:
        output, score, scores = (
            to_jsonable(value, max_text=MAX_TEXT) for value in (output, parse_scalar(score), scores)
        )
        document = encode_output.encode(output, score, scores)
        if "scores" in document:
            document["scores"] = with_safe_names(document["scores"])
        ml["prediction"] = document


def _add_failure(
    fields: Mapping[str, Any], extra_fields: dict[str, Any], na_values: frozenset[str], event: dict[str, Any]
) -> None:
    """Set ``error.*`` and the outcome if the event says that the prediction failed."""
    value, error_type = fields.get("error"), fields.get("error_type")
    parts = value if type(value) is dict else {} if value is None else {"message": value}
    texts = {"type": error_type, **parts}
    error = {
        name: cut_text(texts[name], MAX_TEXT)
        for name in ("type", "message")
        if _is_error_text(texts.get(name), na_values)
    }
    if error_type is not None and error.get("type") != error_type:
        extra_fields["error_type"] = error_type
    if value == {} or any(error.get(name) != part for name, part in parts.items()):
        extra_fields["error"] = value
    if error:
        event["error"] = error
    has_error = bool(error) or value is True or (type(value) in (dict, list) and bool(value))
    if has_error or any(_is_failed(extra_fields.get(key)) for key in STATUSES):
        event["event"]["outcome"] = "failure"


def _is_error_text(value: Any, na_values: frozenset[str]) -> bool:
    """Return whether a value describes an error: a text that spells neither a number nor a missing value."""
    return (
        type(value) is str
        and is_filled(value)
        and value not in na_values
        and type(parse_scalar(value)) is str
    )


def _is_failed(status: Any) -> bool:
    """Return whether a call's status is a number from 400 to 599, or a word for a failure."""
    status = parse_scalar(status)
    return 400 <= status < 600 if _is_number(status) else type(status) is str and status.lower() in FAILED


def _is_number(value: Any) -> bool:
    return type(value) is float or type(value) is int


def _add_context(fields: Mapping[str, Any], extra_fields: dict[str, Any], event: dict[str, Any]) -> None:
    """Add id, request, duration, service and weight; a value that is not valid for its field becomes a label."""
    get, event_fields, ml = fields.get, event["event"], event["ml"]
    if is_filled(event_id := get("id")):
        event_fields["id"] = to_label(event_id)
        if len(event_fields["id"].encode()) > MAX_ID:
            extra_fields["event_id"] = event_id
            event_fields["id"] = hash_content(event_fields["id"].encode())
    if (request := get("request")) is not None:
        ml["request"] = {"id": to_label(request)}
    for name, units_per_second in (("duration", 1), ("duration_ms", 1000)):
        if (duration_value := get(name)) is not None:
            seconds = parse_scalar(duration_value)
            duration = to_nanoseconds(seconds / units_per_second if _is_number(seconds) else None)
            if duration is None:
                extra_fields[name] = duration_value
            else:
                event_fields["duration"] = duration
    if (service := get("service")) is not None:
        service_name = service.get("name") if isinstance(service, dict) else service
        if isinstance(service_name, str) and is_filled(service_name):
            event["service"] = {"name": cut_text(service_name, MAX_TEXT)}
        if not isinstance(service, str) and service != {"name": service_name}:
            extra_fields["service"] = service
    if (sampling := get("sampling")) is not None:
        fraction = parse_scalar(sampling)
        if _is_number(fraction) and 0 < fraction <= 1 and 1 / fraction <= 1e9:
            ml["sample"]["weight"] = 1.0 / fraction
        else:
            extra_fields["sampling"] = sampling


def _read_model(
    fields: Mapping[str, Any], extra_fields: dict[str, Any], aliases: Aliases | None
) -> tuple[str, str]:
    model, version = fields.get("model"), fields.get("version")
    if type(model) is dict:
        if not model.keys() <= {"name", "version"}:
            extra_fields["model"] = model
        version = model["version"] if is_filled(model.get("version")) else version
        model = model.get("name")
    if not is_filled(model):
        raise NormalizeError("no_model", f"no model: one of {_list_names('model', aliases)} must name it")
    return (
        model if type(model) is str else to_label(model),
        "unknown" if not is_filled(version) else version if type(version) is str else to_label(version),
    )


def _read_timestamp(value: Any, arrival: Arrival | None, aliases: Aliases | None) -> str:
    if value is None:
        if arrival is None:
            raise NormalizeError(
                "no_timestamp", f"no time: one of {_list_names('timestamp', aliases)} must hold it"
            )
        return arrival.text
    try:
        time_text = normalize_time(value, arrival)
    except TooFarAheadError as time:
        raise NormalizeError("future", f"the time {time} is more than a day ahead of arrival") from None
    if time_text is None:
        raise NormalizeError(
            "timestamp", f"the time {quote_value(value)} is neither ISO 8601 nor a number since 1970"
        )
    return time_text
