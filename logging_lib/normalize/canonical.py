"""The validation of a canonical event, one with ``ml.schema_version``: its required fields, without changing it."""

from __future__ import annotations

from typing import Any

from logging_lib.normalize.errors import NormalizeError, quote_value
from logging_lib.normalize.foreign import MAX_INPUTS
from logging_lib.normalize.parsing import is_filled
from logging_lib.normalize.times import Arrival, TooFarAheadError, validate_time
from logging_lib.schema import DATASETS, SCHEMA_VERSION

_DATASETS = frozenset(DATASETS)
_MANY = 5 * MAX_INPUTS
"""The size in bytes below which an event cannot hold too many inputs."""
_OF_LOGSTASH = ("@metadata", "@version")
"""Fields that are reserved by Logstash: no event that passed through it has them."""


def validate(
    document: dict[str, Any], ml: dict[str, Any], size: int, arrival: Arrival | None
) -> dict[str, Any]:
    """Validate an event; set its time in canonical form, and ``event.ingested`` if the arrival is known.

    Fields that are reserved by Logstash are removed.

    Raises:
        NormalizeError: ``schema_version``, ``no_id``, ``dataset``, ``no_model``, ``timestamp``, ``future`` or
            ``too_many_fields``.
    """
    version = ml["schema_version"]
    # Events of all versions so far are read. A later version may have another meaning, so its events wait in full
    # in the dead-letter stream until the pipelines are as new as their logger.
    if type(version) is not int or not 1 <= version <= SCHEMA_VERSION:
        raise NormalizeError(
            "schema_version",
            f"ml.schema_version is {quote_value(version)}; this version of logging_lib reads 1 to {SCHEMA_VERSION}",
        )
    event = document.get("event")
    if type(event) is not dict or not _is_name(event.get("id")):
        raise NormalizeError("no_id", "event.id is missing")
    dataset = event.get("dataset")
    if type(dataset) is not str or dataset not in _DATASETS:
        raise NormalizeError(
            "dataset", f"event.dataset is {quote_value(dataset)}, which is not one of {', '.join(DATASETS)}"
        )
    if dataset == "ml.prediction":
        model = ml.get("model")
        if type(model) is not dict or not _is_name(model.get("name")) or not _is_name(model.get("version")):
            raise NormalizeError("no_model", "ml.model.name or ml.model.version is missing")
        if size > _MANY:
            _check_inputs(ml.get("input"))
    timestamp = document.get("@timestamp")
    try:
        time_text = validate_time(timestamp, arrival)
    except TooFarAheadError as time:
        raise NormalizeError("future", f"the time {time} is more than a day ahead of arrival") from None
    if time_text is None:
        raise NormalizeError(
            "timestamp",
            f"@timestamp is {quote_value(timestamp)}, which is not an ISO 8601 date with a time zone",
        )
    document["@timestamp"] = time_text
    for name in _OF_LOGSTASH:
        document.pop(name, None)
    if arrival is not None:
        event["ingested"] = arrival.text
    return document


def _is_name(value: Any) -> bool:
    return type(value) is str and is_filled(value)


def _check_inputs(inputs: Any) -> None:
    if type(inputs) is dict:
        count = sum(len(values) for values in inputs.values() if type(values) is dict)
        if count > MAX_INPUTS:
            raise NormalizeError(
                "too_many_fields", f"the event has {count} inputs; at most {MAX_INPUTS} are accepted"
            )
