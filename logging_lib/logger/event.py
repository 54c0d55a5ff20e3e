"""Build and render the parts of an event: ids, times, process, the model's output, and labels."""

from __future__ import annotations

import base64
import math
import os
import socket
import sys
import time
import traceback
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from itertools import count
from typing import Any, NamedTuple

import orjson

from logging_lib.logger.jsonlines import MAX_LINE
from logging_lib.logger.values import MAX_TEXT, escape_surrogates, to_jsonable
from logging_lib.profile.coerce import category_text, format_epoch, is_number, to_epoch, to_python
from logging_lib.profile.model import Feature
from logging_lib.schema import ECS_VERSION, SCHEMA_VERSION, tokens

MAX_MESSAGE = 8192
ECS = {"version": ECS_VERSION}


class _IdGenerator:
    """Generate ids that no other process generates: random bits and a counter with a random start.

    The bits are the system's own randomness, because services seed Python's shared generator, each worker alike.
    They are renewed in a forked child.
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
# One assignment of a tuple: threads see either the old one or the new one.


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
    """Create ``count`` ids of one moment, as ``new_id`` does."""
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
    """Convert a time (a date, ISO text, or seconds since 1970) to the event's form; None where it is not a time."""
    if is_number(value):
        try:
            return format_timestamp(int(value * 1e9))
        except (ValueError, OverflowError, OSError):
            return None
    seconds = to_epoch(value)
    return format_epoch(seconds) if seconds is not None else None


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
    """Build ``error.*`` of an exception."""
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - an exception whose text raises
        message = "<no text>"
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return {
        "type": type(error).__qualname__,
        "message": escape_surrogates(message[:MAX_MESSAGE]),
        "stack_trace": escape_surrogates(trace[-MAX_MESSAGE:]),
    }


MAX_DURATION = 1e9
"""Seconds; a negative or longer duration is not recorded."""


def to_nanoseconds(seconds: Any) -> int | None:
    """Convert seconds to ``event.duration``; None where they are not a plausible duration."""
    return round(seconds * 1e9) if is_number(seconds) and 0 <= seconds < MAX_DURATION else None


def to_label_text(value: Any) -> str:
    """Convert a value to one of ``labels.*``: text as it is, anything else as JSON."""
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


class OutputEncoder:
    """Encode an output as ``ml.prediction``, with its bin in the profile.

    Args:
        feature: the profile's prediction; None: outputs have no bins.
    """

    def __init__(self, feature: Feature | None) -> None:
        self._feature = feature
        self.has_profile = feature is not None
        self._kind = feature.kind if feature is not None else None
        self.is_numeric = feature is not None and feature.kind == "numeric" and feature.range is not None
        if feature is not None and self.is_numeric:
            self.inner_edges, self.labels = feature.edges[1:-1], feature.bin_labels()
            self.min, self.max = feature.edges[0], feature.edges[-1]
        self._bins = (
            {} if feature is None else {v: tokens.escape(v) for v in list(feature.values)[: feature.binned]}
        )

    def __call__(self, prediction: Any, score: Any, scores: Any) -> dict[str, Any]:
        if type(prediction) is float and score is None and scores is None:  # the ordinary regression
            if self._feature is None and math.isfinite(prediction):
                return {"value": prediction}
            if self.is_numeric and self.min <= prediction <= self.max:
                return {"value": prediction, "bin": self.labels[bisect_right(self.inner_edges, prediction)]}
        prediction = to_python(prediction)
        if hasattr(prediction, "tolist"):
            prediction = prediction.tolist()
        if isinstance(prediction, list | tuple) and len(prediction) == 1:
            prediction = to_python(prediction[0])
        document = _encode_output(prediction, score, scores, self._kind)
        bin_name = self._bin(prediction)
        if bin_name is not None:
            document["bin"] = bin_name
        return document

    def _bin(self, value: Any) -> str | None:
        if value is None:
            return None if self._feature is None else tokens.MISSING
        if isinstance(value, float) and not math.isfinite(value):
            return tokens.NONFINITE
        if self._feature is None or isinstance(value, list | tuple | Mapping):
            return None
        if self.is_numeric:
            if isinstance(value, bool) or not isinstance(value, int | float):
                return tokens.TYPE
            if not self.min <= value <= self.max:
                return tokens.BELOW if value < self.min else tokens.ABOVE
            return self.labels[bisect_right(self.inner_edges, value)]
        text = category_text(value)
        if text is None:
            return tokens.TYPE
        if text in self._feature.values:
            return self._bins.get(text, tokens.OTHER)
        return tokens.UNSEEN


def _encode_output(prediction: Any, score: Any, scores: Any, kind: str | None) -> dict[str, Any]:
    """Encode a model's output as ``ml.prediction.*``.

    Args:
        prediction: a number (regression), a text, bool or class (classification), a mapping or a sequence of
            several outputs.
        score: the score or probability of that output.
        scores: scores by class.
        kind: the profile's kind of output; ``category`` makes a number a label.
    """
    document: dict[str, Any] = {}
    _place_output(to_jsonable(prediction), kind, document)
    if score is not None and is_number(number := to_jsonable(score)):
        document["score"] = number
    if scores is not None:
        _place_output(to_jsonable(scores), None, document)
    return document


def _place_output(value: Any, kind: str | None, document: dict[str, Any]) -> None:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict):
        document["scores"] = {name: number for name, number in value.items() if is_number(number)}
    elif isinstance(value, list):
        document["scores"] = {str(i): number for i, number in enumerate(value) if is_number(number)}
    elif isinstance(value, bool):
        document["label"] = "true" if value else "false"
    elif isinstance(value, int | float):
        if kind in ("category", "boolean"):
            document["label"] = str(int(value)) if value == int(value) else repr(value)
        else:
            document["value"] = value
    elif isinstance(value, str) and value not in ("Infinity", "-Infinity"):
        document["label"] = value


class CachedPrediction(NamedTuple):
    """The parts of an earlier prediction that its label event repeats."""

    event_id: str
    timestamp: str
    prediction: Mapping[str, Any]
    weight: float = 1.0


class LabelCache:
    """Keep the last ``size`` predictions by request id."""

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
        actual: the true outcome: a number, or a class.
        cached: the prediction, if it is known.
        output: encodes this model's outputs, so that the class ``1`` is not the number 1.
        now: when the outcome was known, ISO 8601.
    """
    outcome = output(actual, None, None)
    label: dict[str, Any] = {key: outcome[key] for key in ("value", "label") if outcome.get(key) is not None}
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
    predicted_at, known_at = to_epoch(cached.timestamp), to_epoch(datetime.fromisoformat(now))
    if predicted_at is not None and known_at is not None and known_at >= predicted_at:
        label["delay"] = round(known_at - predicted_at)
    return document


class EventRenderer:
    """Render an event as a line of JSON in UTF-8 with its newline; the last processor of a chain.

    Values that JSON cannot carry (lone surrogates, integers beyond 64 bits, unknown types) are replaced. In a line
    that no reader would accept, since it is too long, texts are cut until it fits, with a mark. One that is too
    long even so, such as 100,000 features, is returned as it is: the spool makes a dead letter of it. It never
    raises.
    """

    def __call__(self, logger: Any, method_name: str, event_dict: MutableMapping[str, Any]) -> bytes:
        try:
            line = orjson.dumps(event_dict, option=_RENDER_OPTIONS)
        except (TypeError, ValueError, RecursionError):
            # All items are kept: the parts of an event are bounded already, and a mark among numbers is no number.
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
