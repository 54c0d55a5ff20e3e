"""When a watch is due. Pure: the time is an argument.

Slots are instants in UTC, whole seconds. Those of an interval are counted from 1970, so that all runners agree on
them; those of a calendar are read off the clock of its time zone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Protocol

from logging_lib.watch.cron import Cron

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEAR = timedelta(hours=3)  # longer than any clock change


class Schedule(Protocol):
    """A watch's ``trigger.schedule``."""

    def latest(self, now: datetime) -> datetime | None:
        """The last slot at or before ``now``; None when there never was one."""
        ...

    def next(self, after: datetime) -> datetime | None:
        """The first slot after an instant; None when there is no further one."""
        ...


@dataclass(frozen=True)
class Interval:
    """Every so long."""

    length: timedelta

    def latest(self, now: datetime) -> datetime | None:
        return latest_slot(self.length, now)

    def next(self, after: datetime) -> datetime | None:
        return latest_slot(self.length, after) + self.length


@dataclass(frozen=True)
class Calendar:
    """At the times of cron expressions on the clock of a time zone.

    Where a clock is set forward, a time that it leaves out is taken as much later. Where it is set back, a time
    that it shows twice counts once, the first time, unless the expression is due at every hour.
    """

    crons: tuple[Cron, ...]
    zone: tzinfo = UTC

    def latest(self, now: datetime) -> datetime | None:
        now = now.astimezone(UTC)
        found = [slot for cron in self.crons if (slot := self._latest(cron, now)) is not None]
        return max(found, default=None)

    def next(self, after: datetime) -> datetime | None:
        after = after.astimezone(UTC)
        found = [slot for cron in self.crons if (slot := self._next(cron, after)) is not None]
        return min(found, default=None)

    def _latest(self, cron: Cron, now: datetime) -> datetime | None:
        wall = self._wall(now)
        if self._clock_changes(now):
            near = self._instants(cron, cron.between(wall - _NEAR, wall + _NEAR))
            if past := [slot for slot in near if slot <= now]:
                return max(past)
            wall -= _NEAR
        before = cron.latest(wall)
        return None if before is None else max(self._instants(cron, [before]))

    def _next(self, cron: Cron, after: datetime) -> datetime | None:
        wall = self._wall(after)
        if self._clock_changes(after):
            near = self._instants(cron, cron.between(wall - _NEAR, wall + _NEAR))
            if future := [slot for slot in near if slot > after]:
                return min(future)
            wall += _NEAR
        following = cron.next(wall)
        return None if following is None else min(self._instants(cron, [following]))

    def _wall(self, instant: datetime) -> datetime:
        return instant.astimezone(self.zone).replace(tzinfo=None, fold=0)

    def _clock_changes(self, around: datetime) -> bool:
        """Whether the zone's offset changes within a few hours of an instant."""
        before, after = (
            (around + shift).astimezone(self.zone).utcoffset() for shift in (-2 * _NEAR, 2 * _NEAR)
        )
        return before != after

    def _instants(self, cron: Cron, walls: Iterable[datetime]) -> list[datetime]:
        folds = (0, 1) if cron.every_hour else (0,)
        found = []
        for wall in walls:
            for fold in folds:
                instant = wall.replace(tzinfo=self.zone, fold=fold).astimezone(UTC)
                # In a gap, fold 1 would be as much earlier; only what the clock does show counts twice.
                if not fold or self._wall(instant) == wall:
                    found.append(instant)
        return found


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
