"""Decide which of several runners works: the one that holds the lease in their shared state.

The others take over when the lease has expired. Clocks must agree to within a fraction of the lease's duration. If
they do not, or a runner was stopped for a while, its lease has an older generation than its successor's, and the
state refuses its writes.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from threading import RLock

from logging_lib.watch.incidents import Mute
from logging_lib.watch.state.base import ANY, Change, HistoryQuery, Lease, Record, StateStore, WatchState

LEASE = timedelta(seconds=30)


class LeaseLost(Exception):  # noqa: N818 - what happened; the runner stands by again
    """Raised if another runner leads, or may lead by now; this one must neither send nor write."""


class _HeldByOther(Exception):  # noqa: N818
    pass


class LeaderElector:
    """One runner's part in the election.

    Args:
        duration: how long a lease is valid. Renew it three times in that time.
        name: a name that no other runner has; default: a name of this process.
    """

    def __init__(self, state: StateStore, duration: timedelta = LEASE, name: str | None = None) -> None:
        self._state = state
        self._duration = duration
        self.name = name or f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
        self._own: Lease | None = None
        self._other: Lease | None = None
        self._lock = RLock()

    @property
    def generation(self) -> int:
        return self._own.generation if self._own else 0

    @property
    def leader(self) -> Lease | None:
        """Return the lease of the leader, as far as this runner knows."""
        return self._own or self._other

    def acquire(self, now: datetime) -> bool:
        """Take or renew the lease; return whether this runner leads until ``now`` plus the lease's duration.

        Raises:
            StateError, StoreError: the state cannot be read or written.
        """

        def change(lease: Lease | None) -> Lease:
            if lease is None:
                return Lease(holder=self.name, generation=1, until=now + self._duration)
            is_own = lease.holder == self.name
            if not is_own and now < lease.until:
                self._other = lease
                raise _HeldByOther
            generation = lease.generation if is_own else lease.generation + 1
            return Lease(holder=self.name, generation=generation, until=now + self._duration)

        with self._lock:
            try:
                self._own = self._state.update_lease(change)
            except _HeldByOther:
                self._own = None
            return self._own is not None

    def is_due(self, now: datetime) -> bool:
        """Return whether it is time to acquire: a third of the lease is over."""
        lease = self._own
        return lease is None or now >= lease.until - self._duration * 2 / 3

    def is_leader(self, now: datetime) -> bool:
        return self._own is not None and now < self._own.until

    def check(self, now: datetime) -> None:
        """Raise LeaseLost unless this runner leads for another third of the lease, which is time for a delivery."""
        if not self.is_leader(now + self._duration / 3):
            raise LeaseLost("the lease ran out: another runner may work already")

    def release(self, now: datetime) -> None:
        """Let the next one take over at once."""

        def change(lease: Lease | None) -> Lease:
            if lease is None or lease.holder != self.name:
                raise _HeldByOther
            return lease.model_copy(update={"until": now})

        with self._lock:
            try:
                if self._own is not None:
                    self._state.update_lease(change)
            except _HeldByOther:
                pass
            self._own = None


class LeaderState(StateStore):
    """A state that refuses writes by a runner whose successor has already written (Kleppmann's fencing token)."""

    def __init__(self, state: StateStore, elector: LeaderElector) -> None:
        self._state = state
        self._elector = elector

    def watch_ids(self) -> list[str]:
        return self._state.watch_ids()

    def load(self, watch_id: str) -> WatchState:
        return self._state.load(watch_id)

    def update(self, watch_id: str, change: Change) -> WatchState:
        generation = self._elector.generation

        def checked(state: WatchState) -> WatchState:
            if not generation or state.generation > generation:
                raise LeaseLost(f"{watch_id}: another runner took over")
            return change(state).model_copy(update={"generation": generation})

        return self._state.update(watch_id, checked)

    def mutes(self) -> tuple[Mute, ...]:
        return self._state.mutes()

    def update_mutes(self, change: Callable[[tuple[Mute, ...]], tuple[Mute, ...]]) -> tuple[Mute, ...]:
        return self._state.update_mutes(change)

    def lease(self) -> Lease | None:
        return self._state.lease()

    def update_lease(self, change: Callable[[Lease | None], Lease]) -> Lease:
        return self._state.update_lease(change)

    def record(self, records: Iterable[Record]) -> None:
        self._state.record(records)

    def history(self, query: HistoryQuery = ANY) -> list[Record]:
        return self._state.history(query)

    def forget(self, before: Mapping[str, datetime]) -> None:
        self._state.forget(before)
