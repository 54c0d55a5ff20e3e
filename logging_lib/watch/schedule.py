"""When a watch is due. Pure: the time is an argument."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Schedule(Protocol):
    """A watch's ``trigger.schedule``: slots are instants in UTC, whole seconds."""

    def latest(self, now: datetime) -> datetime | None:
        """The last slot at or before ``now``; None when there never was one."""
        ...

    def next(self, after: datetime) -> datetime | None:
        """The first slot after an instant; None when there is no further one."""
        ...


def latest_slot(interval: timedelta, now: datetime) -> datetime:
    """The last instant at or before ``now`` that the interval divides, counted from 1970 as all slots are."""
    return now.astimezone(UTC) - (now - _EPOCH) % interval


def due_slot(schedule: Schedule, last: datetime | None, now: datetime) -> datetime | None:
    """The slot that is to be run at ``now``, or None; of several missed ones only the latest is run.

    Args:
        last: the slot that was run last, None when there was none.
    """
    slot = schedule.latest(now)
    return slot if slot is not None and (last is None or slot > last) else None


def slots(schedule: Schedule, after: datetime, until: datetime) -> Iterator[datetime]:
    """All slots after one instant up to another, which is included; oldest first."""
    slot = schedule.next(after)
    while slot is not None and slot <= until:
        yield slot
        slot = schedule.next(slot)
