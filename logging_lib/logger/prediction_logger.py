"""Log predictions: the bound logger, a prediction in progress, and the handler for the standard library."""

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
    """Log the predictions of one model; ``configure`` creates it.

    It is a structlog logger: ``bind``, ``unbind`` and ``new`` work as everywhere, and bound values become
    ``labels.*``. No method raises, and none waits for a network.

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

        With ``prediction`` (or ``error``) it is logged at once. Without, use it as a context manager, which
        measures the time and logs an exception as a failure::

            with log.prediction(inputs) as p:
                p.prediction = model.predict(inputs)

        Args:
            inputs: feature → value, everything that the model got. A DataFrame of one row, a Series, a named
                tuple, a dataclass and a pydantic model are unpacked; values without names become a dead letter.
            prediction: the output: a number, a class, several labels as a list, or several outputs as a mapping or
                a sequence. A mapping's ``value``, ``label``, ``labels``, ``score`` and ``scores`` are these.
            score: the score or probability of that output.
            scores: scores by class.
            request_id: joins this prediction with a shadow model's and with its label.
            event_id: idempotency key; default: a time-ordered UUID.
            timestamp: when it was made, if not now: a datetime, ISO 8601 or the like, or a number since 1970 in s,
                ms, µs or ns. One that is not a time is kept as ``labels.timestamp``, and counted.
            duration: how long it took, in seconds.
            error: the exception, if it failed.
            subject: the person that the prediction is about; only a hash is logged, for erasure.
            keep: never sample this one out, for example because its label will be requested.
            labels: any other values to keep, under ``labels.*``.

        Returns:
            None if the prediction was logged. Otherwise the context manager: set its ``prediction``, ``score`` or
            ``scores`` before the block ends.
        """
        for name in fields:
            if fields[name] is None and name in _OPTIONS:  # an option that is None counts as not given
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
                DataFrame, and one with two columns of one name, becomes one dead letter.
            predictions: the outputs, shape (rows,), or (rows, outputs) for several; also a frame of outputs.
            request_ids: join each row with its label, shape (rows,).
            timestamps: when each row's prediction was made, shape (rows,), for example in a replay of past events.
            labels: for all rows; also ``timestamp``, ``duration`` and the like, as for ``prediction()``.
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
        except Exception as error:  # noqa: BLE001 - columns of different lengths, no DataFrame at all
            self._count_dropped(error)

    def label(self, request_id: Any, actual: Any, **more: Any) -> None:
        """Log the true outcome of an earlier prediction; it never raises.

        If the process still has the prediction in memory (``configure(label_cache_size=...)``), or if you pass it
        as ``prediction=``, the label event contains it with its error; otherwise ``ml.label.joined`` is false.

        Args:
            request_id: the prediction's.
            actual: a number, a class, or a list of labels.
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
        # As structlog's _process_event, without its copies and its checks of the last processor's result.
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
        """Whether the events that this part of the chain gets were counted as built."""
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
            # Its text may quote any value; its repr may itself raise.
            shown = f"{reason}, whose text may hold a private value" if is_hidden else to_jsonable(error)
            _log.warning("an event could not be logged and was dropped: %s", shown)

    def stats(self) -> dict[str, Any]:
        """Count the model's events in this process.

        Returns:
            ``written`` and ``sampled_out``, numbers of events, ``dropped``, the spool's lost events by reason, and
            ``unreadable_times``, the number of events whose ``timestamp`` was not a time.
        """
        return {
            "written": self._counts.as_fields()["logged"],
            "dropped": dict(self._logger.dropped),
            "sampled_out": self._counts.sampled_out,
            "unreadable_times": self._counts.unreadable_times,
        }

    def start(self) -> None:
        """Log now that the service has started, instead of with its first prediction; it never raises.

        Call it where a worker begins, after any fork, if the first request may come late.
        """
        self._logger.open()


class PredictionContext:
    """Log a prediction in progress: set ``prediction`` (and ``score``, ``scores``) before the block ends.

    Without a ``with`` it is logged when it is garbage-collected, or at exit: inputs without an output.
    """

    def __init__(self, logger: PredictionLogger, fields: dict[str, Any]) -> None:
        self._logger = logger
        self._fields = fields
        with contextlib.suppress(Exception):  # as they are now: a model may change them in place
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
"""Those without a ``with``, so far: at the end of the interpreter no destructor of a global is sure to run."""


def _log_unfinished() -> None:
    with contextlib.suppress(KeyError):  # it is empty; another thread may still add to it
        while True:
            _unfinished.pop()._log()


os.register_at_fork(after_in_child=_unfinished.clear)  # they are the parent's
at_exit.append(_log_unfinished)  # before the last reports, or, where there are none,
atexit.register(_log_unfinished)


def _to_list(values: Iterable[Any]) -> list[Any]:
    """Convert a list, a Series, an array, or a frame of one output a column to Python's own values, one a row."""
    if hasattr(values, "tolist"):
        items: list[Any] = values.tolist()
        return items
    return values.to_dict("records") if hasattr(values, "to_dict") else list(values)


class SpoolLoggerFactory:
    """Create loggers that append to a spool, for a structlog chain of your own.

    Args:
        spool: the directory, or a ``Spool`` with its options.
        processors: the chain's ``PredictionProcessor``s, whose starts and health are then reported to the spool.
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
    except Exception:  # noqa: BLE001 - arguments that do not fit, or whose text raises
        return record.msg


def _read_record(record: logging.LogRecord) -> dict[str, Any]:
    """Read what a caller passed as ``extra``, with the record's text, level, logger and exception."""
    fields = {key: value for key, value in vars(record).items() if key not in _RECORD_FIELDS}
    fields |= {"event": _read_message(record), "level": record.levelname.lower(), "logger": record.name}
    if record.exc_info and record.exc_info[1] is not None:
        fields.setdefault("error", record.exc_info[1])
    return fields


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
            self._log._emit(_read_record(record))


class PredictionFormatter(logging.Formatter):
    """Format records that carry ``extra={"inputs": ...}`` as canonical events, and all others as usual.

    Args:
        processor: builds the events; it must not sample, because a formatter cannot leave a record out.
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
