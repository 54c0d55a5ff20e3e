"""The structlog processor that turns ``log.info("…", inputs=…, prediction=…)`` into a canonical event."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from datetime import timedelta
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import orjson
from structlog import DropEvent

from logging_lib.capture import batch
from logging_lib.capture.checks import Checked, Checker, type_all
from logging_lib.capture.event import (
    ECS,
    PROCESS,
    dead_letter,
    duration_ns,
    error_document,
    label_text,
    moment,
    new_id,
    new_ids,
    timestamp,
)
from logging_lib.capture.health import Counts
from logging_lib.capture.labels import Memory, Remembered, label_document
from logging_lib.capture.metrics import Metrics
from logging_lib.capture.output import Output
from logging_lib.capture.privacy import NOTHING, Privacy, Treatment
from logging_lib.capture.reading import MAX_LINE
from logging_lib.capture.report import Source
from logging_lib.capture.sampling import Sampling
from logging_lib.capture.values import MAX_TEXT, jsonable, valid_text
from logging_lib.profile.io import load
from logging_lib.profile.libraries import USUAL, installed
from logging_lib.profile.model import Profile
from logging_lib.profile.values import plain
from logging_lib.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    import pandas as pd

Role = Literal["live", "shadow"]
CHUNK, SLICE = 1 << 16, 1 << 10
"""Rows of a batch that are looked at, and that are in memory as text, at one time."""
_OUTPUTS = ("score", "scores")
_PLACED = frozenset(
    ("event", "inputs", "prediction", "score", "scores", "request_id", "event_id", "timestamp")
)
_PLACED_RARELY = frozenset(("duration", "error", "keep", "level", "logger", "span_id", "subject", "trace_id"))


class PredictionProcessor:
    """Build a canonical event from a structlog event that carries ``inputs``; pass all others untouched.

    Place it behind the processors that add context and before the renderer. It reads ``prediction``, ``score``,
    ``scores``, ``request_id``, ``event_id``, ``timestamp``, ``duration`` (seconds), ``error`` (an exception),
    ``level``, ``logger``, ``trace_id`` and ``span_id``; structlog's ``event`` becomes ``message``; every other
    key is kept as one of ``labels.*``. It never raises, except structlog's own ``DropEvent`` for an event that is
    sampled out: an event that cannot be built becomes a dead letter.

    Args:
        model: the model's name.
        version: the model's version.
        profile: the training profile or its file; without one, nothing is checked.
        role: ``live``, or ``shadow`` if the answer is not used.
        service: the service's name, or a mapping with ``name``, ``version``, ``environment``.
        private: feature → ``drop``, ``redact`` or ``hmac``: hidden after it was checked.
        sample: the share of ordinary events to keep. Events with a failed check, failures and those that are
            logged with ``keep=True`` are always kept.
        remember: the number of predictions to keep in memory by request id, for labels that arrive soon.
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
        remember: int = 0,
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
        self._privacy = Privacy(private) if private else NOTHING
        self._secretive = bool(private)
        self._sampling = Sampling(sample)
        self.counts = Counts()
        self._memory = Memory(remember) if remember else None
        self._special = bool(private or remember or not self._sampling.everything)
        status: dict[str, str] = {"status": "none"}
        self._checker: Checker | None = None
        self._check: Callable[[Mapping[Any, Any]], Checked] = type_all
        self._output = Output(None)
        self._columns: batch.Columns | None = None
        if profile is not None:
            same = (profile.model, profile.version) == (model, version)
            self._secretive |= any(feature.hidden for feature in profile.features.values())
            status = {"id": profile.id, "status": "matched" if same else "mismatch"}
            self._checker = checker = Checker(profile)
            self._check = checker.__call__  # a bound method costs less than an instance
            self._output = checker.output
            if not (private or remember or metrics):
                self._columns = batch.Columns(checker)
        self._ml: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "model": {"name": model, "version": version, "role": role},
            "profile": status,
            "sample": {"weight": 1.0},
        }
        self._service = {"name": service} if isinstance(service, str) else dict(service or {})
        self.metrics = Metrics(model=model, version=version, role=role, profile=profile) if metrics else None
        self._trained_with = dict(profile.libraries) if profile is not None else {}

    def source(self) -> Source:
        """What reports on this processor need: its model, its counts, and the versions it runs with."""
        now = installed(self._trained_with or USUAL)
        start: dict[str, Any] = {
            "libraries": [f"{name}={version}" for name, version in now.items() if name != "python"],
            "python": now["python"],
        }
        if differ := [f"{name}={then}" for name, then in self._trained_with.items() if now.get(name) != then]:
            start["training_libraries_differ"] = differ
        return Source(self._ml["model"], self._ml["profile"], self._service, start, self.counts)

    def __call__(
        self, logger: Any, method_name: str, event_dict: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Process one event, by structlog's protocol; ``event_dict`` is not changed."""
        if "inputs" not in event_dict:
            return self.label(event_dict) if "actual" in event_dict else event_dict
        self.counts.built += 1
        try:
            return self._event(event_dict)
        except DropEvent:
            raise
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the service must not feel it
            return self._refused(dict(event_dict), error)

    def label(self, given: MutableMapping[str, Any]) -> dict[str, Any]:
        """The label event of ``actual`` and ``request_id``."""
        self.counts.built += 1
        now_ns = self._clock()
        request = label_text(given.get("request_id"))
        when = given.get("timestamp")
        at = (when is not None and moment(when)) or timestamp(now_ns)
        known = self._memory.find(request) if self._memory is not None else None
        if "prediction" in given:
            output = self._output(given["prediction"], None, None)
            known = known._replace(prediction=output) if known else Remembered("", at, output)
        event_id = given.get("event_id")
        ml = {key: self._ml[key] for key in ("schema_version", "model", "profile")}
        ml["profile"] = {key: value for key, value in ml["profile"].items() if key == "id"}
        ml |= {"request": {"id": request}, **label_document(given["actual"], known, self._output, at)}
        if known is not None and not known.event_id:  # told by the caller: which event it was is not known
            ml["prediction"] = {k: v for k, v in ml["prediction"].items() if k not in ("id", "timestamp")}
            ml["label"].pop("delay", None)
        event: dict[str, Any] = {
            "@timestamp": at,
            "message": "label",
            "ecs": ECS,
            "event": {
                "id": new_id(now_ns) if event_id is None else _id(event_id, now_ns),
                "kind": "event",
                "dataset": "ml.label",
            },
            "host": PROCESS.host,
            "process": PROCESS.process,
            "ml": {key: value for key, value in ml.items() if value != {}},
        }
        if self._service:
            event["service"] = self._service
        self._context({key: value for key, value in given.items() if key != "actual"}, event)
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
            event = self._event(given)
        except DropEvent:
            return b""
        except Exception as error:  # noqa: BLE001 - one row must not cost the others
            event = self._refused(given, error)
        return render(event)

    def _quickly(
        self, made: batch.Rows, each: dict[str, list[Any]], shared: Mapping[str, Any]
    ) -> list[bytes | None]:
        """The lines of all rows but those that ``Prepared`` leaves, which are None; empty where sampled out."""
        ids = new_ids(self._clock(), made.rows)
        requests = [label_text(value) for value in each["request_id"]] if "request_id" in each else ids
        first, *between, last = self._template(shared, each)
        steps = iter(between)
        parts: list[Iterable[bytes]] = [batch.text_pieces(first, ids), repeat(next(steps)), *made.pieces]
        if "prediction" in each:
            parts.append(batch.output_pieces(self._output, each["prediction"], next(steps)))
        if "request_id" in each:
            parts.append(batch.text_pieces(next(steps), requests))
        parts.append(repeat(last))
        lines: list[bytes | None] = list(map(b"".join, zip(*parts, strict=False)))
        if max(map(len, filter(None, lines))) > MAX_LINE:
            made.left.update(i for i, line in enumerate(lines) if line and len(line) > MAX_LINE)
        if self._samples(shared):  # what failed a check is kept, and weighs otherwise
            made.left.update(i for i, out in made.unusual.items() if out.failed)
            for i, request in enumerate(requests):
                if i not in made.left and not self._sampling.keeps(request):
                    self.counts.sampled_out += 1
                    lines[i] = b""
        for i in made.left:
            lines[i] = None
        return lines

    def _samples(self, given: Mapping[str, Any]) -> bool:
        return not (self._sampling.everything or given.get("keep") or given.get("error") is not None)

    def _template(self, shared: Mapping[str, Any], each: Mapping[str, Any]) -> list[bytes]:
        """What stands before, between and after the parts of a line that differ from row to row."""
        mark = os.urandom(16).hex()
        given = {**shared, "inputs": {}, "event_id": mark, "keep": True, **dict.fromkeys(each, mark)}
        event = self._event(given, Checked())
        ml = event["ml"]
        ml["input"] = mark
        if self._samples(shared):
            ml["sample"] = self._sampling.weight
        for name in ("prediction", "request"):
            ml.pop(name, None)
        if "prediction" in each:
            ml["prediction"] = mark
        if "request_id" in each:
            ml["request"] = {"id": mark}
        return render(event).split(b'"%b"' % mark.encode())

    def _event(self, given: MutableMapping[str, Any], checked: Checked | None = None) -> dict[str, Any]:
        get = given.get
        now_ns = self._clock()
        inputs = given["inputs"]
        if checked is None:
            checked = self._check(inputs)
        if self._special:
            self._privacy.hide(checked, inputs)
        when, event_id, message = get("timestamp"), get("event_id"), get("event")
        about = {
            "id": new_id(now_ns) if event_id is None else _id(event_id, now_ns),
            "kind": "event",
            "dataset": "ml.prediction",
            "outcome": "success",
        }
        ml = self._ml.copy()
        ml["input"] = checked.input_document()
        event: dict[str, Any] = {
            "@timestamp": (when is not None and moment(when)) or timestamp(now_ns),
            "message": "prediction" if message is None else _message(message),
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
            ml["prediction"] = self._output(get("prediction"), get("score"), get("scores"))
        request = get("request_id")
        if request is not None:
            ml["request"] = {"id": request if type(request) is str else label_text(request)}
        for key in given:
            if key not in _PLACED:
                self._rest(given, event, about)
                break
        if self.metrics is not None:
            self.metrics.observe(event)
        if self._special:
            if not checked.failed and self._samples(given):
                self._sample(event, ml)
            if self._memory is not None:
                self._memory.keep(event)
        return event

    def _sample(self, event: dict[str, Any], ml: dict[str, Any]) -> None:
        request = ml["request"]["id"] if "request" in ml else event["event"]["id"]
        if not self._sampling.keeps(request):
            self.counts.sampled_out += 1
            raise DropEvent
        ml["sample"] = self._sampling.weight

    def _rest(self, given: MutableMapping[str, Any], event: dict[str, Any], about: dict[str, Any]) -> None:
        """What few events have: duration, error, and the context."""
        get = given.get
        duration = get("duration")
        if duration is not None:
            seconds = duration.total_seconds() if isinstance(duration, timedelta) else plain(duration)
            nanoseconds = duration_ns(seconds)
            if nanoseconds is not None:
                about["duration"] = nanoseconds
        error = get("error")
        if error is not None:
            about["outcome"] = "failure"
            known = isinstance(error, BaseException)
            document = error_document(error) if known else {"type": "error", "message": label_text(error)}
            event["error"] = self._privacy.hide_error(document)
        self._context(given, event)

    def _context(self, given: MutableMapping[str, Any], event: dict[str, Any]) -> None:
        """Whom it is about, the service's log, the trace, and the labels."""
        get = given.get
        subject = get("subject")
        if subject is not None:
            event["ml"]["subject"] = {"hash": self._privacy.subject(subject)}
        log = {key: label_text(given[key]) for key in ("level", "logger") if get(key) is not None}
        if log:
            event["log"] = log
        for key in ("trace", "span"):
            found = get(f"{key}_id")
            if found is not None:
                event[key] = {"id": label_text(found)}
        labels = {
            valid_text(str(key)): label_text(value)
            for key, value in given.items()
            if key not in _PLACED and key not in _PLACED_RARELY
        }
        if labels:
            event["labels"] = labels

    def _refused(self, given: dict[str, Any], error: Exception) -> dict[str, Any]:
        reason = jsonable(error)
        if self._secretive:  # an error's text, a label or a traceback may quote a private value
            reason, given = type(error).__name__, {"inputs": f"<hidden: {type(given['inputs']).__name__}>"}
        original = orjson.dumps(jsonable(given))
        event = dead_letter(
            error_type=type(error).__name__,
            message=f"the event could not be built: {reason}",
            original=original,
            stage="spool",
            now_ns=self._clock(),
        )
        event["ml"]["model"] = {key: self._ml["model"][key] for key in ("name", "version")}
        return event


def _id(given: Any, now_ns: int) -> str:
    return new_id(now_ns) if isinstance(given, str) and not given else label_text(given)


def _message(given: Any) -> str:
    return label_text(given) or "prediction"


class EventRenderer:
    """Render an event as one line of JSON in UTF-8, with its newline; the last processor of a chain.

    What JSON cannot carry (lone surrogates, integers beyond 64 bits, an unknown type) is replaced, and in a line
    that would be too long for a reader each text is cut, with a mark. It never raises.
    """

    def __call__(self, logger: Any, method_name: str, event_dict: MutableMapping[str, Any]) -> bytes:
        """Render one event, by structlog's protocol."""
        try:
            line = orjson.dumps(event_dict, option=_RENDER)
        except (TypeError, ValueError, RecursionError):
            line = orjson.dumps(jsonable(event_dict), option=_RENDER)
        if len(line) > MAX_LINE:
            line = orjson.dumps(jsonable(event_dict, max_text=MAX_TEXT), option=_RENDER)
        return line


_RENDER = orjson.OPT_APPEND_NEWLINE
_render = EventRenderer()


def render(event: MutableMapping[str, Any]) -> bytes:
    """One event as a line, as ``EventRenderer`` makes it."""
    return _render(None, "", event)
