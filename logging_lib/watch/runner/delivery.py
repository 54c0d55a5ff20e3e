"""Delivers the messages that wait, and writes down each outcome at once: a crash repeats one message, not all."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock

from logging_lib.watch.actions import DeliveryError, Outlet, Outlets
from logging_lib.watch.messages import Message
from logging_lib.watch.runner.outbox import (
    Failure,
    Parcel,
    Policy,
    addresses,
    after_failure,
    by_fallback,
    is_due,
    plan,
)
from logging_lib.watch.runner.state import StateError, StateStore, Undelivered, WatchState

_log = logging.getLogger(__name__)

Guard = Callable[[], object]
"""Called before each message goes out; raises where this runner must not send any more."""


@dataclass(frozen=True)
class Delivered:
    """What became of one message in one try. ``via``: the kind it went by, where that was its fallback's;
    ``given_up``: it is too old to be tried again; ``together``: with how many it went as one."""

    watch: str
    entry: Undelivered
    ok: bool
    reason: str = ""
    via: str = ""
    given_up: bool = False
    together: int = 1

    @property
    def attempts(self) -> int:
        return self.entry.attempts + (not self.given_up)


class Postman:
    """Tries what waits in the state, over all watches. One call of ``deliver`` at a time."""

    def __init__(
        self, state: StateStore, outlets: Outlets, policy: Policy, guard: Guard = lambda: None
    ) -> None:
        self._state = state
        self._outlets = outlets
        self._policy = policy
        self._guard = guard
        self._lock = Lock()
        self._waiting: set[str] = set()
        self._counts: dict[str, int] = {}
        self._knows = False
        self._unread: set[str] = set()

    def has(self, kind: str) -> bool:
        return kind in self._outlets

    def expect(self, watch_id: str, entries: int) -> None:
        """So many messages of a watch wait now."""
        with self._lock:
            self._counts[watch_id] = entries
            if entries:
                self._waiting.add(watch_id)

    def forget(self) -> None:
        """What waits is looked up anew: another runner had the state."""
        with self._lock:
            self._counts.clear()
            self._knows = False

    @property
    def undelivered(self) -> int:
        with self._lock:
            return sum(self._counts.values())

    def deliver(self, now: datetime, *, at_once: bool = False) -> list[Delivered]:
        """Try all that is due.

        Args:
            at_once: also what our own backoff would have wait.

        Raises:
            StateError, StoreError: the state cannot be written, or its server does not answer.
        """
        known = [] if self._knows else self._state.watch_ids()
        with self._lock:
            self._knows = True
            # Whoever adds messages from here on is in the set again, and seen the next time.
            watches = sorted(self._waiting.union(known))
            self._waiting.clear()
        try:
            return self._deliver(watches, now, at_once=at_once)
        except BaseException:
            with self._lock:
                self._waiting.update(watches)
            raise

    def _deliver(self, watches: list[str], now: datetime, *, at_once: bool) -> list[Delivered]:
        done: list[Delivered] = []
        due: dict[str, tuple[str, Undelivered]] = {}
        for watch_id in watches:
            entries = self._entries(watch_id)
            if entries:
                self.expect(watch_id, len(entries))
            for entry in entries:
                if now - entry.since > self._policy.give_up_after:
                    self._remove(watch_id, entry)
                    reason = f"given up after {self._policy.give_up_after.days} days: {entry.reason}"
                    done.append(Delivered(watch_id, entry, ok=False, reason=reason, given_up=True))
                elif is_due(entry, now, at_once=at_once):
                    due[entry.id] = (watch_id, entry)
        if not due:
            return done
        round_ = _Round(self, due, now)
        round_.send([entry for _, entry in due.values()])
        return done + round_.done

    def _entries(self, watch_id: str) -> tuple[Undelivered, ...]:
        """What waits of a watch; nothing where its own state cannot be read, which must not stop the others."""
        try:
            found = self._state.load(watch_id).undelivered
        except StateError as error:
            with self._lock:
                self._waiting.add(watch_id)
            if watch_id not in self._unread:
                _log.warning("what waits of %s is not delivered: %s", watch_id, error)
            self._unread.add(watch_id)
            return ()
        self._unread.discard(watch_id)
        return found

    def _remove(self, watch_id: str, entry: Undelivered) -> None:
        def change(kept: WatchState) -> WatchState:
            rest = tuple(each for each in kept.undelivered if each.id != entry.id)
            return kept.model_copy(update={"undelivered": rest})

        self.expect(watch_id, len(self._state.update(watch_id, change).undelivered))

    def _replace(self, watch_id: str, entry: Undelivered) -> None:
        def change(kept: WatchState) -> WatchState:
            now = tuple(entry if each.id == entry.id else each for each in kept.undelivered)
            return kept.model_copy(update={"undelivered": now})

        self.expect(watch_id, len(self._state.update(watch_id, change).undelivered))


class _Round:
    """One call of ``deliver``: a server that is down is not waited for again."""

    def __init__(self, postman: Postman, due: dict[str, tuple[str, Undelivered]], now: datetime) -> None:
        self._postman = postman
        self._due = due
        self._now = now
        self._down: dict[str, tuple[str, timedelta | None]] = {}
        self.done: list[Delivered] = []

    def send(self, entries: list[Undelivered]) -> None:
        policy = self._postman._policy
        failed: list[tuple[Undelivered, list[Failure]]] = []
        for entry, failures, together in self._tries(entries):
            if failures:
                failed.append((entry, failures))
                after = after_failure(entry, failures, self._now, policy)
                self._postman._replace(self._due[entry.id][0], after)
            else:
                self._delivered(entry, together=together)
        elsewhere = {
            entry.id: moved
            for entry, failures in failed
            if entry.attempts + 1 >= policy.fallback_after
            and (moved := by_fallback(entry)) is not None
            and self._postman.has(moved.message.kind)
        }
        refused: dict[str, list[Failure]] = {}
        for moved, failures, together in self._tries(list(elsewhere.values())):
            if failures:
                refused[moved.id] = failures
            else:
                self._delivered(moved, via=moved.message.kind, together=together)
        for entry, failures in failed:
            if entry.id not in elsewhere or entry.id in refused:
                reasons = [failure.reason for failure in (*failures, *refused.get(entry.id, ()))]
                reason = "; ".join(dict.fromkeys(reasons))
                self.done.append(Delivered(self._due[entry.id][0], entry, ok=False, reason=reason))

    def _delivered(self, entry: Undelivered, *, via: str = "", together: int) -> None:
        watch_id, original = self._due[entry.id]
        self._postman._remove(watch_id, entry)
        self.done.append(Delivered(watch_id, original, ok=True, via=via, together=together))

    def _tries(self, entries: list[Undelivered]) -> Iterable[tuple[Undelivered, list[Failure], int]]:
        """Each entry once all that it goes out in was tried, with what failed of it."""
        known = {entry.id: entry for entry in entries}
        parcels = plan(entries, self._now, self._postman._policy.digest_over)
        left = Counter(identity for parcel in parcels for identity, _ in parcel.parts)
        failures: dict[str, list[Failure]] = {identity: [] for identity in left}
        for parcel in parcels:
            self._postman._guard()
            failure = self._deliver(parcel)
            for identity, to in parcel.parts:
                if failure is not None and failure.to & to:
                    failures[identity].append(Failure(failure.reason, failure.to & to, failure.wait))
                left[identity] -= 1
                if not left[identity]:
                    yield known[identity], failures[identity], len(parcel.parts)

    def _deliver(self, parcel: Parcel) -> Failure | None:
        message = parcel.message
        everyone = addresses(message)
        outlet: Outlet | None = self._postman._outlets.get(message.kind)
        if outlet is None:
            return Failure(f"no outlet for {message.kind} is configured", everyone)
        if message.kind in self._down:
            reason, wait = self._down[message.kind]
            return Failure(reason, everyone, wait)
        try:
            outlet.deliver(message)
        except DeliveryError as error:
            wait = None if error.retry_after is None else timedelta(seconds=error.retry_after)
            if error.down:
                self._down[message.kind] = str(error), wait
            return Failure(str(error), _remaining(error.remaining, everyone), wait)
        except Exception as error:  # noqa: BLE001 - a message that breaks its outlet must not stop the others
            return Failure(f"{type(error).__name__} while sending", everyone)
        return None


def _remaining(message: Message | None, everyone: frozenset[str]) -> frozenset[str]:
    return everyone if message is None else addresses(message) & everyone or everyone
