"""The parts of an event (ids, times, process and labels) and its rendering."""

from __future__ import annotations

import base64
import os
import socket
import sys
import time
import traceback
from collections import OrderedDict
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from itertools import count
from typing import Any, NamedTuple

import orjson

from logging_lib.logger.jsonlines import MAX_LINE
from logging_lib.logger.output import OutputEncoder
from logging_lib.logger.values import MAX_TEXT, escape_surrogates, to_jsonable
from logging_lib.profile.classifier import measure_answer
from logging_lib.profile.coerce import format_epoch, is_number, to_epoch, to_python
from logging_lib.profile.timestamps import format_time, parse_timestamp
from logging_lib.schema import ECS_VERSION, SCHEMA_VERSION

MAX_MESSAGE = 8192
ECS = {"version": ECS_VERSION}


class _IdGenerator:
    """A generator of ids that no other process generates: random bits and a counter with a random start.

    The bits are the operating system's randomness, because services seed Python's shared generator, all workers
    with the same seed. They are renewed in a forked child.
    """

    def __init__(self) -> None:
        self.renew()
        os.register_at_fork(after_in_child=self.renew)

    def renew(self) -> None:
        bits = int.from_bytes(os.urandom(8))
        self.process = f"-7{bits >> 52:03x}-{0x8000 | bits >> 38 & 0x3FFF:04x}-"
        self.next = count(1 << 48 | bits & 0x3F_FFFF_FFFF).__next__


_ids = _IdGenerator()


_second: tuple[int, str] = (0, "")
_millisecond: tuple[int, str, str] = (-1, "", "")
# The tuple is assigned at once, so that threads see either the old one or the new one.


def _format_millisecond(milliseconds: int) -> tuple[int, str, str]:
    """Format a millisecond (since 1970) as the beginning of its times and of its ids."""
    global _second, _millisecond
    seconds, rest = divmod(milliseconds, 1000)
    cached, prefix = _second
    if cached != seconds:
        prefix = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
        _second = (seconds, prefix)
    digits = hex(milliseconds | 1 << 48)  # 0x1 and twelve digits, as the counter
    texts = (milliseconds, f"{prefix}{str(1000 + rest)[1:]}", f"{digits[3:11]}-{digits[11:]}")
    _millisecond = texts
    return texts


def new_id(now_ns: int) -> str:
    """Create a UUID of version 7 (RFC 9562): milliseconds, 26 random bits per process, a counter of 48 bits."""
    milliseconds = now_ns // 1_000_000
    texts = _millisecond
    if texts[0] != milliseconds:
        texts = _format_millisecond(milliseconds)
    return f"{texts[2]}{_ids.process}{hex(_ids.next())[3:]}"


def new_ids(now_ns: int, count: int) -> list[str]:
    """Create ``count`` ids for the same time, as ``new_id`` does."""
    prefix, next_number = f"{_format_millisecond(now_ns // 1_000_000)[2]}{_ids.process}", _ids.next
    return [prefix + hex(next_number())[3:] for _ in range(count)]


def format_timestamp(now_ns: int) -> str:
    """Format nanoseconds since 1970 as ISO 8601 in UTC with microseconds."""
    milliseconds, rest = divmod(now_ns, 1_000_000)
    texts = _millisecond
    if texts[0] != milliseconds:
        texts = _format_millisecond(milliseconds)
    return f"{texts[1]}{str(1000 + rest // 1000)[1:]}Z"


def to_timestamp(value: Any) -> str | None:
    """Convert a time, in any form that ``parse_timestamp`` reads, to the event's form; return None if it fails."""
    if isinstance(value, datetime):
        seconds = to_epoch(value)
        return format_epoch(seconds) if seconds is not None else None
    moment = parse_timestamp(to_python(value))
    return format_time(moment) if moment is not None else None


class ProcessFields:
    """The fields that all events of one process share: host and process id, renewed in a forked child."""

    host: Mapping[str, Any]
    process: Mapping[str, Any]

    def __init__(self) -> None:
        self.renew()
        os.register_at_fork(after_in_child=self.renew)

    def renew(self) -> None:
        self.host = {"name": escape_surrogates(socket.gethostname())}
        self.process = {"pid": os.getpid()}


PROCESS = ProcessFields()


def build_error(error: BaseException) -> dict[str, Any]:
    """Build ``error.*`` from an exception."""
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - the exception's ``__str__`` raises
        message = "<no text>"
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return {
        "type": type(error).__qualname__,
        "message": escape_surrogates(message[:MAX_MESSAGE]),
        "stack_trace": escape_surrogates(trace[-MAX_MESSAGE:]),
    }


MAX_DURATION = 1e9
"""The longest duration that is recorded, in seconds; a negative one is not recorded either."""


def to_nanoseconds(seconds: Any) -> int | None:
    """Convert seconds to ``event.duration``; return None if they are not a plausible duration."""
    return round(seconds * 1e9) if is_number(seconds) and 0 <= seconds < MAX_DURATION else None


def to_label_text(value: Any) -> str:
    """Convert a value to one of ``labels.*``: text unchanged, anything else as JSON."""
    if isinstance(value, str):
        return escape_surrogates(value)
    converted = to_jsonable(value)
    return converted if isinstance(converted, str) else orjson.dumps(converted).decode()


def build_dead_letter(
    *, error_type: str, message: str, original: bytes, stage: str, now_ns: int | None = None
) -> dict[str, Any]:
    """Build an event of the dead-letter stream: the reason, and the original bytes cut to 32 KiB."""
    now_ns = time.time_ns() if now_ns is None else now_ns
    beginning = original[: 4 * MAX_TEXT]
    try:
        text, encoding = beginning.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        text, encoding = base64.b64encode(beginning).decode("ascii"), "base64"
    return {
        "@timestamp": format_timestamp(now_ns),
        "message": "dead letter",
        "ecs": ECS,
        "event": {"id": new_id(now_ns), "kind": "event", "dataset": "ml.deadletter", "original": text},
        "error": {"type": error_type, "message": escape_surrogates(message[:MAX_MESSAGE])},
        "ml": {
            "schema_version": SCHEMA_VERSION,
            "deadletter": {"stage": stage, "encoding": encoding, "size": len(original)},
        },
    }


class CachedPrediction(NamedTuple):
    """The parts of an earlier prediction that its label event repeats."""

    event_id: str
    timestamp: str
    prediction: Mapping[str, Any]
    weight: float = 1.0


class LabelCache:
    """The last ``size`` predictions by request id."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._predictions: OrderedDict[str, CachedPrediction] = OrderedDict()

    def add(self, event: Mapping[str, Any]) -> None:
        """Add a prediction event that has a request id and an output."""
        ml = event["ml"]
        if "request" in ml and "prediction" in ml:
            self._predictions[ml["request"]["id"]] = CachedPrediction(
                event["event"]["id"], event["@timestamp"], ml["prediction"], ml["sample"]["weight"]
            )
            while len(self._predictions) > self._size:
                self._predictions.popitem(last=False)

    def find(self, request_id: str) -> CachedPrediction | None:
        """Find a prediction by its request id."""
        return self._predictions.get(request_id)


def build_label(
    actual: Any, cached: CachedPrediction | None, output: OutputEncoder, now: str
) -> dict[str, Any]:
    """Build ``ml.label``, ``ml.sample`` and ``ml.prediction`` of a label event.

    Args:
        actual: the true outcome: a number, a class, or several labels.
        cached: the prediction, if it is known.
        output: encodes this model's outputs, so that the class ``1`` is not taken for the number 1.
        now: when the outcome became known, ISO 8601.
    """
    outcome = output.encode_actual(actual)
    label: dict[str, Any] = {key: outcome[key] for key in ("value", "label", "labels") if key in outcome}
    if other := {key: outcome[key] for key in ("score", "scores", "other") if key in outcome}:
        label["other"] = other
    label["joined"] = cached is not None
    document: dict[str, Any] = {
        "label": label,
        "sample": {"weight": 1.0 if cached is None else cached.weight},
    }
    if cached is None:
        return document
    document["prediction"] = {**cached.prediction, "id": cached.event_id, "timestamp": cached.timestamp}
    predicted = cached.prediction.get("value")
    if "value" in label and isinstance(predicted, int | float):
        error = predicted - label["value"]
        label |= {"error": error, "absolute_error": abs(error), "squared_error": error * error}
    if "label" in label and "label" in cached.prediction:
        label["correct"] = cached.prediction["label"] == label["label"]
        label |= measure_answer(cached.prediction, label["label"])
    if "labels" in label or "labels" in cached.prediction:
        labels, predicted_labels = _list_labels(label), _list_labels(cached.prediction)
        if labels is not None and predicted_labels is not None:
            label["correct"] = labels == predicted_labels
    predicted_at, known_at = to_epoch(cached.timestamp), to_epoch(datetime.fromisoformat(now))
    if predicted_at is not None and known_at is not None and known_at >= predicted_at:
        label["delay"] = round(known_at - predicted_at)
    return document


def _list_labels(output: Mapping[str, Any]) -> set[str] | None:
    """Return the labels of an output, or its one class; None if it has neither."""
    if "labels" in output:
        return set(output["labels"])
    return {output["label"]} if "label" in output else None


class EventRenderer:
    """The last processor of a chain, which renders an event as a line of JSON in UTF-8 with its newline.

    Values that JSON cannot carry (lone surrogates, integers beyond 64 bits, unknown types) are replaced. If a line
    is too long for any reader to accept, its texts are cut, with a mark, until it fits. A line that is still too
    long, such as one of 100,000 features, is returned unchanged, and the spool writes a dead letter in its place.
    The renderer never raises.
    """

    def __call__(self, logger: Any, method_name: str, event_dict: MutableMapping[str, Any]) -> bytes:
        try:
            line = orjson.dumps(event_dict, option=_RENDER_OPTIONS)
        except (TypeError, ValueError, RecursionError):
            # All items are kept, because the parts of an event are already bounded, and a mark is not a number.
            line = orjson.dumps(to_jsonable(event_dict, max_items=sys.maxsize), option=_RENDER_OPTIONS)
        for length in _TEXT_LENGTHS:
            if len(line) <= MAX_LINE:
                break
            shortened = to_jsonable(event_dict, max_text=length, max_items=sys.maxsize)
            line = orjson.dumps(shortened, option=_RENDER_OPTIONS)
        return line


_TEXT_LENGTHS = (MAX_TEXT, 1024, 128)
_RENDER_OPTIONS = orjson.OPT_APPEND_NEWLINE
_renderer = EventRenderer()


def render_event(event: MutableMapping[str, Any]) -> bytes:
    """Render one event as ``EventRenderer`` does."""
    return _renderer(None, "", event)
