"""Which of several runners works: the one that holds the lease in the state they share.

The others take over when it has run out. Clocks must agree to within a fraction of the lease's time; where they do
not, or a runner was stopped for a while, its term is older than its successor's, and the state refuses its writes.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from threading import RLock

from logging_lib.watch.runner.mutes import Mute
from logging_lib.watch.runner.state import ANY, Change, Lease, Record, StateStore, Wanted, WatchState

LEASE = timedelta(seconds=30)


class LeaseLost(Exception):  # noqa: N818 - what happened; the runner stands by again
    """Another runner leads, or may by now; this one must neither send nor write."""


class _Held(Exception):  # noqa: N818
    pass


class Elector:
    """One runner's part in the election.

    Args:
        lasts: how long a lease is good for. Renew it thrice in that time.
        name: which no other runner has; default: of this process.
    """

    def __init__(self, state: StateStore, lasts: timedelta = LEASE, name: str | None = None) -> None:
        self._state = state
        self._lasts = lasts
        self.name = name or f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
        self._mine: Lease | None = None
        self._other: Lease | None = None
        self._lock = RLock()

    @property
    def term(self) -> int:
        return self._mine.term if self._mine else 0

    @property
    def leader(self) -> Lease | None:
        """Who leads, as far as this one knows."""
        return self._mine or self._other

    def campaign(self, now: datetime) -> bool:
        """Take the lease, or renew it; whether this runner leads until ``now`` plus the lease's time.

        Raises:
            StateError, StoreError: the state cannot be read or written.
        """

        def change(held: Lease | None) -> Lease:
            if held is not None and held.holder != self.name and now < held.until:
                self._other = held
                raise _Held
            renewed = held is not None and held.holder == self.name
            term = held.term if held is not None and renewed else (held.term if held else 0) + 1
            return Lease(holder=self.name, term=term, until=now + self._lasts)

        with self._lock:
            try:
                self._mine = self._state.update_lease(change)
            except _Held:
                self._mine = None
            return self._mine is not None

    def is_due(self, now: datetime) -> bool:
        """Whether it is time to campaign: a third of the lease is over."""
        mine = self._mine
        return mine is None or now >= mine.until - self._lasts * 2 / 3

    def leads(self, now: datetime) -> bool:
        return self._mine is not None and now < self._mine.until

    def check(self, now: datetime) -> None:
        """Raises LeaseLost unless this runner leads for another third of the lease: time to send a message."""
        if not self.leads(now + self._lasts / 3):
            raise LeaseLost("the lease ran out: another runner may work already")

    def resign(self, now: datetime) -> None:
        """Let the next one take over at once."""

        def change(held: Lease | None) -> Lease:
            if held is None or held.holder != self.name:
                raise _Held
            return held.model_copy(update={"until": now})

        with self._lock:
            try:
                if self._mine is not None:
                    self._state.update_lease(change)
            except _Held:
                pass
            self._mine = None


class FencedState:
    """A state that refuses writes of a runner whose successor has written already (Kleppmann's fencing token)."""

    def __init__(self, state: StateStore, elector: Elector) -> None:
        self._state = state
        self._elector = elector
        self.watch_ids = state.watch_ids
        self.load = state.load
        self.mutes = state.mutes
        self.lease = state.lease

    def update(self, watch_id: str, change: Change) -> WatchState:
        term = self._elector.term

        def fenced(kept: WatchState) -> WatchState:
            if not term or kept.term > term:
                raise LeaseLost(f"{watch_id}: another runner took over")
            return change(kept).model_copy(update={"term": term})

        return self._state.update(watch_id, fenced)

    def update_mutes(self, change: Callable[[tuple[Mute, ...]], tuple[Mute, ...]]) -> tuple[Mute, ...]:
        return self._state.update_mutes(change)

    def update_lease(self, change: Callable[[Lease | None], Lease]) -> Lease:
        return self._state.update_lease(change)

    def record(self, records: Iterable[Record]) -> None:
        self._state.record(records)

    def history(self, wanted: Wanted = ANY) -> list[Record]:
        return self._state.history(wanted)

    def forget(self, before: Mapping[str, datetime]) -> None:
        self._state.forget(before)
