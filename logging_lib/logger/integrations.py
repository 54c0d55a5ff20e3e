"""Connect the logger with the standard ``logging``, structlog's context variables and OpenTelemetry."""

from __future__ import annotations

import contextvars
import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from logging_lib.logger.prediction_logger import PredictionLogger
from logging_lib.logger.processor import EventRenderer, PredictionProcessor

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _given(record: logging.LogRecord) -> dict[str, Any]:
    """What a caller gave as ``extra``, with the record's text, level, logger and exception."""
    given = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    given |= {"event": record.getMessage(), "level": record.levelname.lower(), "logger": record.name}
    if record.exc_info and record.exc_info[1] is not None:
        given.setdefault("error", record.exc_info[1])
    return given


class PredictionHandler(logging.Handler):
    """Sends records that carry ``extra={"inputs": ...}`` to a prediction logger, and ignores all others::

    logging.getLogger().addHandler(logging_lib.PredictionHandler(log))
    logging.info("scored", extra={"inputs": inputs, "prediction": 11.49})
    """

    def __init__(self, log: PredictionLogger) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        if hasattr(record, "inputs"):
            self._log._emit(_given(record))


class PredictionFormatter(logging.Formatter):
    """Writes records that carry ``extra={"inputs": ...}`` as canonical events, all others as usual.

    Args:
        processor: knows the model; do not sample with it, a formatter cannot leave a record out.
        fmt: the format of all other records.
    """

    def __init__(self, processor: PredictionProcessor, fmt: str | None = None) -> None:
        super().__init__(fmt)
        self._processor = processor
        self._render = EventRenderer()

    def format(self, record: logging.LogRecord) -> str:
        if not hasattr(record, "inputs"):
            return super().format(record)
        event = self._processor(None, record.levelname, _given(record))
        return self._render(None, record.levelname, event).decode().rstrip("\n")


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
