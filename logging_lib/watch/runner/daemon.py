"""Runs watches by their schedules, for as long as it is let: each run in a thread of its own, deliveries in one.

A watch that is slow holds up no other: a run that takes longer than ``slow_after`` gives its place to the next one.
No watch runs twice at once; the slots that it misses meanwhile are caught up or skipped as any others. The main
thread only looks at the clock, so that the lease is renewed whatever the servers do.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from logging_lib.store.port import StoreError
from logging_lib.watch.model import Watch
from logging_lib.watch.runner import records
from logging_lib.watch.runner.delivery import Delivered
from logging_lib.watch.runner.heartbeat import Heartbeat
from logging_lib.watch.runner.judging import Judgment
from logging_lib.watch.runner.leases import Elector, LeaseLost
from logging_lib.watch.runner.results import Report
from logging_lib.watch.runner.runner import Runner
from logging_lib.watch.runner.state import StateError

_log = logging.getLogger(__name__)
_FORGET_EVERY = timedelta(hours=1)


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Pace:
    """How a daemon works.

    Attributes:
        workers: runs at once, those that became slow not counted.
        most: runs at once, with those.
        slow_after: seconds after which a run counts as slow.
        gather: seconds for which messages of one tick wait for each other, so that a digest can hold them all.
        poll: seconds between looks at the clock.
    """

    workers: int = 8
    most: int = 64
    slow_after: float = 10.0
    gather: float = 5.0
    poll: float = 0.5


class Daemon:
    """One runner among others over the same state.

    Args:
        elector: takes part in the election; the runner's state and guard belong to it.
        clock: the time, in UTC; ``monotonic``: seconds that only grow.
        tell: gets the report of each round in which something was done.
        refresh: called before watches are run: the embedded store reads what others wrote.
    """

    def __init__(
        self,
        runner: Runner,
        elector: Elector,
        *,
        heartbeat: Heartbeat | None = None,
        pace: Pace | None = None,
        clock: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
        tell: Callable[[Report], object] = lambda report: None,
        refresh: Callable[[], object] = lambda: None,
    ) -> None:
        self._runner = runner
        self._elector = elector
        self._heartbeat = heartbeat
        self._pace = pace or Pace()
        self._clock, self._monotonic = clock, monotonic
        self._tell, self._refresh = tell, refresh
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._working: dict[str, float] = {}
        self._waiting = 0
        self._judged: list[Judgment] = []
        self._early: list[Delivered] = []
        self._post: threading.Thread | None = None
        self._gather_until: float | None = None
        self._retry_at = 0.0
        self._leading = False
        self._forgotten: datetime | None = None
        self._said = ""

    @property
    def leading(self) -> bool:
        return self._leading

    def run(self, stop: threading.Event, grace: float = 10.0) -> None:
        """Work until ``stop`` is set; then at most ``grace`` seconds more for what has begun."""
        while not stop.is_set():
            self.step()
            self._wake.wait(self._pace.poll)
            self._wake.clear()
        self.close(grace)

    def step(self) -> None:
        """Look at the clock once: renew the lease, begin what is due, deliver what has gathered. Never waits for
        a watch or a mail server."""
        now = self._clock()
        try:
            self._campaign(now)
            if self._leading:
                self._begin(now)
                self._deliver()
        except (StateError, StoreError, LeaseLost) as error:
            self._say(logging.WARNING, str(error))
        if self._heartbeat is not None and self._heartbeat.is_due(now):
            self._beat(now)

    def close(self, grace: float) -> None:
        """Let what runs come to its end, deliver what that left, and give the lease away."""
        until = self._monotonic() + grace
        while self._leading and self._busy and self._monotonic() < until:
            time.sleep(0.02)
        if self._leading and not self._posting and self._judged:
            self._begin_post()
        if self._post is not None:
            self._post.join(max(0.0, until - self._monotonic()))
        if self._heartbeat is not None:
            self._beat(self._clock())
        try:
            self._elector.resign(self._clock())
        except (StateError, StoreError) as error:
            _log.warning("the lease was not given away, and runs out by itself: %s", error)

    def _campaign(self, now: datetime) -> None:
        if self._elector.is_due(now):
            self._elector.campaign(now)
        leads = self._elector.leads(now)
        other = self._elector.leader
        if leads and not self._leading:
            self._runner.forget()
            self._say(logging.INFO, f"{self._elector.name} leads, in term {self._elector.term}")
        elif self._leading and not leads:
            self._say(logging.WARNING, f"{self._elector.name} leads no more")
        elif not leads and other is not None:
            self._say(logging.INFO, f"{self._elector.name} stands by: {other.holder} leads")
        self._leading = leads

    def _say(self, level: int, text: str) -> None:
        """Into the log, but not the same again and again."""
        if text != self._said:
            _log.log(level, "%s", text)
        self._said = text

    def _begin(self, now: datetime) -> None:
        with self._lock:
            # Before it is asked what is due: what ends just then has its slot behind it.
            working = set(self._working)
        due = [(watch, slots) for watch, slots in self._runner.due(now) if watch.id not in working]
        places = max(0, min(self._pace.workers - self._fresh, self._pace.most - len(working)))
        self._waiting = max(0, len(due) - places)
        if not due or not places:
            return
        due.sort(key=lambda each: each[1][0])  # who waits longest is first
        self._refresh()
        for watch, slots in due[:places]:
            with self._lock:
                self._working[watch.id] = self._monotonic()
            threading.Thread(
                target=self._work, args=(watch, slots), name=f"watch-{watch.id}", daemon=True
            ).start()

    def _work(self, watch: Watch, slots: list[datetime]) -> None:
        try:
            for slot in slots:
                judgment = self._runner.judge(watch, slot, self._clock())
                lag = (self._clock() - slot).total_seconds()
                with self._lock:
                    self._judged.append(judgment)
                    if self._gather_until is None:
                        self._gather_until = self._monotonic() + self._pace.gather
                if self._heartbeat is not None:
                    self._heartbeat.ran(ok=judgment.run.error is None, seconds=judgment.seconds, lag=lag)
        except LeaseLost as error:
            _log.warning("%s", error)
        except Exception:  # noqa: BLE001 - it is logged, and the others go on
            _log.exception("the run of %s broke off", watch.id)
        finally:
            with self._lock:
                del self._working[watch.id]
            self._wake.set()

    @property
    def _fresh(self) -> int:
        """Runs at work that are not slow yet."""
        now = self._monotonic()
        with self._lock:
            return sum(now - began < self._pace.slow_after for began in self._working.values())

    @property
    def _busy(self) -> bool:
        with self._lock:
            return bool(self._working)

    @property
    def _posting(self) -> bool:
        return self._post is not None and self._post.is_alive()

    def _deliver(self) -> None:
        now, until = self._monotonic(), self._gather_until
        ready = not self._fresh and not self._waiting
        due = now >= self._retry_at if until is None else now >= until or ready
        if due and (ready or until is not None) and not self._posting:
            self._begin_post()

    def _begin_post(self) -> None:
        self._retry_at = self._monotonic() + self._pace.gather
        self._post = threading.Thread(target=self._deliver_now, name="watch-post", daemon=True)
        self._post.start()

    def _deliver_now(self) -> None:
        now = self._clock()
        with self._lock:
            judged, self._judged, self._gather_until = self._judged, [], None
        try:
            delivered = self._runner.postman.deliver(now)
            if self._heartbeat is not None:
                self._heartbeat.delivered(delivered)
            known = {identity for judgment in judged for identity in judgment.entries}
            # The message of a run that ended just now can be delivered before that run is seen here.
            early = [each for each in delivered if each.entry.id not in known and not each.entry.attempts]
            reported = [*self._early, *(each for each in delivered if each not in early)]
            self._early = early
            if judged or reported:
                self._tell(self._runner.finish(now, judged, reported))
            if self._forgotten is None or now - self._forgotten >= _FORGET_EVERY:
                self._forgotten = now
                before = {kind: now - kept for kind, kept in records.KEPT.items()}
                self._runner.state.forget(before)
        except (LeaseLost, StateError, StoreError) as error:
            _log.warning("%s", error)
        except Exception:  # noqa: BLE001 - it is logged; what waits is tried again
            _log.exception("a delivery broke off")

    def _beat(self, now: datetime) -> None:
        if self._heartbeat is not None:
            with self._lock:
                running = len(self._working)
            undelivered = self._runner.postman.undelivered
            self._heartbeat.beat(now, leading=self._leading, running=running, undelivered=undelivered)
