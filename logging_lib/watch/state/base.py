"""Define what the runner remembers between runs, and where it is stored: the incidents and the queue of
notifications of each watch, the mutes, the leader, and the history of the work.

Every change is a pure function of the stored value and is applied in one step, so that a runner, ``ack`` and
``mute`` can work at the same time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import RLock
from typing import Any, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, NonNegativeInt, ValidationError

from logging_lib._util.times import format_instant, parse_instant
from logging_lib.watch.errors import StateError
from logging_lib.watch.incidents import Incident, Incidents, Mute, matches
from logging_lib.watch.notify.base import Notification

HISTORY_LIMIT = 1000
KINDS = ("run", "quiet", "alert", "delivery", "ack", "mute", "unmute", "accept", "undo")
"""The kinds of the history's records; ``quiet`` are runs that found nothing."""


RETENTION: Mapping[str, timedelta] = {"quiet": timedelta(days=7), "*": timedelta(days=90)}
"""How long a kind of record is kept; ``*`` is for all others."""


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WatchState(_Stored):
    """The state of one watch.

    Attributes:
        queue: notifications that are not delivered yet; they are stored before they are sent, so no crash loses
            them.
        last_scheduled: the last scheduled time that was run.
        generation: the generation of the lease of the leader that wrote last.
    """

    incidents: tuple[Incident, ...] = ()
    queue: tuple[Notification, ...] = ()
    last_scheduled: AwareDatetime | None = None
    generation: NonNegativeInt = 0

    def by_key(self) -> Incidents:
        return {incident.key: incident for incident in self.incidents}

    def with_incidents(self, incidents: Incidents, **changes: Any) -> WatchState:
        """Return the state with these incidents in place of its own; ``changes`` are for further attributes."""
        ordered = tuple(incidents[key] for key in sorted(incidents))
        return self.model_copy(update={"incidents": ordered, **changes})

    def with_queued(self, notifications: Iterable[Notification]) -> WatchState:
        """Return the state with these at the end of its queue; those already in it are replaced."""
        new = {notification.id: notification for notification in notifications}
        if not new:
            return self
        queue = {notification.id: notification for notification in self.queue} | new
        return self.model_copy(update={"queue": tuple(queue.values())})

    def settled(self, removed: Collection[str], retried: Iterable[Notification]) -> WatchState:
        """Return the state without the removed notifications, and with the retried ones in place of those with
        their ids."""
        new = {notification.id: notification for notification in retried}
        rest = (notification for notification in self.queue if notification.id not in removed)
        queue = tuple(new.get(notification.id, notification) for notification in rest)
        return self.model_copy(update={"queue": queue})


class Lease(_Stored):
    """The lease of the leader and its end. ``generation`` grows with each change of the holder."""

    holder: str
    generation: NonNegativeInt
    until: AwareDatetime


class Mutes(_Stored):
    mutes: tuple[Mute, ...] = ()


@dataclass(frozen=True)
class HistoryQuery:
    """A query for records of the history; None matches any. The latest ``limit`` of them are returned."""

    watch: str | None = None
    model: str | None = None
    since: datetime | None = None
    kinds: tuple[str, ...] = ()
    limit: int = HISTORY_LIMIT

    def choose(self, records: Iterable[Record]) -> list[Record]:
        """Return the records that match."""
        chosen = [
            record
            for record in records
            if (not self.kinds or record["kind"] in self.kinds)
            and matches(self.watch, str(record.get("watch", "")))
            and matches(self.model, str(record.get("model", "")))
            and (self.since is None or parse_instant(record["time"]) >= self.since)
        ]
        return chosen[-self.limit :]


ANY = HistoryQuery()

Record = dict[str, Any]
"""A line of the history: ``time`` (ISO 8601), ``kind`` (one of ``KINDS``), ``watch``, and the keys of its kind."""

Change = Callable[[WatchState], WatchState]
T = TypeVar("T", bound=_Stored)


class StateStore(ABC):
    """Storage of states. Safe to share between threads. Its methods raise StateError or StoreError."""

    @abstractmethod
    def watch_ids(self) -> list[str]:
        """List the watches that have a state."""

    @abstractmethod
    def load(self, watch_id: str) -> WatchState: ...

    @abstractmethod
    def update(self, watch_id: str, change: Change) -> WatchState:
        """Apply a change in one step and return the state that is now stored, durably if the storage is durable at
        all. ``change`` may be called several times if others write at the same time."""

    @abstractmethod
    def mutes(self) -> tuple[Mute, ...]: ...

    @abstractmethod
    def update_mutes(self, change: Callable[[tuple[Mute, ...]], tuple[Mute, ...]]) -> tuple[Mute, ...]: ...

    @abstractmethod
    def lease(self) -> Lease | None: ...

    @abstractmethod
    def update_lease(self, change: Callable[[Lease | None], Lease]) -> Lease:
        """Apply a change to the lease, as ``update`` does. If ``change`` raises, nothing is written."""

    @abstractmethod
    def record(self, records: Iterable[Record]) -> None:
        """Append to the history."""

    @abstractmethod
    def history(self, query: HistoryQuery = ANY) -> list[Record]:
        """Read records of the history, the oldest first."""

    @abstractmethod
    def forget(self, before: Mapping[str, datetime]) -> None:
        """Drop the records that are older than the time for their kind; ``*`` is for kinds that are not named."""

    def queued(self, watch_id: str) -> tuple[Notification, ...]:
        """Return the waiting notifications of a watch, the oldest first."""
        return self.load(watch_id).queue

    def settle(
        self, watch_id: str, *, removed: Collection[str] = (), retried: Iterable[Notification] = ()
    ) -> int:
        """Remove and replace notifications by id in one write; return how many still wait."""
        retried = list(retried)
        return len(self.update(watch_id, lambda state: state.settled(removed, retried)).queue)


class MemoryState(StateStore):
    """A state that lasts until the end of the process, for backtests, tests and dry runs."""

    def __init__(
        self,
        states: Mapping[str, WatchState] | None = None,
        *,
        mutes: Iterable[Mute] = (),
        history: bool = True,
    ) -> None:
        self._states = dict(states or {})
        self._mutes = tuple(mutes)
        self._lease: Lease | None = None
        self._records: list[Record] | None = [] if history else None
        self._lock = RLock()

    def watch_ids(self) -> list[str]:
        return sorted(self._states)

    def load(self, watch_id: str) -> WatchState:
        return self._states.get(watch_id, WatchState())

    def update(self, watch_id: str, change: Change) -> WatchState:
        with self._lock:
            self._states[watch_id] = change(self.load(watch_id))
            return self._states[watch_id]

    def mutes(self) -> tuple[Mute, ...]:
        return self._mutes

    def update_mutes(self, change: Callable[[tuple[Mute, ...]], tuple[Mute, ...]]) -> tuple[Mute, ...]:
        with self._lock:
            self._mutes = change(self._mutes)
            return self._mutes

    def lease(self) -> Lease | None:
        return self._lease

    def update_lease(self, change: Callable[[Lease | None], Lease]) -> Lease:
        with self._lock:
            self._lease = change(self._lease)
            return self._lease

    def record(self, records: Iterable[Record]) -> None:
        if self._records is not None:
            self._records.extend(records)

    def history(self, query: HistoryQuery = ANY) -> list[Record]:
        return query.choose(self._records or ())

    def forget(self, before: Mapping[str, datetime]) -> None:
        if self._records is not None:
            self._records = [record for record in self._records if not is_old(record, before)]


class DocumentState(StateStore):
    """Base class of states that are JSON documents by name; a subclass stores the documents."""

    @abstractmethod
    def _read(self, name: str) -> bytes | None:
        """Return the JSON under a name, or None."""

    @abstractmethod
    def _change(self, name: str, change: Callable[[bytes | None], bytes | None]) -> None:
        """Replace the JSON by the result of ``change`` in one step; None leaves it unchanged."""

    @abstractmethod
    def _place(self, name: str) -> str:
        """Describe where the document is stored, for people."""

    def load(self, watch_id: str) -> WatchState:
        return self._parse(WatchState, f"watch:{watch_id}", self._read(f"watch:{watch_id}")) or WatchState()

    def update(self, watch_id: str, change: Change) -> WatchState:
        return self._update(WatchState, f"watch:{watch_id}", lambda state: change(state or WatchState()))

    def mutes(self) -> tuple[Mute, ...]:
        stored = self._parse(Mutes, "mutes", self._read("mutes"))
        return stored.mutes if stored else ()

    def update_mutes(self, change: Callable[[tuple[Mute, ...]], tuple[Mute, ...]]) -> tuple[Mute, ...]:
        stored = self._update(Mutes, "mutes", lambda old: Mutes(mutes=change(old.mutes if old else ())))
        return stored.mutes

    def lease(self) -> Lease | None:
        return self._parse(Lease, "lease", self._read("lease"))

    def update_lease(self, change: Callable[[Lease | None], Lease]) -> Lease:
        return self._update(Lease, "lease", change)

    def _update(self, kind: type[T], name: str, change: Callable[[T | None], T]) -> T:
        results: list[T] = []

        def changed(content: bytes | None) -> bytes | None:
            before = self._parse(kind, name, content)
            after = change(before)
            results.append(after)
            return None if after == before else after.model_dump_json(exclude_defaults=True).encode()

        self._change(name, changed)
        return results[-1]

    def _parse(self, kind: type[T], name: str, content: bytes | None) -> T | None:
        if content is None:
            return None
        try:
            return kind.model_validate_json(content)
        except ValidationError as error:
            raise StateError(
                f"{self._place(name)}: is not a state of this watch runner ({str(error).splitlines()[0]}). Move it "
                "away to start afresh; what is still wrong will then be reported once more."
            ) from error


def is_old(record: Record, before: Mapping[str, datetime]) -> bool:
    limit = before.get(record["kind"], before.get("*"))
    return limit is not None and parse_instant(record["time"]) < limit


def manual_record(kind: str, now: datetime, watch: str | None, model: str | None, **more: Any) -> Record:
    """Return the history's record of a person's action: ``ack``, ``mute``, ``unmute``, ``accept`` or ``undo``."""
    where = {name: value for name, value in (("watch", watch), ("model", model)) if value}
    return {"time": format_instant(now), "kind": kind, **where, **{k: v for k, v in more.items() if v}}
