"""For services that log with the standard library: a handler and a formatter."""

from __future__ import annotations

import logging
from typing import Any

from logging_lib.capture.logger import PredictionLogger
from logging_lib.capture.processor import EventRenderer, PredictionProcessor

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _given(record: logging.LogRecord) -> dict[str, Any]:
    """What a caller gave as ``extra``, with the record's text, level, logger and exception."""
    given = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    given |= {"event": record.getMessage(), "level": record.levelname.lower(), "logger": record.name}
    if record.exc_info and record.exc_info[1] is not None:
        given.setdefault("error", record.exc_info[1])
    return given


class PredictionHandler(logging.Handler):
    """Send records that carry ``extra={"inputs": ...}`` to a prediction logger, and ignore all others::

        logging.getLogger().addHandler(logging_lib.PredictionHandler(log))
        logging.info("scored", extra={"inputs": inputs, "prediction": 11.49})

    Args:
        log: receives the predictions.
    """

    def __init__(self, log: PredictionLogger) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record that carries ``inputs``; ignore any other."""
        if hasattr(record, "inputs"):
            self._log._emit(_given(record))


class PredictionFormatter(logging.Formatter):
    """Format records that carry ``extra={"inputs": ...}`` as canonical events, and all others as usual.

    Args:
        processor: builds the events; do not sample with it, since a formatter cannot leave a record out.
        fmt: the format of all other records.
    """

    def __init__(self, processor: PredictionProcessor, fmt: str | None = None) -> None:
        super().__init__(fmt)
        self._processor = processor
        self._render = EventRenderer()

    def format(self, record: logging.LogRecord) -> str:
        """Format a record that carries ``inputs`` as one line of JSON without a newline, any other by ``fmt``."""
        if not hasattr(record, "inputs"):
            return super().format(record)
        event = self._processor(None, record.levelname, _given(record))
        return self._render(None, record.levelname, event).decode().rstrip("\n")
