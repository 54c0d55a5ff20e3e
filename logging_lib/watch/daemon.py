"""Run watches by their schedules until stopped: each run in its own thread, all deliveries in another.

A slow watch does not hold up the others: a run that takes longer than ``slow_after`` gives its place to the next
one. A watch never runs twice at the same time; the scheduled runs that it misses meanwhile are caught up or skipped
like any others. The main thread only watches the clock, so that the lease is renewed whatever the servers do.

This module also writes the runner's own ``ml.health`` events, from which the watch ``uptime``, wherever it runs,
sees that a runner has died.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from logging_lib._util.formatting import format_count, format_seconds
from logging_lib._util.times import format_instant
from logging_lib.logger.health import build_health_event
from logging_lib.logger.reporter import resident_bytes
from logging_lib.schema import DEFAULT_NAMESPACE, data_stream
from logging_lib.store.port import Store, StoreError
from logging_lib.watch.errors import StateError
from logging_lib.watch.evaluate import DependenciesOf, Due
from logging_lib.watch.lease import LeaderElector, LeaseLost
from logging_lib.watch.model import Watch
from logging_lib.watch.notify.base import Notification
from logging_lib.watch.results import RunReport, WatchRun
from logging_lib.watch.runner import Runner
from logging_lib.watch.state.base import RETENTION

SERVICE = "logging-lib-watch"
_log = logging.getLogger(__name__)
_FORGET_EVERY = timedelta(hours=1)
_CLOCK_TOLERANCE = timedelta(minutes=1)
_SUMMARY_SECONDS = 600.0
"""Seconds between two log lines that summarize the runs."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class Heartbeat:
    """Counters of a runner's work, which are written each minute. Safe to share between threads.

    Args:
        store: receives the events, in ``logs-ml.health-<namespace>``.
    """

    def __init__(
        self,
        store: Store,
        now: datetime,
        *,
        seconds: float = 60.0,
        namespace: str = DEFAULT_NAMESPACE,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        self._store = store
        self._stream = data_stream("ml.health", namespace)
        self._seconds = seconds
        self._cpu = cpu
        self._started = self._since = now
        self._spent = cpu()
        self._lock = threading.Lock()
        self._is_failing = False
        self._reset_counts()

    def _reset_counts(self) -> None:
        self._runs = self._failures = self._delivered = 0
        self._duration = self._lag = 0.0

    def count_run(self, *, ok: bool, seconds: float, lag: float) -> None:
        """Count a run of a watch: how long it took, and how long after its scheduled time it ended."""
        with self._lock:
            self._runs += 1
            self._failures += not ok
            self._duration, self._lag = max(self._duration, seconds), max(self._lag, lag)

    def count_deliveries(self, outcomes: Iterable[Notification]) -> None:
        with self._lock:
            self._delivered += sum(outcome.is_delivered for outcome in outcomes)

    def is_due(self, now: datetime) -> bool:
        return (now - self._since).total_seconds() >= self._seconds

    def event(self, now: datetime, *, leading: bool, running: int, undelivered: int) -> dict[str, Any]:
        """Return an event about the work since the last one, and reset the counters."""
        with self._lock:
            passed = max((now - self._since).total_seconds(), 1e-3)
            spent = self._cpu()
            event = build_health_event(
                round(now.timestamp() * 1e9),
                interval=max(1, round(passed)),
                cpu={"pct": round((spent - self._spent) / passed, 4)},
                memory={"rss": resident_bytes()},
                uptime=round((now - self._started).total_seconds()),
                runner={
                    "state": "leading" if leading else "standby",
                    "runs": self._runs,
                    "failures": self._failures,
                    "running": running,
                    "delivered": self._delivered,
                    "undelivered": undelivered,
                    "duration": round(self._duration, 3),
                    "lag": round(self._lag, 3),
                },
            )
            self._since, self._spent = now, spent
            self._reset_counts()
        return {**event, "service": {"name": SERVICE}}

    def beat(self, now: datetime, *, leading: bool, running: int, undelivered: int) -> None:
        """Write an event; if the store does not accept it, the runner continues."""
        event = self.event(now, leading=leading, running=running, undelivered=undelivered)
        try:
            refused = self._store.index(self._stream, [event], now=now).failed
            reason = refused[0][1] if refused else ""
        except Exception as error:  # noqa: BLE001 - a failed heartbeat must not stop the runner
            reason = f"{type(error).__name__}: {error}"
        if reason and not self._is_failing:
            _log.warning("no heartbeat was written into %s: %s", self._stream, reason)
        self._is_failing = bool(reason)


@dataclass(frozen=True)
class Pace:
    """The limits and times of a daemon.

    Attributes:
        workers: the largest number of concurrent runs, not counting those that became slow.
        max_runs: the largest number of concurrent runs, including the slow ones.
        slow_after: seconds after which a run counts as slow.
        gather: seconds for which notifications of one tick wait for each other, so that one digest can hold all.
        poll: seconds between checks of the clock.
    """

    workers: int = 8
    max_runs: int = 64
    slow_after: float = 10.0
    gather: float = 5.0
    poll: float = 0.5


class Daemon:
    """One runner among others over the same state.

    Args:
        elector: takes part in the election; the runner's state and leader check belong to it.
        clock: returns the time in UTC. ``monotonic`` returns seconds that never decrease.
        on_report: called with the report of each delivery that did something.
        refresh: called before watches are run, so that the embedded store reads what other processes wrote.
    """

    def __init__(
        self,
        runner: Runner,
        elector: LeaderElector,
        *,
        heartbeat: Heartbeat | None = None,
        pace: Pace | None = None,
        clock: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
        on_report: Callable[[RunReport], object] = lambda report: None,
        refresh: Callable[[], object] = lambda: None,
    ) -> None:
        self._runner = runner
        self._elector = elector
        self._heartbeat = heartbeat
        self._pace = pace or Pace()
        self._clock, self._monotonic = clock, monotonic
        self._on_report, self._refresh = on_report, refresh
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._working: dict[str, float] = {}
        self._waiting = 0
        self._prepared: dict[str, tuple[Sequence[datetime], datetime, DependenciesOf]] = {}
        self._finished_runs: list[WatchRun] = []
        self._early: list[Notification] = []
        self._delivery: threading.Thread | None = None
        self._gather_until: float | None = None
        self._retry_at = 0.0
        self._is_leading = False
        self._forgotten_at: datetime | None = None
        self._last_said = ""
        self._failing_since: float | None = None
        self._runs = self._failed = 0
        self._summary_at = monotonic() + _SUMMARY_SECONDS

    @property
    def is_leading(self) -> bool:
        return self._is_leading

    def run(self, stop: threading.Event, grace: float = 10.0) -> None:
        """Work until ``stop`` is set; then allow up to ``grace`` seconds for work that has begun."""
        while not stop.is_set():
            self.step()
            self._wake.wait(self._pace.poll)
            self._wake.clear()
        self.close(grace)

    def step(self) -> None:
        """Check the clock once: renew the lease, start the due runs, and deliver gathered notifications.

        This never waits for a watch or a mail server.
        """
        now = self._clock()
        try:
            self._elect(now)
            if self._is_leading:
                self._begin(now)
                self._deliver()
        except (StateError, StoreError, LeaseLost) as error:
            if self._failing_since is None:
                self._failing_since = self._monotonic()
            self._say(logging.WARNING, str(error))
        else:
            self._say_works()
        if self._heartbeat is not None and self._heartbeat.is_due(now):
            self._beat(now)

    def close(self, grace: float) -> None:
        """Let current runs end, deliver their notifications, and release the lease."""
        until = self._monotonic() + grace
        while self._is_leading and self._busy and self._monotonic() < until:
            time.sleep(0.02)
        if self._is_leading and not self._is_delivering and self._finished_runs:
            self._begin_delivery()
        if self._delivery is not None:
            self._delivery.join(max(0.0, until - self._monotonic()))
        if self._heartbeat is not None:
            self._beat(self._clock())
        try:
            self._elector.release(self._clock())
        except (StateError, StoreError) as error:
            _log.warning("the lease was not released, and runs out by itself: %s", error)

    def _elect(self, now: datetime) -> None:
        if self._elector.is_due(now):
            self._elector.acquire(now)
        leads = self._elector.is_leader(now)
        leader = self._elector.leader
        if leads and not self._is_leading:
            self._runner.forget()
            self._say(logging.INFO, f"{self._elector.name} leads, with lease {self._elector.generation}")
        elif self._is_leading and not leads:
            self._say(logging.WARNING, f"{self._elector.name} no longer leads")
        elif not leads and leader is not None:
            self._say(logging.INFO, f"{self._elector.name} stands by: {leader.holder} leads")
        self._is_leading = leads

    def _say_works(self) -> None:
        """Log the first success after an outage, and from time to time a summary of the runs."""
        now = self._monotonic()
        if self._failing_since is not None:
            lasted = format_seconds(now - self._failing_since)
            self._failing_since = None
            self._say(logging.INFO, f"the store answers again after {lasted}")
        if now >= self._summary_at:
            with self._lock:
                runs, failed, self._runs, self._failed = self._runs, self._failed, 0, 0
            self._summary_at = now + _SUMMARY_SECONDS
            if self._is_leading:
                period = format_seconds(_SUMMARY_SECONDS)
                waiting = format_count(self._runner.queue.size, "notification")
                count = format_count(runs, "run")
                _log.info("%s in the last %s, %d failed; %s waiting", count, period, failed, waiting)

    def _say(self, level: int, text: str) -> None:
        """Log a text, but not the same one repeatedly."""
        if text != self._last_said:
            _log.log(level, "%s", text)
        self._last_said = text

    def _begin(self, now: datetime) -> None:
        with self._lock:
            # Read this before asking what is due: a run that ends in between has already recorded its scheduled
            # time.
            working = set(self._working)
        due = [(watch, missed) for watch, missed in self._runner.find_due(now) if watch.id not in working]
        latest = self._runner.latest_run()
        if latest is not None and latest - now > _CLOCK_TOLERANCE:
            behind = f"the clock is behind the last scheduled run, {format_instant(latest)}"
            self._say(logging.WARNING, f"{behind}: watches that ran then run again when it has passed")
        places = max(0, min(self._pace.workers - self._fresh, self._pace.max_runs - len(working)))
        self._waiting = max(0, len(due) - places)
        if not due or not places:
            return
        due.sort(key=lambda item: item[1][0])  # the longest waiting first
        self._refresh()
        self._prepare(due, now)
        for watch, _ in due[:places]:
            with self._lock:
                self._working[watch.id] = self._monotonic()
            threading.Thread(
                target=self._work,
                args=(watch, *self._prepared.pop(watch.id)),
                name=f"watch-{watch.id}",
                daemon=True,
            ).start()

    def _prepare(self, due: Due, now: datetime) -> None:
        """Prepare the runs that became due together, including those that have to wait for a place."""
        new = [item for item in due if self._prepared.get(item[0].id, ((),))[0] != item[1]]
        dependencies = self._runner.prepare(new, now)
        self._prepared |= {watch.id: (missed, now, dependencies) for watch, missed in new}

    def _work(
        self, watch: Watch, missed: Sequence[datetime], now: datetime, dependencies: DependenciesOf
    ) -> None:
        try:
            for scheduled in missed:
                run = self._runner.run_watch(watch, scheduled, now, dependencies)
                lag = (self._clock() - scheduled).total_seconds()
                with self._lock:
                    self._finished_runs.append(run)
                    self._runs, self._failed = self._runs + 1, self._failed + (run.error is not None)
                    if self._gather_until is None:
                        self._gather_until = self._monotonic() + self._pace.gather
                if self._heartbeat is not None:
                    self._heartbeat.count_run(ok=run.error is None, seconds=run.seconds, lag=lag)
        except LeaseLost as error:
            _log.warning("%s", error)
        except Exception:  # noqa: BLE001 - it is logged, and the others continue
            _log.exception("the run of %s broke off", watch.id)
        finally:
            with self._lock:
                del self._working[watch.id]
            self._wake.set()

    @property
    def _fresh(self) -> int:
        """Return the number of current runs that are not slow yet."""
        now = self._monotonic()
        with self._lock:
            return sum(now - started < self._pace.slow_after for started in self._working.values())

    @property
    def _busy(self) -> bool:
        with self._lock:
            return bool(self._working)

    @property
    def _is_delivering(self) -> bool:
        return self._delivery is not None and self._delivery.is_alive()

    def _deliver(self) -> None:
        now, until = self._monotonic(), self._gather_until
        ready = not self._fresh and not self._waiting
        due = now >= self._retry_at if until is None else now >= until or ready
        if due and (ready or until is not None) and not self._is_delivering:
            self._begin_delivery()

    def _begin_delivery(self) -> None:
        self._retry_at = self._monotonic() + self._pace.gather
        self._delivery = threading.Thread(target=self._deliver_now, name="watch-delivery", daemon=True)
        self._delivery.start()

    def _deliver_now(self) -> None:
        now = self._clock()
        with self._lock:
            runs, self._finished_runs, self._gather_until = self._finished_runs, [], None
        try:
            outcomes = self._runner.queue.deliver(now)
            if self._heartbeat is not None:
                self._heartbeat.count_deliveries(outcomes)
            queued_ids = {notification.id for run in runs for notification in run.queued}
            # The notification of a run that has just ended can be delivered before the run is seen here.
            early = {
                outcome.id: outcome
                for outcome in outcomes
                if outcome.id not in queued_ids and outcome.attempts <= 1
            }
            reported = [*self._early, *(outcome for outcome in outcomes if outcome.id not in early)]
            self._early = list(early.values())
            if runs or reported:
                self._on_report(self._runner.finish(now, runs, reported))
            if self._forgotten_at is None or now - self._forgotten_at >= _FORGET_EVERY:
                self._forgotten_at = now
                before = {kind: now - age for kind, age in RETENTION.items()}
                self._runner.state.forget(before)
        except (LeaseLost, StateError, StoreError) as error:
            _log.warning("%s", error)
        except Exception:  # noqa: BLE001 - it is logged, and the waiting notifications are retried
            _log.exception("a delivery broke off")

    def _beat(self, now: datetime) -> None:
        if self._heartbeat is not None:
            with self._lock:
                running = len(self._working)
            undelivered = self._runner.queue.size
            self._heartbeat.beat(now, leading=self._is_leading, running=running, undelivered=undelivered)
