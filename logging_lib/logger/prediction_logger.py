"""Configure a logger for one model, and log from it or from the standard library."""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

import structlog

from logging_lib.logger import spool as spools
from logging_lib.logger.health import EventCounts
from logging_lib.logger.privacy import Treatment
from logging_lib.logger.processor import EventRenderer, PredictionProcessor, Role, add_context
from logging_lib.logger.reporter import get_reporter
from logging_lib.logger.spool import Spool, get_spool
from logging_lib.profile.model import Profile

if TYPE_CHECKING:
    import pandas as pd


_log = logging.getLogger("logging_lib")
_UNSET: Any = object()
Function = TypeVar("Function", bound=Callable[..., Any])


class PredictionLogger(structlog.BoundLoggerBase):
    """Logs the predictions of one model. ``bind``, ``unbind`` and ``new`` work as everywhere in structlog."""

    _logger: Spool

    def __init__(self, logger: Spool, processors: Iterable[Any], context: dict[str, Any]) -> None:
        super().__init__(logger, processors, context)
        self._counts = next(
            (p.counts for p in self._processors if isinstance(p, PredictionProcessor)), EventCounts()
        )

    @overload
    def prediction(self, inputs: Mapping[Any, Any], prediction: Any, **more: Any) -> None: ...

    @overload
    def prediction(self, inputs: Mapping[Any, Any], **more: Any) -> PredictionContext: ...

    def prediction(
        self,
        inputs: Mapping[Any, Any],
        prediction: Any = _UNSET,
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
    ) -> PredictionContext | None:
        """Log one prediction; it never raises and never waits for a network.

        With ``prediction`` (or ``error``) it is logged at once. Without, use it as a context manager, which
        measures the time and logs an exception as a failure::

            with log.prediction(inputs) as p:
                p.prediction = model.predict(inputs)

        Args:
            inputs: feature → value, everything that the model was given.
            prediction: the output: a number, a class, or several outputs as a mapping or a sequence.
            score: the score or probability of that output.
            scores: scores by class.
            request_id: joins this prediction with a shadow model's and with its late label.
            event_id: idempotency key; default: a time-ordered UUID.
            timestamp: when it was made, if not now: a datetime, ISO text or seconds since 1970.
            duration: how long it took, in seconds.
            error: the exception, if it failed.
            subject: whom it is about; only a hash is logged, for erasure.
            keep: never sample this one out, for example because its label will be asked for.
            labels: anything else worth keeping, under ``labels.*``.

        Returns:
            The context manager, where nothing was logged yet.
        """
        given = labels
        given["inputs"] = inputs
        if score is not None:
            given["score"] = score
        if scores is not None:
            given["scores"] = scores
        if request_id is not None:
            given["request_id"] = request_id
        if event_id is not None:
            given["event_id"] = event_id
        if timestamp is not None:
            given["timestamp"] = timestamp
        if duration is not None:
            given["duration"] = duration
        if error is not None:
            given["error"] = error
        if subject is not None:
            given["subject"] = subject
        if keep:
            given["keep"] = True
        if prediction is not _UNSET:
            given["prediction"] = prediction
        elif error is None and scores is None:
            return PredictionContext(self, given)
        self._emit(given)
        return None

    def predictions(
        self,
        inputs: pd.DataFrame,
        predictions: Iterable[Any],
        *,
        request_ids: Iterable[Any] | None = None,
        **labels: Any,
    ) -> None:
        """Log a batch: one event a row. It never raises; the user's own processors are not run.

        Args:
            inputs: one row a prediction, one column a feature; shape (rows, columns).
            predictions: the outputs, shape (rows,), or (rows, outputs) for several.
            request_ids: shape (rows,).
            labels: for all rows; ``timestamp``, ``duration`` and the like as for ``prediction()``.
        """
        try:
            columns: dict[str, Iterable[Any]] = {"prediction": _to_list(predictions)}
            if request_ids is not None:
                columns["request_id"] = _to_list(request_ids)
            shared = add_context(None, "info", {**self._context, **labels})
            processor = cast(list[Any], self._processors)[-2]
            for lines in processor.lines(inputs, shared, **columns):
                self._counts.unwritten += len(lines) - self._logger.write_all(lines)
        except Exception as failure:  # noqa: BLE001 - columns of different lengths, no DataFrame at all
            self._dropped(failure)

    def label(self, request_id: Any, actual: Any, **more: Any) -> None:
        """Log the truth about an earlier prediction; it never raises.

        Where the process still remembers the prediction (``configure(label_cache_size=...)``), or where it is given as
        ``prediction=``, the label event carries it with its error; otherwise ``ml.label.joined`` is false.

        Args:
            request_id: of the prediction.
            actual: a number, or a class.
            more: ``prediction``, ``event_id``, ``timestamp``, as for ``prediction()``.
        """
        self._emit({**more, "request_id": request_id, "actual": actual})

    def observe(self, function: Function) -> Function:
        """Decorate a function, plain or async, whose first argument is the inputs and whose result is the output.

        The time is measured, and an exception is logged as a failure and raised on::

            @log.observe
            def predict(inputs): ...
        """
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def observed_async(inputs: Mapping[Any, Any], *rest: Any, **named: Any) -> Any:
                with self.prediction(inputs) as p:
                    p.prediction = await function(inputs, *rest, **named)
                return p.prediction

            return cast(Function, observed_async)

        @functools.wraps(function)
        def observed(inputs: Mapping[Any, Any], *rest: Any, **named: Any) -> Any:
            with self.prediction(inputs) as p:
                p.prediction = function(inputs, *rest, **named)
            return p.prediction

        return cast(Function, observed)

    def _emit(self, given: dict[str, Any]) -> None:
        # What structlog's _process_event does, less the copies and the checks of what the last processor gave.
        try:
            event: Any = {**self._context, **given} if self._context else given
            for process in self._processors:
                event = process(self._logger, "info", event)
            if not self._logger.write(event):
                self._counts.unwritten += 1
        except structlog.DropEvent:
            pass
        except Exception as failure:  # noqa: BLE001 - a processor of the user's own may raise
            self._dropped(failure)

    def _dropped(self, failure: Exception) -> None:
        spool = self._logger
        self._counts.failed += 1
        spool.dropped[type(failure).__name__] += 1
        if spool.dropped[type(failure).__name__] == 1:
            _log.warning("an event could not be logged and was dropped: %r", failure)

    def stats(self) -> dict[str, Any]:
        """The model's events that this process wrote or left out by sampling; what the spool dropped, by reason."""
        return {
            "written": self._counts.as_fields()["logged"],
            "dropped": dict(self._logger.dropped),
            "sampled_out": self._counts.sampled_out,
        }

    def start(self) -> None:
        """Say now that the service has started, and not with its first prediction; it never raises.

        For a service that may wait long for its first request: call it where a worker begins, after any fork.
        """
        self._logger.open()


class PredictionContext:
    """A prediction under way: set ``prediction`` (and ``score``, ``scores``) before the block ends.

    Without a ``with`` it is logged as it is when it goes out of use: inputs without an output.
    """

    def __init__(self, logger: PredictionLogger, given: dict[str, Any]) -> None:
        self._logger = logger
        self._given = given
        if isinstance(given["inputs"], Mapping):  # as they are now: a model may alter them in place
            with contextlib.suppress(Exception):
                given["inputs"] = dict(given["inputs"])
        self._started: int | None = None
        self._done = False
        self.prediction: Any = _UNSET
        self.score: Any = None
        self.scores: Any = None

    def __enter__(self) -> PredictionContext:
        self._started = time.perf_counter_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        given = self._given
        if self._started is not None and "duration" not in given:
            given["duration"] = (time.perf_counter_ns() - self._started) / 1e9
        if error is not None:
            given["error"] = error
        self._log()

    def _log(self) -> None:
        if self._done:
            return
        self._done = True
        for key in ("score", "scores"):
            if getattr(self, key) is not None:
                self._given[key] = getattr(self, key)
        if self.prediction is not _UNSET:
            self._given["prediction"] = self.prediction
        self._logger._emit(self._given)

    def __del__(self) -> None:
        if not self._done and self._started is None:
            self._log()


def _to_list(values: Iterable[Any]) -> list[Any]:
    """Python's own values of a list, a Series or an array."""
    made: list[Any] = values.tolist() if hasattr(values, "tolist") else list(values)
    return made


def configure(
    *,
    model: str,
    version: str,
    profile: Profile | str | Path | None = None,
    spool: str | Path | Spool,
    ship_to: str | None = None,
    role: Role = "live",
    service: str | Mapping[str, str] | None = None,
    private: Mapping[str, Treatment] | None = None,
    sample: float = 1.0,
    label_cache_size: int = 0,
    metrics: bool = False,
    processors: Iterable[Any] = (),
    report_every: float | None = 60.0,
    clock: Callable[[], int] = time.time_ns,
) -> PredictionLogger:
    """A logger for one model. structlog's process-wide configuration is not touched.

    Args:
        model: the model's name.
        version: the model's version.
        profile: the training profile or its file; without one nothing is checked, which is itself a finding.
        spool: the directory that events are written to, or a ``Spool`` with its options.
        ship_to: a receiver's URL (``beats://host:5044``) to ship to from a thread of this process; default:
            shipping is left to ``logging-lib ship`` or another shipper.
        role: ``live``, or ``shadow`` where the answer is not used.
        service: the service's name, or a mapping with ``name``, ``version``, ``environment``.
        private: feature → ``drop``, ``redact`` or ``hmac``: hidden after it was checked.
        sample: the share of ordinary events to keep; what failed a check, or failed, is always kept.
        label_cache_size: how many recent predictions to keep in memory by request id, for labels that arrive soon.
        metrics: count for Prometheus, too, which needs the extra ``[prometheus]``; see ``metrics_registry``.
        processors: structlog processors to run before ours; their keys become ``labels.*``.
        report_every: seconds between the ``ml.health`` events of the process; None: no such event, and no
            ``ml.start`` event.
        clock: nanoseconds since 1970.

    Raises:
        ProfileError: the profile's file is damaged.
        ModuleNotFoundError: ``metrics``, and prometheus_client is not installed.
        ValueError: another argument is wrong. Once configured, nothing raises.
    """
    to = get_spool(spool)
    if report_every is not None and not report_every > 0:
        raise ValueError(f"report_every: expected seconds above 0 or None, found {report_every!r}")
    processor = PredictionProcessor(
        model=model,
        version=version,
        profile=profile,
        role=role,
        service=service,
        private=private,
        sample=sample,
        label_cache_size=label_cache_size,
        metrics=metrics,
        clock=clock,
    )
    if processor.metrics is not None:
        processor.metrics.follow_spool(to)
    chain = [add_context, *processors, processor, EventRenderer()]
    if ship_to is not None:
        spools.attach_shipper(to, ship_to)
    if report_every is not None:
        get_reporter(to, report_every, clock).add(processor.source())
    proxy = structlog.wrap_logger(to, processors=chain, wrapper_class=PredictionLogger, context_class=dict)
    bound: PredictionLogger = proxy.bind()
    return bound


class SpoolLoggerFactory:
    """A structlog logger factory for a chain of your own, whose loggers append to a spool.

    Args:
        spool: the directory, or a ``Spool`` with its options.
        processors: the chain's ``PredictionProcessor``s, whose starts and health are then reported to the spool.
    """

    def __init__(self, spool: str | Path | Spool, *processors: PredictionProcessor) -> None:
        self._spool = get_spool(spool)
        for processor in processors:
            get_reporter(self._spool).add(processor.source())

    def __call__(self, *args: Any) -> Spool:
        return self._spool


_RECORD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _read_record(record: logging.LogRecord) -> dict[str, Any]:
    """What a caller gave as ``extra``, with the record's text, level, logger and exception."""
    given = {key: value for key, value in vars(record).items() if key not in _RECORD_FIELDS}
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
            self._log._emit(_read_record(record))


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
        event = self._processor(None, record.levelname, _read_record(record))
        return self._render(None, record.levelname, event).decode().rstrip("\n")
