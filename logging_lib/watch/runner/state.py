"""What the runner remembers between runs, and where: by watch its incidents and its messages that wait; mutes;
who leads; and the history of what was done.

Every change is a pure function of what is stored, applied as one step, so that a runner, ``ack`` and ``mute`` can
work side by side.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from threading import RLock
from typing import Any, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from logging_lib._util.errors import LoggingLibError
from logging_lib._util.times import parse_instant
from logging_lib.watch.messages import Message
from logging_lib.watch.runner.incidents import Incident, Incidents
from logging_lib.watch.runner.mutes import Mute, matches

HISTORY_MOST = 1000
KINDS = ("run", "quiet", "alert", "delivery", "ack", "mute", "unmute")
"""Of the history's records; ``quiet`` are runs that found nothing."""


class StateError(LoggingLibError):
    """The state cannot be read or written, or another runner has it; the message says which and the remedy."""


class _Kept(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Fallback(_Kept):
    """Where a message goes that its own channel does not take: a mail address, or a channel of Slack."""

    kind: Literal["email", "slack"]
    to: str | None = None


class Undelivered(_Kept):
    """A message that no server took yet: written down before it is sent, so that no crash can lose it.

    Attributes:
        id: the same when the same run is repeated.
        about: ``alert`` or ``recovery``.
        since: when it was written; ``attempts`` counts the deliveries that failed, ``reason`` is the last one's.
        next_try: not before then, by our own backoff; ``not_before``: by the server's ``Retry-After``.
    """

    id: str
    action: str
    message: Message
    since: datetime
    attempts: int = 0
    reason: str = ""
    about: Literal["alert", "recovery"] = "alert"
    model: str = ""
    version: str = ""
    next_try: datetime | None = None
    not_before: datetime | None = None
    fallback: Fallback | None = None


class WatchState(_Kept):
    """The state of one watch. ``last`` is the slot that was run last; ``term`` the last leader's that wrote."""

    incidents: tuple[Incident, ...] = ()
    undelivered: tuple[Undelivered, ...] = ()
    last: datetime | None = None
    term: int = 0

    def by_key(self) -> Incidents:
        return {incident.key: incident for incident in self.incidents}

    def with_incidents(self, incidents: Incidents, **changes: Any) -> WatchState:
        """With these in place of its own; ``changes`` are those of further attributes."""
        ordered = tuple(incidents[key] for key in sorted(incidents))
        return self.model_copy(update={"incidents": ordered, **changes})


class Lease(_Kept):
    """Who leads until when. ``term`` grows with each change of the holder."""

    holder: str
    term: int
    until: datetime


class Mutes(_Kept):
    mutes: tuple[Mute, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """Which records of the history; None is any. ``most`` are given, the latest."""

    watch: str | None = None
    model: str | None = None
    since: datetime | None = None
    kinds: tuple[str, ...] = ()
    most: int = HISTORY_MOST


ANY = Wanted()

Record = dict[str, Any]
"""A line of the history: ``time`` (ISO 8601), ``kind`` (of ``KINDS``), ``watch``, and what its kind has."""

Change = Callable[[WatchState], WatchState]
T = TypeVar("T", bound=_Kept)


class StateStore(Protocol):
    """Where states live. Safe to share between threads. Raises StateError or StoreError."""

    def watch_ids(self) -> list[str]:
        """The watches of which something is remembered."""
        ...

    def load(self, watch_id: str) -> WatchState: ...

    def update(self, watch_id: str, change: Change) -> WatchState:
        """Apply a change in one step and return what is now stored, durably where the store is durable at all.
        ``change`` may be called several times, when others write at the same time."""
        ...

    def mutes(self) -> tuple[Mute, ...]: ...

    def update_mutes(self, change: Callable[[tuple[Mute, ...]], tuple[Mute, ...]]) -> tuple[Mute, ...]: ...

    def lease(self) -> Lease | None: ...

    def update_lease(self, change: Callable[[Lease | None], Lease]) -> Lease:
        """As ``update``. What ``change`` raises ends it, and nothing is written."""
        ...

    def record(self, records: Iterable[Record]) -> None:
        """Append to the history."""
        ...

    def history(self, wanted: Wanted = ANY) -> list[Record]:
        """Records of the history, the oldest first."""
        ...

    def forget(self, before: Mapping[str, datetime]) -> None:
        """Drop the records older than their kind's time; ``*`` is for kinds that are not named."""
        ...


class MemoryState:
    """Forgets at the end of the process: for backtests, tests and dry runs."""

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

    def history(self, wanted: Wanted = ANY) -> list[Record]:
        return chosen(self._records or (), wanted)

    def forget(self, before: Mapping[str, datetime]) -> None:
        if self._records is not None:
            self._records = [each for each in self._records if not is_old(each, before)]


class DocumentState(ABC):
    """States as JSON documents by name; what stores them is a subclass's."""

    @abstractmethod
    def watch_ids(self) -> list[str]: ...

    @abstractmethod
    def _read(self, name: str) -> bytes | None:
        """The JSON under a name, or None."""

    @abstractmethod
    def _change(self, name: str, change: Callable[[bytes | None], bytes | None]) -> None:
        """Put what ``change`` makes of the JSON in its place, in one step; None leaves it as it is."""

    @abstractmethod
    def _place(self, name: str) -> str:
        """Where that is, for people."""

    def load(self, watch_id: str) -> WatchState:
        return self._parse(WatchState, f"watch:{watch_id}", self._read(f"watch:{watch_id}")) or WatchState()

    def update(self, watch_id: str, change: Change) -> WatchState:
        return self._update(WatchState, f"watch:{watch_id}", lambda kept: change(kept or WatchState()))

    def mutes(self) -> tuple[Mute, ...]:
        kept = self._parse(Mutes, "mutes", self._read("mutes"))
        return kept.mutes if kept else ()

    def update_mutes(self, change: Callable[[tuple[Mute, ...]], tuple[Mute, ...]]) -> tuple[Mute, ...]:
        made = self._update(Mutes, "mutes", lambda kept: Mutes(mutes=change(kept.mutes if kept else ())))
        return made.mutes

    def lease(self) -> Lease | None:
        return self._parse(Lease, "lease", self._read("lease"))

    def update_lease(self, change: Callable[[Lease | None], Lease]) -> Lease:
        return self._update(Lease, "lease", change)

    def _update(self, kind: type[T], name: str, change: Callable[[T | None], T]) -> T:
        made: list[T] = []

        def written(kept: bytes | None) -> bytes | None:
            before = self._parse(kind, name, kept)
            after = change(before)
            made.append(after)
            return None if after == before else after.model_dump_json().encode()

        self._change(name, written)
        return made[-1]

    def _parse(self, kind: type[T], name: str, content: bytes | None) -> T | None:
        if content is None:
            return None
        try:
            return kind.model_validate_json(content)
        except ValidationError as error:
            raise StateError(
                f"{self._place(name)}: is no state of this watch runner ({str(error).splitlines()[0]}). Move it "
                "away to start afresh; what is still wrong will then be reported once more."
            ) from error


def chosen(records: Iterable[Record], wanted: Wanted) -> list[Record]:
    """Those of the history that are wanted."""
    found = [
        each
        for each in records
        if (not wanted.kinds or each["kind"] in wanted.kinds)
        and matches(wanted.watch, str(each.get("watch", "")))
        and matches(wanted.model, str(each.get("model", "")))
        and (wanted.since is None or parse_instant(each["time"]) >= wanted.since)
    ]
    return found[-wanted.most :]


def is_old(record: Record, before: Mapping[str, datetime]) -> bool:
    limit = before.get(record["kind"], before.get("*"))
    return limit is not None and parse_instant(record["time"]) < limit
