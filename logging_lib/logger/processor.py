"""Provide the structlog processors: context, the canonical event of a prediction, and its JSON."""

from __future__ import annotations

import contextvars
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from datetime import timedelta
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import orjson
import structlog
from structlog import DropEvent

from logging_lib.logger import batch
from logging_lib.logger.checks import Checker, CheckResult, type_all
from logging_lib.logger.event import (
    ECS,
    PROCESS,
    CachedPrediction,
    LabelCache,
    OutputEncoder,
    build_dead_letter,
    build_error,
    build_label,
    format_timestamp,
    new_id,
    new_ids,
    to_label_text,
    to_nanoseconds,
    to_timestamp,
)
from logging_lib.logger.health import EventCounts
from logging_lib.logger.jsonlines import MAX_LINE
from logging_lib.logger.metrics import PredictionMetrics
from logging_lib.logger.privacy import HIDE_NOTHING, PrivacyFilter, Sampler, Treatment
from logging_lib.logger.reporter import ReportedModel
from logging_lib.logger.values import MAX_TEXT, escape_surrogates, to_jsonable
from logging_lib.profile.coerce import to_python
from logging_lib.profile.environment import DEFAULT_LIBRARIES, installed_versions
from logging_lib.profile.io import load
from logging_lib.profile.model import Profile
from logging_lib.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    import pandas as pd


def add_context(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """``merge_contextvars`` and ``add_trace_ids`` in one, where there is any context at all."""
    if not len(contextvars.copy_context()):
        return event
    return add_trace_ids(logger, method, structlog.contextvars.merge_contextvars(logger, method, event))


def add_trace_ids(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: ``trace_id`` and ``span_id`` of OpenTelemetry's current span.

    Where the service does not use OpenTelemetry (it is not imported here), where there is no span, or where the
    event has a ``trace_id``, the event stays as it is. The ids are W3C Trace Context's lower-case hexadecimal.
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None or "trace_id" in event:
        return event
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        event["trace_id"], event["span_id"] = f"{span.trace_id:032x}", f"{span.span_id:016x}"
    return event


Role = Literal["live", "shadow"]
CHUNK, SLICE = 1 << 16, 1 << 10
"""Rows of a batch that are looked at, and that are in memory as text, at one time."""
_OUTPUTS = ("score", "scores")
_EVENT_KEYS = frozenset(
    ("event", "inputs", "prediction", "score", "scores", "request_id", "event_id", "timestamp")
)
_CONTEXT_KEYS = frozenset(("duration", "error", "keep", "level", "logger", "span_id", "subject", "trace_id"))


class PredictionProcessor:
    """Place it behind the processors that add context and before the renderer.

    It transforms only events that carry ``inputs``; all others pass untouched. Of those it takes ``prediction``,
    ``score``, ``scores``, ``request_id``, ``event_id``, ``timestamp``, ``duration`` (seconds), ``error`` (an
    exception), ``level``, ``logger``, ``trace_id`` and ``span_id``; structlog's ``event`` becomes ``message``;
    every other key is kept as one of ``labels.*``. It never raises, but for structlog's own ``DropEvent`` where an
    event is sampled out: an event that cannot be built becomes a dead letter.

    Args:
        model: the model's name.
        version: the model's version.
        profile: the training profile or its file; without one, nothing is checked.
        role: ``live``, or ``shadow`` where the answer is not used.
        service: the service's name, or a mapping with ``name``, ``version``, ``environment``.
        private: feature → ``drop``, ``redact`` or ``hmac``; see ``capture.privacy``.
        sample: the share of ordinary events to keep. Events with a failed check, failures and those that are
            logged with ``keep=True`` are always kept.
        label_cache_size: how many recent predictions to keep in memory by request id, for labels that arrive soon.
        metrics: count for Prometheus, too; see ``capture.metrics``.
        clock: nanoseconds since 1970.

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
        for argument, given in (("model", model), ("version", version)):
            if not isinstance(given, str) or not given:
                raise ValueError(f"{argument}: expected a text that is not empty, found {given!r}")
        if isinstance(profile, str | Path):
            profile = load(profile)
        self._clock = clock
        self._privacy_filter = PrivacyFilter(private) if private else HIDE_NOTHING
        self._hides_values = bool(private)
        self._sampler = Sampler(sample)
        self.counts = EventCounts()
        self._label_cache = LabelCache(label_cache_size) if label_cache_size else None
        self._has_extras = bool(private or label_cache_size or not self._sampler.includes_all)
        status: dict[str, str] = {"status": "none"}
        self._checker: Checker | None = None
        self._check_inputs: Callable[[Mapping[Any, Any]], CheckResult] = type_all
        self._encode_output = OutputEncoder(None)
        self._columns: batch.FrameRenderer | None = None
        if profile is not None:
            same = (profile.model, profile.version) == (model, version)
            self._hides_values |= any(feature.hidden for feature in profile.features.values())
            status = {"id": profile.id, "status": "matched" if same else "mismatch"}
            self._checker = checker = Checker(profile)
            self._check_inputs = checker.__call__  # a bound method costs less than an instance
            self._encode_output = checker.output
            if not (private or label_cache_size or metrics):
                self._columns = batch.FrameRenderer(checker)
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

    def source(self) -> ReportedModel:
        """What reports on this processor need: its model, its counts, and the versions it runs with."""
        now = installed_versions(self._training_libraries or DEFAULT_LIBRARIES)
        start: dict[str, Any] = {
            "libraries": [f"{name}={version}" for name, version in now.items() if name != "python"],
            "python": now["python"],
        }
        if differ := [f"{name}={then}" for name, then in self._training_libraries.items() if now.get(name) != then]:
            start["training_libraries_differ"] = differ
        return ReportedModel(self._ml["model"], self._ml["profile"], self._service, start, self.counts)

    def __call__(
        self, logger: Any, method_name: str, event_dict: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """structlog's protocol; the dict that is given is not altered."""
        if "inputs" not in event_dict:
            return self.label(event_dict) if "actual" in event_dict else event_dict
        self.counts.built += 1
        try:
            return self._build_event(event_dict)
        except DropEvent:
            raise
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the service must not feel it
            return self._build_dead_letter(dict(event_dict), error)

    def label(self, given: MutableMapping[str, Any]) -> dict[str, Any]:
        """The label event of ``actual`` and ``request_id``."""
        self.counts.built += 1
        now_ns = self._clock()
        request = to_label_text(given.get("request_id"))
        when = given.get("timestamp")
        at = (when is not None and to_timestamp(when)) or format_timestamp(now_ns)
        known = self._label_cache.find(request) if self._label_cache is not None else None
        if "prediction" in given:
            output = self._encode_output(given["prediction"], None, None)
            known = known._replace(prediction=output) if known else CachedPrediction("", at, output)
        event_id = given.get("event_id")
        ml = {key: self._ml[key] for key in ("schema_version", "model", "profile")}
        ml["profile"] = {key: value for key, value in ml["profile"].items() if key == "id"}
        ml |= {"request": {"id": request}, **build_label(given["actual"], known, self._encode_output, at)}
        if known is not None and not known.event_id:  # told by the caller: which event it was is not known
            ml["prediction"] = {k: v for k, v in ml["prediction"].items() if k not in ("id", "timestamp")}
            ml["label"].pop("delay", None)
        event: dict[str, Any] = {
            "@timestamp": at,
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
        self._add_context({key: value for key, value in given.items() if key != "actual"}, event)
        return event

    def lines(
        self, frame: pd.DataFrame, shared: Mapping[str, Any], **columns: Iterable[Any]
    ) -> Iterator[list[bytes]]:
        """The events of a DataFrame of inputs, one a row and rendered, in lists of up to ``SLICE`` rows.

        Args:
            frame: one row a prediction, one column a feature; shape (rows, columns).
            shared: what all rows have: labels, a timestamp.
            columns: what each row has, by key: ``prediction``, ``request_id``, ...; each of length (rows,).

        Raises:
            ValueError: a column is shorter or longer than the frame.
        """
        each = {name: list(values) for name, values in columns.items()}
        for name, values in each.items():
            if len(values) != len(frame):
                raise ValueError(f"{name}: expected {len(frame)} values, one a row, found {len(values)}")
        quick = self._columns is not None and shared.keys().isdisjoint(_OUTPUTS)
        for begin in range(0, len(frame), CHUNK):
            chunk = frame.iloc[begin : begin + CHUNK]
            prepared = self._columns.prepare(chunk) if quick and self._columns is not None else None
            for start in range(0, len(chunk), SLICE):
                stop = min(start + SLICE, len(chunk))
                rows = {name: values[begin + start : begin + stop] for name, values in each.items()}
                self.counts.built += stop - start
                lines: list[bytes | None] = [None] * (stop - start)
                if prepared is not None and None not in rows.get("request_id", ()):
                    lines = self._quickly(prepared.write(start, stop), rows, shared)
                yield self._filled(lines, chunk.iloc[start:stop], rows, shared)

    def _filled(
        self,
        lines: list[bytes | None],
        frame: pd.DataFrame,
        each: dict[str, list[Any]],
        shared: Mapping[str, Any],
    ) -> list[bytes]:
        """The lines, with those that are still missing made as a single call makes them."""
        left = [i for i, line in enumerate(lines) if line is None]
        if left:
            part = frame.iloc[left]
            columns = {str(name): part.iloc[:, i].tolist() for i, name in enumerate(part.columns)}
            for at, i in enumerate(left):
                inputs = {name: values[at] for name, values in columns.items()}
                own = {name: values[i] for name, values in each.items()}
                lines[i] = self._line({"inputs": inputs, **shared, **own})
        return [line for line in lines if line]

    def _line(self, given: dict[str, Any]) -> bytes:
        """One event rendered; empty where it is sampled out."""
        try:
            event = self._build_event(given)
        except DropEvent:
            return b""
        except Exception as error:  # noqa: BLE001 - one row must not cost the others
            event = self._build_dead_letter(given, error)
        return render_event(event)

    def _quickly(
        self, made: batch.RowFragments, each: dict[str, list[Any]], shared: Mapping[str, Any]
    ) -> list[bytes | None]:
        """The lines of all rows but those that ``Prepared`` leaves, which are None; empty where sampled out."""
        ids = new_ids(self._clock(), made.rows)
        requests = [to_label_text(value) for value in each["request_id"]] if "request_id" in each else ids
        first, *between, last = self._template(shared, each)
        steps = iter(between)
        parts: list[Iterable[bytes]] = [batch.render_texts(first, ids), repeat(next(steps)), *made.pieces]
        if "prediction" in each:
            parts.append(batch.render_outputs(self._encode_output, each["prediction"], next(steps)))
        if "request_id" in each:
            parts.append(batch.render_texts(next(steps), requests))
        parts.append(repeat(last))
        lines: list[bytes | None] = list(map(b"".join, zip(*parts, strict=False)))
        if max(map(len, filter(None, lines))) > MAX_LINE:
            made.left.update(i for i, line in enumerate(lines) if line and len(line) > MAX_LINE)
        if self._may_sample_out(shared):  # what failed a check is kept, and weighs otherwise
            made.left.update(i for i, out in made.exceptions.items() if out.failed)
            for i, request in enumerate(requests):
                if i not in made.left and not self._sampler.includes(request):
                    self.counts.sampled_out += 1
                    lines[i] = b""
        for i in made.left:
            lines[i] = None
        return lines

    def _may_sample_out(self, given: Mapping[str, Any]) -> bool:
        return not (self._sampler.includes_all or given.get("keep") or given.get("error") is not None)

    def _template(self, shared: Mapping[str, Any], each: Mapping[str, Any]) -> list[bytes]:
        """What stands before, between and after the parts of a line that differ from row to row."""
        mark = os.urandom(16).hex()
        given = {**shared, "inputs": {}, "event_id": mark, "keep": True, **dict.fromkeys(each, mark)}
        event = self._build_event(given, CheckResult())
        ml = event["ml"]
        ml["input"] = mark
        if self._may_sample_out(shared):
            ml["sample"] = self._sampler.weight
        for name in ("prediction", "request"):
            ml.pop(name, None)
        if "prediction" in each:
            ml["prediction"] = mark
        if "request_id" in each:
            ml["request"] = {"id": mark}
        return render_event(event).split(b'"%b"' % mark.encode())

    def _build_event(self, given: MutableMapping[str, Any], checked: CheckResult | None = None) -> dict[str, Any]:
        get = given.get
        now_ns = self._clock()
        inputs = given["inputs"]
        if checked is None:
            checked = self._check_inputs(inputs)
        if self._has_extras:
            self._privacy_filter.hide_inputs(checked, inputs)
        when, event_id, message = get("timestamp"), get("event_id"), get("event")
        about = {
            "id": new_id(now_ns) if event_id is None else _to_event_id(event_id, now_ns),
            "kind": "event",
            "dataset": "ml.prediction",
            "outcome": "success",
        }
        ml = self._ml.copy()
        ml["input"] = checked.input_document()
        event: dict[str, Any] = {
            "@timestamp": (when is not None and to_timestamp(when)) or format_timestamp(now_ns),
            "message": "prediction" if message is None else _to_message(message),
            "ecs": ECS,
            "event": about,
            "host": PROCESS.host,
            "process": PROCESS.process,
            "ml": ml,
        }
        if self._service:
            event["service"] = self._service
        if checked.failed:
            ml["check"] = checked.check_document()
        if checked.tokens:
            ml["text"] = checked.text_document()
        if "prediction" in given or "scores" in given:
            ml["prediction"] = self._encode_output(get("prediction"), get("score"), get("scores"))
        request = get("request_id")
        if request is not None:
            ml["request"] = {"id": request if type(request) is str else to_label_text(request)}
        for key in given:
            if key not in _EVENT_KEYS:
                self._add_rare_fields(given, event, about)
                break
        if self.metrics is not None:
            self.metrics.observe(event)
        if self._has_extras:
            if not checked.failed and self._may_sample_out(given):
                self._apply_sampling(event, ml)
            if self._label_cache is not None:
                self._label_cache.add(event)
        return event

    def _apply_sampling(self, event: dict[str, Any], ml: dict[str, Any]) -> None:
        request = ml["request"]["id"] if "request" in ml else event["event"]["id"]
        if not self._sampler.includes(request):
            self.counts.sampled_out += 1
            raise DropEvent
        ml["sample"] = self._sampler.weight

    def _add_rare_fields(self, given: MutableMapping[str, Any], event: dict[str, Any], about: dict[str, Any]) -> None:
        """What few events have: duration, error, and the context."""
        get = given.get
        duration = get("duration")
        if duration is not None:
            seconds = duration.total_seconds() if isinstance(duration, timedelta) else to_python(duration)
            nanoseconds = to_nanoseconds(seconds)
            if nanoseconds is not None:
                about["duration"] = nanoseconds
        error = get("error")
        if error is not None:
            about["outcome"] = "failure"
            known = isinstance(error, BaseException)
            document = build_error(error) if known else {"type": "error", "message": to_label_text(error)}
            event["error"] = self._privacy_filter.hide_error(document)
        self._add_context(given, event)

    def _add_context(self, given: MutableMapping[str, Any], event: dict[str, Any]) -> None:
        """Whom it is about, the service's log, the trace, and the labels."""
        get = given.get
        subject = get("subject")
        if subject is not None:
            event["ml"]["subject"] = {"hash": self._privacy_filter.hash_subject(subject)}
        log = {key: to_label_text(given[key]) for key in ("level", "logger") if get(key) is not None}
        if log:
            event["log"] = log
        for key in ("trace", "span"):
            found = get(f"{key}_id")
            if found is not None:
                event[key] = {"id": to_label_text(found)}
        labels = {
            escape_surrogates(str(key)): to_label_text(value)
            for key, value in given.items()
            if key not in _EVENT_KEYS and key not in _CONTEXT_KEYS
        }
        if labels:
            event["labels"] = labels

    def _build_dead_letter(self, given: dict[str, Any], error: Exception) -> dict[str, Any]:
        reason = to_jsonable(error)
        if self._hides_values:  # an error's text, a label or a traceback may quote a private value
            reason, given = type(error).__name__, {"inputs": f"<hidden: {type(given['inputs']).__name__}>"}
        original = orjson.dumps(to_jsonable(given))
        event = build_dead_letter(
            error_type=type(error).__name__,
            message=f"the event could not be built: {reason}",
            original=original,
            stage="spool",
            now_ns=self._clock(),
        )
        event["ml"]["model"] = {key: self._ml["model"][key] for key in ("name", "version")}
        return event


def _to_event_id(given: Any, now_ns: int) -> str:
    return new_id(now_ns) if isinstance(given, str) and not given else to_label_text(given)


def _to_message(given: Any) -> str:
    return to_label_text(given) or "prediction"


class EventRenderer:
    """The last processor: one event as a line of JSON, UTF-8, with its newline.

    What JSON cannot carry (lone surrogates, integers beyond 64 bits, a type nobody foresaw) is replaced as
    ``capture.values.jsonable`` says, and in a line that no reader would take (``MAX_LINE``) each text is cut to
    ``MAX_TEXT`` characters, with a mark; it never raises.
    """

    def __call__(self, logger: Any, method_name: str, event_dict: MutableMapping[str, Any]) -> bytes:
        try:
            line = orjson.dumps(event_dict, option=_RENDER_OPTIONS)
        except (TypeError, ValueError, RecursionError):
            line = orjson.dumps(to_jsonable(event_dict), option=_RENDER_OPTIONS)
        if len(line) > MAX_LINE:
            line = orjson.dumps(to_jsonable(event_dict, max_text=MAX_TEXT), option=_RENDER_OPTIONS)
        return line


_RENDER_OPTIONS = orjson.OPT_APPEND_NEWLINE
_renderer = EventRenderer()


def render_event(event: MutableMapping[str, Any]) -> bytes:
    """One event as a line, as ``EventRenderer`` makes it."""
    return _renderer(None, "", event)
