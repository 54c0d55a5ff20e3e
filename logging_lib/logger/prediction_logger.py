"""The prediction logger, a prediction in progress, and a handler and a formatter for the standard library."""

from __future__ import annotations

import atexit
import contextlib
import functools
import inspect
import logging
import os
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

import structlog

from logging_lib.logger.event import EventRenderer
from logging_lib.logger.health import EventCounts
from logging_lib.logger.processor import PredictionProcessor, add_context
from logging_lib.logger.reporter import at_exit, get_reporter
from logging_lib.logger.rows import read_row
from logging_lib.logger.spool import Spool, get_spool
from logging_lib.logger.values import to_jsonable

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger("logging_lib")
_UNSET: Any = object()
_OPTIONS = frozenset(
    ("score", "scores", "request_id", "event_id", "timestamp", "duration", "error", "subject", "keep")
)
Function = TypeVar("Function", bound=Callable[..., Any])


class PredictionLogger(structlog.BoundLoggerBase):
    """A logger for the predictions of one model; ``configure`` creates it.

    It is a structlog logger: ``bind``, ``unbind`` and ``new`` work as usual, and bound values become ``labels.*``.
    No method raises an exception or waits for a network.

    Args:
        logger: the spool.
        processors: structlog's chain.
        context: the bound values.
    """

    _logger: Spool

    def __init__(self, logger: Spool, processors: Iterable[Any], context: dict[str, Any]) -> None:
        super().__init__(logger, processors, context)
        self._processor = next((p for p in self._processors if isinstance(p, PredictionProcessor)), None)
        self._counts = EventCounts() if self._processor is None else self._processor.counts

    @overload
    def prediction(
        self,
        inputs: Mapping[Any, Any],
        prediction: Any,
        *,
        score: Any = None,
        scores: Any = None,
        request_id: Any = None,
        event_id: str | None = None,
        timestamp: Any = None,
        duration: Any = None,
        error: BaseException | None = None,
        subject: Any = None,
        keep: bool = False,
        **labels: Any,
    ) -> None: ...

    @overload
    def prediction(
        self,
        inputs: Mapping[Any, Any],
        *,
        score: Any = None,
        scores: Any = None,
        request_id: Any = None,
        event_id: str | None = None,
        timestamp: Any = None,
        duration: Any = None,
        error: BaseException | None = None,
        subject: Any = None,
        keep: bool = False,
        **labels: Any,
    ) -> PredictionContext: ...

    def prediction(
        self, inputs: Mapping[Any, Any], prediction: Any = _UNSET, **fields: Any
    ) -> PredictionContext | None:
        """Log one prediction; it never raises and never waits for a network.

        A call with ``prediction`` (or ``error``) is logged at once. Without them, use the result as a context
        manager, which measures the time and logs an exception as a failure::

            with log.prediction(inputs) as p:
                p.prediction = model.predict(inputs)

        Args:
            inputs: feature → value, for everything that the model received. A DataFrame of one row, a Series, a
                named tuple, a dataclass and a pydantic model are unpacked; values without names become a dead
                letter.
            prediction: the output: a number, a class, several labels as a list, or several outputs as a mapping or
                a sequence. The keys ``value``, ``label``, ``labels``, ``score`` and ``scores`` of a mapping are
                logged as the fields of the same name.
            score: the score or probability of that output.
            scores: scores by class.
            request_id: joins this prediction with a shadow model's and with its label.
            event_id: idempotency key; default: a time-ordered UUID.
            timestamp: when the prediction was made, if not now: a datetime, a text in ISO 8601 or a similar format,
                or a number since 1970 in s, ms, µs or ns. A value that is not a time is counted and kept as
                ``labels.timestamp``.
            duration: how long the prediction took, in seconds.
            error: the exception, if the prediction failed.
            subject: the person that the prediction is about; only a hash is logged, for erasure.
            keep: never sample this prediction out, for example because its label will be requested.
            labels: any other values to keep, under ``labels.*``.

        Returns:
            None if the prediction was logged. Otherwise the context manager: set its ``prediction``, ``score`` or
            ``scores`` before the block ends.
        """
        for name in fields:
            if fields[name] is None and name in _OPTIONS:  # None means that the option was not given
                fields = {n: v for n, v in fields.items() if v is not None or n not in _OPTIONS}
                break
        fields["inputs"] = inputs
        if prediction is not _UNSET:
            fields["prediction"] = prediction
        elif "error" not in fields and "scores" not in fields:
            return PredictionContext(self, fields)
        self._emit(fields)
        return None

    def predictions(
        self,
        inputs: pd.DataFrame,
        predictions: Iterable[Any],
        *,
        request_ids: Iterable[Any] | None = None,
        timestamps: Iterable[Any] | None = None,
        **labels: Any,
    ) -> None:
        """Log a batch, one event for each row; it never raises. Your own processors are not run.

        Args:
            inputs: one row for each prediction, one column for each feature; shape (rows, columns). Anything but a
                DataFrame, or a DataFrame with two columns of the same name, becomes a single dead letter.
            predictions: the outputs, shape (rows,), or (rows, outputs) if there are several; a frame of outputs
                is also accepted.
            request_ids: ids that join each row with its label, shape (rows,).
            timestamps: when each row's prediction was made, shape (rows,), for example in a replay of past events.
            labels: values that apply to all rows; ``timestamp``, ``duration`` and so on are accepted here, too, as
                in ``prediction()``.
        """
        try:
            if self._processor is None:
                raise TypeError("the logger has no PredictionProcessor among its processors")
            columns: dict[str, Iterable[Any]] = {"prediction": _to_list(predictions)}
            if request_ids is not None:
                columns["request_id"] = _to_list(request_ids)
            if timestamps is not None:
                columns["timestamp"] = list(timestamps)
            shared = add_context(None, "info", {**self._context, **labels})
            for lines in self._processor.batch.render(inputs, shared, **columns):
                self._counts.unwritten += len(lines) - self._logger.write_all(lines)
        except Exception as error:  # noqa: BLE001 - such as columns of different lengths
            self._count_dropped(error)

    def label(self, request_id: Any, actual: Any, **more: Any) -> None:
        """Log the true outcome of an earlier prediction; it never raises.

        If the process still has the prediction in memory (``configure(label_cache_size=...)``), or if you pass it
        as ``prediction=``, the label event contains it with its error; otherwise ``ml.label.joined`` is false.

        Args:
            request_id: the request id of the prediction.
            actual: the true outcome: a number, a class, or a list of labels.
            more: ``prediction``, ``event_id``, ``timestamp``, as for ``prediction()``.
        """
        self._emit({**more, "request_id": request_id, "actual": actual})

    def observe(self, function: Function) -> Function:
        """Decorate a function, plain or async, so that each of its calls is logged as a prediction.

        The time is measured, and an exception is logged as a failure and raised again::

            @log.observe
            def predict(inputs): ...

        Args:
            function: takes the inputs (feature → value) as its first argument and returns the output.

        Returns:
            A function with the same signature and result.
        """
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def observed_async(inputs: Mapping[Any, Any], *args: Any, **kwargs: Any) -> Any:
                with self.prediction(inputs) as p:
                    p.prediction = await function(inputs, *args, **kwargs)
                return p.prediction

            return cast(Function, observed_async)

        @functools.wraps(function)
        def observed(inputs: Mapping[Any, Any], *args: Any, **kwargs: Any) -> Any:
            with self.prediction(inputs) as p:
                p.prediction = function(inputs, *args, **kwargs)
            return p.prediction

        return cast(Function, observed)

    def _emit(self, fields: dict[str, Any]) -> None:
        # This does what structlog's _process_event does, without its copies and without its checks of the last
        # processor's result.
        process: Any = None
        try:
            event: Any = {**self._context, **fields} if self._context else fields
            for process in self._processors:
                event = process(self._logger, "info", event)
            if not self._logger.write(event):
                self._counts.unwritten += 1
        except structlog.DropEvent:
            pass
        except Exception as error:  # noqa: BLE001 - a user's own processor may raise
            self._count_dropped(error, is_built=self._is_built_by(process))

    def _is_built_by(self, process: Any) -> bool:
        """Return whether the events that this part of the chain receives were already counted as built."""
        chain = list(self._processors)
        return self._processor is not None and chain.index(process) >= chain.index(self._processor)

    def _count_dropped(self, error: Exception, *, is_built: bool = False) -> None:
        spool, reason = self._logger, type(error).__name__
        if is_built:
            self._counts.unwritten += 1
        else:
            self._counts.failed += 1
        spool.dropped[reason] += 1
        if spool.dropped[reason] == 1:
            is_hidden = self._processor is not None and self._processor.hides_values
            # The text of an exception may quote any value, and its repr may raise.
            shown = f"{reason}, whose text may hold a private value" if is_hidden else to_jsonable(error)
            _log.warning("an event could not be logged and was dropped: %s", shown)

    def stats(self) -> dict[str, Any]:
        """Count the model's events in this process.

        Returns:
            A mapping with ``written`` and ``sampled_out``, which are numbers of events; ``dropped``, the events
            that the spool lost, by reason; and ``unreadable_times``, the number of events whose ``timestamp`` was
            not a time.
        """
        return {
            "written": self._counts.as_fields()["logged"],
            "dropped": dict(self._logger.dropped),
            "sampled_out": self._counts.sampled_out,
            "unreadable_times": self._counts.unreadable_times,
        }

    def start(self) -> None:
        """Log the start of the service now instead of with its first prediction; it never raises.

        Call it when a worker begins, after any fork, if the first request may arrive late.
        """
        self._logger.open()


class PredictionContext:
    """A prediction in progress: set ``prediction`` (and ``score``, ``scores``) before the block ends.

    If it is not used in a ``with`` statement, its inputs are logged without an output, when it is garbage-collected
    or at exit.
    """

    def __init__(self, logger: PredictionLogger, fields: dict[str, Any]) -> None:
        self._logger = logger
        self._fields = fields
        with contextlib.suppress(Exception):  # copied now, because a model may change them in place
            fields["inputs"] = dict(read_row(fields["inputs"]))
        self._started_at: int | None = None
        self._is_logged = False
        _unfinished.add(self)
        self.prediction: Any = _UNSET
        self.score: Any = None
        self.scores: Any = None

    def __enter__(self) -> PredictionContext:
        _unfinished.discard(self)
        self._started_at = time.perf_counter_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        fields = self._fields
        if self._started_at is not None and "duration" not in fields:
            fields["duration"] = (time.perf_counter_ns() - self._started_at) / 1e9
        if error is not None:
            fields["error"] = error
        self._log()

    def _log(self) -> None:
        if self._is_logged:
            return
        self._is_logged = True
        for key in ("score", "scores"):
            if getattr(self, key) is not None:
                self._fields[key] = getattr(self, key)
        if self.prediction is not _UNSET:
            self._fields["prediction"] = self.prediction
        self._logger._emit(self._fields)

    def __del__(self) -> None:
        if not self._is_logged and self._started_at is None:
            self._log()


_unfinished: weakref.WeakSet[PredictionContext] = weakref.WeakSet()
"""Predictions not yet used in a ``with`` statement: at exit, the destructor of a global is not sure to run."""


def _log_unfinished() -> None:
    with contextlib.suppress(
        KeyError
    ):  # ends the loop: the set is empty, and another thread may still add to it
        while True:
            _unfinished.pop()._log()


os.register_at_fork(after_in_child=_unfinished.clear)  # the parent logs them
at_exit.append(_log_unfinished)  # before the last reports or, without reports, at exit
atexit.register(_log_unfinished)


def _to_list(values: Iterable[Any]) -> list[Any]:
    """Convert a list, a Series, an array, or a frame with one column per output to Python values, one per row."""
    if hasattr(values, "tolist"):
        items: list[Any] = values.tolist()
        return items
    return values.to_dict("records") if hasattr(values, "to_dict") else list(values)


class SpoolLoggerFactory:
    """A factory of loggers that append to a spool, for a structlog chain of your own.

    Args:
        spool: the directory, or a ``Spool`` with its options.
        processors: the ``PredictionProcessor``s of the chain; their starts and health are reported to the spool.
    """

    def __init__(self, spool: str | Path | Spool, *processors: PredictionProcessor) -> None:
        self._spool = get_spool(spool)
        for processor in processors:
            processor.report_to(get_reporter(self._spool))

    def __call__(self, *args: Any) -> Spool:
        return self._spool


_RECORD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _read_message(record: logging.LogRecord) -> Any:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - such as arguments that do not fit, or whose ``__str__`` raises
        return record.msg


def _read_record(record: logging.LogRecord) -> dict[str, Any]:
    """Read what a caller passed as ``extra``, with the record's text, level, logger and exception."""
    fields = {key: value for key, value in vars(record).items() if key not in _RECORD_FIELDS}
    fields |= {"event": _read_message(record), "level": record.levelname.lower(), "logger": record.name}
    if record.exc_info and record.exc_info[1] is not None:
        fields.setdefault("error", record.exc_info[1])
    return fields


class PredictionHandler(logging.Handler):
    """A handler that sends records with ``extra={"inputs": ...}`` to a prediction logger and ignores all others::

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
            self._log._emit(_read_record(record))


class PredictionFormatter(logging.Formatter):
    """A formatter of records with ``extra={"inputs": ...}`` as canonical events, and of all others as usual.

    Args:
        processor: builds the events; it must not sample, because a formatter cannot omit a record.
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
        event = self._processor(None, record.levelname, _read_record(record))
        return self._render(None, record.levelname, event).decode().rstrip("\n")
