"""``logging_lib.configure``: a logger for one model, in ten lines of a service."""

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

from logging_lib.capture import spool as spools
from logging_lib.capture.health import Counts
from logging_lib.capture.privacy import Treatment
from logging_lib.capture.processor import EventRenderer, PredictionProcessor, Role
from logging_lib.capture.report import reporter
from logging_lib.capture.spool import Spool, shared
from logging_lib.capture.tracing import add_context
from logging_lib.profile.model import Profile

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger("logging_lib")
_NOT_GIVEN: Any = object()
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
        self._counts = next(
            (p.counts for p in self._processors if isinstance(p, PredictionProcessor)), Counts()
        )

    @overload
    def prediction(self, inputs: Mapping[Any, Any], prediction: Any, **more: Any) -> None: ...

    @overload
    def prediction(self, inputs: Mapping[Any, Any], **more: Any) -> Pending: ...

    def prediction(
        self,
        inputs: Mapping[Any, Any],
        prediction: Any = _NOT_GIVEN,
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
    ) -> Pending | None:
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
            subject: the person it is about; only a hash is logged, for erasure.
            keep: never sample this one out, for example because its label will be needed.
            labels: anything else to keep, under ``labels.*``.

        Returns:
            None if the prediction was logged. Otherwise the context manager: set its ``prediction``, ``score`` or
            ``scores`` before the block ends.
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
        if prediction is not _NOT_GIVEN:
            given["prediction"] = prediction
        elif error is None and scores is None:
            return Pending(self, given)
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
        """Log a batch, one event for each row; it never raises. Your own processors are not run.

        Args:
            inputs: one row for each prediction, one column for each feature; shape (rows, columns).
            predictions: the outputs, shape (rows,), or (rows, outputs) for several.
            request_ids: join each row with its label, shape (rows,).
            labels: for all rows; also ``timestamp``, ``duration`` and the like, as for ``prediction()``.
        """
        try:
            columns: dict[str, Iterable[Any]] = {"prediction": _as_list(predictions)}
            if request_ids is not None:
                columns["request_id"] = _as_list(request_ids)
            shared = add_context(None, "info", {**self._context, **labels})
            processor = cast(list[Any], self._processors)[-2]
            for lines in processor.lines(inputs, shared, **columns):
                self._counts.unwritten += len(lines) - self._logger.write_all(lines)
        except Exception as failure:  # noqa: BLE001 - columns of different lengths, no DataFrame at all
            self._dropped(failure)

    def label(self, request_id: Any, actual: Any, **more: Any) -> None:
        """Log the actual outcome of an earlier prediction; it never raises.

        If the process still remembers the prediction (``configure(remember=...)``), or if you pass it as
        ``prediction=``, the label event carries it with its error; otherwise ``ml.label.joined`` is false.

        Args:
            request_id: the prediction's.
            actual: a number, or a class.
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
        """Count the model's events in this process.

        Returns:
            ``written`` and ``sampled_out``, numbers of events, and ``dropped``, the spool's lost events by reason.
        """
        return {
            "written": self._counts.values()["logged"],
            "dropped": dict(self._logger.dropped),
            "sampled_out": self._counts.sampled_out,
        }

    def start(self) -> None:
        """Log now that the service has started, instead of with its first prediction; it never raises.

        Call it where a worker begins, after any fork, if the first request may come late.
        """
        self._logger.open()


class Pending:
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
        self.prediction: Any = _NOT_GIVEN
        self.score: Any = None
        self.scores: Any = None

    def __enter__(self) -> Pending:
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
        if self.prediction is not _NOT_GIVEN:
            self._given["prediction"] = self.prediction
        self._logger._emit(self._given)

    def __del__(self) -> None:
        if not self._done and self._started is None:
            self._log()


def _as_list(values: Iterable[Any]) -> list[Any]:
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
    remember: int = 0,
    metrics: bool = False,
    processors: Iterable[Any] = (),
    report_every: float | None = 60.0,
    clock: Callable[[], int] = time.time_ns,
) -> PredictionLogger:
    """Create a logger for one model. It does not change structlog's process-wide configuration.

    Args:
        model: the model's name.
        version: the model's version.
        profile: the training profile or its file. Without one nothing is checked, and a watch finds that.
        spool: the directory that events are written to, or a ``Spool`` with its options.
        ship_to: a receiver's URL (``beats://host:5044``) to ship to from a thread of this process; default:
            shipping is left to ``logging-lib ship`` or another shipper.
        role: ``live``, or ``shadow`` if the answer is not used.
        service: the service's name, or a mapping with ``name``, ``version``, ``environment``.
        private: feature → ``drop``, ``redact`` or ``hmac``: hidden after it was checked.
        sample: the share of ordinary events to keep, above 0 and up to 1; failures and events with a failed check
            are always kept.
        remember: the number of predictions to keep in memory by request id, for labels that arrive soon.
        metrics: also count for Prometheus, which needs the extra ``[prometheus]``; see ``metrics_registry``.
        processors: structlog processors to run before ours; their keys become ``labels.*``.
        report_every: seconds between the ``ml.health`` events of the process; None: no such event, and no
            ``ml.start`` event.
        clock: returns nanoseconds since 1970.

    Returns:
        A logger that is safe to share between threads and across forks.

    Raises:
        ProfileError: the profile's file is damaged.
        ModuleNotFoundError: ``metrics``, and prometheus_client is not installed.
        ValueError: another argument is wrong. Once configured, nothing raises.
    """
    to = shared(spool)
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
        remember=remember,
        metrics=metrics,
        clock=clock,
    )
    if processor.metrics is not None:
        processor.metrics.follow(to)
    chain = [add_context, *processors, processor, EventRenderer()]
    if ship_to is not None:
        spools.attach_shipper(to, ship_to)
    if report_every is not None:
        reporter(to, report_every, clock).add(processor.source())
    proxy = structlog.wrap_logger(to, processors=chain, wrapper_class=PredictionLogger, context_class=dict)
    bound: PredictionLogger = proxy.bind()
    return bound


class SpoolLoggerFactory:
    """Create loggers that append to a spool, as ``logger_factory`` of a structlog chain of your own.

    Args:
        spool: the directory, or a ``Spool`` with its options.
        processors: the chain's ``PredictionProcessor``s, whose starts and health are then reported to the spool.
    """

    def __init__(self, spool: str | Path | Spool, *processors: PredictionProcessor) -> None:
        self._spool = shared(spool)
        for processor in processors:
            reporter(self._spool).add(processor.source())

    def __call__(self, *args: Any) -> Spool:
        return self._spool
