"""Reports on a process in its own spool: its start, and its health each minute and at exit.

One daemon thread per process starts with the first segment. So it runs in each forked worker, but not in a master
process that logs nothing itself.
"""

from __future__ import annotations

import atexit
import logging
import os
import resource
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from logging_lib.logger.health import EventCounts, build_health_event, build_start_event
from logging_lib.logger.spool import Spool

_log = logging.getLogger("logging_lib")
_PAGE = os.sysconf("SC_PAGE_SIZE")
MIN_CPU_SECONDS = 10.0
"""The shortest time over which a share of CPU time is reported, in seconds."""


@dataclass
class ReportedModel:
    """One model of a process, with its counts at the last report.

    Attributes:
        model: ``ml.model``.
        profile: ``ml.profile``.
        service: ``service.*``, or empty.
        start: fields below ``ml.start``.
        counts: the events of its processors so far.
        users: the processors that count here, as long as something refers to them.
    """

    model: Mapping[str, Any]
    profile: Mapping[str, Any]
    service: Mapping[str, Any]
    start: Mapping[str, Any]
    counts: EventCounts
    reported: dict[str, int] = field(default_factory=lambda: EventCounts().as_fields())
    users: weakref.WeakSet[Any] = field(default_factory=weakref.WeakSet)

    def is_same(self, other: ReportedModel) -> bool:
        """Return whether it is the same model of the same service, configured again."""
        ours, theirs = (
            (source.model, source.profile, source.service, source.start) for source in (self, other)
        )
        return ours == theirs


class HealthReporter:
    """A reporter on one spool and the models that log to it.

    Args:
        spool: receives the events.
        seconds: the interval of the health events.
        clock: returns nanoseconds since 1970.
        monotonic: returns seconds of a monotonic clock.
    """

    def __init__(
        self,
        spool: Spool,
        seconds: float = 60.0,
        *,
        clock: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spool, self.seconds = spool, seconds
        self._clock, self._monotonic = clock, monotonic
        self._sources: list[ReportedModel] = []
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self.is_open = False
        self._started = self._reported_at = self._tried_at = self._monotonic()
        self._warned = False
        self._cpu = time.process_time()
        self._reports_written = self._written = self._bytes = 0

    def add(self, source: ReportedModel, user: Any) -> EventCounts:
        """Add a model to report on, unless it was added before; return the counts that its processors share.

        Args:
            user: a processor of this model.
        """
        with self._lock:
            known = next((known for known in self._sources if known.is_same(source)), source)
            known.users.add(user)
            if known is source:
                self._sources.append(source)
        if known is source and self.is_open:
            self._announce(source)
        return known.counts

    def open(self) -> None:
        """Report the start of each model, because the process has begun to log."""
        self.is_open = True
        for source in self._sources:
            self._announce(source)

    def _announce(self, source: ReportedModel) -> None:
        about = {"model": source.model, "profile": source.profile}
        self._write(build_start_event(self._clock(), about, source.start), source.service)

    def seconds_until_due(self) -> float:
        """Return the seconds until the next report; it is due at 0 or less."""
        return self._tried_at + self.seconds - self._monotonic()

    def report(self) -> None:
        """Write a health event for the process and one for each model, about the time since the last ones.

        If the segment was deleted, nothing is written, so that a deleted folder is not created again; the counts
        are part of the next report. If nothing was logged since the last report and nothing refers to a logger any
        more, the segment is closed; the next event opens another one, and the reports continue.
        """
        with self._lock:
            self._tried_at = self._monotonic()
            if self._spool.path is None or not self._spool.path.exists():
                return
            if self._is_unused():
                self._spool.close()
                return
            try:
                self._report()
            except Exception as error:  # noqa: BLE001 - a report must not end the thread
                if not self._warned:
                    _log.warning("no health event could be made for %s: %r", self._spool.directory, error)
                self._warned = True

    def _is_unused(self) -> bool:
        is_idle = self._spool.written - self._reports_written == self._written
        return is_idle and not any(source.users for source in self._sources)

    def _report(self) -> None:
        now, cpu = self._monotonic(), time.process_time()
        seconds = now - self._reported_at
        written, size = self._spool.written - self._reports_written, self._spool.bytes_written
        service = self._sources[0].service if self._sources else {}
        # A script always uses a whole core in its first half second.
        cpu_field = (
            {"cpu": {"pct": round((cpu - self._cpu) / seconds, 4)}} if seconds >= MIN_CPU_SECONDS else {}
        )
        event = build_health_event(
            self._clock(),
            interval=max(1, round(seconds)),
            logged=written - self._written,
            bytes=size - self._bytes,
            **cpu_field,
            memory={"rss": resident_bytes()},
            disk=disk_usage(self._spool.directory),
            uptime=round(now - self._started),
        )
        if self._write(event, service):
            self._reported_at, self._cpu, self._written, self._bytes = now, cpu, written, size
        for source in self._sources:
            self._report_model(source, max(1, round(seconds)))

    def _report_model(self, source: ReportedModel, interval: int) -> None:
        counts = source.counts.as_fields()
        changes = {name: count - source.reported[name] for name, count in counts.items()}
        if not source.users and not any(changes.values()):
            return
        profile = {key: value for key, value in source.profile.items() if key == "id"}
        about = {"model": source.model, **({"profile": profile} if profile else {})}
        event = build_health_event(self._clock(), interval=interval, about=about, **changes)
        if self._write(event, source.service):
            source.reported = counts

    def _write(self, event: dict[str, Any], service: Mapping[str, Any]) -> bool:
        if service:
            event["service"] = service
        is_written = self._spool.write(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))
        self._reports_written += is_written
        return is_written

    def reset_after_fork(self) -> None:
        """Reset the counts in a forked child, because they are those of the parent."""
        self._reset()
        for source in self._sources:
            source.counts.reset()
            source.reported = source.counts.as_fields()


class _ReporterThread:
    """The thread that writes the reports of a process."""

    def __init__(self) -> None:
        self._reporters: dict[Spool, HealthReporter] = {}
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        os.register_at_fork(after_in_child=self._reset_after_fork)

    def get_reporter(self, spool: Spool, seconds: float, clock: Callable[[], int]) -> HealthReporter:
        existing = self._reporters.get(spool)
        if existing is None:
            existing = self._reporters[spool] = HealthReporter(spool, seconds, clock=clock)
            spool.on_open.append(self._open)
            if spool.path is not None:  # the spool was written to before
                self._open(spool)
        existing.seconds = min(existing.seconds, seconds)
        return existing

    def _open(self, spool: Spool) -> None:
        self._reporters[spool].open()
        self._wake.set()
        if self._thread is None:
            # Register it again, so that it runs before the handlers registered earlier, such as the shipper's.
            atexit.unregister(self._finish)
            atexit.register(self._finish)
            self._thread = threading.Thread(target=self._run, name="logging_lib-health", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            self._wake.clear()
            open_reporters = [reporter for reporter in list(self._reporters.values()) if reporter.is_open]
            for reporter in open_reporters:
                if reporter.seconds_until_due() <= 0:
                    reporter.report()
            self._wake.wait(
                max(0.1, min((reporter.seconds_until_due() for reporter in open_reporters), default=60.0))
            )

    def _finish(self) -> None:
        for function in at_exit:
            function()
        for reporter in list(self._reporters.values()):
            reporter.report()

    def _reset_after_fork(self) -> None:
        self._thread, self._wake = None, threading.Event()
        for reporter in list(self._reporters.values()):
            reporter.reset_after_fork()


at_exit: list[Callable[[], None]] = []
"""Functions that are called before the last reports to log everything that is left to log."""

_reporter_thread = _ReporterThread()


def get_reporter(
    spool: Spool, seconds: float = 60.0, clock: Callable[[], int] = time.time_ns
) -> HealthReporter:
    """Return the only reporter of a spool; if several intervals are requested, the shortest applies."""
    return _reporter_thread.get_reporter(spool, seconds, clock)


def resident_bytes() -> int:
    """Measure the process's resident memory in bytes, or its maximum so far if the system reports only that."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - a tenth of Path's time
            return int(file.read().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        maximum = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return maximum if sys.platform == "darwin" else maximum * 1024


def disk_usage(directory: os.PathLike[str]) -> dict[str, float]:
    """Measure ``ml.health.disk`` of the file system that holds a folder."""
    state = os.statvfs(directory)
    used_share = round(1 - state.f_bavail / max(state.f_blocks, 1), 4)
    return {"free": state.f_bavail * state.f_frsize, "used_pct": used_share}
