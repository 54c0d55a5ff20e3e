"""The runner's own ``ml.health`` events: by them ``uptime`` sees, wherever it runs, that a runner died."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from threading import Lock
from typing import Any

from logging_lib.logger.health import build_health_event
from logging_lib.logger.reporter import resident_bytes
from logging_lib.schema import DEFAULT_NAMESPACE, data_stream
from logging_lib.store.port import Store
from logging_lib.watch.runner.delivery import Delivered

SERVICE = "logging-lib-watch"
_log = logging.getLogger(__name__)


class Heartbeat:
    """Counts what the runner does and says so each minute. Safe to share between threads.

    Args:
        store: gets the events, in ``logs-ml.health-<namespace>``.
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
        self._began = self._since = now
        self._spent = cpu()
        self._lock = Lock()
        self._silent = False
        self._zero()

    def _zero(self) -> None:
        self._runs = self._failures = self._delivered = 0
        self._duration = self._lag = 0.0

    def ran(self, *, ok: bool, seconds: float, lag: float) -> None:
        """A watch was run: how long that took, and how long after its slot it ended."""
        with self._lock:
            self._runs += 1
            self._failures += not ok
            self._duration, self._lag = max(self._duration, seconds), max(self._lag, lag)

    def delivered(self, outcomes: Iterable[Delivered]) -> None:
        with self._lock:
            self._delivered += sum(each.ok for each in outcomes)

    def is_due(self, now: datetime) -> bool:
        return (now - self._since).total_seconds() >= self._seconds

    def event(self, now: datetime, *, leading: bool, running: int, undelivered: int) -> dict[str, Any]:
        """What happened since the last one; counting begins anew."""
        with self._lock:
            passed = max((now - self._since).total_seconds(), 1e-3)
            spent = self._cpu()
            made = build_health_event(
                round(now.timestamp() * 1e9),
                interval=max(1, round(passed)),
                cpu={"pct": round((spent - self._spent) / passed, 4)},
                memory={"rss": resident_bytes()},
                uptime=round((now - self._began).total_seconds()),
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
            self._zero()
        return {**made, "service": {"name": SERVICE}}

    def beat(self, now: datetime, *, leading: bool, running: int, undelivered: int) -> None:
        """Write an event; a store that does not take it stops nothing."""
        event = self.event(now, leading=leading, running=running, undelivered=undelivered)
        try:
            refused = self._store.index(self._stream, [event], now=now).failed
            reason = refused[0][1] if refused else ""
        except Exception as error:  # noqa: BLE001 - no heartbeat is worth the runner
            reason = f"{type(error).__name__}: {error}"
        if reason and not self._silent:
            _log.warning("no heartbeat was written into %s: %s", self._stream, reason)
        self._silent = bool(reason)
