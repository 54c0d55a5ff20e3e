"""The structlog processors that add context and build the canonical event of a prediction."""

from __future__ import annotations

import contextvars
import logging
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import orjson
import structlog
from structlog import DropEvent

from logging_lib.logger.batch import BatchRenderer
from logging_lib.logger.batch_columns import FrameRenderer
from logging_lib.logger.checks import Checker, CheckResult, type_all
from logging_lib.logger.event import (
    ECS,
    PROCESS,
    CachedPrediction,
    LabelCache,
    build_dead_letter,
    build_error,
    build_label,
    format_timestamp,
    new_id,
    to_label_text,
    to_nanoseconds,
    to_timestamp,
)
from logging_lib.logger.health import EventCounts
from logging_lib.logger.metrics import PredictionMetrics
from logging_lib.logger.output import OutputEncoder
from logging_lib.logger.privacy import HIDE_NOTHING, PrivacyFilter, Sampler, Treatment, hide_error
from logging_lib.logger.reporter import HealthReporter, ReportedModel
from logging_lib.logger.rows import InputsError, read_row
from logging_lib.logger.values import escape_surrogates, to_jsonable
from logging_lib.profile.coerce import to_python
from logging_lib.profile.environment import DEFAULT_LIBRARIES, installed_versions
from logging_lib.profile.io import load
from logging_lib.profile.model import Profile
from logging_lib.schema import SCHEMA_VERSION

_log = logging.getLogger("logging_lib")


def add_context(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add structlog's context variables and OpenTelemetry's ids in one processor; it is cheap if there are none."""
    if not len(contextvars.copy_context()):
        return event
    return add_trace_ids(logger, method, structlog.contextvars.merge_contextvars(logger, method, event))


def add_trace_ids(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add ``trace_id`` and ``span_id`` of OpenTelemetry's current span, as a structlog processor.

    The event is not changed if the service does not use OpenTelemetry (it is not imported here), if there is no
    span, or if the event already has a ``trace_id``. The ids are lower-case hexadecimal, as in W3C Trace
    Context.

    Args:
        logger: not used.
        method: not used.
        event: the event; it is changed in place.

    Returns:
        The event.
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None or "trace_id" in event:
        return event
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        event["trace_id"], event["span_id"] = f"{span.trace_id:032x}", f"{span.span_id:016x}"
    return event


Role = Literal["live", "shadow"]
_EVENT_KEYS = frozenset(
    ("event", "inputs", "prediction", "score", "scores", "request_id", "event_id", "timestamp")
)
_CONTEXT_KEYS = frozenset(("duration", "error", "keep", "level", "logger", "span_id", "subject", "trace_id"))


class PredictionProcessor:
    """A processor that turns ``log.info("…", inputs=…, prediction=…)`` into a canonical event.

    Place it after the processors that add context and before the renderer. It transforms only events that carry
    ``inputs`` (or ``actual``, for a label); all others pass unchanged. It reads the keys ``prediction``, ``score``,
    ``scores``, ``request_id``, ``event_id``, ``timestamp``, ``duration`` (seconds), ``error`` (an exception),
    ``level``, ``logger``, ``trace_id`` and ``span_id``; structlog's ``event`` becomes ``message``; every other key
    becomes one of ``labels.*``. An event that cannot be built becomes a dead letter. The only exception that it
    raises is structlog's own ``DropEvent``, for an event that is sampled out.

    Args:
        model: the model's name.
        version: the model's version.
        profile: the training profile or its file; without a profile nothing is checked.
        role: ``live``, or ``shadow`` if the predictions are not used.
        service: the service's name, or a mapping with ``name``, ``version``, ``environment``.
        private: feature → ``drop``, ``redact`` or ``hmac``: how to hide it, after it has been checked.
        sample: the share of ordinary events to keep. Failures, events with a failed check that is not usual (see
            ``Sampler``), and events that are logged with ``keep=True`` are always kept.
        label_cache_size: how many recent predictions to keep in memory by request id, for labels that arrive soon.
        metrics: also count for Prometheus; see ``metrics_registry``.
        clock: returns nanoseconds since 1970.

    Raises:
        ProfileError: the profile's file is damaged (here, at start; never later).
        ValueError: another argument is wrong.
    """

    def __init__(
        self,
        *,
        model: str,
        version: str,
        profile: Profile | str | Path | None = None,
        role: Role = "live",
        service: str | Mapping[str, str] | None = None,
        private: Mapping[str, Treatment] | None = None,
        sample: float = 1.0,
        label_cache_size: int = 0,
        metrics: bool = False,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        if role not in ("live", "shadow"):
            raise ValueError(f"role: expected 'live' or 'shadow', found {role!r}")
        for argument, value in (("model", model), ("version", version)):
            if not isinstance(value, str) or not value:
                raise ValueError(f"{argument}: expected a text that is not empty, found {value!r}")
        if isinstance(profile, str | Path):
            profile = load(profile)
        self.clock = clock
        self.hides_values = bool(private)
        """Whether some values must not appear anywhere; if so, the text of an exception must not be shown."""
        self.sampler = Sampler(sample, profile)
        self._privacy_filter = HIDE_NOTHING
        if private:
            # A feature that is computed from a private vector would disclose something about it.
            derived = (
                [feature for feature in profile.features.values() if feature.derived_from] if profile else []
            )
            dropped: dict[str, Treatment] = {
                feature.name: "drop" for feature in derived if feature.derived_from in private
            }
            self._privacy_filter = PrivacyFilter({**private, **dropped})
        self.counts = EventCounts()
        self._label_cache = LabelCache(label_cache_size) if label_cache_size else None
        self._has_extras = bool(private or label_cache_size or not self.sampler.includes_all)
        status: dict[str, str] = {"status": "none"}
        self._check_inputs: Callable[[Mapping[Any, Any]], CheckResult] = type_all
        self.encode_output = OutputEncoder(None)
        batch_columns: FrameRenderer | None = None
        if profile is not None:
            is_same_model = (profile.model, profile.version) == (model, version)
            self.hides_values |= any(feature.hidden for feature in profile.features.values())
            status = {"id": profile.id, "status": "matched" if is_same_model else "mismatch"}
            checker = Checker(profile)
            self._check_inputs = checker.__call__  # a bound method costs less than an instance
            self.encode_output = checker.output
            # The numbers of a vector do not fit into a column of texts, so each row is built by itself.
            if not (private or label_cache_size or metrics or checker.has_vectors):
                batch_columns = FrameRenderer(checker)
        self._ml: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "model": {"name": model, "version": version, "role": role},
            "profile": status,
            "sample": {"weight": 1.0},
        }
        self._service = {"name": service} if isinstance(service, str) else dict(service or {})
        self.metrics = (
            PredictionMetrics(model=model, version=version, role=role, profile=profile) if metrics else None
        )
        self._training_libraries = dict(profile.libraries) if profile is not None else {}
        self.batch = BatchRenderer(self, batch_columns)
        """Renders the events of a DataFrame as this processor would build them one by one."""

    def report_to(self, reporter: HealthReporter) -> None:
        """Have a reporter report on this model; a model that is configured again continues its counts."""
        self.counts = reporter.add(self.reported_model(), self)

    def reported_model(self) -> ReportedModel:
        """Describe the model for the health reports: names, counts, and the versions of the installed libraries."""
        installed = installed_versions(self._training_libraries or DEFAULT_LIBRARIES)
        start: dict[str, Any] = {
            "libraries": [f"{name}={version}" for name, version in installed.items() if name != "python"],
            "python": installed["python"],
        }
        different = [
            f"{name}={version}"
            for name, version in self._training_libraries.items()
            if installed.get(name) != version
        ]
        if different:
            start["training_libraries_differ"] = different
        return ReportedModel(self._ml["model"], self._ml["profile"], self._service, start, self.counts)

    def __call__(
        self, logger: Any, method_name: str, event_dict: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Build the event of one call, by structlog's protocol; ``event_dict`` itself is not changed."""
        if "inputs" not in event_dict:
            return self.build_label_event(event_dict) if "actual" in event_dict else event_dict
        self.counts.built += 1
        try:
            return self.build_event(event_dict)
        except DropEvent:
            raise
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the event, the service must go on
            return self.build_dead_letter(dict(event_dict), error)

    def build_label_event(self, fields: MutableMapping[str, Any]) -> dict[str, Any]:
        """Build the event of a label, joined with its prediction if that is known."""
        self.counts.built += 1
        now_ns = self.clock()
        request_id = to_label_text(fields.get("request_id"))
        timestamp = fields.get("timestamp")
        event_time = to_timestamp(timestamp) if timestamp is not None else None
        time_text = format_timestamp(now_ns) if event_time is None else event_time
        cached = self._label_cache.find(request_id) if self._label_cache is not None else None
        if "prediction" in fields:
            output = self.encode_output(fields["prediction"], None, None)
            cached = cached._replace(prediction=output) if cached else CachedPrediction("", time_text, output)
        event_id = fields.get("event_id")
        ml = {key: self._ml[key] for key in ("schema_version", "model", "profile")}
        ml["profile"] = {key: value for key, value in ml["profile"].items() if key == "id"}
        ml |= {"request": {"id": request_id}}
        ml |= build_label(fields["actual"], cached, self.encode_output, time_text)
        if (
            cached is not None and not cached.event_id
        ):  # the caller passed the output, so its event is not known
            ml["prediction"] = {k: v for k, v in ml["prediction"].items() if k not in ("id", "timestamp")}
            ml["label"].pop("delay", None)
        event: dict[str, Any] = {
            "@timestamp": time_text,
            "message": "label",
            "ecs": ECS,
            "event": {
                "id": new_id(now_ns) if event_id is None else _to_event_id(event_id, now_ns),
                "kind": "event",
                "dataset": "ml.label",
            },
            "host": PROCESS.host,
            "process": PROCESS.process,
            "ml": {key: value for key, value in ml.items() if value != {}},
        }
        if self._service:
            event["service"] = self._service
        self._add_context({key: value for key, value in fields.items() if key != "actual"}, event)
        if timestamp is not None and event_time is None:
            self._keep_unreadable_time(timestamp, event)
        return event

    def build_event(
        self, fields: MutableMapping[str, Any], result: CheckResult | None = None
    ) -> dict[str, Any]:
        """Build the event of one prediction.

        Args:
            fields: ``inputs`` and the other keys of one call.
            result: the checked inputs, if they were checked before.

        Raises:
            DropEvent: the event is sampled out.
            InputsError: the inputs are not one row with the names of its features.
        """
        get = fields.get
        now_ns = self.clock()
        inputs = fields["inputs"]
        if result is None:
            if type(inputs) is not dict:
                inputs = read_row(inputs)
            result = self._check_inputs(inputs)
            if result.row is not None:
                inputs = result.row
        if self._has_extras:
            self._privacy_filter.hide_inputs(result, inputs)
        timestamp, event_id, message = get("timestamp"), get("event_id"), get("event")
        event_time = None if timestamp is None else to_timestamp(timestamp)
        event_fields = {
            "id": new_id(now_ns) if event_id is None else _to_event_id(event_id, now_ns),
            "kind": "event",
            "dataset": "ml.prediction",
            "outcome": "success",
        }
        ml = self._ml.copy()
        ml["input"] = result.input_document()
        event: dict[str, Any] = {
            "@timestamp": format_timestamp(now_ns) if event_time is None else event_time,
            "message": "prediction" if message is None else to_label_text(message) or "prediction",
            "ecs": ECS,
            "event": event_fields,
            "host": PROCESS.host,
            "process": PROCESS.process,
            "ml": ml,
        }
        if self._service:
            event["service"] = self._service
        if result.failed:
            ml["check"] = result.check_document()
        if result.tokens:
            ml["text"] = result.text_document()
        if "prediction" in fields or "scores" in fields:
            ml["prediction"] = self.encode_output(get("prediction"), get("score"), get("scores"))
        request_id = get("request_id")
        if request_id is not None:
            ml["request"] = {"id": request_id if type(request_id) is str else to_label_text(request_id)}
        for key in fields:
            if key not in _EVENT_KEYS:
                self._add_rare_fields(fields, event, event_fields)
                break
        if timestamp is not None and event_time is None:
            self._keep_unreadable_time(timestamp, event)
        if self.metrics is not None:
            self.metrics.observe(event)
        if self._has_extras:
            if self.may_sample_out(fields) and self.sampler.is_ordinary(result.failed):
                self._apply_sampling(event, ml)
            if self._label_cache is not None:
                self._label_cache.add(event)
        return event

    def build_dead_letter(self, fields: dict[str, Any], error: Exception) -> dict[str, Any]:
        """Build the dead letter of a call whose event could not be built."""
        reason = str(error) if isinstance(error, InputsError) else to_jsonable(error)
        if self.hides_values:  # the text of an error, a label or a traceback may quote a private value
            reason = reason if isinstance(error, InputsError) else type(error).__name__
            fields = {"inputs": f"<hidden: {type(fields['inputs']).__name__}>"}
        original = orjson.dumps(to_jsonable(fields))
        event = build_dead_letter(
            error_type=type(error).__name__,
            message=f"the event could not be built: {reason}",
            original=original,
            stage="spool",
            now_ns=self.clock(),
        )
        event["ml"]["model"] = {key: self._ml["model"][key] for key in ("name", "version")}
        return event

    def may_sample_out(self, fields: Mapping[str, Any]) -> bool:
        """Return whether the failed checks of an event allow sampling to omit it."""
        if self.sampler.includes_all or fields.get("error") is not None:
            return False
        try:
            return not fields.get("keep")
        except Exception:  # noqa: BLE001 - such as pandas' NA or an array: if in doubt, keep the event
            return False

    def _apply_sampling(self, event: dict[str, Any], ml: dict[str, Any]) -> None:
        request_id = ml["request"]["id"] if "request" in ml else event["event"]["id"]
        if not self.sampler.includes(request_id):
            self.counts.sampled_out += 1
            raise DropEvent
        ml["sample"] = self.sampler.weight

    def _keep_unreadable_time(self, timestamp: Any, event: dict[str, Any]) -> None:
        """Keep a timestamp that is not a time as a label of the event, whose time is now, and count it."""
        event.setdefault("labels", {})["timestamp"] = text = to_label_text(timestamp)
        self.counts.unreadable_times += 1
        if self.counts.unreadable_times == 1:
            _log.warning(
                "timestamp: %.200s is not a time, so the event has the time of the call and the given text as "
                "labels.timestamp; give a datetime, ISO 8601 or a number since 1970",
                text,
            )

    def _add_rare_fields(
        self, fields: MutableMapping[str, Any], event: dict[str, Any], event_fields: dict[str, Any]
    ) -> None:
        """Add the fields that few events have: a duration, an error, and the context."""
        get = fields.get
        duration = get("duration")
        if duration is not None:
            seconds = duration.total_seconds() if isinstance(duration, timedelta) else to_python(duration)
            nanoseconds = to_nanoseconds(seconds)
            if nanoseconds is not None:
                event_fields["duration"] = nanoseconds
        error = get("error")
        if error is not None:
            event_fields["outcome"] = "failure"
            is_exception = isinstance(error, BaseException)
            document = (
                build_error(error) if is_exception else {"type": "error", "message": to_label_text(error)}
            )
            event["error"] = hide_error(document) if self.hides_values else document
        self._add_context(fields, event)

    def _add_context(self, fields: MutableMapping[str, Any], event: dict[str, Any]) -> None:
        """Add the subject, the level and logger of the service, the trace ids, and the labels."""
        get = fields.get
        subject = get("subject")
        if subject is not None:
            event["ml"]["subject"] = {"hash": self._privacy_filter.hash_subject(subject)}
        log = {key: to_label_text(fields[key]) for key in ("level", "logger") if get(key) is not None}
        if log:
            event["log"] = log
        for key in ("trace", "span"):
            trace_id = get(f"{key}_id")
            if trace_id is not None:
                event[key] = {"id": to_label_text(trace_id)}
        labels = {
            escape_surrogates(str(key)): to_label_text(value)
            for key, value in fields.items()
            if key not in _EVENT_KEYS and key not in _CONTEXT_KEYS
        }
        if labels:
            event["labels"] = labels


def _to_event_id(event_id: Any, now_ns: int) -> str:
    return new_id(now_ns) if isinstance(event_id, str) and not event_id else to_label_text(event_id)
