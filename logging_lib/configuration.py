"""The configuration of a logger for one model: processors, spool, reports, and shipping in the background."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import structlog

from logging_lib.logger.event import EventRenderer
from logging_lib.logger.prediction_logger import PredictionLogger
from logging_lib.logger.privacy import Treatment
from logging_lib.logger.processor import PredictionProcessor, Role, add_context
from logging_lib.logger.reporter import get_reporter
from logging_lib.logger.spool import Spool, get_spool
from logging_lib.logger.startup import find_problems
from logging_lib.profile.io import load
from logging_lib.profile.model import Profile

_log = logging.getLogger("logging_lib")


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
    strict: bool = False,
    clock: Callable[[], int] = time.time_ns,
) -> PredictionLogger:
    """Configure a logger for one model. structlog's process-wide configuration is not touched.

    A second call for the same model, spool and service continues the counts and the reports of the first.

    Args:
        model: the model's name.
        version: the model's version.
        profile: the training profile or its file. Without a profile nothing is checked; a watch reports that.
        spool: the directory that events are written to, or a ``Spool`` with its options.
        ship_to: a receiver's URL (``beats://host:5044``) to ship to from a thread of this process; default:
            shipping is left to ``logging-lib ship`` or another shipper.
        role: ``live``, or ``shadow`` if the predictions are not used.
        service: the service's name, or a mapping with ``name``, ``version``, ``environment``.
        private: feature → ``drop``, ``redact`` or ``hmac``: how to hide it, after it has been checked.
        sample: the share of ordinary events to keep, above 0 and up to 1; failures and events with a failed check
            that is not usual are always kept.
        label_cache_size: how many recent predictions to keep in memory by request id, for labels that arrive soon.
        metrics: also count for Prometheus, which needs the extra ``[prometheus]``; see ``metrics_registry``.
        processors: structlog processors to run first; the keys that they add become ``labels.*``.
        report_every: seconds between the ``ml.health`` events of the process; None: write neither these nor the
            ``ml.start`` event.
        strict: raise instead of logging a warning: for a profile of another model or version, a private feature
            that the profile does not have, or a spool that cannot be written.
        clock: returns nanoseconds since 1970.

    Returns:
        A logger that may be shared between threads and across forks.

    Raises:
        ProfileError: the profile's file is damaged.
        ModuleNotFoundError: ``metrics`` is set, but prometheus_client is not installed.
        ValueError: another argument is wrong, or, with ``strict``, a problem was found. Once configured, the logger
            never raises.
    """
    shared_spool = get_spool(spool)
    if report_every is not None and not report_every > 0:
        raise ValueError(f"report_every: expected seconds above 0 or None, found {report_every!r}")
    if isinstance(profile, str | Path):
        profile = load(profile)
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
    problems = "; ".join(
        find_problems(
            model=model,
            version=version,
            profile=profile,
            private=private or (),
            spool=shared_spool.directory,
        )
    )
    if problems and strict:
        raise ValueError(problems)
    if problems:
        _log.warning("%s", problems)
    if processor.metrics is not None:
        processor.metrics.follow_spool(shared_spool)
    chain = [add_context, *processors, processor, EventRenderer()]
    if ship_to is not None:
        from logging_lib.ship.background import attach  # imported only if used: it needs more libraries

        attach(shared_spool, ship_to)
    if report_every is not None:
        processor.report_to(get_reporter(shared_spool, report_every, clock))
    proxy = structlog.wrap_logger(
        shared_spool, processors=chain, wrapper_class=PredictionLogger, context_class=dict
    )
    log: PredictionLogger = proxy.bind()
    return log
